//! The lifetime of handles.

use std::sync::Arc;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{ClientError, ClusterError, OpenError, Settings};

use crate::cluster::{TOPIC, client, messages, node, open, read};
use crate::{aside, done, until};

pub(crate) async fn closing_ends_commands_and_later_ones_reopen<R: Runtime>() {
    let nodes = [node::<R>().await];
    let client = client(&nodes);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 1, 10, true)).await });
    nodes[0].set_lagging(true);
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(1, 1))).await });
    until(|| nodes[0].snapshot().waiting == 3);
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
    until(|| nodes[0].connections() == 0 && nodes[0].snapshot().waiting == 0);
    assert_eq!(client.snapshot().commands, 0);

    nodes[0].set_lagging(false);
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(2, 1))).await.expect("it connects anew");
    assert_eq!(sent.ids, [2]);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 2).await.1, messages(1, 2));
    client.close();
}

pub(crate) async fn the_last_handle_ends_the_connections<R: Runtime>() {
    let nodes = [node::<R>().await];
    let first = client(&nodes);
    let second = first.clone();
    done::<R, _>(first.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    drop(first);
    let mut follower = second.follow(TOPIC, 1).expect("room");
    drop(second);
    assert_eq!(read(&mut follower, 1).await.1, messages(1, 1), "a follower keeps its client");
    assert_eq!(nodes[0].connections(), 2);
    drop(follower);
    until(|| nodes[0].connections() == 0);
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
    let fits = done::<R, _>(small.send_messages(TOPIC, [vec![0; 1000 - 48 - 6 - 4 - 3]])).await;
    assert_eq!(fits.expect("it fits").ids, [1]);
    for large in [vec![vec![0; 1000 - 48 - 6 - 2]], vec![Vec::new(); 4]] {
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
