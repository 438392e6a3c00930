//! Connections through proxies, and their preambles, on every runtime: one source for all of them.

use std::time::Duration;

#[path = "../frame/mod.rs"]
#[macro_use]
mod frame;
#[path = "../frame/facade.rs"]
mod runtimes;

mod failing;
mod others;
mod preambles;
mod servers;
mod through;

use frame::{done, until};

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(60);

on_every_runtime! {
    through::socks_looks_names_up,
    through::http_connects,
    through::one_proxy_behind_another,
    through::addresses_are_said_as_such,
    through::what_comes_behind_the_answer_belongs_to_the_link,
    through::a_link_connects_again_through_its_proxy,
    through::what_is_excepted_goes_without,
    through::a_connection_with_one_owner,
    failing::a_target_that_the_proxy_does_not_reach,
    failing::every_reply_code_is_told,
    failing::a_proxy_that_is_not_there,
    failing::a_proxy_whose_name_is_unknown,
    failing::answers_that_are_cut_at_every_byte,
    failing::garbage_and_floods,
    failing::a_proxy_that_never_answers,
    failing::refused_credentials_end_dialing_unless_told_otherwise,
    failing::closing_does_not_wait_for_a_silent_proxy,
    failing::other_endpoints_are_tried,
    others::zeromq_through_proxies,
    others::forest_bus_through_proxies,
    preambles::it_runs_before_the_first_message_of_each_connection,
    preambles::what_comes_behind_it_is_the_framings,
    preambles::a_failure_is_a_failed_attempt_and_loses_nothing,
    preambles::a_refusal_ends_dialing,
    preambles::one_that_takes_too_long,
    preambles::with_sessions_and_through_a_proxy,
    preambles::with_one_owner_and_over_a_stream,
}
