//! Topics that are read while they grow.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::{Commit, Options};
use bowline::forestbus::{ClientError, ClusterError, Followed, Node};
use bowline::log::{Following, Log, ReadError};

use crate::cluster::{
    TOPIC, address, append_at, client, leader, messages, node, nodes, nodes_with, open, page, read,
    reading_at_leader, replicate, settings,
};
use crate::{aside, done, until};

pub(crate) async fn messages_come_as_they_are_committed<R: Runtime>() {
    for count in [1, 3] {
        let nodes = nodes::<R>(count).await;
        as_they_are_committed(&nodes).await;
    }
}

async fn as_they_are_committed<R: Runtime>(nodes: &[Node<R>]) {
    let client = open::<R>(reading_at_leader(nodes));
    let leader = leader(nodes);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    for from in [1, 11, 21] {
        done::<R, _>(client.send_messages(TOPIC, messages(from, 10))).await.expect("sent");
        assert_eq!(read(&mut follower, 10).await, (from as i64, messages(from, 10)));
    }
    leader.set_lagging(true);
    let alone = Options::new().commit(Commit::Leader);
    done::<R, _>(client.send_messages_with(TOPIC, messages(31, 2), alone)).await.expect("sent");
    let reading = aside(move || async move { read(&mut follower, 2).await });
    until(|| leader.snapshot().waiting == 1);
    assert!(!reading.is_finished(), "nothing is committed");
    leader.set_lagging(false);
    assert_eq!(reading.join().expect("no panic"), (31, messages(31, 2)));
}

pub(crate) async fn what_is_gone_is_told<R: Runtime>() {
    // Room for three messages.
    let nodes = nodes_with::<R>(3, |settings| settings.topic_bytes(3 * (64 + 9))).await;
    let client = open::<R>(reading_at_leader(&nodes));
    for number in 1..=5 {
        done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
    }
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let gone = done::<R, _>(follower.next()).await;
    assert_eq!(gone, Some(Ok(Followed::Trimmed { from: 1, to: 3 })));
    assert_eq!(read(&mut follower, 3).await, (3, messages(3, 3)));
    // A single call says it by the index at which to read on, whether it may wait or not.
    for wait in [false, true] {
        let got = done::<R, _>(client.get_messages(TOPIC, 1, 10, wait)).await.expect("answered");
        assert_eq!((got.messages.len(), got.next_id), (0, 3));
    }
    let got = done::<R, _>(client.get_messages(TOPIC, 3, 10, false)).await.expect("answered");
    assert_eq!((got.messages, got.next_id), (messages(3, 3), 6));
}

/// Messages are dropped while a follower stands still behind a page that is not taken.
pub(crate) async fn retention_overtakes_a_follower<R: Runtime>() {
    let nodes = nodes_with::<R>(3, |settings| settings.topic_bytes(3 * (64 + 9))).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    until(|| client.snapshot().ready_messages == 1);
    for number in 2..=6 {
        done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
    }
    assert_eq!(read(&mut follower, 1).await, (1, messages(1, 1)), "it was read in time");
    let gone = done::<R, _>(follower.next()).await;
    assert_eq!(gone, Some(Ok(Followed::Trimmed { from: 2, to: 4 })));
    assert_eq!(read(&mut follower, 3).await, (4, messages(4, 3)));
}

pub(crate) async fn a_stopping_node_is_left<R: Runtime>() {
    let nodes = replicated::<R>().await;
    // They are not asked again in this test.
    let client = open::<R>(settings(&nodes).avoid(Duration::from_secs(3600)));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await.1, messages(1, 3));
    for node in &nodes[..2] {
        until(|| node.snapshot().waiting == 1);
        node.shut_down(true);
    }
    until(|| nodes[2].snapshot().waiting == 1);
    done::<R, _>(client.send_messages(TOPIC, messages(4, 1))).await.expect("sent");
    assert_eq!(read(&mut follower, 1).await, (4, messages(4, 1)));
}

/// Three nodes with the same three messages.
async fn replicated<R: Runtime>() -> Vec<Node<R>> {
    let nodes = nodes::<R>(3).await;
    replicate(&nodes, &messages(1, 3)).await;
    append_at(leader(&nodes), &messages(1, 3)).await;
    nodes
}

pub(crate) async fn it_goes_on_at_another_node<R: Runtime>() {
    let nodes = replicated::<R>().await;
    let client = client(&nodes);
    let mut follower = client.follow(TOPIC, 2).expect("room");
    assert_eq!(read(&mut follower, 2).await, (2, messages(2, 2)));
    for node in &nodes[..2] {
        until(|| node.snapshot().waiting == 1);
        drop(done::<R, _>(node.stop()).await);
    }
    until(|| nodes[2].snapshot().waiting == 1);
    done::<R, _>(client.send_messages(TOPIC, messages(4, 2))).await.expect("sent");
    assert_eq!(read(&mut follower, 2).await, (4, messages(4, 2)));
    assert!(client.counters().connections_lost >= 2);
}

pub(crate) async fn a_lagging_node_is_left<R: Runtime>() {
    let nodes = replicated::<R>().await;
    let client = open::<R>(settings(&nodes).lag_limit(Duration::from_millis(20)));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await.1, messages(1, 3));
    until(|| nodes[0].snapshot().waiting == 1);
    // Two nodes learn nothing of what is sent now: each is left in turn.
    done::<R, _>(client.send_messages(TOPIC, messages(4, 2))).await.expect("sent");
    assert_eq!(read(&mut follower, 2).await, (4, messages(4, 2)));
    assert_eq!(client.counters().laggards_left, 2);
}

pub(crate) async fn it_is_rewound<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    done::<R, _>(client.send_messages(TOPIC, messages(1, 4))).await.expect("sent");
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 4).await.1.len(), 4);
    assert!(follower.rewind(3) && !follower.rewind(0));
    assert_eq!(page(&mut follower).await.first, 3);
}

pub(crate) async fn a_log_that_ends_before_it_is_told_until_it_is_rewound<R: Runtime>() {
    let alone = node::<R>().await;
    append_at(&alone, &messages(1, 3)).await;
    ends_before_it(&[alone]).await;
    ends_before_it(&replicated::<R>().await).await;
}

async fn ends_before_it<R: Runtime>(nodes: &[Node<R>]) {
    // The nodes are asked for the ends of their logs every half of it.
    let client = open::<R>(settings(nodes).lag_limit(Duration::from_millis(20)));
    let mut follower = client.follow(TOPIC, 10).expect("room");
    let truncated = ClusterError::Truncated { topic: TOPIC.into(), position: 10, last: 3 };
    assert_eq!(done::<R, _>(follower.next()).await, Some(Err(ClientError::Cluster(truncated))));
    assert_eq!(done::<R, _>(follower.next()).await, None, "it stands still");
    assert!(follower.rewind(2));
    assert_eq!(read(&mut follower, 2).await, (2, messages(2, 2)));

    let mut follow = client.topic(TOPIC).follow(10);
    for _ in 0..2 {
        let told = follow.next_entry().await;
        assert!(matches!(told, Some(Err(ReadError::Truncated { from: 10, end: 4 }))), "{told:?}");
    }
    assert_eq!(follow.cursor(), 10);
    follow.seek(2);
    for number in 2..=3 {
        let entry = follow.next_entry().await.expect("it has no end").expect("kept");
        assert_eq!((entry.position, &[entry.record.body][..]), (number as i64, &messages(number, 1)[..]));
    }
}

/// The word of one node out of three is not enough to say that the log ends before the position.
pub(crate) async fn a_majority_says_that_a_log_ends<R: Runtime>() {
    let nodes = replicated::<R>().await;
    let (at, alive) = (address(&nodes[1]), &nodes[2]);
    let stopped = [done::<R, _>(nodes[0].stop()).await, done::<R, _>(nodes[1].stop()).await];
    let client = open::<R>(settings(&nodes).lag_limit(Duration::from_millis(20)));
    let mut follower = client.follow(TOPIC, 10).expect("room");
    let reading = aside(move || async move { done::<R, _>(follower.next()).await });
    // The check, the follower's own two calls, and many surveys.
    until(|| alive.snapshot().calls >= 20 || reading.is_finished());
    assert_eq!((client.counters().truncated, reading.is_finished()), (0, false));
    let [_, stopped] = stopped;
    let again = done::<R, _>(stopped.bind(&at)).await.expect("the port is free");
    let truncated = ClusterError::Truncated { topic: TOPIC.into(), position: 10, last: 3 };
    assert_eq!(reading.join().expect("no panic"), Some(Err(ClientError::Cluster(truncated))));
    drop(again);
}

/// More calls at once than one caller performs.
pub(crate) async fn many_read_the_same<R: Runtime>() {
    const READERS: usize = 1_500;
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let leader = leader(&nodes);
    let mut followers: Vec<_> = (0..READERS).map(|_| client.follow(TOPIC, 1).expect("room")).collect();
    until(|| leader.snapshot().waiting == READERS);
    for number in 1..=2 {
        done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
        for follower in &mut followers {
            assert_eq!(read(follower, 1).await, (number as i64, messages(number, 1)));
        }
    }
    assert_eq!(leader.connections(), 2);
    drop(followers);
    assert_eq!(client.snapshot().followers, 0);
    until(|| leader.snapshot().waiting == 0);
}

pub(crate) async fn an_unknown_topic_ends_it<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    let mut follower = client.follow("nope", 1).expect("room");
    match done::<R, _>(follower.next()).await {
        Some(Err(ClientError::Cluster(ClusterError::TopicNotFound { topic, .. }))) => {
            assert_eq!(topic, "nope")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(done::<R, _>(follower.next()).await, None);
    assert!(!follower.rewind(1));
    assert_eq!(client.snapshot().followers, 0);
}
