//! I/O groups of threads: which threads run a client and its node.

use bowline::blocking::IoGroup;
use bowline::blocking::forestbus::{Client, Node};
use bowline::forestbus::{ClientError, Followed};

use crate::cluster::{TOPIC, messages, node_settings};

#[test]
fn a_client_and_a_node_in_a_group_of_their_own() {
    let group = IoGroup::new(2).expect("threads");
    let node = Node::builder(node_settings(0)).io_group(&group).bind("127.0.0.1:0").expect("a free port");
    let settings = crate::cluster::settings(std::slice::from_ref(&node));
    let client = Client::builder(settings).io_group(&group).open().expect("sound settings");
    assert_eq!(client.send_messages(TOPIC, messages(1, 2)).expect("sent").ids, [1, 2]);
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let next = Iterator::next(&mut follower);
    assert!(matches!(next, Some(Ok(Followed::Page(page))) if page.messages == messages(1, 2)));
}

#[test]
fn without_a_thread() {
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let node = Node::builder(node_settings(0)).bind("127.0.0.1:0").expect("a free port");
    let client = crate::cluster::client(std::slice::from_ref(&node));
    assert_eq!(
        client.send_messages(TOPIC, messages(1, 1)).expect("sent").ids,
        [1],
        "who waits turns the group"
    );
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert!(matches!(follower.next(), Some(Ok(Followed::Page(_)))));
    drop((follower, client, node, entered));
}

#[test]
fn a_thread_that_runs_connections_does_not_wait() {
    let node = Node::builder(node_settings(0)).bind("127.0.0.1:0").expect("a free port");
    let client = crate::cluster::client(std::slice::from_ref(&node));
    let (told, heard) = std::sync::mpsc::channel();
    let server = bowline::blocking::Server::builder()
        .on_request_inline(move |_, _, _| {
            let _ = told.send(client.send_messages(TOPIC, messages(1, 1)).map(drop));
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let caller = bowline::blocking::Client::connect(server.local_addr()).expect("it listens");
    caller.call(1, b"").expect("answered");
    assert_eq!(heard.recv(), Ok(Err(ClientError::WouldPark)));
    assert_eq!(node.snapshot().appended, 0);
}
