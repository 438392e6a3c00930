use bowline_core::config::QueueLimit;

use super::*;

/// Whether the messages may have been appended, as the result says.
fn in_doubt(bench: &Bench, id: CommandId) -> bool {
    matches!(bench.result(id), Err(ClusterError::MaybeAppended { .. }))
}

#[test]
fn sends_of_a_topic_go_one_after_the_other_in_order() {
    let mut bench = Bench::new();
    let ids: Vec<_> = ["1", "2", "3"].map(|text| bench.send(&[text])).into();
    for (n, id) in ids.into_iter().enumerate() {
        let called = bench.only();
        assert_eq!(messages_of(&called), blobs(&[["1", "2", "3"][n]]));
        bench.reply(&called, sent(&[n as Index + 1]));
        assert_eq!(bench.result(id), ok(&[n as Index + 1], 0));
    }
    assert!(bench.calls.is_empty());
    // Another topic does not wait.
    bench.send(&["4"]);
    bench.cluster.send_messages(bench.now, "u", blobs(&["5"]), Options::new()).unwrap();
    bench.settle();
    assert_eq!(bench.calls.len(), 2);
}

#[test]
fn commit_by_the_majority_unless_the_leader_is_enough() {
    let mut bench = Bench::new();
    for (commit, waits) in [(Commit::Majority, true), (Commit::Leader, false)] {
        bench.send_with(&["x"], Options::new().commit(commit));
        let Request::Send(send) = bench.only().request else { panic!() };
        assert_eq!((send.wait_for_commit, send.cluster_id.as_str()), (waits, "test"));
        bench.answer(sent(&[1]));
    }
}

#[test]
fn queues_are_bounded_in_messages_and_bytes() {
    let limit = QueueLimit { messages: 3, bytes: 10 };
    let mut bench = Bench::with(|settings| settings.topic_queue(limit).queues(12));
    let try_send = |bench: &mut Bench, topic: &str, messages: &[&'static str]| {
        bench.cluster.send_messages(bench.now, topic, blobs(messages), Options::new()).map(|_| ())
    };
    let too_large = |what, value, limit| Err(ClusterError::TooLarge { what, value, limit });
    let full = |what, limit| Err(ClusterError::Full { what, limit });
    assert_eq!(try_send(&mut bench, "t", &["", "", "", ""]), too_large("messages", 4, 3));
    assert_eq!(try_send(&mut bench, "t", &["12345678901"]), too_large("bytes", 11, 10));
    let none = ClusterError::Argument { field: "messages", value: 0, must: "at least one" };
    assert_eq!(try_send(&mut bench, "t", &[]), Err(none));
    assert_eq!(try_send(&mut bench, "t", &["1234", "5678"]), Ok(()));
    assert_eq!(try_send(&mut bench, "t", &["123"]), full("the bytes of a topic's sends", 10));
    assert_eq!(try_send(&mut bench, "t", &["", ""]), full("the messages of a topic's sends", 3));
    assert_eq!(try_send(&mut bench, "t", &["1"]), Ok(()));
    assert_eq!(try_send(&mut bench, "u", &["1234"]), full("the bytes of all sends", 12));
    assert!(
        full("", 0).map(|()| Answer::Sent { ids: Vec::new(), node: node(0) }).unwrap_err().is_retryable()
    );
    bench.settle();
    bench.answer(sent(&[1, 2]));
    assert_eq!(try_send(&mut bench, "u", &["1234"]), Ok(()), "there is room again");
    let snapshot = bench.cluster.snapshot();
    assert_eq!((snapshot.queued_messages, snapshot.queued_bytes), (2, 5));
    assert_eq!(snapshot.counters.refused_full, 3);
}

#[test]
fn a_topic_rests_after_a_send_that_was_given_up() {
    type GiveUp = fn(&mut Bench, CommandId);
    let given_up: [(&str, GiveUp); 3] = [
        ("cancelled", |bench, id| assert!(bench.cluster.cancel(bench.now, id))),
        ("expired", |bench, _| bench.run_for(500)),
        ("lost", |bench, _| {
            let called = bench.calls[0].clone();
            bench.lose(&called);
        }),
    ];
    for (how, give_up) in given_up {
        let mut bench = Bench::new();
        let first = bench.send_with(&["1"], Options::new().deadline(Duration::from_millis(500)));
        let second = bench.send(&["2"]);
        bench.only();
        give_up(&mut bench, first);
        bench.settle();
        let given_up = bench.now;
        assert!(in_doubt(&bench, first), "{how}");
        bench.calls.clear();
        bench.run_until(given_up + Duration::from_millis(99));
        assert!(bench.calls.is_empty(), "{how}: too early");
        // A lost connection is checked again, and the topic rests once more, since the node may be about to store it.
        bench.run_until(given_up + Duration::from_millis(201));
        assert_eq!(messages_of(&bench.only()), blobs(&["2"]), "{how}");
        let index = bench.answer(sent(&[2]));
        assert_eq!(bench.result(second), ok(&[2], index), "{how}");
    }
}

#[test]
fn the_reply_ends_the_rest() {
    let mut bench = Bench::new();
    let first = bench.send(&["1"]);
    bench.send(&["2"]);
    let called = bench.only();
    bench.cluster.cancel(bench.now, first);
    bench.settle();
    bench.run_for(10);
    bench.reply(&called, sent(&[1]));
    assert_eq!(messages_of(&bench.only()), blobs(&["2"]));
    assert!(in_doubt(&bench, first), "it was told before");
}

#[test]
fn the_rest_can_be_set() {
    let mut bench = Bench::with(|settings| settings.send_hold(Duration::from_millis(7)));
    let first = bench.send(&["1"]);
    bench.send(&["2"]);
    bench.cluster.cancel(bench.now, first);
    bench.settle();
    bench.run_until(at(6));
    assert_eq!(messages_of(&bench.calls[0]), blobs(&["1"]));
    bench.run_until(at(7));
    assert_eq!(messages_of(&bench.only()), blobs(&["2"]));
}

#[test]
fn a_node_that_may_be_dead_gets_no_further_send() {
    let mut bench = Bench::new();
    let first = bench.send(&["1"]);
    bench.silent.insert(0);
    bench.send(&["2"]);
    bench.cluster.cancel(bench.now, first);
    bench.settle();
    assert_eq!(bench.probes.len(), 1, "it is asked for a sign of life");
    bench.run_for(1000);
    assert!(bench.calls.is_empty());
    // It wakes, and may be about to store the first one.
    bench.silent.clear();
    let probe = bench.probes.pop().unwrap();
    let details = ClusterDetails { cluster_id: "test".to_string(), ..Default::default() };
    bench.reply(&probe, Reply::ClusterDetails(details));
    assert!(bench.calls.is_empty());
    bench.run_for(99);
    assert!(bench.calls.is_empty());
    bench.run_for(1);
    assert_eq!((bench.only().node, messages_of(&bench.only())), (0, blobs(&["2"])));
}

#[test]
fn a_send_that_never_left_goes_elsewhere() {
    let mut bench = Bench::new();
    let id = bench.send(&["1"]);
    let called = bench.only();
    bench.cluster.call_failed(bench.now, called.call, false, Disconnect::NotConnected);
    bench.calls.clear();
    bench.settle();
    assert_eq!(bench.answer(sent(&[1])), 1);
    assert_eq!(bench.result(id), ok(&[1], 1));
}

#[test]
fn what_may_have_been_appended_is_said() {
    let mut bench = Bench::new();
    // Code 4 with indexes: they are void, and the messages may be anywhere.
    let id = bench.send(&["1"]);
    bench.answer(not_leader("b:9", &[6]));
    assert_eq!(
        bench.error(id),
        "the messages may have been appended at node a:1: node a:1 lost the leadership after it had given out indexes"
    );
    assert!(!bench.result(id).unwrap_err().is_retryable());
    // A code that does not say.
    let id = bench.send(&["2"]);
    bench.answer(Reply::Sent(Sent { status: status(Code::Internal, ""), ids: Vec::new() }));
    assert!(in_doubt(&bench, id));
    // Indexes that do not fit: the connection is closed.
    let id = bench.send(&["3"]);
    let at_node = bench.answer(sent(&[6, 7]));
    assert!(in_doubt(&bench, id));
    let error = ReplyError::Unfit(Unfit::IdCount { value: 2, expected: 1 });
    assert_eq!(bench.closed, [(at_node, Lane::Short, NodeCause::BadReply(error))]);
    // The deadline.
    bench.run_for(1000);
    let id = bench.send(&["4"]);
    bench.run_for(10_000);
    assert!(in_doubt(&bench, id));
    assert_eq!(bench.cluster.counters().maybe_appended, 4);
}

#[test]
fn at_least_once_repeats_what_may_have_been_appended() {
    let mut bench = Bench::new();
    let options = Options::new().at_least_once(true);
    let id = bench.send_with(&["1"], options);
    let called = bench.only();
    bench.lose(&called);
    assert!(bench.is_open(id) && bench.calls.is_empty(), "the topic rests first");
    bench.run_for(200);
    bench.answer(not_leader("", &[4]));
    bench.answer(sent(&[5]));
    assert_eq!(bench.result(id), ok(&[5], 2));

    // A send that was in doubt stays so.
    let id = bench.send_with(&["2"], options.deadline(Duration::from_millis(50)));
    let called = bench.only();
    bench.lose(&called);
    bench.run_for(50);
    assert!(in_doubt(&bench, id));
}

#[test]
fn a_reply_during_the_rest_makes_a_repetition_needless() {
    let mut bench = Bench::new();
    let id = bench.send_with(&["1"], Options::new().at_least_once(true));
    let called = bench.only();
    bench.run_for(3_050);
    assert!(bench.is_open(id), "given up at 3 s, repeated at 3.1 s");
    assert_eq!(bench.only().call, called.call);
    bench.reply(&called, sent(&[9]));
    assert_eq!(bench.result(id), ok(&[9], 0));
    assert!(bench.calls.is_empty());
    // One that comes later is not waited for.
    let id = bench.send_with(&["2"], Options::new().at_least_once(true));
    let called = bench.only();
    bench.run_for(3_150);
    assert_eq!(bench.forgotten, [called.call]);
    assert_ne!(bench.only().node, called.node);
    bench.answer(sent(&[10]));
    assert!(bench.result(id).is_ok());
}

#[test]
fn a_hint_leads_to_the_leader_and_the_leader_is_remembered() {
    let mut bench = Bench::new();
    bench.send(&["1"]);
    assert_eq!(bench.answer(not_leader("c:3000", &[])), 0);
    assert_eq!(bench.answer(sent(&[1])), 2, "by its host");
    assert_eq!(bench.cluster.leader("t"), Some(node(2)));
    bench.send(&["2"]);
    assert_eq!(bench.answer(sent(&[2])), 2);
    let counters = bench.cluster.counters();
    assert_eq!((counters.hints_followed, counters.hints_wrong, counters.attempts), (1, 0, 3));
}

#[test]
fn a_configured_name_comes_before_its_host() {
    let mut bench = Bench::with(|settings| settings.node_name("b:3000", "c:1"));
    bench.send(&["1"]);
    bench.answer(not_leader("b:3000", &[]));
    assert_eq!(bench.only().node, 2);
}

#[test]
fn a_name_that_says_nothing_is_learned_and_a_wrong_guess_costs_one_attempt() {
    let mut bench = Bench::of(Settings::new(["h:1", "h:2", "h:3"]).cluster_id("test"));
    let id = bench.send(&["1"]);
    assert_eq!(bench.answer(not_leader("h:3003", &[])), 0);
    assert_eq!(bench.answer(not_leader("h:3003", &[])), 1, "the guess");
    assert_eq!(bench.answer(sent(&[1])), 2);
    assert_eq!(bench.result(id), ok(&[1], 2));
    // Another topic's leader goes by the same name.
    bench.cluster.send_messages(bench.now, "u", blobs(&["2"]), Options::new()).unwrap();
    bench.settle();
    bench.answer(not_leader("h:3003", &[]));
    assert_eq!(bench.only().node, 2, "learned");
    // It contradicts the guess: one attempt, and the name is unknown again.
    bench.answer(not_leader("h:3003", &[]));
    assert_eq!(bench.answer(sent(&[1])), 1);
    assert_eq!(bench.cluster.names.resolve("h:3003"), None);
}

#[test]
fn without_a_hint_the_others_are_asked_and_rounds_go_on_until_the_deadline() {
    let mut bench = Bench::new();
    let id = bench.send(&["1"]);
    let mut asked = Vec::new();
    let mut waits = Vec::new();
    let mut last = bench.now;
    while bench.is_open(id) {
        if bench.calls.is_empty() {
            bench.run_until(bench.cluster.next_timeout().unwrap());
            waits.push(bench.now.saturating_since(last));
            last = bench.now;
        } else {
            asked.push(bench.answer(not_leader("", &[])));
        }
    }
    assert_eq!(asked[..6], [0, 1, 2, 0, 1, 2]);
    assert!(asked.len() > 30 && bench.now <= at(10_000), "{} by {:?}", asked.len(), bench.now);
    let waits: Vec<_> = waits.iter().map(Duration::as_millis).collect();
    assert!((25..=50).contains(&waits[0]), "{waits:?}");
    assert!(waits[8..waits.len() - 1].iter().all(|wait| (500..=1000).contains(wait)), "{waits:?}");
    let Err(ClusterError::NoNodes { causes }) = bench.result(id) else { panic!() };
    assert_eq!(causes.len(), 3);
    assert!(causes.iter().all(|failure| failure.cause == NodeCause::NotLeader { leader: String::new() }));
}

#[test]
fn one_round_tries_each_node_once_and_says_each_cause() {
    let mut bench = Bench::new();
    bench.down.insert(1);
    let id = bench.send_with(&["1"], Options::new().attempts(Attempts::OneRound));
    bench.answer(not_leader("b:3000", &[]));
    bench.answer(not_leader("b:3000", &[]));
    assert_eq!(
        bench.error(id),
        "no node did it: node a:1 is not the leader, which is b:3000, node b:1 could not be connected to: \
         not connected yet, node c:1 is not the leader, which is b:3000"
    );
    let error = bench.result(id).unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.blame(), Blame::Transport);
    assert_eq!(bench.cluster.next_timeout(), None, "nothing is left over");
}

#[test]
fn a_stopping_node_is_avoided_for_a_second() {
    let mut bench = Bench::new();
    bench.send(&["1"]);
    let stopping = || Reply::Sent(Sent { status: status(Code::Shutdown, ""), ids: Vec::new() });
    assert_eq!(bench.answer(stopping()), 0);
    assert_eq!(bench.answer(not_leader("a:3000", &[])), 1);
    assert_eq!(bench.answer(not_leader("a:3000", &[])), 2, "the hint is not followed");
    let mut asked = Vec::new();
    while bench.now < at(2_000) {
        match bench.calls.first().cloned() {
            Some(called) => {
                asked.push((bench.now, called.node));
                bench.reply(&called, not_leader("a:3000", &[]));
            }
            None => bench.run_until(bench.cluster.next_timeout().unwrap()),
        }
    }
    let (early, late): (Vec<_>, Vec<_>) = asked.iter().partition(|(when, _)| *when < at(1_000));
    assert!(early.len() >= 6 && early.iter().all(|(_, index)| *index != 0), "{early:?}");
    assert!(late.iter().any(|(_, index)| *index == 0), "{late:?}");
}

#[test]
fn an_unknown_topic_and_a_rejected_send_are_final() {
    let mut bench = Bench::new();
    let id = bench.send(&["1"]);
    bench.answer(Reply::Sent(Sent { status: status(Code::TopicNotFound, ""), ids: Vec::new() }));
    let error = ClusterError::TopicNotFound { topic: "t".to_string(), node: "a:1".to_string() };
    assert_eq!(bench.result(id), Err(error.clone()));
    assert_eq!((error.blame(), error.is_retryable()), (Blame::Cluster, false));
    let id = bench.send(&["2"]);
    bench.answer(Reply::Error("rpc: can't find method".to_string()));
    assert!(matches!(bench.result(id), Err(ClusterError::Rejected { .. })));
    assert!(bench.closed.is_empty(), "errors of the header close nothing");
}

#[test]
fn a_send_in_the_queue_expires_and_can_be_cancelled_without_doubt() {
    let mut bench = Bench::new();
    bench.send(&["1"]);
    let expires = bench.send_with(&["2"], Options::new().deadline(Duration::from_millis(20)));
    let cancelled = bench.send(&["3"]);
    let goes = bench.send(&["4"]);
    bench.run_for(20);
    assert_eq!(bench.result(expires), Err(ClusterError::Deadline { causes: Vec::new() }));
    bench.cluster.cancel(bench.now, cancelled);
    bench.settle();
    assert_eq!(bench.result(cancelled), Err(ClusterError::Cancelled));
    bench.answer(sent(&[1]));
    bench.answer(sent(&[2]));
    assert_eq!(bench.result(goes), ok(&[2], 0));
}

#[test]
fn a_dead_leader_is_found_before_the_deadline() {
    let mut bench = Bench::new();
    let id = bench.send(&["1"]);
    bench.silent.insert(0);
    bench.run_until(at(7_999));
    assert!(bench.is_open(id));
    bench.run_until(at(8_000));
    assert!(in_doubt(&bench, id), "asked after 3 s, given up 5 s later");
    let limit = Duration::from_secs(5);
    assert_eq!(bench.closed, [(0, Lane::Short, NodeCause::Silent { limit })]);
}
