//! The lifetime of handles.

use std::sync::Arc;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{ClientError, ClusterError, OpenError, Settings};
use bowline::log::Log;

use crate::cluster::{TOPIC, client, leader, messages, node, nodes, open, read, reading_at_leader};
use crate::{aside, done, until};

pub(crate) async fn closing_ends_commands_and_later_ones_reopen<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let leader = leader(&nodes);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 1, 10, true)).await });
    leader.set_lagging(true);
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(1, 1))).await });
    until(|| leader.snapshot().waiting == 3);
    client.close();
    client.close();
    let closed = || ClientError::Cluster(ClusterError::Closed);
    assert_eq!(poll.join().expect("no panic"), Err(closed()));
    match sent.join().expect("no panic") {
        Err(ClientError::Cluster(ClusterError::MaybeAppended { cause, .. })) => {
            assert_eq!(*cause, ClusterError::Closed);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(done::<R, _>(follower.next()).await, Some(Err(closed())));
    assert_eq!(done::<R, _>(follower.next()).await, None);
    until(|| nodes.iter().all(|node| node.connections() == 0 && node.snapshot().waiting == 0));
    assert_eq!(client.snapshot().commands, 0);

    leader.set_lagging(false);
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(2, 1))).await.expect("it connects anew");
    assert_eq!(sent.ids, [2]);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 2).await.1, messages(1, 2));
    client.close();
}

/// One send is under way when the client is closed, and the others wait behind it.
pub(crate) async fn closing_ends_senders_that_wait<R: Runtime>() {
    const SENDERS: usize = 20;
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    let leader = leader(&nodes);
    leader.set_lagging(true);
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let client = client.clone();
            aside(move || async move { done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await })
        })
        .collect();
    until(|| client.snapshot().commands == SENDERS && leader.snapshot().waiting == 1);
    client.close();
    let mut in_doubt = 0;
    for sender in senders {
        match sender.join().expect("no panic") {
            Err(ClientError::Cluster(ClusterError::MaybeAppended { cause, .. })) => {
                assert_eq!(*cause, ClusterError::Closed);
                in_doubt += 1;
            }
            other => assert_eq!(other.map(drop), Err(ClientError::Cluster(ClusterError::Closed))),
        }
    }
    assert_eq!((in_doubt, leader.snapshot().appended), (1, 1));
    let snapshot = client.snapshot();
    assert_eq!((snapshot.commands, snapshot.queued_messages, snapshot.queued_bytes), (0, 0, 0));
    leader.set_lagging(false);
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(0, 1))).await.expect("it connects anew");
    assert_eq!(sent.ids, [2]);
}

pub(crate) async fn the_last_handle_ends_the_connections<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let first = open::<R>(reading_at_leader(&nodes));
    let second = first.clone();
    done::<R, _>(first.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    drop(first);
    let mut follower = second.follow(TOPIC, 1).expect("room");
    drop(second);
    assert_eq!(read(&mut follower, 1).await.1, messages(1, 1), "a follower keeps its client");
    assert_eq!(leader(&nodes).connections(), 2);
    drop(follower);
    until(|| nodes.iter().all(|node| node.connections() == 0));
}

pub(crate) async fn what_cannot_be_is_refused_at_once<R: Runtime>() {
    type Client<R> = bowline::forestbus::Client<R>;
    assert!(matches!(Client::<R>::connect_to("shop@"), Err(OpenError::ConnectionString(_))));
    assert!(matches!(Client::<R>::connect_to("shop@a b"), Err(OpenError::ConnectionString(_))));
    let none = Settings::new(Vec::<String>::new());
    assert!(matches!(Client::<R>::builder(none).open(), Err(OpenError::Config(_))));
    assert!(matches!(Client::<R>::connect_to("no-port"), Err(OpenError::Config(_))));
    let nodes = [node::<R>().await];
    let small = Client::<R>::builder(crate::cluster::settings(&nodes)).max_message(1000).max_items(3);
    let small = small.open().expect("sound settings");
    // Beside the message and its head there are 58 bytes: keys and heads, the cluster's id and the topic's name.
    let longest = 1000 - 58 - 3;
    let fits = done::<R, _>(small.send_messages(TOPIC, [vec![0; longest]])).await;
    assert_eq!(fits.expect("it fits").ids, [1]);
    assert_eq!(small.topic(TOPIC).capabilities().max_record, Some(longest));
    for large in [vec![vec![0; longest + 1]], vec![Vec::new(); 4]] {
        let refused = done::<R, _>(small.send_messages(TOPIC, large)).await;
        assert!(matches!(refused, Err(ClientError::Cluster(ClusterError::TooLarge { .. }))), "{refused:?}");
    }
    let client = open::<R>(crate::cluster::settings(&nodes).max_commands(1));
    let empty: [&str; 0] = [];
    let refused = done::<R, _>(client.send_messages(TOPIC, empty)).await;
    assert!(matches!(refused, Err(ClientError::Cluster(ClusterError::Argument { .. }))), "{refused:?}");
    let first = client.follow(TOPIC, 1).expect("room");
    let refused = client.follow(TOPIC, 1);
    assert!(matches!(refused, Err(ClientError::Cluster(ClusterError::Full { limit: 1, .. }))), "{refused:?}");
    drop(first);
    let second = Arc::new(client.follow(TOPIC, 1).expect("the first has gone"));
    assert!(matches!(client.follow(TOPIC, 0), Err(ClientError::Cluster(ClusterError::Argument { .. }))));
    drop(second);
}
