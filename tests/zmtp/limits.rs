//! Limits over all peers of a socket.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use bowline::AcceptLimits;
use bowline::driver::runtime::Runtime;
use bowline::error::Disconnect;
use bowline::zmtp::{Refusal, SocketEvent, kinds};
use bowline_zmtp_driver::Socket;

use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

const MS: Duration = Duration::from_millis(1);
const BODY: usize = 50_000;

/// Peers that send to one that does not receive wait; nothing is lost, and its memory stays bounded.
pub(crate) async fn what_all_peers_send_is_bounded<R: Runtime>() {
    all_peers::<R>("tcp://127.0.0.1:*").await;
    all_peers::<R>(&format!("inproc://bounded {}", std::any::type_name::<R>())).await;
}

async fn all_peers<R: Runtime>(endpoint: &str) {
    let sum = 400_000;
    let pull = Pull::<R>::builder().options(|options| options.receive_sum(sum)).open().expect("sound");
    let bound = pull.bind(endpoint).expect("it is free");
    let mut pushes = Vec::new();
    for _ in 0..4 {
        let push = Push::<R>::builder().options(|options| options.send_sum(sum)).open().expect("sound");
        done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
        pushes.push(push);
    }
    let mut sent = 0;
    for push in &pushes {
        loop {
            match done::<R, _>(push.send_timeout(vec![7; BODY], MS * 200)).await {
                Ok(()) => sent += 1,
                Err(error) => {
                    assert_eq!(error.reason(), &Refusal::TimedOut);
                    break;
                }
            }
            assert!(sent < 10_000, "somebody holds it all");
        }
        let waiting: usize = push.pipes().iter().map(|pipe| pipe.waiting_bytes).sum();
        assert!(waiting <= sum + BODY, "{waiting}");
    }
    let unreceived: usize = pull.pipes().iter().map(|pipe| pipe.unreceived_bytes).sum();
    // Each peer's message that was coming stands beside the sum.
    assert!(unreceived <= sum + 4 * (BODY + 64 * 1024), "{unreceived}");
    assert!(unreceived >= sum / 2, "{unreceived}: the limit of each pipe is larger");
    for number in 0..sent {
        let message = done::<R, _>(pull.recv_timeout(Duration::from_secs(20))).await;
        assert_eq!(message.map(|message| message[0].len()), Ok(BODY), "message {number} of {sent}");
    }
    for push in &pushes {
        done::<R, _>(push.send("there is room again")).await.expect("open");
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0].len(), 19);
    }
    for push in pushes {
        assert!(done::<R, _>(push.close()).await.is_empty());
    }
    done::<R, _>(pull.close()).await;
}

/// A peer that begins a message and does not end it.
pub(crate) async fn a_message_that_does_not_come_is_not_waited_for<R: Runtime>() {
    let limit = MS * 200;
    let pull =
        Pull::<R>::builder().options(|options| options.message_timeout(Some(limit))).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let mut slow = TcpStream::connect(bound.strip_prefix("tcp://").expect("TCP")).expect("it listens");
    let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
    bytes.resize(64, 0);
    bytes.extend(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH");
    bytes.extend(b"\0\x05whole\0\x05part");
    slow.write_all(&bytes).expect("connected");
    assert_eq!(&done::<R, _>(pull.recv()).await.expect("open")[0][..], b"whole");
    let cause = loop {
        if let SocketEvent::PeerDown(_, cause) = done::<R, _>(pull.next_event()).await.expect("open") {
            break cause;
        }
    };
    assert_eq!(cause, Disconnect::SlowMessage { limit });
    done::<R, _>(pull.close()).await;
}

/// Incomplete large messages at one endpoint are bounded by its memory; beyond that they are completed one at
/// a time.
pub(crate) async fn the_memory_of_an_endpoint_is_shared<R: Runtime>() {
    const LONG: usize = 3_000_000;
    const PEERS: usize = 6;
    let mut limits = AcceptLimits::default();
    limits.memory = 8 << 20;
    let pull = Pull::<R>::builder().accept_limits(limits).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let mut pushes = Vec::new();
    for _ in 0..PEERS {
        let push = Push::<R>::new();
        done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
        done::<R, _>(push.send(vec![7; LONG])).await.expect("open");
        pushes.push(push);
    }
    let unfinished = pull.pipes().iter().map(|pipe| pipe.unfinished_bytes).sum::<usize>();
    assert!(unfinished <= (8 << 20) + LONG, "{unfinished}");
    for number in 0..PEERS {
        let message = done::<R, _>(pull.recv_timeout(Duration::from_secs(30))).await;
        assert_eq!(message.map(|message| message[0].len()), Ok(LONG), "message {number}");
    }
    let closed =
        std::iter::from_fn(|| pull.take_event()).find(|event| matches!(event, SocketEvent::PeerDown(..)));
    assert_eq!(closed, None, "each waits for its turn");
    for push in pushes {
        assert!(done::<R, _>(push.close()).await.is_empty());
    }
    done::<R, _>(pull.close()).await;
}
