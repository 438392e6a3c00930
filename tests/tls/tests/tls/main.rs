//! TLS under links, ZeroMQ sockets and Forest Bus, on every runtime: one source for all of them.

#[path = "../../../../tls/tests/common/mod.rs"]
mod certificates;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../../../proxies/servers.rs"]
mod proxies;
#[path = "../../../frame/mod.rs"]
#[macro_use]
mod frame;

mod behind;
mod crowds;
mod cuts;
mod others;
mod outcomes;
mod peers;
mod refusals;
mod traffic;
mod wire;
mod world;

use world::LIMIT;

/// Where the frame finds the runtimes.
mod runtimes {
    pub(crate) use bowline_async_std::async_std::AsyncStd;
    pub(crate) use bowline_async_std::smol::Smol;
    pub(crate) use bowline_blocking::{Threads, block_on};
    pub(crate) use bowline_driver::runtime::Runtime;
    pub(crate) use bowline_driver::style::{Style, Wait};
    pub(crate) use bowline_tokio::Tokio;
}

on_every_runtime! {
    traffic::calls_and_casts_of_every_size,
    traffic::messages_of_every_size_around_a_record,
    traffic::both_sides_are_known,
    traffic::a_burst_of_calls_fills_its_records,
    traffic::an_owner_drives_its_connection,
    traffic::a_stream_of_the_programs_own,
    traffic::a_session_goes_on_over_new_connections,
    traffic::settings_are_exchanged_while_it_runs,
    behind::through_a_proxy,
    behind::a_verifier_sees_the_certificate,
    behind::a_certificate_says_who_a_client_is,
    refusals::a_certificate_that_does_not_hold_ends_dialing,
    refusals::dialing_goes_on_where_the_policy_says_so,
    refusals::a_client_without_a_certificate,
    refusals::plain_text_is_named_on_both_sides,
    refusals::tls_is_never_left_out,
    cuts::at_every_byte_of_the_handshake,
    crowds::a_thousand_stalled_handshakes,
    crowds::a_silent_peer_is_closed_in_time,
    crowds::a_shutdown_ends_handshakes,
    crowds::handshakes_count_with_what_they_hold,
    crowds::greetings_count_with_what_their_layer_holds,
    crowds::records_that_do_not_end_count_in_the_servers_memory,
    crowds::requests_of_a_peer_that_is_gone_count_until_they_are_handled,
    outcomes::what_is_written_is_with_the_system,
    others::zeromq_sockets,
    others::forest_bus,
    peers::a_server_of_another_make,
    peers::a_client_of_another_make,
    peers::openssl_as_a_client,
    peers::openssl_as_a_server,
    peers::openssl_wants_another_handshake,
}
