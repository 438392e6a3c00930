//! Events of sockets.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::error::{Disconnect, TransportKind};
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::mechanism::{Decision, Mechanism};
use bowline::zmtp::pipe::Role;
use bowline::zmtp::{AcceptLimit, HandshakeFailure, Kind, SocketEvent, kinds};
use bowline::{AcceptLimits, Address, ReconnectPolicy};
use bowline_zmtp_driver::Socket;

use crate::contexts::closed_port;
use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

const MS: Duration = Duration::from_millis(1);

/// Takes events up to the first for which `wanted` has an answer.
async fn event<R: Runtime, K: Kind, T>(
    socket: &Socket<R, K>,
    wanted: impl Fn(&SocketEvent) -> Option<T>,
) -> T {
    loop {
        let event = done::<R, _>(socket.next_event()).await.expect("the socket is open");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

pub(crate) async fn a_connection_is_told_from_its_begin_to_its_end<R: Runtime>() {
    let (pull, push) = (Pull::<R>::new(), Push::<R>::new());
    let waits = std::thread::spawn({
        let pull = pull.clone();
        move || bowline::blocking::block_on(done::<R, _>(pull.next_event()))
    });
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let listening = waits.join().expect("no panic");
    assert_eq!(listening, Some(SocketEvent::Listening { endpoint: bound.as_str().into() }));
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    for number in 0..3_u8 {
        done::<R, _>(push.send([vec![number], vec![7; 10]])).await.expect("open");
    }
    done::<R, _>(pull.recv()).await.expect("open");

    let accepted = event(&pull, |event| match event {
        SocketEvent::Accepted { pipe, endpoint, from } if **endpoint == *bound => Some((*pipe, from.clone())),
        _ => None,
    })
    .await;
    let up = event(&pull, |event| match event {
        SocketEvent::PeerUp(pipe, peer) => Some((*pipe, peer.socket_type)),
        _ => None,
    })
    .await;
    assert_eq!(up, (accepted.0, Some(bowline::zmtp::SocketType::Push)));
    let dialing = done::<R, _>(push.next_event()).await;
    assert!(
        matches!(&dialing, Some(SocketEvent::Dialing { address, attempt: 1, .. })
            if format!("tcp://{address}") == bound),
        "{dialing:?}"
    );
    assert!(matches!(push.take_event(), Some(SocketEvent::PeerUp(..))));

    let [theirs] = &pull.pipes()[..] else { panic!("one peer") };
    assert_eq!((theirs.id, theirs.role, &*theirs.endpoint), (accepted.0, Role::Accepting, &*bound));
    assert!(theirs.address.is_some() && theirs.address == accepted.1, "{theirs:?}");
    assert!(theirs.stats.received >= 1 && theirs.stats.handshakes == 1 && theirs.peer.is_some());
    let [ours] = &push.pipes()[..] else { panic!("one peer") };
    assert_eq!((ours.role, &*ours.endpoint), (Role::Dialing, &*bound));
    assert_eq!(ours.address.as_ref().map(|address| format!("tcp://{address}")), Some(bound.clone()));

    let (seen, pipe) = (push.clone(), ours.id);
    done::<R, _>(push.close()).await;
    let retired = event(&seen, |event| match event {
        SocketEvent::Retired { pipe, cause } => Some((*pipe, cause.clone())),
        _ => None,
    })
    .await;
    assert_eq!(retired, (pipe, Disconnect::LocalClose));
    assert_eq!(done::<R, _>(seen.next_event()).await, None, "it is closed, and all was told");
    let down = event(&pull, |event| match event {
        SocketEvent::PeerDown(pipe, cause) => Some((*pipe, cause.clone())),
        _ => None,
    })
    .await;
    assert_eq!(down, (accepted.0, Disconnect::PeerClosed));
    pull.unbind(&bound).expect("it is bound there");
    assert_eq!(pull.take_event(), Some(SocketEvent::Unbound { endpoint: bound.as_str().into() }));
    assert!(pull.pipes().is_empty() && seen.pipes().is_empty());
    assert_eq!(pull.stats().events_lost, 0);
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn sockets_of_one_process_are_told_of<R: Runtime>() {
    let (pull, push) = (Pull::<R>::new(), Push::<R>::new());
    let endpoint = format!("inproc://told of {}", std::any::type_name::<R>());
    push.connect(&endpoint).expect("an endpoint");
    assert_eq!(pull.bind(&endpoint).expect("it is free"), endpoint);
    assert_eq!(
        done::<R, _>(pull.next_event()).await,
        Some(SocketEvent::Listening { endpoint: endpoint.as_str().into() })
    );
    let up = |event: &SocketEvent| match event {
        SocketEvent::PeerUp(pipe, _) => Some(*pipe),
        _ => None,
    };
    let (theirs, ours) = (event(&pull, up).await, event(&push, up).await);
    for (pipes, id) in [(pull.pipes(), theirs), (push.pipes(), ours)] {
        let [info] = &pipes[..] else { panic!("one peer") };
        assert_eq!((info.id, &*info.endpoint, info.address.as_ref()), (id, &*endpoint, None));
    }
    done::<R, _>(push.close()).await;
    let down = event(&pull, |event| match event {
        SocketEvent::PeerDown(pipe, cause) => Some((*pipe, cause.clone())),
        _ => None,
    })
    .await;
    assert_eq!(down, (theirs, Disconnect::PeerClosed));
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn failed_attempts_say_why_and_when_the_next_is<R: Runtime>() {
    let (_reserved, nowhere) = closed_port();
    let push = Push::<R>::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).open().expect("sound");
    push.connect(&nowhere).expect("an endpoint");
    for attempt in 1..4 {
        let failed = event(&push, |event| match event {
            SocketEvent::DialFailed { attempt, failure, .. } => Some((*attempt, failure.clone())),
            _ => None,
        })
        .await;
        assert_eq!(failed.0, attempt);
        assert!(
            matches!(&failed.1.cause, Disconnect::Transport(error) if error.kind() == TransportKind::Refused),
            "{:?}",
            failed.1
        );
        let next = done::<R, _>(push.next_event()).await;
        assert!(
            matches!(&next, Some(SocketEvent::Retrying { attempt: next, after, .. })
                if *next == attempt + 1 && *after <= MS * 5),
            "{next:?}"
        );
    }
    push.disconnect(&nowhere).expect("it is connected there");
    event(&push, |event| matches!(event, SocketEvent::Retired { .. }).then_some(())).await;
    done::<R, _>(push.close()).await;

    // The attempts are used up: that is reported with the result of the last one.
    let push = Push::<R>::builder().reconnect(ReconnectPolicy::never()).open().expect("sound");
    push.connect(&nowhere).expect("an endpoint");
    let cause = event(&push, |event| match event {
        SocketEvent::Retired { cause, .. } => Some(cause.clone()),
        _ => None,
    })
    .await;
    assert!(
        matches!(&cause, Disconnect::Transport(error) if error.kind() == TransportKind::Refused),
        "{cause:?}"
    );
    done::<R, _>(push.close()).await;
}

/// The peers of one that speaks, but not ZMTP; of one that says nothing; of one that may not come in.
pub(crate) async fn a_failed_handshake_says_why<R: Runtime>() {
    let pull = Pull::<R>::builder()
        .options(|options| options.mechanism(Mechanism::PlainServer).handshake(MS * 300))
        .authenticate(|_| Decision::Refuse { status: 400 })
        .open()
        .expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let address = bound.strip_prefix("tcp://").expect("TCP");
    let failure = || {
        event(&pull, |event| match event {
            SocketEvent::HandshakeFailed { why, .. } => Some(why.clone()),
            _ => None,
        })
    };

    let silent = TcpStream::connect(address).expect("it listens");
    assert_eq!(failure().await, HandshakeFailure::Timeout { limit: MS * 300 });
    drop(silent);
    let mut other = TcpStream::connect(address).expect("it listens");
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("connected");
    let why = failure().await;
    assert!(matches!(why, HandshakeFailure::Protocol(_)), "{why:?}");
    let resetting = TcpStream::connect(address).expect("it listens");
    let from = Address::Tcp(resetting.local_addr().expect("connected"));
    event(&pull, |event| match event {
        SocketEvent::Accepted { from: accepted, .. } => (accepted.as_ref() == Some(&from)).then_some(()),
        _ => None,
    })
    .await;
    socket2::SockRef::from(&resetting).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(resetting);
    assert_eq!(failure().await.to_string(), format!("{from} reset the connection"));

    let mechanism = Mechanism::PlainClient { username: "me".into(), password: "guessed".into() };
    let push = Push::<R>::builder().options(|options| options.mechanism(mechanism)).open().expect("sound");
    push.connect(&bound).expect("an endpoint");
    let why = failure().await;
    assert_eq!((why.status(), why), (Some(400), HandshakeFailure::Authentication { status: 400 }));
    let theirs = event(&push, |event| match event {
        SocketEvent::HandshakeFailed { why, .. } => Some(why.clone()),
        _ => None,
    })
    .await;
    assert!(matches!(theirs, HandshakeFailure::Refused { .. }) && theirs.status() == Some(400), "{theirs:?}");
    let cause = event(&push, |event| match event {
        SocketEvent::Retired { cause, .. } => Some(cause.clone()),
        _ => None,
    })
    .await;
    assert!(matches!(ZmtpError::of(&cause), Some(ZmtpError::Refused { .. })), "{cause:?}");
    done::<R, _>(push.close()).await;
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn connections_beyond_the_limit_are_told<R: Runtime>() {
    let mut limits = AcceptLimits::default();
    limits.connections = 1;
    let pull = Pull::<R>::builder().accept_limits(limits).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let push = Push::<R>::new();
    done::<R, _>(push.connect_ready(&bound)).await.expect("it is the first");
    let second = TcpStream::connect(bound.strip_prefix("tcp://").expect("TCP")).expect("it listens");
    let refused = event(&pull, |event| match event {
        SocketEvent::AcceptRefused { endpoint, from, limit } => {
            Some((endpoint.to_string(), from.clone(), *limit))
        }
        _ => None,
    })
    .await;
    let from = second.local_addr().expect("connected").into();
    assert_eq!(refused, (bound, from, AcceptLimit::Connections));
    done::<R, _>(push.close()).await;
    done::<R, _>(pull.close()).await;
}

/// A caller that waits for peers that never come gets an error when the socket closes.
pub(crate) async fn a_close_ends_every_wait<R: Runtime>() {
    let publisher = Socket::<R, kinds::Pub>::new();
    let wait = |of: Socket<R, kinds::Pub>| {
        std::thread::spawn(move || bowline::blocking::block_on(done::<R, _>(of.wait_for_subscribers(1))))
    };
    let waits = wait(publisher.clone());
    // It may not wait yet; then it finds the socket closed.
    std::thread::yield_now();
    let other = publisher.clone();
    done::<R, _>(publisher.close()).await;
    assert!(waits.join().expect("no panic").is_err());
    assert!(wait(other.clone()).join().expect("no panic").is_err());
    assert_eq!(done::<R, _>(other.next_event()).await, None);
}
