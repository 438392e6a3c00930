//! Unusual and invalid requests, compared with the reaction of the server with codec 1.2.8.

use bowline_core::error::FrameError;
use bowline_core::frame::{Framing, Kind, Step};
use bowline_forestbus::protocol::{Receive, Request, Send};
use bowline_forestbus::wire::{CborRpc, Codec, DecodeError, METHODS, Method, refusal, text_of};
use bytes::Bytes;

use crate::record::{Record, all, text};

/// The reaction of the embedded node to a request.
#[derive(Debug)]
enum Made {
    /// A request that it serves, with its Seq and the method's name as its answer repeats them.
    Served(u64, String, Request),
    /// A method that it does not have: the error.
    Refused(u64, String, String),
    /// Invalid arguments: the error is answered, and the stream continues.
    BadBody(DecodeError),
    /// The connection is closed.
    Closed(FrameError),
    /// It waits for the rest.
    Waits,
}

fn made_of(record: &Record) -> Made {
    let mut framing = CborRpc::new();
    let (meta, extensions, body) = match framing.next_frame(&record.request) {
        Ok(Step::Frame { meta, extensions, body, consumed }) => {
            assert_eq!(consumed, record.request.len(), "{}", record.name);
            (meta, extensions, body)
        }
        Ok(Step::Need(_)) => return Made::Waits,
        Err(error) => return Made::Closed(error),
    };
    assert_eq!(meta.kind, Kind::Request);
    let name = text_of(&record.request[extensions]).into_owned();
    let Some(method) = Method::from_number(meta.method) else {
        let error = refusal(&name, METHODS);
        return Made::Refused(meta.id, name, error);
    };
    match Codec::new().read_request(method, &Bytes::copy_from_slice(&record.request[body])) {
        Ok(request) => Made::Served(meta.id, name, request),
        Err(error) => Made::BadBody(error),
    }
}

#[test]
fn what_the_server_serves_is_served_and_what_it_refuses_or_misreads_is_refused() {
    let mut counted = [0; 5];
    for record in all("cbor_lax") {
        let name = record.name.as_str();
        let reply = record.index["reply"].as_array().unwrap();
        let closed = record.index["server_closed"].as_bool().unwrap();
        let error = reply.first().map(|header| text(&header["Error"]));
        let repeated = |seq: u64, method: &str| {
            assert_eq!(reply[0]["Seq"].as_u64(), Some(seq), "{name}");
            assert_eq!(text(&reply[0]["ServiceMethod"]), method, "{name}");
        };
        match (made_of(&record), error.as_deref()) {
            (Made::Served(seq, method, _), Some("")) => {
                assert!(!closed);
                repeated(seq, &method);
                counted[0] += 1;
            }
            (Made::Refused(seq, method, ours), Some(theirs)) => {
                assert_eq!(ours, theirs, "{name}");
                repeated(seq, &method);
                counted[1] += 1;
            }
            (Made::BadBody(ours), Some(theirs)) => {
                assert!(theirs.starts_with("cbor decode error") && closed, "{name}: {ours}, not {theirs}");
                counted[2] += 1;
            }
            // Misread by the server, whose stream is then out of step.
            (Made::BadBody(ours), None) => {
                assert_eq!(name, "lax_body_int_key", "{ours}");
                counted[2] += 1;
            }
            (Made::Closed(ours), theirs) => {
                let differs = match name {
                    // The server answers, and closes then.
                    "lax_body_int" | "lax_body_text" | "lax_recv_bignum_id" => theirs.is_some() && closed,
                    // The server misreads it, or waits for 2^62 items.
                    "lax_send_tagged_message" | "bad_huge_array" | "bad_huge_bytes" => !closed,
                    _ => false,
                };
                assert!(differs || closed && theirs.is_none(), "{name}: {ours}, not {theirs:?}");
                counted[3] += 1;
            }
            (Made::Waits, theirs) => {
                assert_eq!((name, theirs), ("bad_truncated", Some("EOF")));
                counted[4] += 1;
            }
            (made, theirs) => panic!("{name}: {made:?}, not {theirs:?}"),
        }
    }
    assert_eq!(counted, [32, 1, 3, 14, 1]);
}

fn made(name: &str) -> Made {
    let record = all("cbor_lax").into_iter().find(|record| record.name == name);
    made_of(&record.unwrap_or_else(|| panic!("no {name}")))
}

fn served(name: &str) -> Request {
    match made(name) {
        Made::Served(_, _, request) => request,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn unusual_values_mean_what_they_meant_to_the_server() {
    let topic = Request::TopicDetails { topic: "test1".into() };
    for name in ["array", "bytes_topic", "chunked_topic", "extra_key"] {
        assert_eq!(served(&format!("lax_body_{name}")), topic, "{name}");
    }
    for name in ["lax_body_lowercase", "lax_body_missing", "lax_body_null"] {
        assert_eq!(served(name), Request::TopicDetails { topic: String::new() });
    }
    for name in ["lax_body_null_cluster", "lax_body_array_cluster"] {
        assert_eq!(served(name), Request::ClusterDetails);
    }
    let send = |messages: &[&'static str], wait_for_commit| {
        let messages = messages.iter().map(|message| Bytes::from_static(message.as_bytes())).collect();
        Request::Send(Send { messages, wait_for_commit, topic: "test1".into(), ..Send::default() })
    };
    assert_eq!(served("lax_send_text_messages"), send(&["text message"], true));
    assert_eq!(served("lax_send_array_messages"), send(&["hi", "!"], true));
    assert_eq!(served("lax_send_chunked_message"), send(&["abcd"], true));
    assert_eq!(served("lax_send_indef_array"), send(&["i1", "i2"], true));
    assert_eq!(served("lax_send_null_message"), send(&["x", ""], true));
    assert_eq!(served("lax_send_array_body"), send(&["arr"], true));
    assert_eq!(served("lax_send_wait_null"), send(&["q"], false));
    let receive = |id, quantity| {
        Request::Receive(Receive { topic: "test1".into(), id, quantity, ..Receive::default() })
    };
    for name in ["lax_recv_float_id", "lax_recv_half_id", "lax_recv_undefined"] {
        assert_eq!(served(name), receive(1, 1), "{name}");
    }
    assert_eq!(served("lax_recv_minimal"), receive(1, 0));
    assert_eq!(served("lax_recv_id_overflow"), receive(i64::MIN, 1));
}

#[test]
fn what_is_refused_is_said_with_its_place_value_and_limit() {
    let closed = |name| match made(name) {
        Made::Closed(error) => error.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    let bad = |name| match made(name) {
        Made::BadBody(error) => error.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        closed("bad_header_int"),
        "the header at offset 0 is an unsigned integer, not a map or an array"
    );
    assert_eq!(
        closed("bad_http"),
        "this looks like HTTP: the header at offset 0 is a byte string, not a map or an array"
    );
    assert_eq!(
        closed("bad_reserved_ai"),
        "in the header, which begins at offset 0: the byte 0x1c at offset 0 begins no item: \
         its additional information is reserved"
    );
    assert_eq!(
        closed("bad_break"),
        "in the header, which begins at offset 0: a break at offset 0, where no item of indefinite length is open"
    );
    assert_eq!(closed("bad_huge_array"), "an array of 4611686018427387904 bytes is over the limit of 65527");
    assert_eq!(closed("bad_huge_bytes"), "a byte string of 1099511627776 bytes is over the limit of 8388584");
    assert_eq!(closed("lax_header_self_described"), "the header at offset 0 is a tag, not a map or an array");
    assert_eq!(
        closed("lax_header_seq_negative"),
        "in the header: Seq at offset 47 is -1, must be 0 to 18446744073709551615"
    );
    assert_eq!(closed("lax_body_int"), "the body at offset 48 is an unsigned integer, not a map or an array");
    assert_eq!(
        closed("lax_send_tagged_message"),
        "in the body, which begins at offset 44: a tag at offset 38"
    );
    assert_eq!(bad("lax_body_int_key"), "key at offset 1 is an unsigned integer, not a string");
    assert_eq!(bad("lax_send_bytes_not_array"), "SentMessages at offset 37 is a byte string, not an array");
    assert_eq!(bad("lax_send_wait_int"), "WaitForCommit at offset 43 is an unsigned integer, not a boolean");
}

#[test]
fn a_body_that_is_cut_short_is_a_stream_that_ends_inside_a_frame() {
    let record = all("cbor_lax").into_iter().find(|record| record.name == "bad_truncated").unwrap();
    let (have, need) = (record.request.len() as u64, record.request.len() as u64 + 3);
    let ended = CborRpc::new().end_of_stream(&record.request);
    assert_eq!(ended, Err(FrameError::Truncated { have, need }));
}
