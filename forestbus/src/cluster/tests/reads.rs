use super::*;

#[test]
fn fewer_than_two_messages_are_never_asked_for() {
    let mut bench = Bench::new();
    for (wanted, asked) in [(0, 2), (1, 2), (2, 2), (500, 500)] {
        bench.get(1, wanted, false);
        assert_eq!(receive_of(&bench.only()).quantity, asked);
        bench.answer(received(&["x"], 2));
    }
}

#[test]
fn messages_are_given_as_the_node_gives_them() {
    let mut bench = Bench::new();
    for (messages, next_id) in [(&["a", "b"][..], 5), (&[], 0), (&[], 3), (&[], 7)] {
        let id = bench.get(3, 10, false);
        bench.answer(received(messages, next_id));
        let messages = blobs(messages);
        assert_eq!(bench.result(id), Ok(Answer::Messages { messages, next_id, node: node(0) }));
    }
}

#[test]
fn a_next_index_that_does_not_fit_closes_the_connection() {
    let mut bench = Bench::new();
    let id = bench.get(3, 10, false);
    bench.answer(received(&["a"], 5));
    let error = ReplyError::Unfit(Unfit::NextId { value: 5, messages: 1, id: 3, expected: 4 });
    assert_eq!(bench.closed, [(0, Lane::Short, NodeCause::BadReply(error))]);
    bench.answer(received(&["a"], 4));
    assert!(bench.result(id).is_ok());
}

#[test]
fn a_long_poll_that_ends_without_messages_goes_to_another_node() {
    let mut bench = Bench::new();
    let id = bench.get(3, 10, true);
    assert_eq!(bench.answer(received(&[], 3)), 0, "stopping");
    assert_eq!(bench.answer(received(&[], 0)), 1, "knows no commit index");
    assert_eq!(bench.answer(received(&["x"], 4)), 2);
    assert!(bench.result(id).is_ok());
}

#[test]
fn details_and_the_last_index() {
    let mut bench = Bench::new();
    let options = Options::new();
    let max = bench.cluster.topic_max_available_index(bench.now, "t", options).unwrap();
    bench.settle();
    bench.answer(bounds(2, 9, 7));
    assert_eq!(bench.result(max), Ok(Answer::MaxAvailable { index: 7, node: node(0) }));
    let details = bench.cluster.topic_details(bench.now, "t", options).unwrap();
    bench.settle();
    bench.answer(bounds(2, 9, 10));
    assert_eq!(bench.closed.len(), 1, "a commit index beyond the end");
    bench.answer(bounds(2, 9, 9));
    let expected = Bounds { first: 2, last: 9, commit: 9 };
    assert_eq!(bench.result(details), Ok(Answer::TopicDetails { bounds: expected, node: node(1) }));
    let id = bench.cluster.cluster_details(bench.now, options).unwrap();
    bench.settle();
    let Ok(Answer::ClusterDetails { details, .. }) = bench.result(id) else { panic!() };
    assert_eq!(details.cluster_id, "test");
}

#[test]
fn an_unknown_topic_is_said_in_the_header_and_closes_nothing() {
    let mut bench = Bench::new();
    let id = bench.get(1, 10, false);
    bench.answer(Reply::Error("Topic not found on server.".to_string()));
    assert!(matches!(bench.result(id), Err(ClusterError::TopicNotFound { .. })));
    assert!(bench.closed.is_empty());
}

#[test]
fn a_method_that_every_node_rejects_is_final() {
    let mut bench = Bench::new();
    let id = bench.get(1, 10, false);
    for _ in 0..3 {
        bench.answer(Reply::Error("Error retrieveing messages".to_string()));
    }
    assert_eq!(bench.error(id), "node c:1 rejected the call: Error retrieveing messages");
    assert!(bench.closed.is_empty());
}

#[test]
fn the_node_that_answered_last_is_asked_first() {
    let mut bench = Bench::new();
    bench.down.insert(0);
    bench.get(1, 10, false);
    bench.answer(received(&[], 1));
    bench.down.clear();
    bench.run_for(5_000);
    bench.get(1, 10, false);
    assert_eq!(bench.answer(received(&[], 1)), 1);
}

#[test]
fn the_preferred_node_is_asked_first() {
    let mut bench = Bench::with(|settings| settings.preferred_node("c:1"));
    for _ in 0..2 {
        bench.get(1, 10, false);
        assert_eq!(bench.answer(received(&[], 1)), 2);
    }
    bench.down.insert(2);
    let called = Called {
        lane: Lane::Short,
        node: 2,
        ..{
            bench.get(1, 10, false);
            bench.only()
        }
    };
    bench.lose(&called);
    assert_eq!(bench.answer(received(&[], 1)), 0);
}

#[test]
fn the_nearest_node_is_asked_once_all_are_measured() {
    let mut bench = Bench::with(|settings| settings.order(NodeOrder::Nearest));
    // Connections whose check takes 30, 10 and 20 ms.
    for (index, took) in [30, 10, 20].into_iter().enumerate() {
        bench.silent.insert(index);
        bench.get(1, 10, false);
        bench.run_for(took);
        let check = bench.probes.pop().unwrap();
        assert_eq!(check.node, index, "each is measured once");
        let details = ClusterDetails { cluster_id: "test".to_string(), ..Default::default() };
        bench.reply(&check, Reply::ClusterDetails(details));
        bench.answer(received(&[], 1));
    }
    bench.get(1, 10, false);
    assert_eq!(bench.answer(received(&[], 1)), 1);
}

#[test]
fn the_seed_shuffles_the_nodes() {
    let first = |seed| {
        let settings = Settings::new(["a:1", "b:1", "c:1"]).order(NodeOrder::Shuffled).build().unwrap();
        let mut cluster = Cluster::new(settings, seed);
        cluster.get_messages(Instant::ZERO, "t", 1, 10, false, Options::new()).unwrap();
        let Some(Output::Open { node, .. }) = cluster.poll_output() else { panic!() };
        node.index()
    };
    let mut counts = [0; 3];
    for seed in 0..300 {
        assert_eq!(first(seed), first(seed));
        counts[first(seed)] += 1;
    }
    assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
}

#[test]
fn a_node_that_does_not_answer_is_left_for_another() {
    let mut bench = Bench::new();
    let id = bench.get(1, 10, false);
    bench.silent.insert(0);
    bench.run_until(at(3_000));
    assert_eq!(bench.forgotten.len(), 1);
    assert_eq!(bench.probes.len(), 1, "whether it is there at all");
    assert_eq!(bench.answer(received(&[], 1)), 1);
    assert!(bench.result(id).is_ok());
    bench.run_until(at(8_000));
    let limit = Duration::from_secs(5);
    assert_eq!(bench.closed, [(0, Lane::Short, NodeCause::Silent { limit })]);
}

#[test]
fn every_node_down_is_told_with_each_cause_by_the_deadline() {
    let mut bench = Bench::new();
    bench.down.extend([0, 1, 2]);
    let id = bench.get(1, 10, false);
    assert!(bench.is_open(id));
    bench.run_until(at(10_000));
    let Err(ClusterError::NoNodes { causes }) = bench.result(id) else { panic!() };
    assert_eq!(causes.iter().map(|failure| failure.node.as_str()).collect::<Vec<_>>(), ["a:1", "b:1", "c:1"]);
    assert!(causes.iter().all(|failure| matches!(failure.cause, NodeCause::Dial(Disconnect::NotConnected))));
}
