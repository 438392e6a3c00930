//! Nodes that are gone, stop, belong elsewhere or say nothing, among three.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{Client, ClusterError, Node, NodeCause};

use crate::cluster::{
    TOPIC, address, append_at, client, leader, messages, name, node_settings, nodes, open, read,
    reading_at_leader, replicate, settings, start,
};
use crate::failing::{cluster, once};
use crate::{aside, done, until};

const FOR_EVER: Duration = Duration::from_secs(3600);

/// Three nodes with the same messages.
async fn replicated<R: Runtime>(count: usize) -> Vec<Node<R>> {
    let nodes = nodes::<R>(3).await;
    append_at(leader(&nodes), &messages(1, count)).await;
    replicate(&nodes, &messages(1, count)).await;
    nodes
}

/// The place of the node that answers a read.
async fn asked<R: Runtime>(client: &Client<R>) -> usize {
    let got = done::<R, _>(client.get_messages(TOPIC, 1, 10, false)).await.expect("there");
    assert!(!got.messages.is_empty(), "every node has some");
    got.node.index()
}

pub(crate) async fn all_nodes_are_killed_and_come_back<R: Runtime>() {
    let nodes = replicated::<R>(3).await;
    let client = client(&nodes);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await, (1, messages(1, 3)));
    until(|| nodes[0].snapshot().waiting == 1);
    let (mut stopped, mut addresses) = (Vec::new(), Vec::new());
    for node in &nodes {
        addresses.push(address(node));
        stopped.push(done::<R, _>(node.stop()).await);
    }
    match cluster(done::<R, _>(client.send_messages_with(TOPIC, messages(0, 1), once())).await) {
        ClusterError::NoNodes { causes } => {
            assert_eq!(causes.len(), 3);
            assert!(causes.iter().all(|failure| matches!(failure.cause, NodeCause::Dial(_))), "{causes:?}");
        }
        other => panic!("{other:?}"),
    }
    let (sending, rounds) = (client.clone(), client.counters().rounds_failed);
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(4, 1))).await });
    until(|| client.counters().rounds_failed > rounds + 1);
    let mut again = Vec::new();
    for (stopped, address) in stopped.into_iter().zip(&addresses) {
        again.push(done::<R, _>(stopped.bind(address)).await.expect("the port is free"));
    }
    let sent = sent.join().expect("no panic").expect("sent");
    assert_eq!((sent.ids, sent.node.index()), (vec![4], 2));
    replicate(&again, &messages(4, 1)).await;
    assert_eq!(read(&mut follower, 1).await, (4, messages(4, 1)), "it continues where it was");
}

pub(crate) async fn all_nodes_stop_and_go_on<R: Runtime>() {
    let nodes = replicated::<R>(1).await;
    let client = open::<R>(settings(&nodes).avoid(Duration::from_millis(20)));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 1).await, (1, messages(1, 1)));
    nodes.iter().for_each(|node| node.shut_down(true));
    match cluster(done::<R, _>(client.send_messages_with(TOPIC, messages(0, 1), once())).await) {
        ClusterError::NoNodes { causes } => {
            assert_eq!(causes.len(), 3);
            let stops = |cause: &NodeCause| matches!(cause, NodeCause::Stopping | NodeCause::Avoided);
            assert!(causes.iter().all(|failure| stops(&failure.cause)), "{causes:?}");
        }
        other => panic!("{other:?}"),
    }
    let (sending, rounds) = (client.clone(), client.counters().rounds_failed);
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(2, 1))).await });
    until(|| client.counters().rounds_failed > rounds + 1);
    nodes.iter().for_each(|node| node.shut_down(false));
    let sent = sent.join().expect("no panic").expect("sent");
    assert_eq!((sent.ids, sent.node.index()), (vec![2], 2));
    replicate(&nodes, &messages(2, 1)).await;
    assert_eq!(read(&mut follower, 1).await, (2, messages(2, 1)));
}

pub(crate) async fn a_node_that_was_stopping_is_avoided<R: Runtime>() {
    let nodes = replicated::<R>(1).await;
    let at_first = || settings(&nodes).preferred_node(address(&nodes[0]));
    let client = open::<R>(at_first().avoid(FOR_EVER));
    assert_eq!(asked(&client).await, 0);
    nodes[0].shut_down(true);
    assert_ne!(asked(&client).await, 0);
    nodes[0].shut_down(false);
    let calls = nodes[0].snapshot().calls;
    for _ in 0..10 {
        assert_ne!(asked(&client).await, 0);
        let sent = done::<R, _>(client.send_messages(TOPIC, messages(2, 1))).await.expect("sent");
        assert_eq!(sent.node.index(), 2);
    }
    assert_eq!(nodes[0].snapshot().calls, calls, "it is left alone, although it would answer");
    // When the time is over, it is preferred again.
    let client = open::<R>(at_first().avoid(Duration::from_millis(20)));
    assert_eq!(asked(&client).await, 0);
    nodes[0].shut_down(true);
    assert_ne!(asked(&client).await, 0);
    nodes[0].shut_down(false);
    while asked(&client).await != 0 {}
}

/// Commands that meet the node of another cluster end. The others, and followers, continue at the other two.
pub(crate) async fn one_node_of_another_cluster<R: Runtime>() {
    let mut nodes = nodes::<R>(3).await;
    let foreign = start::<R>(node_settings(1).cluster_id("bank")).await;
    foreign.follow(name(2));
    nodes[1] = foreign;
    // The nodes are asked for their bounds every half of it.
    let client = open::<R>(reading_at_leader(&nodes).lag_limit(Duration::from_millis(20)));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    for number in 1..=3 {
        let sent = done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
        assert_eq!((sent.ids, sent.node.index()), (vec![number as i64], 2));
        assert_eq!(read(&mut follower, 1).await, (number as i64, messages(number, 1)));
        until(|| client.counters().cluster_id_mismatches > 0);
    }
    let mismatch = ClusterError::ClusterIdMismatch {
        node: address(&nodes[1]),
        expected: "shop".into(),
        found: "bank".into(),
    };
    let there = open::<R>(settings(&nodes).preferred_node(address(&nodes[1])));
    assert_eq!(cluster(done::<R, _>(there.topic_details(TOPIC)).await), mismatch);
    // A send begins elsewhere.
    done::<R, _>(there.send_messages(TOPIC, messages(4, 1))).await.expect("sent");
    // A hint leads to it.
    nodes[0].follow(name(1));
    let led = crate::cluster::client(&nodes);
    assert_eq!(cluster(done::<R, _>(led.send_messages(TOPIC, messages(5, 1))).await), mismatch);
    assert_eq!((nodes[1].snapshot().appended, nodes[1].snapshot().read), (0, 0));
    assert_eq!(nodes[2].snapshot().appended, 4);
}

pub(crate) async fn the_preferred_node_is_killed_and_comes_back<R: Runtime>() {
    let nodes = replicated::<R>(1).await;
    let client = open::<R>(settings(&nodes).preferred_node(address(&nodes[1])));
    assert_eq!(asked(&client).await, 1);
    let at = address(&nodes[1]);
    let stopped = done::<R, _>(nodes[1].stop()).await;
    for _ in 0..3 {
        assert_ne!(asked(&client).await, 1);
    }
    let again = done::<R, _>(stopped.bind(&at)).await.expect("the port is free");
    while asked(&client).await != 1 {}
    drop(again);
}

/// Details calls beside a long poll find out whether its node lives.
pub(crate) async fn a_node_that_answers_probes_keeps_its_polls<R: Runtime>() {
    let nodes = replicated::<R>(1).await;
    let client = open::<R>(settings(&nodes).probe_interval(Duration::from_millis(5)));
    let mut follower = client.follow(TOPIC, 2).expect("room");
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 2, 10, true)).await });
    until(|| nodes[0].snapshot().waiting == 2);
    until(|| client.counters().probes >= 10);
    // They are answered on the polls' own connection, which stays.
    let counters = client.counters();
    assert_eq!((counters.connections_closed, counters.connections_lost, poll.is_finished()), (0, 0, false));
    assert_eq!((nodes[0].snapshot().waiting, nodes[1].snapshot().waiting), (2, 0));
    append_at(&nodes[0], &messages(2, 1)).await;
    let got = poll.join().expect("no panic").expect("answered");
    assert_eq!((got.messages, got.node.index()), (messages(2, 1), 0));
    assert_eq!(read(&mut follower, 1).await, (2, messages(2, 1)));
}

pub(crate) async fn a_node_that_answers_no_probe_loses_its_polls<R: Runtime>() {
    let nodes = replicated::<R>(1).await;
    let settings = settings(&nodes).probe_interval(Duration::from_millis(20));
    let client = open::<R>(settings.probe_timeout(Duration::from_millis(200)));
    let mut follower = client.follow(TOPIC, 2).expect("room");
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 2, 10, true)).await });
    until(|| nodes[0].snapshot().waiting == 2);
    nodes[0].set_delay(FOR_EVER);
    until(|| nodes[1].snapshot().waiting == 2);
    assert_eq!(client.counters().connections_closed, 1);
    until(|| nodes[0].snapshot().waiting == 0);
    append_at(&nodes[1], &messages(2, 1)).await;
    let got = poll.join().expect("no panic").expect("answered");
    assert_eq!((got.messages, got.node.index()), (messages(2, 1), 1));
    assert_eq!(read(&mut follower, 1).await, (2, messages(2, 1)));
}
