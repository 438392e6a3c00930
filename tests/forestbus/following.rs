//! Topics that are read while they grow.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::{Commit, Options};
use bowline::forestbus::{ClientError, ClusterError, Followed};

use crate::cluster::{
    TOPIC, client, messages, node, node_settings, nodes, open, page, read, settings, start,
};
use crate::{aside, done, until};

pub(crate) async fn messages_come_as_they_are_committed<R: Runtime>() {
    let nodes = [node::<R>().await];
    let client = client(&nodes);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    for from in [1, 11, 21] {
        done::<R, _>(client.send_messages(TOPIC, messages(from, 10))).await.expect("sent");
        assert_eq!(read(&mut follower, 10).await, (from as i64, messages(from, 10)));
    }
    nodes[0].set_lagging(true);
    let leader = Options::new().commit(Commit::Leader);
    done::<R, _>(client.send_messages_with(TOPIC, messages(31, 2), leader)).await.expect("sent");
    let reading = aside(move || async move { read(&mut follower, 2).await });
    until(|| nodes[0].snapshot().waiting == 1);
    assert!(!reading.is_finished(), "nothing is committed");
    nodes[0].set_lagging(false);
    assert_eq!(reading.join().expect("no panic"), (31, messages(31, 2)));
}

pub(crate) async fn what_is_gone_is_told<R: Runtime>() {
    // Room for three messages.
    let nodes = [start::<R>(node_settings(0).topic_bytes(3 * (64 + 9))).await];
    let client = client(&nodes);
    for number in 1..=5 {
        done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
    }
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let gone = done::<R, _>(follower.next()).await;
    assert_eq!(gone, Some(Ok(Followed::Trimmed { from: 1, to: 3 })));
    assert_eq!(read(&mut follower, 3).await, (3, messages(3, 3)));
}

pub(crate) async fn a_stopping_node_is_left<R: Runtime>() {
    let nodes = nodes::<R>(2).await;
    nodes[0].lead();
    let both = client(&nodes);
    // The nodes do not replicate: the test does it.
    for node in &nodes {
        let one = client(std::slice::from_ref(node));
        done::<R, _>(one.send_messages(TOPIC, messages(1, 3))).await.expect("sent");
    }
    let mut follower = both.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await.1, messages(1, 3));
    until(|| nodes[0].snapshot().waiting == 1);
    nodes[0].shut_down(true);
    until(|| nodes[1].snapshot().waiting == 1);
    let last = client(&nodes[1..]);
    done::<R, _>(last.send_messages(TOPIC, messages(4, 1))).await.expect("sent");
    assert_eq!(read(&mut follower, 1).await, (4, messages(4, 1)));
}

pub(crate) async fn it_goes_on_at_another_node<R: Runtime>() {
    let nodes = nodes::<R>(2).await;
    nodes[0].lead();
    for node in &nodes {
        let one = client(std::slice::from_ref(node));
        done::<R, _>(one.send_messages(TOPIC, messages(1, 3))).await.expect("sent");
    }
    let both = client(&nodes);
    let mut follower = both.follow(TOPIC, 2).expect("room");
    assert_eq!(read(&mut follower, 2).await, (2, messages(2, 2)));
    until(|| nodes[0].snapshot().waiting == 1);
    drop(done::<R, _>(nodes[0].stop()).await);
    let last = client(&nodes[1..]);
    done::<R, _>(last.send_messages(TOPIC, messages(4, 2))).await.expect("sent");
    assert_eq!(read(&mut follower, 2).await, (4, messages(4, 2)));
    assert!(both.counters().connections_lost > 0);
}

pub(crate) async fn a_lagging_node_is_left<R: Runtime>() {
    let nodes = nodes::<R>(2).await;
    nodes[0].lead();
    for node in &nodes {
        let one = client(std::slice::from_ref(node));
        done::<R, _>(one.send_messages(TOPIC, messages(1, 3))).await.expect("sent");
    }
    let both = open::<R>(settings(&nodes).lag_limit(Duration::from_millis(20)));
    let mut follower = both.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await.1, messages(1, 3));
    until(|| nodes[0].snapshot().waiting == 1);
    // The first node learns nothing of what is sent now.
    let last = client(&nodes[1..]);
    done::<R, _>(last.send_messages(TOPIC, messages(4, 2))).await.expect("sent");
    assert_eq!(read(&mut follower, 2).await, (4, messages(4, 2)));
    assert_eq!(both.counters().laggards_left, 1);
}

pub(crate) async fn it_is_rewound<R: Runtime>() {
    let nodes = [node::<R>().await];
    let client = client(&nodes);
    done::<R, _>(client.send_messages(TOPIC, messages(1, 4))).await.expect("sent");
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 4).await.1.len(), 4);
    assert!(follower.rewind(3) && !follower.rewind(0));
    assert_eq!(page(&mut follower).await.first, 3);
}

/// More concurrent calls than one caller makes.
pub(crate) async fn many_read_the_same<R: Runtime>() {
    const READERS: usize = 1_500;
    let nodes = [node::<R>().await];
    let client = client(&nodes);
    let mut followers: Vec<_> = (0..READERS).map(|_| client.follow(TOPIC, 1).expect("room")).collect();
    until(|| nodes[0].snapshot().waiting == READERS);
    for number in 1..=2 {
        done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
        for follower in &mut followers {
            assert_eq!(read(follower, 1).await, (number as i64, messages(number, 1)));
        }
    }
    assert_eq!(nodes[0].connections(), 2);
    drop(followers);
    assert_eq!(client.snapshot().followers, 0);
    until(|| nodes[0].snapshot().waiting == 0);
}

pub(crate) async fn an_unknown_topic_ends_it<R: Runtime>() {
    let nodes = [node::<R>().await];
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
