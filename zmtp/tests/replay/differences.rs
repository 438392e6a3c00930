//! Intentional differences from libzmq. There are no other exceptions.

use crate::End::{self, Client, Server};

/// The kinds of differences.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Differs {
    /// In the sent bytes.
    Bytes,
    /// In the messages that the application receives.
    Messages,
    /// Whether the connection fails.
    Outcome,
}

use Differs::{Bytes, Messages, Outcome};

pub(crate) struct Difference {
    pub(crate) scenario: &'static str,
    pub(crate) end: End,
    pub(crate) differs: Differs,
    pub(crate) why: &'static str,
}

const fn differs(scenario: &'static str, end: End, differs: Differs, why: &'static str) -> Difference {
    Difference { scenario, end, differs, why }
}

/// Recordings that need the feature `curve`.
pub(crate) const CURVE: &[&str] = &[
    "curve_client_null_server",
    "curve_heartbeat",
    "curve_pub_sub",
    "curve_req_rep",
    "curve_success",
    "curve_success_435",
    "curve_wrong_server_key",
    "curve_zap_accept",
    "curve_zap_deny",
    "mismatch_curve_push_to_sub",
    "null_client_curve_server",
];

const EVENTS: &str = "what libzmq puts among the messages of its own application is an event here";
const OLDER: &str = "the recorded end spoke 3.0 and subscribed with messages";
const MISSPELT: &str = "libzmq 4.3 sends ^RROR, which only its own clients know; ours know both";
const COMMAND: &str = "a command is no message, whatever the type: libzmq hands its body to the application";

pub(crate) const DIFFERENCES: &[Difference] = &[
    differs("draft_disconnect_msg", Server, Messages, EVENTS),
    differs("draft_hiccup_msg", Client, Messages, EVENTS),
    differs("draft_router_notify", Server, Messages, EVENTS),
    differs(
        "null_heartbeat_both",
        Server,
        Bytes,
        "a peer that was heard a moment ago is not asked, unless it is told a TTL",
    ),
    differs(
        "null_heartbeat_both",
        Client,
        Bytes,
        "whether PING or PONG goes first is a matter of a millisecond",
    ),
    differs(
        "null_identity_duplicate",
        Server,
        Outcome,
        "the newcomer is closed with an event, not left open and mute",
    ),
    differs(
        "null_pair_second_client",
        Server,
        Outcome,
        "the second peer is closed with an event, not left open and mute",
    ),
    differs(
        "null_router_same_id_reconnect_idle",
        Server,
        Messages,
        "an id is free when its peer is gone, whatever the application does",
    ),
    differs(
        "null_xpub_welcome",
        Client,
        Messages,
        "the recorded application did not receive the message behind the welcome",
    ),
    differs("old418_pub_sub_new_server", Client, Bytes, OLDER),
    differs("old425_pub_sub_new_server", Client, Bytes, OLDER),
    differs("plain_bad_password", Server, Bytes, MISSPELT),
    differs("plain_bad_password_434", Server, Bytes, MISSPELT),
    differs("plain_zap_500", Server, Bytes, MISSPELT),
    differs(
        "raw_all_in_one",
        Server,
        Bytes,
        "a peer that said READY may send; libzmq closes if it is not ready itself",
    ),
    differs("raw_all_in_one", Server, Messages, "likewise: it is one decision"),
    differs("raw_all_in_one", Server, Outcome, "likewise: it is one decision"),
    differs(
        "raw_http",
        Server,
        Outcome,
        "a first frame with flags that no peer of 1.0 sends is another protocol",
    ),
    differs("raw_identity_256", Server, Messages, "a routing id is of 255 bytes at most (RFC 28)"),
    differs("raw_identity_256", Server, Outcome, "likewise: it is one decision"),
    differs("raw_ping_no_ttl", Server, Bytes, "libzmq answers with 16 bytes from behind the command"),
    differs("raw_ping_ttl_656", Server, Outcome, "libzmq counts the TTL in 16 bits, and 65.6 s become 64 ms"),
    differs("raw_ready_lowercase", Server, Messages, "the case of property names does not matter (RFC 37)"),
    differs(
        "raw_ready_lowercase_wrong_type",
        Server,
        Messages,
        "likewise: it is a type that does not go with ours",
    ),
    differs(
        "raw_ready_lowercase_wrong_type",
        Server,
        Outcome,
        "likewise: it is a type that does not go with ours",
    ),
    differs(
        "raw_signature_bad_tail",
        Server,
        Outcome,
        "a first frame with flags that no peer of 1.0 sends is another protocol",
    ),
    differs("raw_subscribe_to_router", Server, Messages, COMMAND),
    differs("rawsrv_subscribe_to_dealer", Client, Messages, COMMAND),
];
