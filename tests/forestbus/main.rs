//! Clients of Forest Bus and nodes in memory on every runtime: one source for all of them.

use std::time::Duration;

#[path = "../frame/mod.rs"]
#[macro_use]
mod frame;
#[path = "../frame/facade.rs"]
mod runtimes;

#[path = "../conformance/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "it belongs to another test, and has more than these need")]
mod proxy;

mod bad_nodes;
mod cluster;
mod dropping;
mod failing;
mod following;
mod groups;
mod handles;
mod leaders;
mod logs;
mod nodes;
mod outages;
mod sending;

use frame::{aside, done, until, watchdog};

/// Time limit of a test.
const LIMIT: Duration = Duration::from_secs(60);

on_every_runtime! {
    sending::what_is_sent_is_read,
    sending::the_hint_leads_to_the_leader,
    sending::the_leadership_moves,
    sending::a_leader_that_is_killed_is_replaced,
    sending::the_leader_alone_is_enough_where_that_is_asked_for,
    sending::a_topic_has_one_send_at_a_time,
    sending::a_long_poll_and_a_send_do_not_wait_for_each_other,
    sending::a_large_page_is_one_piece_of_memory,
    following::messages_come_as_they_are_committed,
    following::what_is_gone_is_told,
    following::retention_overtakes_a_follower,
    following::a_stopping_node_is_left,
    following::it_goes_on_at_another_node,
    following::a_lagging_node_is_left,
    following::it_is_rewound,
    following::a_log_that_ends_before_it_is_told_until_it_is_rewound,
    following::a_majority_says_that_a_log_ends,
    following::many_read_the_same,
    following::an_unknown_topic_ends_it,
    failing::an_unknown_topic,
    failing::another_cluster,
    failing::nobody_listens,
    failing::a_stopping_node_is_not_asked,
    failing::a_slow_node_is_left_for_another,
    failing::a_cut_leaves_a_doubt,
    failing::at_least_once_repeats,
    failing::a_killed_node_comes_back,
    failing::deadlines_hold,
    leaders::it_changes_between_two_sends,
    leaders::it_changes_between_the_two_lanes,
    leaders::one_that_steps_down_leaves_a_doubt,
    leaders::a_send_is_repeated_at_the_next_one,
    leaders::one_that_is_cut_off_is_found_by_the_commit,
    leaders::a_name_that_is_unknown_is_learned,
    leaders::a_wrong_hint_costs_one_attempt,
    leaders::without_a_hint_the_others_are_asked,
    outages::all_nodes_are_killed_and_come_back,
    outages::all_nodes_stop_and_go_on,
    outages::a_node_that_was_stopping_is_avoided,
    outages::one_node_of_another_cluster,
    outages::the_preferred_node_is_killed_and_comes_back,
    outages::a_node_that_answers_probes_keeps_its_polls,
    outages::a_node_that_answers_no_probe_loses_its_polls,
    bad_nodes::one_that_says_nonsense,
    bad_nodes::one_that_breaks_the_framing,
    bad_nodes::one_that_closes_at_once,
    bad_nodes::one_that_is_silent,
    bad_nodes::bodies_of_the_wrong_form,
    handles::closing_ends_commands_and_later_ones_reopen,
    handles::closing_ends_senders_that_wait,
    handles::the_last_handle_ends_the_connections,
    handles::what_cannot_be_is_refused_at_once,
    logs::a_log_says_what_was_trimmed,
    logs::what_a_log_refuses,
    logs::a_batcher_appends_to_a_topic,
    logs::a_batcher_decides_what_is_repeated,
    logs::a_batcher_says_why_a_topic_took_nothing,
    logs::what_does_not_fit_one_send_goes_out_in_several,
    logs::what_is_behind_a_send_that_failed_is_not_sent,
    nodes::a_wait_ends_with_its_connection,
    nodes::waits_are_bounded,
    nodes::unknown_methods_and_bad_arguments_are_answered,
    nodes::it_is_restarted_with_what_it_has,
}
