//! The node in memory, as far as the state machine's own tests do not cover it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{ClientError, ClusterError};

use crate::cluster::{TOPIC, address, client, messages, node, node_settings, start};
use crate::{aside, done, until};

fn connect(to: &str) -> TcpStream {
    TcpStream::connect(to.trim_start_matches("tcp://")).expect("it listens")
}

fn header(method: &str, seq: u8) -> Vec<u8> {
    let mut bytes = b"\xa2\x6dServiceMethod\x78".to_vec();
    bytes.push(method.len() as u8);
    bytes.extend(method.as_bytes());
    bytes.extend(b"\x63Seq");
    bytes.push(seq);
    bytes
}

/// A long poll for the first message.
fn poll(seq: u8) -> Vec<u8> {
    let mut bytes = header("RPCHandler.ReceiveMessages", seq);
    bytes.extend(b"\xa4\x65Topic\x66orders\x62ID\x01\x68Quantity\x0a\x6fWaitForMessages\xf5");
    bytes
}

pub(crate) async fn a_wait_ends_with_its_connection<R: Runtime>() {
    let node = node::<R>().await;
    let mut stays = connect(&address(&node));
    let mut leaves = connect(&address(&node));
    for seq in 1..=3 {
        stays.write_all(&poll(seq)).expect("it reads");
        leaves.write_all(&poll(seq)).expect("it reads");
    }
    until(|| node.snapshot().waiting == 6);
    drop(leaves);
    until(|| node.snapshot().waiting == 3);
    assert_eq!(node.snapshot().given_up, 3);
    let client = client(std::slice::from_ref(&node));
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    let mut byte = [0];
    stays.read_exact(&mut byte).expect("an answer");
    assert_eq!((byte[0], node.snapshot().waiting), (0xa3, 0));
}

pub(crate) async fn waits_are_bounded<R: Runtime>() {
    let node = start::<R>(node_settings(0).max_waiting(2)).await;
    let mut other = connect(&address(&node));
    other.write_all(&[poll(1), poll(2)].concat()).expect("it reads");
    until(|| node.snapshot().waiting == 2);
    let client = client(std::slice::from_ref(&node));
    node.set_lagging(true);
    match done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await {
        Err(ClientError::Cluster(ClusterError::Rejected { message, .. })) => {
            assert_eq!(message, "Too many calls are waiting on this node.");
        }
        other => panic!("{other:?}"),
    }
    drop(other);
    until(|| node.snapshot().waiting == 0);
    node.set_lagging(false);
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("there is room");
}

pub(crate) async fn unknown_methods_and_bad_arguments_are_answered<R: Runtime>() {
    let node = node::<R>().await;
    let mut stream = connect(&address(&node));
    let mut bytes = header("RPCHandler.Nope", 1);
    bytes.push(0xa0);
    // A topic that is a number.
    bytes.extend(header("RPCHandler.GetTopicDetails", 2));
    bytes.extend(b"\xa1\x65Topic\x07");
    bytes.extend(header("RPCHandler.GetClusterDetails", 3));
    bytes.push(0xa0);
    stream.write_all(&bytes).expect("it reads");
    let mut answers = Vec::new();
    while !answers.windows(4).any(|part| part == b"shop") {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).expect("the connection stays");
        assert!(count > 0, "the connection stays");
        answers.extend(&part[..count]);
    }
    let text = String::from_utf8_lossy(&answers);
    assert!(text.contains("rpc: can't find method RPCHandler.Nope"), "{text}");
    assert!(text.contains("Topic at offset 7 is"), "{text}");
}

pub(crate) async fn it_is_restarted_with_what_it_has<R: Runtime>() {
    let node = node::<R>().await;
    let client = client(std::slice::from_ref(&node));
    done::<R, _>(client.send_messages(TOPIC, messages(1, 3))).await.expect("sent");
    node.set_delay(Duration::from_secs(3600));
    let asking = client.clone();
    let asked = aside(move || async move { done::<R, _>(asking.topic_max_available_index(TOPIC)).await });
    until(|| node.snapshot().calls >= 3);
    let (at, clone) = (address(&node), node.clone());
    let stopped = done::<R, _>(node.stop()).await;
    assert_eq!((clone.bounds(TOPIC), clone.connections()), (None, 0), "its clones are stopped with it");
    let again = done::<R, _>(stopped.bind(&at)).await.expect("the port is free");
    again.set_delay(Duration::ZERO);
    assert_eq!(asked.join().expect("no panic"), Ok(3), "asked again");
    assert_eq!(again.bounds(TOPIC).map(|bounds| bounds.last), Some(3));
}
