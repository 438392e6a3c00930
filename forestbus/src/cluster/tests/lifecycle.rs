use super::*;

#[test]
fn close_may_come_twice_and_later_calls_reopen() {
    let mut bench = Bench::new();
    let out = bench.send(&["1"]);
    let queued = bench.send(&["2"]);
    let poll = bench.get(1, 10, true);
    let follower = bench.follow(1);
    for _ in 0..2 {
        bench.cluster.close(bench.now);
        bench.settle();
    }
    assert!(matches!(bench.result(out), Err(ClusterError::MaybeAppended { .. })));
    for id in [queued, poll, follower] {
        assert_eq!(bench.result(id), Err(ClusterError::Closed));
    }
    assert_eq!(bench.closed.len(), 2);
    let snapshot = bench.cluster.snapshot();
    assert_eq!((snapshot.commands, snapshot.calls, snapshot.connections, snapshot.followers), (0, 0, 0, 0));
    bench.run_for(200);
    assert_eq!(bench.cluster.snapshot().timers, 0);
    let again = bench.send(&["3"]);
    bench.run_for(200);
    bench.answer(sent(&[1]));
    assert_eq!(bench.result(again), ok(&[1], 0));
}

#[test]
fn cancelling_ends_a_command_wherever_it_is() {
    let mut bench = Bench::new();
    bench.down.insert(1);
    bench.silent.insert(0);
    let connecting = bench.get(1, 10, false);
    bench.cluster.cancel(bench.now, connecting);
    bench.settle();
    assert_eq!(bench.result(connecting), Err(ClusterError::Cancelled));
    bench.down.extend([0, 2]);
    bench.cluster.close(bench.now);
    bench.settle();
    let pausing = bench.get(1, 10, false);
    assert!(bench.is_open(pausing));
    bench.cluster.cancel(bench.now, pausing);
    bench.settle();
    assert_eq!(bench.result(pausing), Err(ClusterError::Cancelled));
    assert!(!bench.cluster.cancel(bench.now, pausing), "once");
    assert_eq!(bench.cluster.snapshot().commands, 0);
    assert_eq!(bench.cluster.next_timeout(), None);
}

#[test]
fn commands_and_topics_are_bounded() {
    let mut bench = Bench::with(|settings| settings.max_commands(3).max_topics(1));
    bench.get(1, 10, false);
    bench.send(&["1"]);
    let send = bench.cluster.send_messages(bench.now, "u", blobs(&["1"]), Options::new());
    assert_eq!(send, Err(ClusterError::Full { what: "topics", limit: 1 }));
    bench.get(1, 10, false);
    let get = bench.cluster.cluster_details(bench.now, Options::new());
    assert_eq!(get, Err(ClusterError::Full { what: "commands", limit: 3 }));
    let long = core::iter::repeat_n('x', 2000).collect::<String>();
    let get = bench.cluster.topic_details(bench.now, &long, Options::new());
    assert!(matches!(get, Err(ClusterError::TooLarge { .. })));
    for called in bench.calls.clone() {
        if matches!(called.request, Request::Send(_)) {
            bench.reply(&called, sent(&[1]));
        }
    }
    bench.cluster.send_messages(bench.now, "u", blobs(&["1"]), Options::new()).unwrap();
    assert_eq!(bench.cluster.snapshot().topics, 1, "the other one is at rest, and forgotten");
}

#[test]
fn thousands_of_commands_fail_together() {
    let mut bench = Bench::new();
    bench.down.extend([0, 1, 2]);
    let one_round = Options::new().attempts(Attempts::OneRound);
    let ids: Vec<_> = (0..9_000)
        .map(|_| bench.cluster.send_messages(bench.now, "t", blobs(&["x"]), one_round).unwrap())
        .collect();
    bench.settle();
    for id in [ids[0], ids[4_500], ids[8_999]] {
        assert!(matches!(bench.result(id), Err(ClusterError::NoNodes { .. })));
    }
    assert_eq!(bench.done.len(), 9_000);
    let snapshot = bench.cluster.snapshot();
    assert_eq!((snapshot.commands, snapshot.queued_bytes, snapshot.timers), (0, 0, 0));
}

#[test]
fn time_that_goes_back_is_the_last_one_seen() {
    let mut bench = Bench::new();
    bench.now = at(5_000);
    bench.send_with(&["x"], Options::new().deadline(Duration::from_millis(10)));
    bench.cluster.handle_timeout(at(1));
    assert_eq!(bench.cluster.next_timeout(), Some(at(5_010)));
}

#[cfg(feature = "serde")]
#[test]
fn snapshots_can_be_serialised() {
    let json = serde_json::to_value(Bench::new().cluster.snapshot()).unwrap();
    assert_eq!((&json["commands"], &json["counters"]["attempts"]), (&0.into(), &0.into()));
}
