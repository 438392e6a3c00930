use super::*;

/// A follower whose node has said that `commit` is committed.
fn following(bench: &mut Bench, from: Index, commit: Index) -> CommandId {
    let id = bench.follow(from);
    assert!(matches!(bench.only().request, Request::TopicDetails { .. }), "the commit index first");
    bench.answer(bounds(1, commit, commit));
    id
}

#[test]
fn pages_follow_each_other_and_one_is_read_ahead() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 1, 6);
    let asked = receive_of(&bench.only());
    assert_eq!((asked.id, asked.quantity, asked.wait), (1, 100, true));
    assert_eq!(bench.take(id), None);
    bench.answer(received(&["1", "2"], 3));
    assert_eq!(bench.ready, [id]);
    assert!(bench.calls.is_empty(), "one page ahead");
    assert_eq!(bench.cluster.snapshot().ready_messages, 2);
    assert_eq!(bench.page(id), (1, blobs(&["1", "2"])));
    assert_eq!(receive_of(&bench.only()).id, 3);
    bench.answer(received(&["3"], 4));
    assert_eq!(bench.page(id), (3, blobs(&["3"])));
    assert_eq!(bench.take(id), None);
}

#[test]
fn what_is_beyond_the_commit_index_said_before_is_not_passed_on() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 4, 3);
    // The node waited for 4; what is behind it may be replaced.
    bench.answer(received(&["4", "x", "y"], 7));
    assert!(matches!(bench.only().request, Request::TopicDetails { .. }), "asked of the same node");
    assert_eq!((bench.only().node, bench.only().lane), (0, Lane::Long));
    assert_eq!(bench.page(id), (4, blobs(&["4"])));
    bench.answer(bounds(1, 6, 5));
    assert_eq!(receive_of(&bench.only()).id, 5, "read again");
    bench.answer(received(&["5", "6", "7"], 8));
    assert_eq!(bench.page(id), (5, blobs(&["5"])), "the commit index was 5");
    assert_eq!(bench.cluster.counters().uncommitted_cut, 4);
}

#[test]
fn what_another_connection_said_of_its_log_does_not_count() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 1, 9);
    let called = bench.only();
    bench.lose(&called);
    assert!(matches!(bench.only().request, Request::TopicDetails { .. }));
    assert_eq!(bench.answer(bounds(1, 9, 1)), 1);
    bench.answer(received(&["1", "x"], 3));
    assert_eq!(bench.page(id), (1, blobs(&["1"])));
}

#[test]
fn nodes_that_stop_or_know_no_commit_index_move_nothing() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 4, 3);
    assert_eq!(bench.answer(received(&[], 0)), 0);
    bench.answer(bounds(1, 3, 0));
    assert_eq!(bench.answer(received(&[], 4)), 1);
    bench.answer(bounds(1, 4, 4));
    assert!(bench.ready.is_empty());
    assert_eq!(receive_of(&bench.only()).id, 4);
    assert_eq!(bench.answer(received(&["4"], 5)), 2);
    assert_eq!(bench.page(id), (4, blobs(&["4"])));
}

#[test]
fn a_page_that_does_not_fit_moves_nothing() {
    let mut bench = Bench::new();
    following(&mut bench, 4, 9);
    bench.answer(received(&["4"], 6));
    assert_eq!(bench.closed.len(), 1);
    assert!(bench.ready.is_empty());
    bench.answer(bounds(1, 9, 9));
    assert_eq!((bench.only().node, receive_of(&bench.only()).id), (1, 4));
}

#[test]
fn retention_is_told() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 2, 9);
    bench.answer(received(&[], 7));
    assert_eq!(bench.take(id), Some(Ok(Followed::Trimmed { from: 2, to: 7 })));
    assert_eq!(receive_of(&bench.only()).id, 7);
}

#[test]
fn a_lost_node_is_replaced_at_the_same_position() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 1, 9);
    bench.answer(received(&["1"], 2));
    bench.page(id);
    let called = bench.only();
    bench.lose(&called);
    bench.answer(bounds(1, 9, 9));
    assert_eq!((bench.only().node, receive_of(&bench.only()).id), (1, 2));
}

#[test]
fn it_goes_on_when_every_node_is_down_for_long() {
    let mut bench = Bench::new();
    bench.down.extend([0, 1, 2]);
    let id = bench.follow(1);
    bench.run_until(at(120_000));
    assert!(bench.is_open(id));
    bench.down.clear();
    bench.run_for(1_100);
    bench.calls.retain(|called| called.lane == Lane::Long);
    bench.answer(bounds(1, 1, 1));
    bench.calls.retain(|called| called.lane == Lane::Long);
    bench.answer(received(&["1"], 2));
    assert_eq!(bench.page(id), (1, blobs(&["1"])));
}

/// A follower that looks for a node for five seconds at most.
fn patient() -> Bench {
    Bench::with(|settings| settings.follow_deadline(Some(Duration::from_secs(5))))
}

#[test]
fn with_a_deadline_it_ends_when_no_node_was_to_be_had_for_so_long() {
    let mut bench = patient();
    bench.down.extend([0, 1, 2]);
    let id = bench.follow(1);
    bench.run_until(at(4_900));
    assert!(bench.is_open(id));
    bench.run_until(at(5_100));
    let Err(ClusterError::Deadline { causes }) = bench.result(id) else { panic!("{:?}", bench.result(id)) };
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert_eq!(bench.cluster.next_timeout(), None);
    assert_eq!(bench.cluster.counters().expired, 1);
}

#[test]
fn the_deadline_of_a_follower_is_none_for_one_that_waits_or_was_given_something() {
    let mut bench = patient();
    let id = following(&mut bench, 1, 9);
    // Nothing comes for long: its node is there.
    bench.run_until(at(60_000));
    assert!(bench.is_open(id));
    let keep_poll = |bench: &mut Bench| bench.calls.retain(|called| called.lane == Lane::Long);
    for _ in 0..4 {
        // The node goes, and another one is there in time: the time begins anew with each page.
        keep_poll(&mut bench);
        let called = bench.only();
        bench.down.extend([0, 1, 2]);
        bench.lose(&called);
        bench.run_for(3_000);
        assert!(bench.is_open(id));
        bench.down.clear();
        bench.run_for(1_100);
        keep_poll(&mut bench);
        bench.answer(bounds(1, 9, 9));
        keep_poll(&mut bench);
        let position = receive_of(&bench.only()).id;
        // It waits at the node when the time limit that began with the loss is over.
        bench.run_for(3_000);
        assert!(bench.is_open(id));
        keep_poll(&mut bench);
        bench.answer(received(&["x"], position + 1));
        assert_eq!(bench.page(id).0, position);
    }
    // Nodes that answer and give nothing are not what it looks for.
    bench.run_for(0);
    let mut asked = 0;
    while bench.is_open(id) && asked < 1_000 {
        keep_poll(&mut bench);
        match bench.calls.first().cloned() {
            Some(called) if matches!(called.request, Request::Receive(_)) => {
                bench.reply(&called, received(&[], 0));
            }
            Some(called) => bench.reply(&called, bounds(1, 9, 9)),
            None => bench.run_for(50),
        }
        asked += 1;
    }
    assert!(matches!(bench.result(id), Err(ClusterError::Deadline { .. })));
}

/// Answers the survey of all nodes; what else is out stays.
fn survey(bench: &mut Bench, of_nodes: [(Index, Index); 3]) {
    let asked: Vec<_> = bench.calls.iter().filter(|called| called.lane == Lane::Short).cloned().collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for called in asked {
        let (last, commit) = of_nodes[called.node];
        bench.reply(&called, bounds(1, last, commit));
    }
}

#[test]
fn a_node_that_stays_behind_for_five_seconds_is_left() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 4, 3);
    for _ in 0..2 {
        bench.run_for(2_500);
        survey(&mut bench, [(3, 3), (9, 9), (9, 9)]);
        assert_eq!(bench.only().node, 0);
    }
    bench.run_for(2_500);
    survey(&mut bench, [(3, 3), (9, 9), (9, 9)]);
    assert_eq!(bench.cluster.counters().laggards_left, 1);
    assert_eq!(bench.answer(bounds(1, 9, 9)), 1);
    bench.answer(received(&["4", "5"], 6));
    assert_eq!(bench.page(id).0, 4);
}

#[test]
fn a_node_that_catches_up_is_not_left() {
    let mut bench = Bench::new();
    following(&mut bench, 40, 30);
    for n in 0..8 {
        bench.run_for(2_500);
        // Always behind, and by the next time where the others were.
        survey(&mut bench, [(39, 30 + n), (39, 31 + n), (39, 31 + n)]);
    }
    assert_eq!((bench.only().node, bench.cluster.counters().laggards_left), (0, 0));
}

#[test]
fn logs_that_end_before_the_position_are_an_error_until_it_is_rewound() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 7, 6);
    bench.run_for(2_500);
    survey(&mut bench, [(6, 6), (2, 2), (6, 6)]);
    assert!(bench.ready.is_empty(), "one that lags says nothing of the others");
    bench.run_for(2_500);
    survey(&mut bench, [(6, 6), (2, 2), (3, 2)]);
    assert_eq!(bench.ready, [id]);
    let error = ClusterError::Truncated { topic: "t".to_string(), position: 7, last: 3 };
    assert_eq!(bench.take(id), Some(Err(error)));
    assert_eq!(bench.take(id), None, "told once");
    bench.run_for(20_000);
    assert!(bench.calls.iter().all(|called| called.lane == Lane::Short), "it stands still");
    assert!(bench.is_open(id));
    assert!(!bench.cluster.rewind(bench.now, id, 0) && bench.cluster.rewind(bench.now, id, 3));
    bench.settle();
    let called = bench.calls.iter().find(|called| called.lane == Lane::Long).unwrap().clone();
    bench.reply(&called, bounds(1, 3, 3));
    let called = bench.calls.iter().find(|called| called.lane == Lane::Long).unwrap().clone();
    assert_eq!(receive_of(&called).id, 3);
}

#[test]
fn an_older_survey_says_nothing_of_a_newer_position() {
    let mut bench = Bench::new();
    let id = following(&mut bench, 4, 3);
    bench.run_for(2_500);
    let asked: Vec<_> = bench.calls.iter().filter(|called| called.lane == Lane::Short).cloned().collect();
    // Between question and answers five messages come.
    bench.run_for(10);
    let poll = bench.calls.iter().find(|called| called.lane == Lane::Long).unwrap().clone();
    bench.reply(&poll, received(&["4"], 5));
    bench.page(id);
    for called in asked {
        bench.reply(&called, bounds(1, 3, 3));
    }
    assert_eq!(bench.cluster.counters().truncated, 0);
}

#[test]
fn an_unknown_topic_ends_it() {
    let mut bench = Bench::new();
    let id = bench.follow(1);
    let details = TopicDetails { status: status(Code::TopicNotFound, ""), ..Default::default() };
    bench.answer(Reply::TopicDetails(details));
    assert!(matches!(bench.result(id), Err(ClusterError::TopicNotFound { .. })));
    assert_eq!(bench.take(id), None);
    assert_eq!(bench.cluster.next_timeout(), None, "no survey is left");
}

#[test]
fn positions_below_one_are_refused() {
    let mut bench = Bench::new();
    for from in [0, -1, Index::MIN] {
        assert!(matches!(bench.cluster.follow(bench.now, "t", from), Err(ClusterError::Argument { .. })));
    }
}
