//! Sockets of one process, joined without a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline::QueueLimit;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::{Kind, Message, Outgoing, Refusal, SocketEvent, kinds};
use bowline_zmtp_driver::Socket;

use crate::done;

const MS: Duration = Duration::from_millis(1);

/// A name that no other test has.
fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("inproc://test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn socket<R: Runtime, K: Kind>() -> Socket<R, K> {
    Socket::new()
}

/// Each pair of types, whichever side is there first.
pub(crate) async fn types_find_each_other<R: Runtime>() {
    async fn pair<R: Runtime, A: Kind, B: Kind>(binds_first: bool) -> (Socket<R, A>, Socket<R, B>) {
        let (bound, connected, name) = (socket::<R, A>(), socket::<R, B>(), name());
        if binds_first {
            bound.bind(&name).expect("it is free");
        }
        connected.connect(&name).expect("an endpoint");
        if !binds_first {
            bound.bind(&name).expect("it is free");
        }
        (bound, connected)
    }
    for first in [true, false] {
        let (rep, req) = pair::<R, kinds::Rep, kinds::Req>(first).await;
        for number in 0..3_u8 {
            done::<R, _>(req.send(vec![number])).await.expect("joined");
            assert_eq!(done::<R, _>(rep.recv()).await.expect("open")[0][..], [number]);
            done::<R, _>(rep.send(vec![number + 1])).await.expect("asked");
            assert_eq!(done::<R, _>(req.recv()).await.expect("open")[0][..], [number + 1]);
        }
        let (router, dealer) = pair::<R, kinds::Router, kinds::Dealer>(first).await;
        done::<R, _>(dealer.send(["a", "b"])).await.expect("joined");
        let message = done::<R, _>(router.recv()).await.expect("open");
        assert_eq!((message.len(), &message[1][..], &message[2][..]), (3, &b"a"[..], &b"b"[..]));
        done::<R, _>(router.send(&message)).await.expect("a peer of that name");
        assert_eq!(done::<R, _>(dealer.recv()).await.expect("open").len(), 2);
        let (one, other) = pair::<R, kinds::Pair, kinds::Pair>(first).await;
        done::<R, _>(one.send("there")).await.expect("joined");
        done::<R, _>(other.send("back")).await.expect("joined");
        assert_eq!(&done::<R, _>(other.recv()).await.expect("open")[0][..], b"there");
        assert_eq!(&done::<R, _>(one.recv()).await.expect("open")[0][..], b"back");
        let (server, client) = pair::<R, kinds::Server, kinds::Client>(first).await;
        done::<R, _>(client.send("ask")).await.expect("joined");
        let message = done::<R, _>(server.recv()).await.expect("open");
        done::<R, _>(server.send(&message)).await.expect("a peer of that number");
        assert_eq!(&done::<R, _>(client.recv()).await.expect("open")[0][..], b"ask");
        let (gather, scatter) = pair::<R, kinds::Gather, kinds::Scatter>(first).await;
        done::<R, _>(scatter.send("x")).await.expect("joined");
        assert_eq!(&done::<R, _>(gather.recv()).await.expect("open")[0][..], b"x");
    }
}

/// Subscriptions arrive before or after the sockets are joined, and end.
pub(crate) async fn topics_and_groups<R: Runtime>() {
    let (publisher, subscriber, name) = (socket::<R, kinds::XPub>(), socket::<R, kinds::Sub>(), name());
    subscriber.subscribe("a");
    subscriber.connect(&name).expect("an endpoint");
    publisher.bind(&name).expect("it is free");
    assert_eq!(&done::<R, _>(publisher.recv()).await.expect("open")[0][..], b"\x01a");
    subscriber.subscribe("b");
    assert_eq!(publisher.subscriptions(), 2);
    let large = vec![b'b'; 100_000];
    for body in [&b"a1"[..], b"c", &large] {
        done::<R, _>(publisher.send([body, &large])).await.expect("a publisher never waits");
    }
    for size in [2, 100_000] {
        let message = done::<R, _>(subscriber.recv()).await.expect("open");
        assert_eq!((message[0].len(), message[1].len()), (size, 100_000));
    }
    assert!(subscriber.unsubscribe("a"));
    done::<R, _>(publisher.send("a2")).await.expect("a publisher never waits");
    assert_eq!((publisher.stats().discarded, subscriber.try_recv().expect("open")), (2, None));

    let (radio, dish) = (socket::<R, kinds::Radio>(), socket::<R, kinds::Dish>());
    let name = self::name();
    radio.bind(&name).expect("it is free");
    dish.connect(&name).expect("an endpoint");
    dish.subscribe("group");
    done::<R, _>(radio.send(["other", "1"])).await.expect("a publisher never waits");
    done::<R, _>(radio.send(["group", "2"])).await.expect("a publisher never waits");
    let message = done::<R, _>(dish.recv()).await.expect("open");
    assert_eq!((&message[0][..], &message[1][..]), (&b"group"[..], &b"2"[..]));
}

/// The queue holds as much as both sides' limits permit; waiting callers are woken.
pub(crate) async fn the_limits_of_both_sides_add_up<R: Runtime>() {
    let limit = |messages| QueueLimit { messages, bytes: 1 << 20 };
    let push = Socket::<R, kinds::Push>::builder().options(|options| options.send_limit(limit(10)));
    let pull = Socket::<R, kinds::Pull>::builder().options(|options| options.receive_limit(limit(20)));
    let (push, pull) = (push.open().expect("sound"), pull.open().expect("sound"));
    let name = name();
    pull.bind(&name).expect("it is free");
    push.connect(&name).expect("an endpoint");
    let mut sent = 0_u8;
    while push.try_send(vec![sent]).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 10 + 20 / 2);
    let late = done::<R, _>(push.send_timeout("late", MS * 20)).await.expect_err("it is full");
    assert_eq!(late.reason(), &Refusal::TimedOut);
    for number in 0..sent {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], [number]);
    }
    done::<R, _>(push.send("there is room again")).await.expect("open");
}

/// One that waits for room, on threads, is woken by a receiver of this runtime.
pub(crate) async fn a_sender_waits_for_room<R: Runtime>() {
    let limit = QueueLimit { messages: 4, bytes: 1 << 20 };
    let pull = Socket::<R, kinds::Pull>::builder().options(|options| options.receive_limit(limit));
    let (pull, name) = (pull.open().expect("sound"), name());
    pull.bind(&name).expect("it is free");
    let sending = std::thread::spawn(move || {
        let push = bowline::blocking::zmtp::Push::builder().options(|options| options.send_limit(limit));
        let push = push.open().expect("sound");
        push.connect(&name).expect("an endpoint");
        for number in 0..5_000_u32 {
            push.send(&number.to_be_bytes()).expect("open");
        }
        push.close();
    });
    for number in 0..5_000_u32 {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], number.to_be_bytes());
    }
    sending.join().expect("it ends");
}

/// The binder goes, and another socket takes the name: the one that connected finds it.
pub(crate) async fn another_takes_the_name<R: Runtime>() {
    let (dealer, name) = (socket::<R, kinds::Dealer>(), name());
    dealer.connect(&name).expect("an endpoint");
    for round in 0..3_u8 {
        let rep = socket::<R, kinds::Rep>();
        rep.bind(&name).expect("it is free");
        assert!(socket::<R, kinds::Rep>().bind(&name).is_err(), "it is taken");
        done::<R, _>(dealer.send(vec![vec![], vec![round]])).await.expect("joined");
        assert_eq!(done::<R, _>(rep.recv()).await.expect("open")[0][..], [round]);
        done::<R, _>(rep.close()).await;
        let refused = dealer.try_send("nobody").expect_err("its peer is gone");
        assert!(refused.is_retryable());
    }
    let rep = socket::<R, kinds::Rep>();
    rep.bind(&name).expect("it is free");
    rep.unbind(&name).expect("it was bound");
    let other = socket::<R, kinds::Rep>();
    other.bind(&name).expect("it is free again");
    done::<R, _>(dealer.send(vec![vec![], vec![9]])).await.expect("joined still");
    assert_eq!(done::<R, _>(rep.recv()).await.expect("open")[0][..], [9]);
}

/// Incompatible types, a second peer of a PAIR, a routing id in use: both sides get an error.
pub(crate) async fn who_does_not_fit_is_refused<R: Runtime>() {
    fn refusals<R: Runtime, K: Kind>(socket: &Socket<R, K>) -> Vec<ZmtpError> {
        std::iter::from_fn(|| socket.take_event())
            .filter_map(|event| match event {
                SocketEvent::PeerRefused(_, error) => Some(error),
                _ => None,
            })
            .collect()
    }
    let (rep, push, name) = (socket::<R, kinds::Rep>(), socket::<R, kinds::Push>(), name());
    rep.bind(&name).expect("it is free");
    assert!(done::<R, _>(push.connect_ready(&name)).await.is_err());
    assert!(matches!(refusals(&rep)[..], [ZmtpError::SocketType { .. }]));
    assert!(matches!(refusals(&push)[..], [ZmtpError::SocketType { .. }]));

    let (one, name) = (socket::<R, kinds::Pair>(), self::name());
    one.bind(&name).expect("it is free");
    let (first, second) = (socket::<R, kinds::Pair>(), socket::<R, kinds::Pair>());
    done::<R, _>(first.connect_ready(&name)).await.expect("it is bound");
    assert!(done::<R, _>(second.connect_ready(&name)).await.is_err());
    assert!(matches!(refusals(&one)[..], [ZmtpError::SecondPeer(_)]));
    done::<R, _>(first.send("still there")).await.expect("joined");
    assert_eq!(&done::<R, _>(one.recv()).await.expect("open")[0][..], b"still there");
    assert!(second.try_send("nobody").is_err());
}

/// Messages of a peer that has disconnected are received; messages that wait for a name are returned when the
/// socket closes.
pub(crate) async fn what_was_sent_is_received_or_comes_back<R: Runtime>() {
    let (push, pull, name) = (socket::<R, kinds::Push>(), socket::<R, kinds::Pull>(), name());
    pull.bind(&name).expect("it is free");
    push.connect(&name).expect("an endpoint");
    for number in 0..5_u8 {
        done::<R, _>(push.send(vec![number])).await.expect("joined");
    }
    assert!(done::<R, _>(push.close()).await.is_empty(), "its peer has them");
    for number in 0..5_u8 {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], [number]);
    }
    let early = Socket::<R, kinds::Push>::builder().options(|options| options.immediate(false));
    let early = early.open().expect("sound");
    early.connect(&self::name()).expect("an endpoint");
    for number in 0..5_u8 {
        done::<R, _>(early.send(vec![number])).await.expect("it has a queue");
    }
    let back = done::<R, _>(early.close()).await;
    assert_eq!(back.iter().map(|message| message[0][0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

/// Queued before there is a peer: the peer gets it first.
pub(crate) async fn what_waits_for_a_name_goes_first<R: Runtime>() {
    let early = Socket::<R, kinds::Push>::builder().options(|options| options.immediate(false));
    let (early, name) = (early.open().expect("sound"), name());
    early.connect(&name).expect("an endpoint");
    for number in 0..5_u8 {
        done::<R, _>(early.send([vec![number], vec![7; 20_000]])).await.expect("it has a queue");
    }
    let pull = socket::<R, kinds::Pull>();
    pull.bind(&name).expect("it is free");
    done::<R, _>(early.send(vec![5_u8])).await.expect("joined");
    for number in 0..=5_u8 {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], [number]);
    }
}

/// A socket on threads and one of this runtime.
pub(crate) async fn two_runtimes_meet<R: Runtime>() {
    let (rep, name) = (socket::<R, kinds::Rep>(), name());
    rep.bind(&name).expect("it is free");
    let asking = std::thread::spawn(move || {
        let req = bowline::blocking::zmtp::Req::new();
        req.connect(&name).expect("an endpoint");
        for number in 0..1_000_u32 {
            req.send(&number.to_be_bytes()).expect("joined");
            assert_eq!(req.recv().expect("open")[0][..], number.to_le_bytes());
        }
        req.close();
    });
    for _ in 0..1_000 {
        let asked = done::<R, _>(rep.recv()).await.expect("open");
        let number = u32::from_be_bytes(asked[0][..].try_into().expect("a number"));
        done::<R, _>(rep.send(&number.to_le_bytes())).await.expect("asked");
    }
    asking.join().expect("it ends");
}

/// A message whose conversion uses its socket, as a program's own type may.
struct Asks<R: Runtime>(Socket<R, kinds::Push>, [u8; 2]);

impl<'a, R: Runtime> From<&'a Asks<R>> for Outgoing<'a> {
    fn from(Asks(socket, number): &'a Asks<R>) -> Self {
        assert_eq!(socket.stats().discarded, 0);
        Self::from(&number[..])
    }
}

/// Several messages at a time arrive once and in order. No lock is held while a message is converted or
/// borrowed.
pub(crate) async fn many_at_a_time<R: Runtime>() {
    let (push, pull, name) = (socket::<R, kinds::Push>(), socket::<R, kinds::Pull>(), name());
    pull.bind(&name).expect("it is free");
    let refused =
        done::<R, _>(push.send_many(&[vec![b"part".to_vec(); 2_000]])).await.expect_err("too many parts");
    assert_eq!((refused.sent(), refused.is_retryable()), (0, false));
    push.connect(&name).expect("an endpoint");
    let all: Vec<_> = (0..300_u16).map(|number| Asks(push.clone(), number.to_be_bytes())).collect();
    done::<R, _>(push.send_many(&all)).await.expect("joined");
    let (mut messages, mut one) = (Vec::new(), Message::new());
    assert_eq!(done::<R, _>(pull.recv_many(&mut messages, 100)).await, Ok(100));
    done::<R, _>(pull.recv_into(&mut one)).await.expect("open");
    messages.push(one);
    let lent = pull.recv_with(|message| {
        // Another one, while this one is borrowed.
        let next = pull.try_recv().expect("open").expect("there are more");
        [message.clone(), next]
    });
    messages.extend(done::<R, _>(lent).await.expect("open"));
    while messages.len() < 300 {
        done::<R, _>(pull.recv_many(&mut messages, 50)).await.expect("open");
    }
    let numbers =
        messages.iter().map(|message| u16::from_be_bytes(message[0][..].try_into().expect("two bytes")));
    assert!(numbers.eq(0..300));
}
