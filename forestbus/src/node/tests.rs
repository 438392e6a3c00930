//! Behavior of the node that no recording covers.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;

fn node(settings: impl FnOnce(NodeSettings) -> NodeSettings) -> Node {
    Node::new(settings(NodeSettings::new("n:1").topic("t")).build().unwrap())
}

fn send(node: &mut Node, messages: &[&'static str], wait: bool) -> Response {
    let messages = messages.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
    node.request(Request::Send(Send {
        topic: "t".into(),
        messages,
        wait_for_commit: wait,
        ..Default::default()
    }))
}

fn receive(node: &mut Node, id: Index, quantity: i64, wait: bool) -> Response {
    node.request(Request::Receive(Receive { topic: "t".into(), id, quantity, wait, ..Default::default() }))
}

fn ids(response: Response) -> Vec<Index> {
    match response {
        Response::Now(Reply::Sent(sent)) => sent.ids,
        other => panic!("{other:?}"),
    }
}

fn page(response: Response) -> (Vec<Bytes>, Index) {
    match response {
        Response::Now(Reply::Received(received)) => (received.messages, received.next_id),
        other => panic!("{other:?}"),
    }
}

fn later(response: Response) -> WaitId {
    match response {
        Response::Later(id) => id,
        other @ Response::Now(_) => panic!("{other:?}"),
    }
}

#[test]
fn a_quantity_of_one_is_one_undamaged_message() {
    let mut node = node(|settings| settings);
    send(&mut node, &["a", "b"], true);
    assert_eq!(page(receive(&mut node, 1, 1, false)), (vec![Bytes::from_static(b"a")], 2));
    assert_eq!(page(receive(&mut node, 1, 1_000_000, false)).0.len(), 2);
    for _ in 0..600 {
        send(&mut node, &["c"], false);
    }
    assert_eq!(page(receive(&mut node, 1, 1_000_000, false)).0.len(), 500);
}

#[test]
fn what_is_not_committed_is_not_given() {
    let mut node = node(|settings| settings);
    send(&mut node, &["a"], true);
    node.set_lagging(true);
    assert_eq!(ids(send(&mut node, &["b"], false)), [2]);
    let waits = later(send(&mut node, &["c"], true));
    assert_eq!(page(receive(&mut node, 1, 10, false)).1, 2);
    assert_eq!(node.bounds("t"), Some(Bounds { first: 1, last: 3, commit: 1 }));
    node.set_lagging(false);
    let (id, Reply::Sent(sent)) = node.poll_answer().unwrap() else { panic!() };
    assert_eq!((id, sent.ids), (waits, vec![3]));
    assert_eq!(page(receive(&mut node, 1, 10, false)).0.len(), 3);
}

#[test]
fn indexes_are_used_again_after_the_leadership_is_lost() {
    let mut node = node(|settings| settings);
    send(&mut node, &["a"], true);
    node.set_lagging(true);
    let waits = later(send(&mut node, &["b", "c"], true));
    node.follow("n:2");
    let (id, Reply::Sent(sent)) = node.poll_answer().unwrap() else { panic!() };
    assert_eq!((id, sent.status.code, sent.ids), (waits, crate::protocol::Code::NotLeader, vec![2, 3]));
    node.lead();
    node.set_lagging(false);
    assert_eq!(ids(send(&mut node, &["d"], true)), [2]);
    assert_eq!(page(receive(&mut node, 2, 10, false)).0, [Bytes::from_static(b"d")]);
    assert_eq!(node.snapshot().dropped, 2);
}

#[test]
fn retention_drops_the_oldest_and_never_what_is_not_committed() {
    let mut node = node(|settings| settings.topic_bytes(3 * 65));
    for _ in 0..5 {
        send(&mut node, &["x"], true);
    }
    assert_eq!(node.bounds("t"), Some(Bounds { first: 3, last: 5, commit: 5 }));
    assert_eq!(page(receive(&mut node, 1, 10, true)), (vec![], 3), "the first that is kept, without a wait");
    node.set_lagging(true);
    for _ in 0..3 {
        assert_eq!(ids(send(&mut node, &["y"], false)).len(), 1);
    }
    let Response::Now(Reply::Error(error)) = send(&mut node, &["y"], false) else { panic!() };
    assert_eq!(error, answers::LOG_FULL);
    assert_eq!(node.bounds("t"), Some(Bounds { first: 6, last: 8, commit: 5 }));
    let snapshot = node.snapshot();
    assert_eq!((snapshot.bytes, snapshot.trimmed, snapshot.rejected), (3 * 65, 5, 1));
}

#[test]
fn calls_that_wait_are_bounded_and_can_be_given_up() {
    let mut node = node(|settings| settings.max_waiting(2));
    let first = later(receive(&mut node, 1, 10, true));
    let second = later(receive(&mut node, 2, 10, true));
    let Response::Now(Reply::Error(error)) = receive(&mut node, 1, 10, true) else { panic!() };
    assert_eq!(error, answers::TOO_MANY_WAIT);
    assert!(node.give_up(first) && !node.give_up(first));
    send(&mut node, &["a"], true);
    assert_eq!(node.poll_answer(), None, "the second waits for index 2");
    send(&mut node, &["b"], true);
    assert_eq!(node.poll_answer().unwrap().0, second);
    assert_eq!(node.snapshot().waiting, 0);
}

#[test]
fn a_topic_that_is_removed_ends_what_waits_for_it() {
    let mut node = node(|settings| settings);
    let poll = later(receive(&mut node, 1, 10, true));
    assert!(node.remove_topic("t") && !node.remove_topic("t"));
    assert_eq!(node.poll_answer(), Some((poll, Reply::Error(answers::TOPIC_NOT_FOUND.to_string()))));
    assert_eq!(node.add_topic("t"), Ok(()));
    assert_eq!(node.bounds("t"), Some(Bounds { first: 1, last: 0, commit: 0 }));
    assert!(node.add_topic("").is_err());
}

#[test]
fn settings_and_topics_are_checked() {
    assert!(NodeSettings::new("n").topic("").build().is_err());
    assert!(NodeSettings::new("n").max_waiting(0).build().is_err());
    assert!(NodeSettings::new("n").max_topics(1).topic("a").topic("b").build().is_err());
    let mut node = node(|settings| settings.max_topics(1));
    assert_eq!(node.add_topic("t"), Ok(()), "it is there");
    assert_eq!(node.add_topic("u"), Err(NodeError::TooManyTopics { limit: 1 }));
}

#[test]
fn replies_are_bounded_in_bytes_with_one_message_at_least() {
    let mut node = node(|settings| settings.reply_bytes(130));
    send(&mut node, &["a", "b", "c"], true);
    assert_eq!(page(receive(&mut node, 1, 10, false)).1, 3);
    let mut small = Node::new(NodeSettings::new("n").topic("t").reply_bytes(1).build().unwrap());
    send(&mut small, &["a", "b"], true);
    assert_eq!(page(receive(&mut small, 1, 10, false)).1, 2);
}
