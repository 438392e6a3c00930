//! Tests against the real cluster that `BOWLINE_FORESTBUS` names, as a connection string with a topic that
//! may be written to. Ignored by default: `BOWLINE_FORESTBUS=cluster#topic@a:3000,b:3000 cargo test
//! --features forestbus --test real_cluster -- --ignored`.

use bowline::blocking::forestbus::Client;
use bowline::forestbus::{ClientError, ClusterError, ConnectionString, Followed, Settings};

/// The environment's settings.
fn cluster() -> (Client, String) {
    let text = std::env::var("BOWLINE_FORESTBUS").expect("BOWLINE_FORESTBUS is a connection string");
    let parsed: ConnectionString = text.parse().expect("a connection string");
    assert!(!parsed.topic.is_empty(), "it has to name a topic: cluster#topic@node,node");
    let settings = Settings::from_connection_string(&parsed);
    (Client::builder(settings).open().expect("sound settings"), parsed.topic)
}

#[test]
#[ignore = "needs a cluster"]
fn messages_go_in_and_come_out() {
    let (client, topic) = cluster();
    let details = client.cluster_details().expect("a node answers");
    assert!(details.topics.contains(&topic), "{details:?}");
    let messages: Vec<String> = (0..50).map(|number| format!("bowline {number}")).collect();
    let ids = client.send_messages(&topic, messages.clone()).expect("sent").ids;
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    assert!(client.topic_details(&topic).expect("a node answers").last >= ids[0]);

    let mut follower = client.follow(&topic, ids[0]).expect("room");
    let mut read = Vec::new();
    while read.len() < messages.len() {
        match follower.next() {
            Some(Ok(Followed::Page(page))) => read.extend(page.messages),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read[..messages.len()], messages[..]);
    let got = client.get_messages(&topic, ids[0], 50, false).expect("a node answers");
    assert_eq!(got.messages.first().map(|message| &message[..]), Some(messages[0].as_bytes()));
}

#[test]
#[ignore = "needs a cluster"]
fn what_is_wrong_is_told() {
    let (client, topic) = cluster();
    match client.send_messages("bowline-no-such-topic", ["x"]) {
        Err(ClientError::Cluster(ClusterError::TopicNotFound { .. })) => {}
        other => panic!("{other:?}"),
    }
    let text = std::env::var("BOWLINE_FORESTBUS").expect("BOWLINE_FORESTBUS is a connection string");
    let parsed: ConnectionString = text.parse().expect("a connection string");
    let other = Settings::new(parsed.nodes).cluster_id("bowline-no-such-cluster");
    match Client::builder(other).open().expect("sound settings").topic_details(&topic) {
        Err(ClientError::Cluster(ClusterError::ClusterIdMismatch { .. })) => {}
        other => panic!("{other:?}"),
    }
}
