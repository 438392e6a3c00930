//! Peers written byte by byte: `test_mock_pub_sub`, `test_heartbeats`, `test_security_null`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bowline::core::error::Disconnect;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{Heartbeat, SocketEvent, kinds};
use bowline_zmtp_driver::Socket;

use super::{MS, close, next_event, open, plain, recv, send, until};
use crate::done;

/// A greeting of 3.1 with NULL.
fn greeting() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
    bytes.resize(64, 0);
    bytes
}

fn ready(socket_type: &str) -> Vec<u8> {
    let mut data = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    data.push(socket_type.len() as u8);
    data.extend_from_slice(socket_type.as_bytes());
    command(&data)
}

fn command(data: &[u8]) -> Vec<u8> {
    [&[4, data.len() as u8][..], data].concat()
}

/// A hand-written peer that has completed its handshake.
struct ByHand(TcpStream);

impl ByHand {
    fn connect(bound: &str, socket_type: &str) -> Self {
        let address = bound.strip_prefix("tcp://").expect("TCP");
        Self::greet(TcpStream::connect(address).expect("it listens"), socket_type)
    }

    fn greet(stream: TcpStream, socket_type: &str) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let mut by_hand = Self(stream);
        by_hand.write(&greeting());
        let mut theirs = [0; 64];
        by_hand.0.read_exact(&mut theirs).expect("a greeting");
        assert_eq!((theirs[0], theirs[9], &theirs[12..17]), (0xff, 0x7f, &b"NULL\0"[..]));
        let said = by_hand.frame();
        assert!(said.0 == 4 && said.1.starts_with(b"\x05READY\x0bSocket-Type"), "{said:?}");
        by_hand.write(&ready(socket_type));
        by_hand
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("it reads");
    }

    /// The next short frame: its flags and its body.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a frame");
        let mut body = vec![0; head[1].into()];
        self.0.read_exact(&mut body).expect("its body");
        (head[0], body)
    }
}

/// `test_mock_pub_sub`: subscriptions as commands and in the older form of messages, from both kinds of
/// peers.
pub(crate) async fn subscriptions_come_in_both_forms<R: Runtime>() {
    let xpub: Socket<R, kinds::XPub> = plain();
    let bound = xpub.bind("tcp://127.0.0.1:*").expect("free");
    let forms: [[&[u8]; 2]; 2] =
        [[b"\x04\x0b\x09SUBSCRIBEA", b"\x04\x08\x06CANCELA"], [b"\0\x02\x01A", b"\0\x02\0A"]];
    for [subscribe, cancel] in forms {
        let mut sub = ByHand::connect(&bound, "SUB");
        sub.write(subscribe);
        assert_eq!(recv(&xpub).await, [b"\x01A"]);
        send(&xpub, "B, for nobody").await;
        send(&xpub, "ALOL").await;
        assert_eq!(sub.frame(), (0, b"ALOL".to_vec()));
        sub.write(cancel);
        assert_eq!(recv(&xpub).await, [b"\0A"]);
        send(&xpub, "A, for nobody").await;
        assert_eq!(xpub.subscriptions(), 0);
    }
    close(xpub).await;
    // The subscription that Bowline's SUB sends.
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let sub: Socket<R, kinds::Sub> = plain();
    sub.subscribe("A");
    sub.connect(&format!("tcp://{}", listener.local_addr().expect("bound"))).expect("an endpoint");
    let mut publisher = ByHand::greet(listener.accept().expect("it dials").0, "PUB");
    assert_eq!(publisher.frame(), (4, b"\x09SUBSCRIBEA".to_vec()));
    // A message without a subscription is not passed on, whatever the publisher sends.
    publisher.write(b"\0\x01B\0\x04ALOL");
    assert_eq!(recv(&sub).await, [b"ALOL"]);
    assert_eq!(sub.stats().filtered, 1);
    assert!(sub.unsubscribe("A"));
    assert_eq!(publisher.frame(), (4, b"\x06CANCELA".to_vec()));
    close(sub).await;
}

/// `test_heartbeats`: a silent peer is sent a PING, and is disconnected without an answer; a PING is
/// answered; a TTL is obeyed.
pub(crate) async fn silent_peers_are_given_up<R: Runtime>() {
    let beats = Heartbeat { interval: MS * 30, timeout: MS * 1_000, ttl: Duration::ZERO };
    let pull: Socket<R, kinds::Pull> = open(|options| options.heartbeat(Some(beats)));
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    let mut silent = ByHand::connect(&bound, "PUSH");
    let (flags, ping) = silent.frame();
    assert!(flags == 4 && ping.starts_with(b"\x04PING") && ping.len() >= 7, "{ping:?}");
    loop {
        match next_event(&pull).await {
            SocketEvent::PeerUp(..) => {}
            SocketEvent::PeerDown(_, cause) => {
                assert!(!matches!(cause, Disconnect::PeerClosed | Disconnect::LocalClose), "{cause:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // A peer that answers stays connected.
    let mut answers = ByHand::connect(&bound, "PUSH");
    for _ in 0..6 {
        let (_, ping) = answers.frame();
        assert!(ping.starts_with(b"\x04PING"), "{ping:?}");
        answers.write(&command(b"\x04PONG"));
    }
    answers.write(b"\0\x01x");
    assert_eq!(recv(&pull).await, [b"x"]);
    drop(answers);
    close(pull).await;

    let pull: Socket<R, kinds::Pull> = open(|options| options.heartbeat(None));
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    let mut asks = ByHand::connect(&bound, "PUSH");
    asks.write(&command(b"\x04PING\0\0context"));
    assert_eq!(asks.frame(), (4, b"\x04PONGcontext".to_vec()));
    // Its TTL is 0.2 s: it is disconnected after that time of silence.
    asks.write(&command(b"\x04PING\0\x02"));
    assert_eq!(asks.frame(), (4, b"\x04PONG".to_vec()));
    loop {
        match next_event(&pull).await {
            SocketEvent::PeerUp(..) => {}
            SocketEvent::PeerDown(_, cause) => {
                assert!(!matches!(cause, Disconnect::PeerClosed | Disconnect::LocalClose), "{cause:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    close(pull).await;
}

/// `test_security_null`, `test_security_curve`: connections with other protocols do not affect others.
pub(crate) async fn other_protocols_are_turned_away<R: Runtime>() {
    let pull: Socket<R, kinds::Pull> = plain();
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    let push: Socket<R, kinds::Push> = plain();
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    let mut wrong: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 100],
        [greeting(), b"\0\x01x".to_vec()].concat(),
        [greeting(), ready("SUB")].concat(),
        [greeting(), ready("PUSH"), b"\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()].concat(),
    ];
    let mut other = greeting();
    other[12..16].copy_from_slice(b"null");
    wrong.push(other);
    for bytes in &wrong {
        let mut stream = TcpStream::connect(bound.strip_prefix("tcp://").expect("TCP")).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let _ = stream.write_all(bytes);
        // The other side closes it.
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        assert!(
            ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
        send(&push, "good").await;
        assert_eq!(recv(&pull).await, [b"good"]);
    }
    let mut failed = 0;
    until::<R>(|| {
        while let Some(event) = pull.take_event() {
            failed +=
                usize::from(matches!(event, SocketEvent::HandshakeFailed { .. } | SocketEvent::PeerDown(..)));
        }
        failed == wrong.len()
    })
    .await;
    close(push).await;
    close(pull).await;
}
