use super::*;
use crate::wire::DecodeError;

#[test]
fn nodes_are_dialed_when_wanted_and_checked_before_they_carry_anything() {
    let mut bench = Bench::new();
    assert_eq!(bench.cluster.poll_output(), None);
    bench.cluster.send_messages(bench.now, "t", blobs(&["1"]), Options::new()).unwrap();
    let Some(Output::Open { node: to, lane: Lane::Short, epoch }) = bench.cluster.poll_output() else {
        panic!()
    };
    assert_eq!((to, epoch), (node(0), Epoch::FIRST));
    assert_eq!(bench.cluster.poll_output(), None, "one node");
    bench.cluster.connected(bench.now, to, Lane::Short, epoch);
    let Some(Output::Call { call, request: Request::ClusterDetails, .. }) = bench.cluster.poll_output()
    else {
        panic!()
    };
    assert_eq!(bench.cluster.poll_output(), None, "nothing else before the answer");
    let details = ClusterDetails { cluster_id: "test".to_string(), ..Default::default() };
    bench.cluster.reply(bench.now, call, Reply::ClusterDetails(details));
    bench.settle();
    assert_eq!(bench.only().node, 0);
    assert_eq!(bench.cluster.snapshot().connections, 1);
}

#[test]
fn another_cluster_is_final_for_the_calls_that_meet_it() {
    let mut bench = Bench::new();
    bench.foreign.insert(0);
    let id = bench.send(&["1"]);
    let error = ClusterError::ClusterIdMismatch {
        node: "a:1".to_string(),
        expected: "test".to_string(),
        found: "other".to_string(),
    };
    assert_eq!(bench.result(id), Err(error.clone()));
    assert!(!error.is_retryable());
    assert!(matches!(bench.closed[..], [(0, Lane::Short, NodeCause::OtherCluster { .. })]));
    // Others go elsewhere while it has failed.
    bench.send(&["2"]);
    assert_eq!(bench.only().node, 1);
}

#[test]
fn any_cluster_will_do_where_none_is_configured() {
    let mut bench = Bench::with(|settings| settings.cluster_id(""));
    bench.foreign.insert(0);
    bench.send(&["1"]);
    assert_eq!(bench.only().node, 0);
}

#[test]
fn a_stopping_node_gives_no_id_and_is_no_other_cluster() {
    let mut bench = Bench::new();
    bench.silent.insert(0);
    bench.send(&["1"]);
    let check = bench.probes.pop().unwrap();
    let details = ClusterDetails { status: status(Code::Shutdown, ""), ..Default::default() };
    bench.reply(&check, Reply::ClusterDetails(details));
    assert_eq!(bench.closed, [(0, Lane::Short, NodeCause::Stopping)]);
    assert_eq!(bench.only().node, 1);
}

#[test]
fn long_polls_have_a_connection_of_their_own() {
    let mut bench = Bench::new();
    bench.get(5, 10, true);
    bench.send(&["1"]);
    bench.get(1, 10, false);
    let lanes: Vec<_> = bench.calls.iter().map(|called| called.lane).collect();
    assert_eq!(lanes, [Lane::Long, Lane::Short, Lane::Short]);
    assert_eq!(bench.opened.len(), 2);
}

#[test]
fn a_check_without_an_answer_ends() {
    let mut bench = Bench::new();
    bench.silent.insert(0);
    bench.send(&["1"]);
    bench.run_until(at(2_999));
    assert!(bench.calls.is_empty());
    bench.run_until(at(3_000));
    assert_eq!(bench.only().node, 1);
    assert_eq!(bench.closed.len(), 1);
}

#[test]
fn news_of_an_earlier_connection_is_ignored() {
    let mut bench = Bench::new();
    let id = bench.send_with(&["1"], Options::new().at_least_once(true));
    let called = bench.only();
    bench.lose(&called);
    bench.run_for(500);
    let again = bench.calls.iter().find(|called| called.node == 1).unwrap().clone();
    // Twice lost, a late reply, a late dial.
    bench.cluster.disconnected(bench.now, node(0), Lane::Short, called.epoch, Disconnect::PeerClosed);
    bench.cluster.connected(bench.now, node(0), Lane::Short, called.epoch);
    bench.cluster.dial_failed(bench.now, node(0), Lane::Short, called.epoch, Disconnect::PeerClosed);
    bench.cluster.reply(bench.now, called.call, sent(&[1]));
    bench.cluster.call_failed(bench.now, called.call, true, Disconnect::PeerClosed);
    bench.settle();
    assert!(bench.is_open(id));
    assert_eq!(bench.cluster.counters().late_replies, 1);
    bench.reply(&again, sent(&[2]));
    assert_eq!(bench.result(id), ok(&[2], 1));
}

#[test]
fn a_reply_of_another_method_closes_its_connection_and_the_rest_goes_elsewhere() {
    let mut bench = Bench::new();
    let first = bench.get(1, 10, false);
    let second = bench.get(2, 10, false);
    let called = bench.calls[0].clone();
    bench.reply(&called, sent(&[1]));
    assert_eq!(bench.closed, [(0, Lane::Short, NodeCause::BadReply(ReplyError::OtherMethod))]);
    assert_eq!(bench.calls.iter().map(|called| called.node).collect::<Vec<_>>(), [1, 1]);
    for called in bench.calls.clone() {
        bench.reply(&called, received(&[], 9));
    }
    assert!(bench.result(first).is_ok() && bench.result(second).is_ok());
    assert_eq!(bench.cluster.counters().bad_replies, 1);
}

#[test]
fn a_long_poll_of_a_dead_node_is_found_by_a_details_call() {
    let mut bench = Bench::new();
    let id = bench.get(5, 10, true);
    bench.silent.insert(0);
    bench.run_until(at(14_999));
    assert!(bench.probes.is_empty());
    bench.run_until(at(15_000));
    assert_eq!((bench.probes.len(), bench.probes[0].lane), (1, Lane::Long));
    bench.run_until(at(19_999));
    assert_eq!(bench.only().node, 0);
    bench.run_until(at(20_000));
    assert_eq!(bench.only().node, 1);
    assert!(bench.is_open(id));
}

#[test]
fn a_long_poll_of_a_live_node_goes_on() {
    let mut bench = Bench::new();
    bench.get(5, 10, true);
    bench.run_until(at(100_000));
    assert_eq!(bench.only().node, 0);
    assert_eq!(bench.cluster.counters().probes, 6);
    assert!(bench.closed.is_empty());
}

#[test]
fn polls_that_were_given_up_close_their_connection_when_no_other_is_on_it_or_they_are_many() {
    let mut bench = Bench::with(|settings| settings.abandoned_polls(2));
    let stays = bench.get(5, 10, true);
    let polls: Vec<_> = (0..3).map(|n| bench.get(6 + n, 10, true)).collect();
    for id in &polls[..2] {
        bench.cluster.cancel(bench.now, *id);
        bench.settle();
    }
    assert!(bench.closed.is_empty());
    bench.cluster.cancel(bench.now, polls[2]);
    bench.settle();
    assert_eq!(bench.closed, [(0, Lane::Long, NodeCause::Disconnected)]);
    assert!(bench.is_open(stays) && bench.only().lane == Lane::Long, "it was asked again");
    bench.cluster.cancel(bench.now, stays);
    bench.settle();
    assert_eq!(bench.closed.len(), 2);
    assert_eq!(bench.cluster.snapshot().calls, 0);
}

#[test]
fn a_reply_that_cannot_be_read_has_a_cause_of_its_own_and_closes_its_connection() {
    let unreadable = || DecodeError::Malformed { field: "Result", at: 7 };
    let bad_reply = || NodeCause::BadReply(Box::new(unreadable()).into());
    let mut bench = Bench::new();
    // A read goes elsewhere.
    let (read, beside) = (bench.get(1, 10, false), bench.get(2, 10, false));
    let called = bench.calls[0].clone();
    bench.cluster.unreadable_reply(bench.now, called.call, unreadable());
    bench.settle();
    assert_eq!(bench.closed, [(0, Lane::Short, bad_reply())]);
    assert_eq!(bench.cluster.counters().bad_replies, 1);
    assert_eq!(bench.calls.iter().map(|called| called.node).collect::<Vec<_>>(), [1, 1]);
    for called in bench.calls.clone() {
        bench.reply(&called, received(&["x"], receive_of(&called).id + 1));
    }
    assert!(bench.result(read).is_ok() && bench.result(beside).is_ok());
    // The reply is late: its call is no longer waited for.
    bench.cluster.unreadable_reply(bench.now, called.call, unreadable());
    bench.settle();
    assert_eq!((bench.closed.len(), bench.cluster.counters().late_replies), (1, 1));
    // A send may have been done.
    let send = bench.send(&["a"]);
    let called = bench.only();
    bench.cluster.unreadable_reply(bench.now, called.call, unreadable());
    bench.settle();
    let Err(ClusterError::MaybeAppended { cause, .. }) = bench.result(send) else { panic!() };
    let ClusterError::Node(NodeFailure { cause, .. }) = *cause else { panic!("{cause:?}") };
    assert_eq!(cause, bad_reply());
    let text = bench.error(send);
    assert!(
        text.ends_with(
            "sent a bad reply: the reply cannot be read: Result at offset 7 is cut short or no item"
        ),
        "{text}"
    );
}
