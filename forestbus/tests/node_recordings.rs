//! The embedded node answers as recorded nodes did: for each recording, a node in the same state is created,
//! and its replies are compared field by field.

use bowline_forestbus::node::{Node, NodeSettings, Response};
use bowline_forestbus::protocol::{Reply, Request, Send};
use bytes::Bytes;
use record::{Call, all};

#[path = "common/record.rs"]
#[allow(dead_code, reason = "the replay uses all of it")]
mod record;

const NODE: &str = "127.0.0.1:3000";

/// Recordings whose calls say in which state their node was. The others need a connection, files, other nodes, a
/// topic's administration, or show a defect.
const PLAYED: [&str; 42] = [
    "cluster_details",
    "topic_details_empty",
    "receive_empty_id1",
    "receive_empty_id0",
    "receive_empty_id5",
    "send_wait_first",
    "receive_wait_empty",
    "send_wait",
    "send_nowait",
    "send_batch3",
    "send_zero_length",
    "send_no_messages",
    "send_null_messages",
    "send_256",
    "send_wrong_cluster_id",
    "send_topic_not_found",
    "topic_details_not_found",
    "receive_topic_not_found",
    "send_not_leader",
    "topic_details",
    "receive_one",
    "receive_last",
    "receive_next_nowait",
    "receive_beyond_nowait",
    "receive_id0",
    "receive_id_negative",
    "receive_quantity0",
    "receive_quantity_negative",
    "receive_wait_next",
    "receive_wait_follower",
    "restarted_before_leader_seen",
    "receive_wait_node_shutdown",
    "minority_send_nowait",
    "minority_details_receive",
    "send_wait_leadership_lost",
    "new_node_unconfigured",
    "orphan_node",
    "send_utf8_and_binary",
    "node_shutdown_calls",
    "receive_zero_length",
    "receive_wait_commit_zero",
    "receive_quantity0_id2",
];

/// A node with `count` messages, `kept` the last of them.
fn node(name: &str, topics: &[&str], count: usize, kept: &[Bytes]) -> Node {
    let mut settings = NodeSettings::new(name).cluster_id("testcluster");
    settings = settings.peers((0..3).map(|n| format!("127.0.0.1:{}", 3000 + n)));
    for topic in topics {
        settings = settings.topic(*topic);
    }
    let mut node = Node::new(settings.build().expect("sound settings"));
    append(&mut node, "test1", &vec![Bytes::from_static(b"filler"); count - kept.len()]);
    append(&mut node, "test1", kept);
    node
}

fn append(node: &mut Node, topic: &str, messages: &[Bytes]) {
    if !messages.is_empty() {
        let send = Send { topic: topic.into(), messages: messages.to_vec(), ..Send::default() };
        assert!(matches!(node.request(Request::Send(send)), Response::Now(Reply::Sent(_))));
    }
}

/// The messages of a recorded reply.
fn received(call: &Call) -> &[Bytes] {
    match &call.reply {
        Some(Ok(Reply::Received(received))) => &received.messages,
        _ => &[],
    }
}

fn count(index: i64) -> usize {
    usize::try_from(index).expect("not below 0")
}

/// The node of a recording before its first call.
fn before(name: &str, calls: &[Call]) -> Node {
    let kept = received(&calls[0]);
    match name {
        "new_node_unconfigured" => {
            let settings = NodeSettings::new("127.0.0.1:3003").cluster_id("testcluster");
            return Node::new(settings.peers(Vec::<String>::new()).build().expect("sound settings"));
        }
        "orphan_node" => {
            let mut node = node("127.0.0.1:3003", &["solo", "solo2"], 0, &[]);
            append(&mut node, "solo", &vec![Bytes::new(); 13]);
            node.follow("");
            return node;
        }
        "send_not_leader" => {
            let mut node = node("127.0.0.1:3001", &["test1"], 0, &[]);
            node.follow("127.0.0.1:3000");
            return node;
        }
        "restarted_before_leader_seen" => {
            let mut node = node("127.0.0.1:3001", &["test1"], 5, &[]);
            node.forget_commit();
            node.follow("");
            return node;
        }
        "send_wait_leadership_lost" => {
            let mut node = node("127.0.0.1:3002", &["test1"], 5, &[]);
            node.set_lagging(true);
            return node;
        }
        "minority_details_receive" => {
            let mut node = node(NODE, &["test1"], 3, &[]);
            node.set_lagging(true);
            append(&mut node, "test1", &[Bytes::new(), Bytes::new()]);
            return node;
        }
        "receive_wait_commit_zero" => {
            let mut node = node(NODE, &["test1"], 4, &kept[..4]);
            node.forget_commit();
            return node;
        }
        "node_shutdown_calls" => return node("127.0.0.1:3001", &["test1"], 13, &[]),
        _ => {}
    }
    if name.starts_with("receive_quantity") {
        return node(NODE, &["test1"], 2, &[]);
    }
    // The state that the first call's reply shows, or that existed before it.
    match (&calls[0].request, &calls[0].reply) {
        (_, Some(Ok(Reply::TopicDetails(details)))) => {
            node(NODE, &["test1"], count(details.bounds.last), &[])
        }
        (_, Some(Ok(Reply::Sent(sent)))) => {
            let before = sent.ids.first().map_or(0, |id| count(id - 1));
            node(name_of(calls), &["test1"], before, &[])
        }
        (Some(Request::Receive(receive)), _) if receive.wait => {
            node(NODE, &["test1"], count(receive.id - 1), &[])
        }
        (_, Some(Ok(Reply::Received(reply)))) if !kept.is_empty() => {
            node(NODE, &["test1"], count(reply.next_id - 1), kept)
        }
        _ if name.starts_with("receive_empty") => node(NODE, &["test1"], 0, &[]),
        _ => node(name_of(calls), &["test1"], 29, &[]),
    }
}

/// The name of the node that answered, where a reply's words hold it.
fn name_of(calls: &[Call]) -> &'static str {
    let said =
        |name: &str| calls.iter().any(|call| format!("{:?}", call.reply).contains(&format!("node ({name})")));
    ["127.0.0.1:3001", "127.0.0.1:3002"].into_iter().find(|name| said(name)).unwrap_or(NODE)
}

/// Events at the node while a call waits.
fn meanwhile(name: &str, node: &mut Node, call: &Call) {
    match name {
        "receive_wait_node_shutdown" => node.shut_down(true),
        "send_wait_leadership_lost" => node.follow("127.0.0.1:3001"),
        "receive_wait_commit_zero" => append(node, "test1", &received(call)[4..]),
        _ => append(node, "test1", received(call)),
    }
}

#[test]
fn recorded_calls_are_answered_as_they_were() {
    let mut played = Vec::new();
    let mut waited = Vec::new();
    for record in all("cbor").iter().filter(|record| PLAYED.contains(&record.name.as_str())) {
        let (name, calls) = (record.name.as_str(), record.calls());
        let mut node = before(name, &calls);
        for (number, call) in calls.iter().enumerate() {
            if (name, number) == ("node_shutdown_calls", 1) {
                node.shut_down(true);
            }
            let request = call.request.clone().expect("a client's call");
            let reply = match node.request(request) {
                Response::Now(reply) => reply,
                Response::Later(id) => {
                    assert_eq!(node.poll_answer(), None, "{name}");
                    meanwhile(name, &mut node, call);
                    let (answered, reply) = node.poll_answer().expect("an answer");
                    assert_eq!(answered, id, "{name}");
                    waited.push(name.to_owned());
                    reply
                }
            };
            let recorded = match call.reply.clone().expect("a reply") {
                Ok(reply) => reply,
                Err(error) => Reply::Error(error),
            };
            assert_eq!(reply, recorded, "{name}, call {number}");
        }
        played.push(name.to_owned());
    }
    assert_eq!(played, PLAYED);
    let expected = [
        "receive_wait_empty",
        "receive_wait_next",
        "receive_wait_follower",
        "receive_wait_node_shutdown",
        "send_wait_leadership_lost",
        "receive_wait_commit_zero",
    ];
    assert_eq!(waited, expected);
}
