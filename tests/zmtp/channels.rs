//! Sockets behind channels.

use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{Buffer, Message, ReceiveError, Refusal, RegisterError, SocketType, kinds};
use bowline::{QueueLimit, ReconnectPolicy};
use bowline_zmtp::socket::{RecvError, SendError as SocketSendError};
use bowline_zmtp_driver::{Receiver, Sender, Socket, channel};

use crate::{aside, done};

const MS: Duration = Duration::from_millis(1);

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;
type Req<R> = Socket<R, kinds::Req>;
type Rep<R> = Socket<R, kinds::Rep>;

fn name<R>(what: &str) -> String {
    format!("inproc://{what}-{}", std::any::type_name::<R>())
}

async fn text<R: Runtime>(receiver: &mut Receiver<R>) -> String {
    let message = done::<R, _>(receiver.recv()).await.expect("a message");
    String::from_utf8(message[0].to_vec()).expect("text")
}

/// The quick start of zmq-async.
pub(crate) async fn ping_and_pong<R: Runtime>() {
    let endpoint = name::<R>("ping-pong");
    let new = || channel::<R>(Buffer::sliding(64));
    let [(s_in, s_requests), (s_replies, mut s_out)] = [new(), new()];
    let [(c_in, c_requests), (c_replies, mut c_out)] = [new(), new()];
    let server = Rep::<R>::register_new(|socket| socket.bind(&endpoint).map(drop), s_requests, s_replies);
    let client = Req::<R>::register_new(|socket| socket.connect(&endpoint), c_requests, c_replies);
    let (server, client) = (server.expect("both channels"), client.expect("both channels"));
    for _ in 0..3 {
        done::<R, _>(c_in.send("ping")).await.expect("open");
        assert_eq!(text(&mut s_out).await, "ping");
        done::<R, _>(s_in.send("pong")).await.expect("open");
        assert_eq!(text(&mut c_out).await, "pong");
    }
    // Closing, and dropping, `in` closes the socket, which ends `out`.
    c_in.close();
    assert_eq!(done::<R, _>(c_out.recv()).await, Err(ReceiveError::Closed));
    drop(s_in);
    assert_eq!(done::<R, _>(s_out.recv()).await, Err(ReceiveError::Closed));
    for registration in [server, client] {
        assert!(done::<R, _>(registration.closed()).await.is_empty());
        let stats = registration.stats();
        assert_eq!((stats.sent, stats.received, stats.refused, stats.is_closed), (3, 3, 0, true));
    }
    assert_eq!(c_in.try_send("late").expect_err("closed").reason(), &Refusal::ChannelClosed);
}

pub(crate) async fn what_a_type_has_no_use_for_is_refused<R: Runtime>() {
    let new = || channel::<R>(Buffer::fixed(1));
    let (sender, requests) = new();
    let refused = Pull::<R>::new().register(requests, new().0).expect_err("a PULL does not send");
    assert!(matches!(refused, RegisterError::NoIn(SocketType::Pull)));
    assert!(sender.is_closed(), "nobody takes anything out");
    let refused = Push::<R>::new().register(new().1, new().0).expect_err("a PUSH does not receive");
    assert!(matches!(refused, RegisterError::NoOut(SocketType::Push)));
    let refused = Rep::<R>::new().register(None, new().0).expect_err("a REP takes turns");
    assert!(matches!(refused, RegisterError::NeedsBoth(SocketType::Rep)));
    let refused = Push::<R>::new().register(None, None).expect_err("there is nothing to do");
    assert!(matches!(refused, RegisterError::NoChannel(SocketType::Push)));
    let refused = Push::<R>::register_new(|socket| socket.connect("nowhere"), new().1, None);
    assert!(matches!(refused.expect_err("no endpoint"), RegisterError::Configure(_)));
}

/// A socket is taken as it is: connected, with messages in it.
pub(crate) async fn a_socket_is_taken_as_it_is<R: Runtime>() {
    let (push, pull) = (Push::<R>::new(), Pull::<R>::new());
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    done::<R, _>(push.send(["before", "it"])).await.expect("open");
    let (replies, mut out) = channel::<R>(Buffer::fixed(4));
    let (sender, requests) = channel::<R>(Buffer::fixed(4));
    let pulls = pull.clone().register(None, replies).expect("a PULL receives");
    push.register(requests, None).expect("a PUSH sends");
    let large = vec![7; 100_000];
    for number in 0..200_u32 {
        done::<R, _>(sender.send([&number.to_be_bytes()[..], &large])).await.expect("open");
        if number == 0 {
            assert_eq!(text(&mut out).await, "before");
        }
        let message = done::<R, _>(out.recv()).await.expect("open");
        assert_eq!((&message[0][..], message[1].len()), (&number.to_be_bytes()[..], large.len()));
    }
    // It is passed on as it was received.
    let message = Message::from_iter([b"again".to_vec()]);
    done::<R, _>(sender.pass_on(message)).await.expect("open");
    assert_eq!(text(&mut out).await, "again");
    // The socket's own handle closes it, which ends `out`.
    done::<R, _>(pull.close()).await;
    assert_eq!(done::<R, _>(out.recv()).await, Err(ReceiveError::Closed));
    assert_eq!(pulls.stats().received, 202);
}

pub(crate) async fn buffers_do_as_they_say<R: Runtime>() {
    let fill = |sender: &Sender<R>| {
        for number in 0..5_u8 {
            sender.try_send(vec![number]).expect("it takes everything");
        }
    };
    let take = |receiver: &mut Receiver<R>| {
        std::iter::from_fn(|| receiver.try_recv().expect("open").map(|message| message[0][0]))
            .collect::<Vec<_>>()
    };
    let (sender, mut receiver) = channel::<R>(Buffer::sliding(3));
    fill(&sender);
    assert_eq!((receiver.stats().waiting, receiver.stats().waiting_bytes), (3, 3));
    assert_eq!(take(&mut receiver), [2, 3, 4]);
    assert_eq!((receiver.stats().sent, receiver.stats().received, receiver.stats().dropped), (5, 3, 2));
    let (sender, mut receiver) = channel::<R>(Buffer::dropping(3));
    fill(&sender);
    assert_eq!(take(&mut receiver), [0, 1, 2]);
    assert_eq!((receiver.stats().sent, receiver.stats().dropped), (3, 2));
    // By bytes: what is over the limit goes, but for the newest.
    let (sender, mut receiver) = channel::<R>(Buffer::sliding(10).bytes(100));
    for size in [60, 60, 200, 1] {
        sender.try_send(vec![size; usize::from(size)]).expect("it takes everything");
    }
    assert_eq!(take(&mut receiver), [1]);
    assert_eq!(receiver.stats().dropped, 3);

    let (sender, mut receiver) = channel::<R>(Buffer::fixed(2));
    (0..2_u8).for_each(|number| sender.try_send(vec![number]).expect("there is room"));
    let full = sender.try_send("x").expect_err("it is full");
    assert!(full.reason() == &Refusal::ChannelFull && full.is_retryable());
    let late = done::<R, _>(sender.send_timeout("x", MS * 10)).await.expect_err("it is full");
    assert_eq!((late.reason(), &late.clone().into_message()[0][..]), (&Refusal::TimedOut, &b"x"[..]));
    assert_eq!(take(&mut receiver), [0, 1]);
    // Several senders and receivers: each message once.
    let senders: Vec<_> = (0..4_u8)
        .map(|from| {
            let sender = sender.clone();
            aside(move || async move {
                for number in 0..100_u8 {
                    done::<R, _>(sender.send(vec![from, number])).await.expect("open");
                }
            })
        })
        .collect();
    drop(sender);
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let mut receiver = receiver.clone();
            aside(move || async move {
                let mut got = Vec::new();
                while let Ok(message) = done::<R, _>(receiver.recv()).await {
                    got.push(message[0].to_vec());
                }
                got
            })
        })
        .collect();
    senders.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let mut all: Vec<_> = receivers.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
    all.sort();
    let expected: Vec<_> =
        (0..4_u8).flat_map(|from| (0..100_u8).map(move |number| vec![from, number])).collect();
    assert_eq!(all, expected);
    assert_eq!(done::<R, _>(receiver.recv()).await, Err(ReceiveError::Closed));
    assert_eq!(done::<R, _>(receiver.recv_timeout(MS)).await, Err(ReceiveError::Closed));
    // Unreceived messages are counted.
    let (sender, receiver) = channel::<R>(Buffer::fixed(2));
    sender.try_send("unread").expect("there is room");
    drop(receiver);
    assert_eq!((sender.stats().unread, sender.stats().waiting), (1, 0));
    assert_eq!(sender.try_send("x").expect_err("nobody is there").reason(), &Refusal::ChannelClosed);
}

/// Of a socket without peers: what it could not send comes back, and so does what waited for room in its `in`.
pub(crate) async fn closing_in_gives_messages_back<R: Runtime>() {
    let socket = Push::<R>::builder().linger(MS * 50).open().expect("sound");
    socket.bind("tcp://127.0.0.1:*").expect("it is free");
    let (sender, requests) = channel::<R>(Buffer::fixed(2));
    let registration = socket.register(requests, None).expect("a PUSH sends");
    // One is on its way to the socket, two are in the channel.
    for number in 0..3_u8 {
        done::<R, _>(sender.send(vec![number])).await.expect("open");
    }
    let blocked = sender.clone();
    let released = aside(move || async move { done::<R, _>(blocked.send("blocked")).await });
    std::thread::sleep(MS * 10);
    assert!(!released.is_finished(), "there is no room");
    let begun = Instant::now();
    sender.close();
    let refused = released.join().expect("no panic").expect_err("it is closed");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(refused.reason(), &Refusal::ChannelClosed);
    assert_eq!(&refused.into_message()[0][..], b"blocked");
    let unsent = done::<R, _>(registration.closed()).await;
    assert_eq!(unsent.iter().map(|message| message[0][0]).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(done::<R, _>(registration.closed()).await.is_empty(), "once");
    let stats = registration.stats();
    assert_eq!((stats.sent, stats.is_closed), (0, true));
}

/// The same when the socket is closed by its own handle, and when `in` is closed and a peer connects in time.
pub(crate) async fn closing_the_socket_releases_its_channels<R: Runtime>() {
    let socket = Push::<R>::new();
    let (sender, requests) = channel::<R>(Buffer::fixed(1));
    let registration = socket.clone().register(requests, None).expect("a PUSH sends");
    done::<R, _>(sender.send("first")).await.expect("open");
    done::<R, _>(sender.send("second")).await.expect("open");
    let blocked = sender.clone();
    let released = aside(move || async move { done::<R, _>(blocked.send("third")).await });
    std::thread::sleep(MS * 10);
    done::<R, _>(socket.close()).await;
    assert!(released.join().expect("no panic").is_err());
    assert_eq!(done::<R, _>(registration.closed()).await.len(), 2);
    assert!(sender.is_closed());

    let (socket, pull) = (Push::<R>::new(), Pull::<R>::new());
    let bound = socket.bind("tcp://127.0.0.1:*").expect("it is free");
    let (sender, requests) = channel::<R>(Buffer::fixed(10));
    let registration = socket.register(requests, None).expect("a PUSH sends");
    for number in 0..5_u8 {
        done::<R, _>(sender.send(vec![number])).await.expect("open");
    }
    drop(sender);
    pull.connect(&bound).expect("an endpoint");
    for number in 0..5_u8 {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], [number]);
    }
    assert!(done::<R, _>(registration.closed()).await.is_empty(), "all were sent within the linger");
}

pub(crate) async fn a_full_out_stalls_its_own_socket_only<R: Runtime>() {
    let limit = QueueLimit { messages: 10, bytes: 1 << 20 };
    let receiving = |out: Sender<R>| {
        let pull =
            Pull::<R>::builder().options(|options| options.receive_limit(limit)).open().expect("sound");
        let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
        pull.register(None, out).expect("a PULL receives");
        bound
    };
    let sending = || Push::<R>::builder().options(|options| options.send_limit(limit)).open().expect("sound");
    let (out, mut stalled) = channel::<R>(Buffer::fixed(3));
    let (slow, bound) = (sending(), receiving(out));
    done::<R, _>(slow.connect_ready(&bound)).await.expect("it listens");
    let (out, mut flowing) = channel::<R>(Buffer::fixed(3));
    let (quick, bound) = (sending(), receiving(out));
    done::<R, _>(quick.connect_ready(&bound)).await.expect("it listens");
    let (mut sent, body) = (0_u32, vec![7; 50_000]);
    while done::<R, _>(slow.send_timeout([&sent.to_be_bytes()[..], &body], MS * 100)).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "somebody holds it all");
    }
    assert!(stalled.stats().waiting <= 3, "it keeps its bound");
    for number in 0..500_u32 {
        done::<R, _>(quick.send(&number.to_be_bytes())).await.expect("open");
        assert_eq!(done::<R, _>(flowing.recv()).await.expect("open")[0][..], number.to_be_bytes());
    }
    for number in 0..sent {
        assert_eq!(done::<R, _>(stalled.recv()).await.expect("open")[0][..], number.to_be_bytes());
    }
    // There is no receiver any more: the socket closes, and its peer notices.
    drop(stalled);
    while done::<R, _>(slow.send_timeout("x", MS * 20)).await.is_ok() {}
}

/// Requests that wait in `in` are sent one after another; a lost peer is reported in place of the answer.
pub(crate) async fn a_req_asks_one_at_a_time<R: Runtime>() {
    let (sender, requests) = channel::<R>(Buffer::fixed(10));
    let (replies, mut out) = channel::<R>(Buffer::fixed(10));
    let req = Req::<R>::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).open().expect("sound");
    let rep = Rep::<R>::builder().linger(Duration::ZERO).open().expect("sound");
    let bound = rep.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
    let registration = req.register(requests, replies).expect("both channels");
    for number in 0..4_u8 {
        done::<R, _>(sender.send(vec![number])).await.expect("open");
    }
    for number in 0..2_u8 {
        let asked = done::<R, _>(rep.recv()).await.expect("a question");
        assert_eq!(asked[0][..], [number]);
        done::<R, _>(rep.send(&asked[0])).await.expect("its turn");
        assert_eq!(done::<R, _>(out.recv()).await.expect("an answer")[0][..], [number]);
    }
    done::<R, _>(rep.recv()).await.expect("the third question");
    done::<R, _>(rep.close()).await;
    let lost = Err(ReceiveError::Socket(RecvError::PeerLost));
    assert_eq!(done::<R, _>(out.recv()).await, lost);
    let rep = Rep::<R>::new();
    while rep.bind(&bound).is_err() {
        done::<R, _>(rep.recv_timeout(MS * 10)).await.expect_err("nothing is there");
    }
    assert_eq!(done::<R, _>(rep.recv()).await.expect("the fourth question")[0][..], [3]);
    done::<R, _>(rep.send("answer")).await.expect("its turn");
    assert_eq!(text(&mut out).await, "answer");
    // A REQ without anybody who takes its answers is of no use: it closes.
    drop(out);
    done::<R, _>(registration.closed()).await;
    assert!(sender.is_closed());
}

/// A message that the socket refuses is kept, with the reason.
pub(crate) async fn refused_messages_are_told<R: Runtime>() {
    let (sender, requests) = channel::<R>(Buffer::fixed(10));
    let (replies, out) = channel::<R>(Buffer::fixed(10));
    let router = Socket::<R, kinds::Router>::new();
    let registration = router.register(requests, replies).expect("both channels");
    done::<R, _>(sender.send(["nobody", "", "lost"])).await.expect("open");
    let refused = loop {
        match registration.take_refused() {
            Some(refused) => break refused,
            None => std::thread::sleep(MS),
        }
    };
    assert!(matches!(refused.reason(), Refusal::Socket(SocketSendError::Unroutable(_))));
    assert_eq!(&refused.into_message()[2][..], b"lost");
    assert_eq!((registration.stats().refused, registration.stats().sent), (1, 0));
    drop(out);
    // A ROUTER continues to send without `out`.
    done::<R, _>(sender.send(["nobody", "again"])).await.expect("open");
    while registration.stats().refused < 2 {
        std::thread::sleep(MS);
    }
    let (sender, requests) = channel::<R>(Buffer::fixed(10));
    let (replies, _out) = channel::<R>(Buffer::fixed(10));
    let registration = Rep::<R>::new().register(requests, replies).expect("both channels");
    done::<R, _>(sender.send("nobody asked")).await.expect("open");
    while registration.stats().refused < 1 {
        std::thread::sleep(MS);
    }
    let refused = registration.take_refused().expect("it is kept");
    assert_eq!(refused.reason(), &Refusal::Socket(SocketSendError::State(SocketType::Rep)));
}

/// A program may drop both channels once its last answer is in.
pub(crate) async fn the_last_answer_is_sent<R: Runtime>() {
    for round in 0..20 {
        let req = Req::<R>::new();
        let (sender, requests) = channel::<R>(Buffer::fixed(1));
        let (replies, mut out) = channel::<R>(Buffer::fixed(1));
        let rep = Rep::<R>::new();
        let bound = rep.bind(&name::<R>(&format!("last-{round}"))).expect("it is free");
        let registration = rep.register(requests, replies).expect("both channels");
        done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
        done::<R, _>(req.send("question")).await.expect("its turn");
        done::<R, _>(out.recv()).await.expect("a question");
        done::<R, _>(sender.send("answer")).await.expect("open");
        drop((out, sender));
        assert_eq!(&done::<R, _>(req.recv()).await.expect("an answer")[0][..], b"answer", "round {round}");
        assert!(done::<R, _>(registration.closed()).await.is_empty());
    }
}

/// Two sockets behind one `out`: a quiet one takes no place in it from the other.
pub(crate) async fn sockets_share_an_out<R: Runtime>() {
    let (out, mut receiver) = channel::<R>(Buffer::fixed(1));
    let push = Push::<R>::new();
    for number in 0..2 {
        let pull = Pull::<R>::new();
        let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
        pull.register(None, out.clone()).expect("a PULL receives");
        if number == 0 {
            done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
        }
    }
    drop(out);
    for number in 0..50_u8 {
        done::<R, _>(push.send(vec![number])).await.expect("open");
        assert_eq!(done::<R, _>(receiver.recv()).await.expect("open")[0][..], [number]);
    }
}
