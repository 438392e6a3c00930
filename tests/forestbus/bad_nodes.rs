//! Nodes that send invalid replies, or none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::error::Disconnect;
use bowline::forestbus::{ClientError, ClusterError, DecodeError, Node, NodeCause, ReplyError, Settings};

use crate::cluster::{TOPIC, address, append_at, leader, messages, name, nodes, open, page, read, replicate};
use crate::done;
use crate::failing::once;

/// A node that receives each connection's first request and then runs `serve`.
fn fake(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                serve(stream);
            }
        }
    });
    address
}

/// The header of a response to the first call of a link, which has Seq 1.
fn header() -> Vec<u8> {
    let mut header = b"\xa3\x6dServiceMethod\x78\x1cRPCHandler.GetClusterDetails\x63Seq\x01".to_vec();
    header.extend(b"\x65Error\x60");
    header
}

/// A node that answers every first request with these bytes, and keeps the connection.
fn answering(bytes: Vec<u8>) -> String {
    fake(move |mut stream| {
        let _ = stream.write_all(&bytes);
        std::thread::spawn(move || while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    })
}

/// Three nodes: a bad one, which is asked first, and good ones of which the last one leads.
fn beside<R: Runtime>(bad: &str, good: &[Node<R>]) -> Settings {
    let mut settings = Settings::new([bad.to_owned()].into_iter().chain(good.iter().map(address)));
    for (number, node) in good.iter().enumerate() {
        settings = settings.node_name(name(number), address(node));
    }
    settings
}

/// The outcome of calls to the bad node alone; and whether good nodes beside it continue.
async fn asked<R: Runtime>(bad: String) -> NodeCause {
    let good = nodes::<R>(2).await;
    let timeout = Duration::from_millis(200);
    let beside = open::<R>(beside(&bad, &good).connect_timeout(timeout));
    let mut follower = beside.follow(TOPIC, 1).expect("room");
    for number in 1..=3 {
        let sent = done::<R, _>(beside.send_messages(TOPIC, messages(number, 1))).await.expect("a good one");
        assert_eq!((sent.ids, sent.node.index()), (vec![number as i64], 2));
        replicate(&good, &messages(number, 1)).await;
        assert_eq!(read(&mut follower, 1).await, (number as i64, messages(number, 1)));
    }
    let alone = open::<R>(Settings::new([bad]).connect_timeout(timeout));
    match done::<R, _>(alone.topic_details_with(TOPIC, once())).await {
        Err(ClientError::Cluster(ClusterError::NoNodes { mut causes })) => causes.remove(0).cause,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn one_that_says_nonsense<R: Runtime>() {
    // The list of peers is a number.
    let mut bytes = header();
    bytes.extend(b"\xa1\x65Peers\x07");
    let cause = asked::<R>(answering(bytes)).await;
    let NodeCause::BadReply(ReplyError::Unreadable(error)) = &cause else { panic!("{cause:?}") };
    assert!(matches!(**error, DecodeError::Type { field: "Peers", .. }), "{error:?}");
}

pub(crate) async fn one_that_breaks_the_framing<R: Runtime>() {
    for bytes in [&b"\xff"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let cause = asked::<R>(answering(bytes.to_vec())).await;
        assert!(matches!(&cause, NodeCause::Lost(Disconnect::Protocol(_))), "{cause:?}");
    }
}

pub(crate) async fn one_that_closes_at_once<R: Runtime>() {
    let cause = asked::<R>(fake(drop)).await;
    assert!(matches!(&cause, NodeCause::Lost(_)), "{cause:?}");
}

pub(crate) async fn one_that_is_silent<R: Runtime>() {
    let cause = asked::<R>(answering(Vec::new())).await;
    assert!(matches!(&cause, NodeCause::Silent { .. }), "{cause:?}");
}

/// Whatever the body is, the good nodes continue, and the error names the bad one.
pub(crate) async fn bodies_of_the_wrong_form<R: Runtime>() {
    let good = nodes::<R>(2).await;
    replicate(&good, &messages(1, 1)).await;
    append_at(leader(&good), &messages(1, 1)).await;
    let bodies: [&[u8]; 4] = [
        // A code that is text; a description that is no UTF-8; a list in a list.
        b"\xa1\x66Result\xa1\x64Code\x61x",
        b"\xa1\x66Result\xa1\x6bDescription\x61\xff",
        b"\xa1\x65Peers\x81\x81\x01",
        // An unknown code.
        b"\xa1\x66Result\xa1\x64Code\x18\x63",
    ];
    for body in bodies {
        let bad = answering([&header()[..], body].concat());
        let client = open::<R>(beside(&bad, &good));
        let mut follower = client.follow(TOPIC, 1).expect("room");
        let sent = done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("a good one");
        assert_eq!(sent.node.index(), 2, "{body:x?}");
        assert_eq!(page(&mut follower).await.node.index(), 1, "{body:x?}");
    }
    // No cluster id at all: the node belongs to another cluster, which is final.
    for body in [b"\xa0", b"\xf6"] {
        let bad = answering([&header()[..], body].concat());
        let client = open::<R>(beside(&bad, &good).cluster_id("shop"));
        match done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await {
            Err(ClientError::Cluster(ClusterError::ClusterIdMismatch { found, .. })) => assert_eq!(found, ""),
            other => panic!("{other:?}"),
        }
    }
}
