//! One conformance suite, run on every runtime.
//!
//! A scenario is an async function over [`harness::Harness`]; the blocking runtime's implementation makes its
//! calls on threads. Each scenario compiles for all of them, which also proves that the runtimes have the
//! same methods.

#![allow(unreachable_pub, reason = "a test has no public interface")]

#[path = "../frame/scenarios.rs"]
#[macro_use]
mod frame;

mod async_runtimes;
mod handles;
mod harness;
mod proxy;
mod scenarios;
mod threads;

use async_runtimes::{OnAsyncStd, OnSmol, OnTokio};
use harness::Harness;
use scenarios::{
    auth, calls, delivery, failures, fairness, garbage, handlers, limits, links, messages, servers, sessions,
    tcpstream,
};
use threads::OnThreads;

/// Every scenario, for every runtime.
macro_rules! every_runtime {
    ($scenarios:tt) => {
        on_runtime!(tokio, crate::OnTokio, <crate::OnTokio as crate::Harness>::run, $scenarios);
        on_runtime!(smol, crate::OnSmol, <crate::OnSmol as crate::Harness>::run, $scenarios);
        on_runtime!(async_std, crate::OnAsyncStd, <crate::OnAsyncStd as crate::Harness>::run, $scenarios);
        on_runtime!(blocking, crate::OnThreads, <crate::OnThreads as crate::Harness>::run, $scenarios);
    };
}

every_runtime!([
    auth::a_verified_peer_is_known_to_every_handler,
    auth::a_verifier_may_decide_later,
    auth::a_refusal_ends_dialing_or_not,
    auth::a_verifier_that_never_answers,
    auth::a_withdrawn_identity_is_told_and_may_come_again,
    auth::a_shared_secret_under_a_session,
    auth::a_session_stays_with_its_identity,
    auth::connections_of_an_identity_are_limited,
    auth::what_a_peer_may_do,
    auth::hostile_peers_are_not_let_in,
    auth::a_thousand_stalled_verifications,
    auth::a_framing_without_a_handshake_verifies_nobody,
    calls::a_thousand_calls_from_many_tasks,
    calls::both_directions_at_once,
    calls::a_handler_calls_back,
    calls::inline_handlers_answer,
    calls::replies_out_of_order,
    calls::deadlines_end_calls,
    calls::a_late_reply_is_counted,
    calls::a_dropped_call_is_cancelled_there,
    calls::pending_calls_from_one_place,
    calls::more_calls_than_places,
    calls::answering_later_and_never,
    delivery::casts_say_what_became_of_them,
    delivery::idempotent_calls_are_made_again,
    delivery::a_busy_peer_is_asked_again,
    delivery::a_new_connection_on_demand,
    delivery::casts_are_sent_again_until_they_are_written,
    fairness::a_consumer_that_stops_holds_up_nothing_else,
    fairness::both_sides_flood_and_neither_takes,
    fairness::small_calls_overtake_a_large_one,
    fairness::a_window_smaller_than_a_message,
    fairness::a_large_call_given_up_in_mid_way,
    fairness::requests_start_while_there_is_room,
    fairness::large_messages_of_all_classes_both_ways,
    fairness::other_framings_end_a_mutual_stall,
    failures::handlers_that_fail_and_panic,
    failures::requests_without_a_handler,
    failures::oversized_messages_either_way,
    failures::a_refused_connect,
    failures::failed_dials_are_told,
    failures::a_server_that_comes_later,
    failures::a_cut_connection,
    failures::a_server_restarts,
    failures::a_handshake_that_never_ends,
    failures::a_peer_that_falls_silent,
    failures::closing_drains,
    failures::closing_hands_back,
    failures::a_server_shuts_down_and_drains,
    failures::dropping_the_last_handle_closes,
    handlers::a_slow_message_handler_delays_nobody,
    handlers::messages_are_handled_in_order_and_one_at_a_time,
    handlers::a_slow_message_handler_holds_up_its_sender,
    handlers::messages_that_wait_come_before_the_end_is_told,
    handlers::a_shutdown_waits_for_message_handlers,
    handlers::a_shutdown_at_once_says_what_was_not_handled,
    handlers::a_client_closes_when_its_messages_are_handled,
    handlers::the_peer_is_known_before_its_first_request,
    handlers::connections_that_come_and_go_wait_in_a_bounded_line,
    handlers::what_waits_for_its_handler_takes_a_place,
    handlers::what_waits_behind_a_request_is_handed_over_when_the_connection_ends,
    messages::casts_arrive_in_order,
    messages::many_at_once,
    messages::a_server_pushes,
    messages::receiving_with_a_timeout,
    messages::connect_and_disconnect_are_told,
    messages::an_idle_link_keeps_its_heartbeat,
    messages::a_full_write_queue_refuses,
    messages::a_full_read_queue_drops_the_oldest,
    messages::tcpstream_calls_both_ways,
    messages::tcpstream_answers_by_seq_later,
    messages::other_framings_carry_messages,
    messages::what_a_framing_cannot_carry_is_refused,
    tcpstream::pushes_that_nobody_receives_hold_up_no_reply,
    tcpstream::answers_have_types,
    tcpstream::failures_without_error_replies,
    sessions::a_thousand_cuts_under_load,
    sessions::a_stopped_process,
    sessions::an_acknowledgement_is_an_outcome,
    sessions::a_restarted_server_is_a_lost_session,
    sessions::both_sides_have_to_want_a_session,
    sessions::sessions_without_a_connection_are_bounded,
    sessions::detached_sessions_hold_no_more_than_they_may,
    sessions::a_session_whose_first_connection_ends_at_once_is_in_no_handshake,
    sessions::answers_to_a_detached_session_are_counted,
    sessions::strangers_end_no_session,
    sessions::abandoned_sessions_leave_room,
    garbage::bad_input_closes_only_its_connection,
    garbage::silence_in_the_handshake,
    garbage::a_frame_cut_short,
    garbage::floods_are_cut_off,
    garbage::flow_control_broken,
    servers::a_broadcast_to_a_thousand_with_ten_stalled,
    servers::groups_and_filters,
    servers::the_server_calls_its_clients,
    servers::failing_message_handlers_are_counted,
    servers::a_rolling_restart_loses_no_call,
    servers::a_drain_cut_short_says_what_was_cut,
    servers::stopping_at_once,
    servers::a_listener_closed_keeps_its_connections,
    limits::connections_over_the_limit,
    limits::handshakes_make_room_for_younger_ones,
    limits::a_dripping_client_is_cut_off,
    limits::those_that_do_not_read_are_cut_off,
    limits::idle_connections_are_closed,
    limits::accepting_at_a_rate,
    limits::out_of_descriptors,
    links::a_manager_from_sixteen_threads,
    links::a_pool_spreads_its_calls,
    links::a_pool_leaves_dead_endpoints_alone,
    links::a_hedged_call_is_answered_by_the_faster,
    links::a_monitor_sees_everything_and_keeps_nothing,
    links::every_transport_carries_calls,
    links::everything_is_given_back,
]);

/// Runs a scenario on the runtime that the environment names.
macro_rules! on_named_runtime {
    ($topic:ident::$scenario:ident) => {{
        match std::env::var(scenarios::child::RUNTIME).as_deref() {
            Ok(OnSmol::NAME) => OnSmol::run($topic::$scenario::<OnSmol>()),
            Ok(OnAsyncStd::NAME) => OnAsyncStd::run($topic::$scenario::<OnAsyncStd>()),
            Ok(OnThreads::NAME) => OnThreads::run($topic::$scenario::<OnThreads>()),
            _ => OnTokio::run($topic::$scenario::<OnTokio>()),
        }
    }};
}

/// Not a test: the other process of `limits::out_of_descriptors`.
#[test]
#[ignore = "a process that another test starts"]
fn child_without_descriptors() {
    on_named_runtime!(limits::serve_without_descriptors);
}

/// Not a test: the other process of `links::everything_is_given_back`.
#[test]
#[ignore = "a process that another test starts"]
fn child_that_counts() {
    on_named_runtime!(links::count_what_is_left);
}

/// Not a test: the other process of `sessions::a_stopped_process`.
#[test]
#[ignore = "a process that another test starts"]
fn child_server() {
    on_named_runtime!(sessions::serve_as_a_child);
}

/// Not a test: the other process of `sessions::abandoned_sessions_leave_room`.
#[test]
#[ignore = "a process that another test starts"]
fn child_for_sessions() {
    on_named_runtime!(sessions::serve_with_few_descriptors);
}
