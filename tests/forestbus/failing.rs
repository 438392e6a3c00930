//! Nodes that are absent, wrong, or short-lived.

use std::net::TcpListener;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::{Attempts, Options};
use bowline::forestbus::{ClientError, ClusterError, Node, NodeCause, Settings};

use crate::cluster::{
    TOPIC, address, client, leader, messages, nodes, open, reading_at_leader, settings, with_proxy,
};
use crate::{aside, done, until};

/// The cluster's error.
pub(crate) fn cluster<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ClusterError {
    match result {
        Err(ClientError::Cluster(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// An address without a listener.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// One attempt at each node.
pub(crate) fn once() -> Options {
    Options::new().attempts(Attempts::OneRound)
}

pub(crate) async fn an_unknown_topic<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    let unknown = ClusterError::TopicNotFound { topic: "nope".into(), node: address(&nodes[0]) };
    assert_eq!(cluster(done::<R, _>(client.send_messages("nope", messages(1, 1))).await), unknown);
    assert_eq!(cluster(done::<R, _>(client.get_messages("nope", 1, 2, false)).await), unknown);
    assert_eq!(cluster(done::<R, _>(client.topic_details("nope")).await), unknown);
    assert_eq!(client.counters().connections_lost, 0, "the connection goes on");
}

pub(crate) async fn another_cluster<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(settings(&nodes).cluster_id("bank"));
    match cluster(done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await) {
        ClusterError::ClusterIdMismatch { expected, found, .. } => {
            assert_eq!((&*expected, &*found), ("bank", "shop"));
        }
        other => panic!("{other:?}"),
    }
    assert!(nodes.iter().all(|node| node.snapshot().appended == 0));
}

pub(crate) async fn nobody_listens<R: Runtime>() {
    let client = open::<R>(Settings::new([nowhere(), nowhere(), nowhere()]));
    match cluster(done::<R, _>(client.send_messages_with(TOPIC, messages(1, 1), once())).await) {
        ClusterError::NoNodes { causes } => {
            assert_eq!(causes.len(), 3);
            assert!(causes.iter().all(|failure| matches!(failure.cause, NodeCause::Dial(_))), "{causes:?}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_stopping_node_is_not_asked<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    nodes[0].shut_down(true);
    let client = open::<R>(settings(&nodes).preferred_node(address(&nodes[0])));
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    assert_eq!(sent.node.index(), 2);
    let got = done::<R, _>(client.get_messages(TOPIC, 1, 2, false)).await.expect("answered");
    assert_ne!(got.node.index(), 0);
}

pub(crate) async fn a_slow_node_is_left_for_another<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(settings(&nodes).attempt_timeout(Duration::from_millis(50)));
    let details = done::<R, _>(client.topic_details(TOPIC)).await.expect("there");
    assert_eq!(details.last, 0);
    assert_eq!(nodes[1].snapshot().calls, 0);
    nodes[0].set_delay(Duration::from_secs(3600));
    done::<R, _>(client.topic_details(TOPIC)).await.expect("another has it");
    assert!(nodes[1].snapshot().calls > 0);
    // A node that is slow within the limits succeeds.
    nodes[1].set_delay(Duration::from_millis(5));
    done::<R, _>(client.topic_details(TOPIC)).await.expect("there");
}

pub(crate) async fn a_cut_leaves_a_doubt<R: Runtime>() {
    for count in [1, 3] {
        let nodes = nodes::<R>(count).await;
        cut_in_a_send(&nodes).await;
    }
}

async fn cut_in_a_send<R: Runtime>(nodes: &[Node<R>]) {
    let (proxy, settings) = with_proxy(nodes);
    let client = open::<R>(settings);
    leader(nodes).set_lagging(true);
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(1, 2))).await });
    until(|| leader(nodes).snapshot().waiting == 1);
    // Queued behind it in its topic, and certainly not sent.
    let sending = client.clone();
    let behind =
        aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(3, 1))).await });
    until(|| client.snapshot().commands == 2);
    assert!(proxy.cut());
    match cluster(sent.join().expect("no panic")) {
        ClusterError::MaybeAppended { node, cause } => {
            assert_eq!(node, proxy.address);
            let ClusterError::Node(failure) = *cause else { panic!("{cause:?}") };
            assert!(matches!(failure.cause, NodeCause::Lost(_)), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    leader(nodes).set_lagging(false);
    assert_eq!(behind.join().expect("no panic").expect("sent").ids, [3], "two were appended");
}

pub(crate) async fn at_least_once_repeats<R: Runtime>() {
    for count in [1, 3] {
        let nodes = nodes::<R>(count).await;
        repeated_after_a_cut(&nodes).await;
    }
}

async fn repeated_after_a_cut<R: Runtime>(nodes: &[Node<R>]) {
    let (proxy, settings) = with_proxy(nodes);
    let client = open::<R>(settings);
    leader(nodes).set_lagging(true);
    let sending = client.clone();
    let options = Options::new().at_least_once(true);
    let sent = aside(move || async move {
        done::<R, _>(sending.send_messages_with(TOPIC, messages(1, 2), options)).await
    });
    until(|| leader(nodes).snapshot().waiting == 1);
    assert!(proxy.cut());
    leader(nodes).set_lagging(false);
    assert_eq!(sent.join().expect("no panic").expect("sent").ids, [3, 4], "for the second time");
    assert_eq!(client.counters().repeated, 1);
}

pub(crate) async fn a_killed_node_comes_back<R: Runtime>() {
    for count in [1, 3] {
        let nodes = nodes::<R>(count).await;
        the_leader_is_killed(&nodes).await;
    }
}

async fn the_leader_is_killed<R: Runtime>(nodes: &[Node<R>]) {
    let leader = leader(nodes);
    let client = open::<R>(reading_at_leader(nodes));
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    leader.set_lagging(true);
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(2, 1))).await });
    until(|| leader.snapshot().waiting == 1);
    let at = address(leader);
    let stopped = done::<R, _>(leader.stop()).await;
    let error = cluster(sent.join().expect("no panic"));
    assert!(matches!(error, ClusterError::MaybeAppended { .. }), "{error:?}");
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(3, 1))).await });
    until(|| client.counters().dials_failed > 0);
    let again = done::<R, _>(stopped.bind(&at)).await.expect("the port is free");
    again.set_lagging(false);
    assert_eq!(sent.join().expect("no panic").expect("sent").ids, [3]);
    let got = done::<R, _>(client.get_messages(TOPIC, 1, 10, false)).await.expect("there");
    assert_eq!(got.messages, messages(1, 3));
}

pub(crate) async fn deadlines_hold<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    // Then the leader is known, and the next send goes out at once.
    done::<R, _>(client.send_messages(TOPIC, messages(0, 1))).await.expect("sent");
    leader(&nodes).set_lagging(true);
    let soon = Options::new().deadline(Duration::from_millis(20));
    let error = cluster(done::<R, _>(client.send_messages_with(TOPIC, messages(1, 1), soon)).await);
    let ClusterError::MaybeAppended { cause, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*cause, ClusterError::Deadline { .. }), "{cause:?}");
    let nowhere = open::<R>(Settings::new([nowhere(), nowhere(), nowhere()]));
    // At the deadline, or before it if the next round would start later.
    match cluster(done::<R, _>(nowhere.topic_details_with(TOPIC, soon)).await) {
        ClusterError::Deadline { causes } | ClusterError::NoNodes { causes } => {
            assert!(causes.len() <= 3, "{causes:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.snapshot().commands + nowhere.snapshot().commands, 0);
}
