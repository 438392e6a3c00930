//! Peers that disconnect and return, and peers that are silent for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{Heartbeat, ReceiveError, SocketEvent, SocketType};
use bowline_libzmq::{Context, Kind, Monitor, Option as TheirOption, Socket as Theirs, events};
use bowline_zmtp::socket::RecvError;

use crate::ours::{Ours, Parts, open};

const MS: Duration = Duration::from_millis(1);

/// Binds where another socket was bound a moment ago.
fn bind_again(socket: &Theirs, endpoint: &str) {
    for _ in 0..1_000 {
        if socket.bind(endpoint).is_ok() {
            return;
        }
        std::thread::sleep(MS * 10);
    }
    panic!("{endpoint} is not free again");
}

fn numbered(number: u32) -> Parts {
    vec![number.to_be_bytes().to_vec(), vec![7; (number as usize * 37) % 3_000]]
}

/// The number of a message that came whole.
fn number_of(parts: &[Vec<u8>]) -> u32 {
    let number = u32::from_be_bytes(parts[0][..].try_into().expect("a number"));
    assert!(parts == numbered(number), "message {number} did not come as it was sent");
    number
}

/// Their PULL goes and comes back, five times, while we push. What arrives is whole, in order and comes once.
pub(crate) async fn their_binder_goes_under_load<R: Runtime>() {
    let context = Context::default();
    let push = open::<R>(SocketType::Push, |options| options);
    let mut pull = context.socket(Kind::Pull);
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    push.connect(&bound);
    let (mut sent, mut last, mut silent) = (0, None, 0);
    for _ in 0..5 {
        let mut came = 0;
        while came < 300 {
            // More is sent than is taken, so that there is a load when it goes.
            for _ in 0..3 {
                if push.send(numbered(sent)).await.is_ok() {
                    sent += 1;
                }
            }
            let parts = match pull.recv_within(500) {
                Ok(parts) => parts,
                // A message that was written to a connection while that ended is lost with it.
                Err(error) => {
                    assert!(error.is_again() && silent < 20, "{sent} were sent: {error}");
                    silent += 1;
                    continue;
                }
            };
            let number = number_of(&parts);
            assert!(last < Some(number), "{number} came after {last:?}");
            last = Some(number);
            came += 1;
        }
        drop(pull);
        pull = context.socket(Kind::Pull);
        bind_again(&pull, &bound);
    }
    push.send(vec![b"end".to_vec()]).await.expect("there is room");
    let mut ends = 1;
    loop {
        let parts = match pull.recv_within(500) {
            Ok(parts) => parts,
            // As above: the end as well.
            Err(error) => {
                assert!(error.is_again() && ends < 20, "{ends} ends were sent: {error}");
                push.send(vec![b"end".to_vec()]).await.expect("there is room");
                ends += 1;
                continue;
            }
        };
        if parts == [b"end"] {
            break;
        }
        let number = number_of(&parts);
        assert!(last < Some(number), "{number} came after {last:?}");
        last = Some(number);
    }
    push.close().await;
}

/// Sends numbered messages from a separate thread until it is stopped.
fn under_load(socket: Theirs) -> (Arc<AtomicBool>, std::thread::JoinHandle<Theirs>) {
    let ends = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&ends);
    let thread = std::thread::spawn(move || {
        socket.set(TheirOption::SendTimeout, 10);
        let mut number = 0;
        while !until.load(Ordering::Relaxed) {
            match socket.send(&numbered(number)) {
                Ok(()) => number += 1,
                Err(error) => assert!(error.is_again(), "{error}"),
            }
        }
        socket
    });
    (ends, thread)
}

/// Our PULL goes and comes back, five times, while they push.
pub(crate) async fn our_binder_goes_under_load<R: Runtime>() {
    let context = Context::default();
    let mut pull = open::<R>(SocketType::Pull, |options| options);
    let bound = pull.bind("tcp://127.0.0.1:*");
    let push = context.socket(Kind::Push);
    push.connect(&bound).expect("an endpoint");
    let (ends, thread) = under_load(push);
    let mut last = None;
    for _ in 0..5 {
        for _ in 0..300 {
            let number = number_of(&pull.recv().await.expect("a message"));
            assert!(last < Some(number), "{number} came after {last:?}");
            last = Some(number);
        }
        pull.close().await;
        pull = open::<R>(SocketType::Pull, |options| options);
        while !pull.try_bind(&bound) {
            std::thread::sleep(MS * 10);
        }
    }
    let number = number_of(&pull.recv().await.expect("a message"));
    assert!(last < Some(number), "{number} came after {last:?}");
    ends.store(true, Ordering::Relaxed);
    drop(thread.join().expect("it ended well"));
    pull.close().await;
}

/// The sides that connect go and come back, while the sides that are bound stay: ours, then theirs.
pub(crate) async fn connecting_sides_go_under_load<R: Runtime>() {
    let context = Context::default();
    let push = context.socket(Kind::Push);
    let bound = push.bind("tcp://127.0.0.1:*").expect("free");
    let (ends, thread) = under_load(push);
    let mut last = None;
    for _ in 0..5 {
        let pull = open::<R>(SocketType::Pull, |options| options);
        pull.connect(&bound);
        for _ in 0..200 {
            let number = number_of(&pull.recv().await.expect("a message"));
            assert!(last < Some(number), "{number} came after {last:?}");
            last = Some(number);
        }
        pull.close().await;
    }
    ends.store(true, Ordering::Relaxed);
    drop(thread.join().expect("it ended well"));

    let pull = open::<R>(SocketType::Pull, |options| options);
    let bound = pull.bind("tcp://127.0.0.1:*");
    for _ in 0..5 {
        let push = context.socket(Kind::Push);
        push.connect(&bound).expect("an endpoint");
        let (ends, thread) = under_load(push);
        let mut last = None;
        for _ in 0..200 {
            let number = number_of(&pull.recv().await.expect("a message"));
            assert!(last < Some(number), "{number} came after {last:?}");
            last = Some(number);
        }
        ends.store(true, Ordering::Relaxed);
        drop(thread.join().expect("it ended well"));
        // The messages that it had sent before it ended are received, too.
        while let Ok(parts) = pull.recv_within(MS * 30).await {
            number_of(&parts);
        }
    }
    pull.close().await;
}

/// libzmq's REP ends with an open request: that is reported, and the next request is answered.
pub(crate) async fn a_question_is_lost_with_their_answerer<R: Runtime>() {
    let context = Context::default();
    let req = open::<R>(SocketType::Req, |options| options);
    let mut rep = context.socket(Kind::Rep);
    let bound = rep.bind("tcp://127.0.0.1:*").expect("free");
    req.connect(&bound);
    for round in 0..3_u8 {
        req.send(vec![vec![round]]).await.expect("its turn");
        assert_eq!(rep.recv().expect("a question"), [[round]]);
        drop(rep);
        let lost = req.recv().await.expect_err("nobody answers");
        assert_eq!(lost, ReceiveError::Socket(RecvError::PeerLost));
        rep = context.socket(Kind::Rep);
        bind_again(&rep, &bound);
        req.send(vec![vec![round, 1]]).await.expect("its turn");
        assert_eq!(rep.recv().expect("a question"), [[round, 1]]);
        rep.send(&["answer"]).expect("its turn");
        assert_eq!(req.recv().await.expect("an answer"), [b"answer"]);
    }
    req.close().await;
}

/// How often peers were lost.
fn downs(socket: &dyn Ours) -> usize {
    std::iter::from_fn(|| socket.take_event())
        .filter(|event| matches!(event, SocketEvent::PeerDown(..)))
        .count()
}

/// Heartbeats of one side, of the other and of both keep a quiet connection, whichever side binds.
pub(crate) async fn a_quiet_connection_stays<R: Runtime>() {
    for (we_ask, they_ask, we_bind) in
        [(true, false, true), (false, true, true), (true, true, false), (true, true, true)]
    {
        let context = Context::default();
        let ours = open::<R>(SocketType::Dealer, |options| {
            let quick = Heartbeat { interval: MS * 20, timeout: MS * 2_000, ttl: MS * 3_000 };
            options.heartbeat(we_ask.then_some(quick))
        });
        let theirs = context.socket(Kind::Dealer);
        if they_ask {
            theirs.set(TheirOption::HeartbeatInterval, 20);
            theirs.set(TheirOption::HeartbeatTimeout, 2_000);
            theirs.set(TheirOption::HeartbeatTtl, 3_000);
        }
        if we_bind {
            theirs.connect(&ours.bind("tcp://127.0.0.1:*")).expect("an endpoint");
        } else {
            ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free"));
        }
        ours.send(vec![b"first".to_vec()]).await.expect("open");
        theirs.recv().expect("a message");
        std::thread::sleep(MS * 300);
        assert_eq!(downs(&*ours), 0, "each asked and was answered");
        theirs.send(&["last"]).expect("there is room");
        assert_eq!(ours.recv().await.expect("a message"), [b"last"]);
        ours.close().await;
    }
}

/// Their side asks us and we read nothing, because our queue is full: they hear of us all the same.
pub(crate) async fn a_full_receiver_does_not_seem_dead<R: Runtime>() {
    let context = Context::default();
    let pull = open::<R>(SocketType::Pull, |options| {
        let limit = bowline::QueueLimit { messages: 4, bytes: 1 << 16 };
        options.receive_limit(limit).heartbeat(Some(Heartbeat { interval: MS * 100, ..Heartbeat::default() }))
    });
    let push = context.socket(Kind::Push);
    push.set(TheirOption::HeartbeatInterval, 50);
    push.set(TheirOption::HeartbeatTimeout, 400);
    push.set(TheirOption::SendHighWater, 4);
    let monitor = Monitor::new(&push);
    push.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
    push.set(TheirOption::SendTimeout, 200);
    let mut sent = 0_u32;
    while push.send(&[sent.to_be_bytes().to_vec(), vec![1; 20_000]]).is_ok() {
        sent += 1;
    }
    assert!(sent > 4, "{sent}");
    // Several times as long as they wait for a word of us.
    std::thread::sleep(MS * 1_500);
    for number in 0..sent {
        assert_eq!(pull.recv().await.expect("a message")[0], number.to_be_bytes());
    }
    assert_eq!(downs(&*pull), 0);
    drop(push);
    let seen = monitor.wait_for(events::CLOSED | events::DISCONNECTED | events::HANDSHAKE_SUCCEEDED);
    assert_eq!(seen.bit, events::HANDSHAKE_SUCCEEDED, "it was the only connection");
    pull.close().await;
}
