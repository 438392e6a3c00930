//! Halves of sockets, and waiting for several sockets at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bowline::QueueLimit;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{Outgoing, PollError, PollItem, ReceiveError, Refusal, SocketEvent, kinds};
use bowline_zmtp_driver::{Socket, poll_any};

use crate::{aside, done};

const MS: Duration = Duration::from_millis(1);

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;
type Req<R> = Socket<R, kinds::Req>;
type Rep<R> = Socket<R, kinds::Rep>;
type Pair<R> = Socket<R, kinds::Pair>;

async fn pairs<R: Runtime>() -> (Pair<R>, Pair<R>) {
    let (one, other) = (Pair::<R>::new(), Pair::<R>::new());
    let bound = one.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    (one, other)
}

pub(crate) async fn halves_keep_their_socket_open<R: Runtime>() {
    let (one, other) = pairs::<R>().await;
    let (sender, mut receiver) = other.split();
    let mut clone = sender.clone();
    drop(sender);
    // In another thread than the one that receives.
    aside(move || async move {
        for number in 0..100_u8 {
            done::<R, _>(clone.send(vec![number])).await.expect("open");
        }
        clone
    })
    .join()
    .expect("it sends");
    for number in 0..100_u8 {
        assert_eq!(done::<R, _>(one.recv()).await.expect("open")[0][..], [number]);
    }
    // The sending half is gone; the socket is not.
    done::<R, _>(one.send("still there")).await.expect("open");
    assert_eq!(&done::<R, _>(receiver.recv()).await.expect("open")[0][..], b"still there");
    drop(receiver);
    loop {
        match one.take_event() {
            Some(SocketEvent::PeerDown(..)) => break,
            Some(_) => {}
            None => drop(done::<R, _>(one.recv_timeout(MS * 5)).await),
        }
    }
    done::<R, _>(one.close()).await;
}

/// A place in the queue that is left over from a poll blocks no one.
pub(crate) async fn halves_are_polled<R: Runtime>() {
    let (one, other) = pairs::<R>().await;
    let (mut sender, mut receiver) = one.split();
    let waiting = poll_fn(|cx| Poll::Ready(receiver.poll_recv(cx).is_pending())).await;
    assert!(waiting && receiver.try_recv() == Ok(None));
    assert!(poll_fn(|cx| Poll::Ready(receiver.poll_recv(cx).is_pending())).await);
    done::<R, _>(other.send("first")).await.expect("open");
    assert_eq!(&done::<R, _>(receiver.recv()).await.expect("open")[0][..], b"first");
    done::<R, _>(other.send("second")).await.expect("open");
    assert_eq!(&poll_fn(|cx| receiver.poll_recv(cx)).await.expect("open")[0][..], b"second");
    let message = Outgoing::from(["a", "b"]);
    poll_fn(|cx| sender.poll_send(cx, &message)).await.expect("open");
    assert_eq!(done::<R, _>(other.recv()).await.expect("open").len(), 2);
    done::<R, _>(other.close()).await;
    // Without a peer.
    while sender.try_send("nobody").is_ok() {
        done::<R, _>(receiver.recv_timeout(MS)).await.expect_err("nobody sends");
    }
    assert!(poll_fn(|cx| Poll::Ready(sender.poll_send(cx, &message).is_pending())).await);
    let mut second = sender.clone();
    let late = done::<R, _>(second.send_timeout("behind", MS * 20)).await.expect_err("nobody is there");
    assert_eq!(late.reason(), &Refusal::TimedOut);
    let late = done::<R, _>(sender.send_timeout("not behind itself", MS * 20)).await;
    assert_eq!(late.expect_err("nobody is there").reason(), &Refusal::TimedOut);
}

pub(crate) async fn any_of_several_sockets<R: Runtime>() {
    let (pull, (one, other)) = (Pull::<R>::new(), pairs::<R>().await);
    let push = Push::<R>::new();
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");

    assert_eq!(done::<R, _>(poll_any::<R>(&mut [], None)).await, Err(PollError::Empty));
    let mut items = [PollItem::recv(&pull), PollItem::recv(&one)];
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, Some(MS * 10))).await, Err(PollError::TimedOut));
    for (at, text) in [(0, "pull"), (1, "pair"), (0, "again")] {
        let (push, other) = (push.clone(), other.clone());
        let sending = aside(move || async move {
            std::thread::sleep(MS * 10);
            let sent = match at {
                0 => done::<R, _>(push.send(text)).await,
                _ => done::<R, _>(other.send(text)).await,
            };
            sent.expect("open");
        });
        assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
        assert_eq!([items[0].can_recv(), items[1].can_recv()], [at == 0, at == 1]);
        assert!(!items[at].can_send(), "nobody asked");
        // Nothing was taken away: it is still so.
        assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
        let message = if at == 0 { pull.try_recv() } else { one.try_recv() };
        assert_eq!(&message.expect("open").expect("it is there")[0][..], text.as_bytes());
        sending.join().expect("it sends");
    }
    done::<R, _>(push.send("both")).await.expect("open");
    done::<R, _>(other.send("both")).await.expect("open");
    while done::<R, _>(poll_any::<R>(&mut items, None)).await != Ok(2) {}
    drop((pull.try_recv().expect("open"), one.try_recv().expect("open")));

    // A call of `recv` gets its message although others wait for readiness.
    let (receiving, waiting) = (pull.clone(), pull.clone());
    let received = aside(move || async move { done::<R, _>(receiving.recv()).await });
    let polled = aside(move || async move {
        let mut items = [PollItem::recv(&waiting)];
        done::<R, _>(poll_any::<R>(&mut items, None)).await
    });
    std::thread::sleep(MS * 10);
    done::<R, _>(push.send("for the receiver")).await.expect("open");
    assert!(received.join().expect("no panic").is_ok());
    // Closing counts as being ready.
    let closing = pull.clone();
    done::<R, _>(closing.close()).await;
    assert_eq!(polled.join().expect("no panic"), Ok(1));
    let mut items = [PollItem::recv(&pull), PollItem::recv(&one)];
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
    assert!(items[0].can_recv() && pull.try_recv() == Err(ReceiveError::Closed));
}

pub(crate) async fn readiness_follows_room_and_turns<R: Runtime>() {
    let push = Push::<R>::new();
    let mut items = [PollItem::send(&push)];
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, Some(MS * 10))).await, Err(PollError::TimedOut));
    let waiting = push.clone();
    let polled = aside(move || async move {
        let mut items = [PollItem::send(&waiting)];
        done::<R, _>(poll_any::<R>(&mut items, None)).await
    });
    let pull = Pull::<R>::new();
    pull.connect(&push.bind("tcp://127.0.0.1:*").expect("it is free")).expect("an endpoint");
    assert_eq!(polled.join().expect("no panic"), Ok(1));
    // Until everything is full; then until there is room.
    while push.try_send(vec![0; 100_000]).is_ok() || push.stats().overflowed > 0 {}
    let (waiting, receiving) = (push.clone(), pull.clone());
    let polled = aside(move || async move {
        let mut items = [PollItem::send(&waiting)];
        done::<R, _>(poll_any::<R>(&mut items, None)).await
    });
    while !polled.is_finished() {
        done::<R, _>(receiving.recv()).await.expect("open");
    }
    assert_eq!(polled.join().expect("no panic"), Ok(1));
    push.try_send("there is room").expect("it said so");

    let (req, rep) = (Req::<R>::new(), Rep::<R>::new());
    done::<R, _>(req.connect_ready(&rep.bind("tcp://127.0.0.1:*").expect("it is free")))
        .await
        .expect("it listens");
    let mut items = [PollItem::either(&req), PollItem::either(&rep)];
    let turns = |items: &[PollItem<'_>; 2]| {
        let [req, rep] = items;
        [req.can_recv(), req.can_send(), rep.can_recv(), rep.can_send()]
    };
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
    assert_eq!(turns(&items), [false, true, false, false]);
    done::<R, _>(req.send("question")).await.expect("its turn");
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
    assert_eq!(turns(&items), [false, false, true, false]);
    done::<R, _>(rep.recv()).await.expect("its turn");
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
    assert_eq!(turns(&items), [false, false, false, true]);
    done::<R, _>(rep.send("answer")).await.expect("its turn");
    assert_eq!(done::<R, _>(poll_any::<R>(&mut items, None)).await, Ok(1));
    assert_eq!(turns(&items), [true, false, false, false]);
    // Another thread waits until the turn changes.
    let waiting = req.clone();
    let polled = aside(move || async move {
        let mut items = [PollItem::send(&waiting)];
        done::<R, _>(poll_any::<R>(&mut items, None)).await
    });
    std::thread::sleep(MS * 10);
    assert!(!polled.is_finished(), "the answer was not received");
    done::<R, _>(req.recv()).await.expect("its turn");
    assert_eq!(polled.join().expect("no panic"), Ok(1));
}

/// Without `immediate` an endpoint takes messages before there is a peer: a sender that waits learns of it.
pub(crate) async fn a_new_endpoint_ends_the_wait<R: Runtime>() {
    let push = Push::<R>::builder()
        .options(|options| options.immediate(false))
        .linger(Duration::ZERO)
        .open()
        .expect("sound");
    let (sending, waiting) = (push.clone(), push.clone());
    let sent = aside(move || async move { done::<R, _>(sending.send("early")).await });
    let polled = aside(move || async move {
        let mut items = [PollItem::send(&waiting)];
        done::<R, _>(poll_any::<R>(&mut items, None)).await
    });
    std::thread::sleep(MS * 10);
    // A port that stays closed: it is bound, without a listener.
    let reserved =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    reserved.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = reserved.local_addr().expect("bound").as_socket().expect("TCP").port();
    push.connect(&format!("tcp://127.0.0.1:{port}")).expect("an endpoint");
    assert_eq!(sent.join().expect("no panic"), Ok(()));
    assert_eq!(polled.join().expect("no panic"), Ok(1));
    assert_eq!(done::<R, _>(push.close()).await.len(), 1);
}

/// A caller that waits for subscribers that can no longer come gets an error.
pub(crate) async fn closing_ends_the_wait_for_subscribers<R: Runtime>() {
    let publisher = Socket::<R, kinds::Pub>::new();
    let waiting = publisher.clone();
    let told = aside(move || async move { done::<R, _>(waiting.wait_for_subscribers(1)).await });
    std::thread::sleep(MS * 10);
    done::<R, _>(publisher.close()).await;
    assert!(told.join().expect("no panic").is_err());
}

/// How often a future is polled until it is ready.
async fn polls<T>(future: impl Future<Output = T>) -> (T, u32) {
    let (mut future, mut polls) = (std::pin::pin!(future), 0);
    let output = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (output, polls)
}

/// A caller that waits for its turn, or for the one peer of several that is full, sleeps: it is not woken
/// repeatedly.
pub(crate) async fn waiting_is_no_work<R: Runtime>() {
    let (req, rep) = (Req::<R>::new(), Rep::<R>::new());
    let bound = rep.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
    done::<R, _>(req.send("question")).await.expect("its turn");
    let mut items = [PollItem::send(&req)];
    let waited = polls(done::<R, _>(poll_any::<R>(&mut items, Some(MS * 100)))).await;
    assert!(waited.0 == Err(PollError::TimedOut) && waited.1 < 10, "{waited:?}");

    // One peer reads, the other does not.
    let limit = QueueLimit { messages: 10, bytes: 1 << 20 };
    let xsub = Socket::<R, kinds::XSub>::builder().options(|options| options.send_limit(limit)).open();
    let (xsub, deaf) = (xsub.expect("sound"), Socket::<R, kinds::XPub>::builder());
    let deaf = deaf.options(|options| options.receive_limit(limit)).open().expect("sound");
    let reading = Socket::<R, kinds::XPub>::new();
    for xpub in [&reading, &deaf] {
        let bound = xpub.bind("tcp://127.0.0.1:*").expect("it is free");
        done::<R, _>(xsub.connect_ready(&bound)).await.expect("it listens");
    }
    let body = vec![7; 50_000];
    while done::<R, _>(xsub.send_timeout(&body, MS * 100)).await.is_ok() {
        while reading.try_recv().expect("open").is_some() {}
    }
    while done::<R, _>(reading.recv_timeout(MS * 20)).await.is_ok() {}
    let (sent, count) = polls(done::<R, _>(xsub.send_timeout(&body, MS * 100))).await;
    assert!(sent.is_err() && count < 10, "{count} polls");
    let mut items = [PollItem::send(&xsub)];
    let waited = polls(done::<R, _>(poll_any::<R>(&mut items, Some(MS * 100)))).await;
    assert!(waited.0 == Err(PollError::TimedOut) && waited.1 < 10, "{waited:?}");
    while done::<R, _>(deaf.recv_timeout(MS * 100)).await.is_ok() {}
    done::<R, _>(xsub.send(&body)).await.expect("there is room with both");

    // The only peer is being left: what waits for it is still written, and nothing more is taken.
    let push = Push::<R>::builder().options(|options| options.send_limit(limit)).open().expect("sound");
    let pull = Pull::<R>::builder().options(|options| options.receive_limit(limit)).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    while done::<R, _>(push.send_timeout(&body, MS * 100)).await.is_ok() {}
    push.disconnect(&bound).expect("it is connected");
    let (sent, count) = polls(done::<R, _>(push.send_timeout(&body, MS * 100))).await;
    assert!(sent.is_err() && count < 10, "{count} polls");
}
