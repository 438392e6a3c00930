//! Features of the types besides passing messages: topics, groups, numbers, probes, routing ids.

use std::collections::BTreeSet;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{SocketEvent, SocketType};
use bowline_libzmq::{Context, Kind, Option as TheirOption};

use crate::ours::open;

fn text(of: &str) -> Vec<u8> {
    of.as_bytes().to_vec()
}

/// Topics begin and end, of either side, and count as often as they were said.
pub(crate) async fn topics_begin_and_end<R: Runtime>() {
    let context = Context::default();
    let sub = open::<R>(SocketType::Sub, |options| options);
    let xpub = context.socket(Kind::XPub);
    sub.connect(&xpub.bind("tcp://127.0.0.1:*").expect("free"));
    for topic in ["a", "ab", ""] {
        sub.subscribe(topic.as_bytes());
        assert_eq!(xpub.recv().expect("a subscription"), [[b"\x01", topic.as_bytes()].concat()]);
    }
    sub.subscribe(b"a");
    for (topic, is_last) in [("a", false), ("", true), ("a", true)] {
        assert_eq!(sub.unsubscribe(topic.as_bytes()), is_last);
        if is_last {
            assert_eq!(xpub.recv().expect("its end"), [[b"\0", topic.as_bytes()].concat()]);
        }
    }
    for message in ["a", "b", "abc"] {
        xpub.send(&[message]).expect("there is room");
    }
    assert_eq!(sub.recv().await.expect("a message"), [text("abc")]);
    sub.close().await;

    let xpub = open::<R>(SocketType::XPub, |options| options);
    let sub = context.socket(Kind::Sub);
    sub.connect(&xpub.bind("tcp://127.0.0.1:*")).expect("an endpoint");
    for topic in ["a", "ab", "a"] {
        sub.set_bytes(TheirOption::Subscribe, topic.as_bytes());
    }
    for topic in ["a", "ab"] {
        assert_eq!(xpub.recv().await.expect("a subscription"), [[b"\x01", topic.as_bytes()].concat()]);
    }
    sub.set_bytes(TheirOption::Unsubscribe, b"ab");
    assert_eq!(xpub.recv().await.expect("its end"), [text("\0ab")]);
    for message in ["b", "abc", "a"] {
        xpub.send(vec![text(message)]).await.expect("open");
    }
    assert_eq!(sub.recv().expect("a message"), [text("abc")]);
    assert_eq!(sub.recv().expect("a message"), [text("a")]);
    assert_eq!(xpub.stats().discarded, 1);
    drop(sub);
    assert_eq!(xpub.recv().await.expect("its peer is gone"), [text("\0a")]);
    xpub.close().await;
}

/// Many topics, of either side, also of a side that comes back. (libzmq loses them above its high-water mark, so that it has
/// none here.)
pub(crate) async fn many_topics_are_said<R: Runtime>() {
    const TOPICS: usize = 5_000;
    let context = Context::default();
    let topics: BTreeSet<Vec<u8>> = (0..TOPICS).map(|number| text(&format!("topic-{number}-"))).collect();
    let sub = open::<R>(SocketType::Sub, |options| options);
    topics.iter().for_each(|topic| sub.subscribe(topic));
    let mut bound = "tcp://127.0.0.1:*".to_owned();
    for round in 0..2 {
        let xpub = context.socket(Kind::XPub);
        for option in [TheirOption::ReceiveHighWater, TheirOption::SendHighWater] {
            xpub.set(option, 0);
        }
        for _ in 0..500 {
            match xpub.bind(&bound) {
                Ok(at) => {
                    bound = at;
                    break;
                }
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        if round == 0 {
            sub.connect(&bound);
        }
        let said: BTreeSet<Vec<u8>> =
            (0..TOPICS).map(|_| xpub.recv().expect("a subscription").remove(0)[1..].to_vec()).collect();
        assert!(said == topics, "round {round}: {} topics", said.len());
        xpub.send(&["topic-4321-", "x"]).expect("there is room");
        assert_eq!(sub.recv().await.expect("a message"), [text("topic-4321-"), text("x")]);
    }
    sub.close().await;

    let publisher = open::<R>(SocketType::Pub, |options| options);
    let bound = publisher.bind("tcp://127.0.0.1:*");
    for _ in 0..2 {
        let sub = context.socket(Kind::Sub);
        for option in [TheirOption::ReceiveHighWater, TheirOption::SendHighWater] {
            sub.set(option, 0);
        }
        topics.iter().for_each(|topic| sub.set_bytes(TheirOption::Subscribe, topic));
        sub.connect(&bound).expect("an endpoint");
        while publisher.subscriptions() < TOPICS {
            let _none = sub.recv_within(1);
        }
        publisher.send(vec![text("topic-1234-"), text("x")]).await.expect("open");
        assert_eq!(sub.recv().expect("a message"), [text("topic-1234-"), text("x")]);
        drop(sub);
        while publisher.subscriptions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    publisher.close().await;
}

/// Matching turned round, a welcome, and verbose subscriptions, of either side.
pub(crate) async fn publishers_have_their_options<R: Runtime>() {
    let context = Context::default();
    let xpub = open::<R>(SocketType::XPub, |options| options.xpub_welcome("welcome").xpub_verbose(true));
    let bound = xpub.bind("tcp://127.0.0.1:*");
    let subs = [context.socket(Kind::Sub), context.socket(Kind::Sub)];
    for sub in &subs {
        sub.set_bytes(TheirOption::Subscribe, b"w");
        sub.connect(&bound).expect("an endpoint");
        assert_eq!(xpub.recv().await.expect("a subscription"), [text("\x01w")]);
        assert_eq!(sub.recv().expect("a message"), [text("welcome")]);
    }
    xpub.close().await;
    let xpub = context.socket(Kind::XPub);
    xpub.set_bytes(TheirOption::XPubWelcome, b"welcome");
    xpub.set(TheirOption::XPubVerbose, 1);
    let bound = xpub.bind("tcp://127.0.0.1:*").expect("free");
    let subs = [(); 2].map(|()| open::<R>(SocketType::Sub, |options| options));
    for sub in &subs {
        sub.subscribe(b"w");
        sub.connect(&bound);
        assert_eq!(xpub.recv().expect("a subscription"), [text("\x01w")]);
        assert_eq!(sub.recv().await.expect("a message"), [text("welcome")]);
    }
    for sub in subs {
        sub.close().await;
    }
    let publisher = open::<R>(SocketType::Pub, |options| options.invert_matching(true));
    let sub = context.socket(Kind::Sub);
    sub.set(TheirOption::InvertMatching, 1);
    sub.set_bytes(TheirOption::Subscribe, b"no");
    sub.connect(&publisher.bind("tcp://127.0.0.1:*")).expect("an endpoint");
    while publisher.subscriptions() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for message in ["no, not this", "yes"] {
        publisher.send(vec![text(message)]).await.expect("open");
    }
    assert_eq!(sub.recv().expect("a message"), [text("yes")]);
    publisher.close().await;
}

/// Questions with numbers, probes, and names that are chosen or in use.
pub(crate) async fn peers_are_numbered_probed_and_named<R: Runtime>() {
    let context = Context::default();
    // Numbers.
    let req = open::<R>(SocketType::Req, |options| options.req_correlate(true).req_relaxed(true));
    let rep = context.socket(Kind::Rep);
    req.connect(&rep.bind("tcp://127.0.0.1:*").expect("free"));
    for _ in 0..3 {
        req.send(vec![text("given up")]).await.expect("its turn");
        req.send(vec![text("question")]).await.expect("its turn");
        for question in ["given up", "question"] {
            assert_eq!(rep.recv().expect("a question"), [text(question)]);
            rep.send(&[question]).expect("its turn");
        }
        assert_eq!(req.recv().await.expect("the answer"), [text("question")]);
    }
    req.close().await;
    let rep = open::<R>(SocketType::Rep, |options| options);
    let req = context.socket(Kind::Req);
    req.set(TheirOption::ReqCorrelate, 1);
    req.set(TheirOption::ReqRelaxed, 1);
    req.connect(&rep.bind("tcp://127.0.0.1:*")).expect("an endpoint");
    for _ in 0..3 {
        req.send(&["given up"]).expect("its turn");
        req.send(&["question"]).expect("its turn");
        for question in ["given up", "question"] {
            assert_eq!(rep.recv().await.expect("a question"), [text(question)]);
            rep.send(vec![text(question)]).await.expect("its turn");
        }
        assert_eq!(req.recv().expect("the answer"), [text("question")]);
    }
    rep.close().await;
    // Probes.
    let router = open::<R>(SocketType::Router, |options| options);
    let dealer = context.socket(Kind::Dealer);
    dealer.set(TheirOption::ProbeRouter, 1);
    dealer.set_bytes(TheirOption::RoutingId, b"them");
    let bound = router.bind("tcp://127.0.0.1:*");
    dealer.connect(&bound).expect("an endpoint");
    assert_eq!(router.recv().await.expect("a probe"), [text("them"), text("")]);
    // An id that is in use: the new peer is disconnected, and that is reported.
    let second = context.socket(Kind::Dealer);
    second.set_bytes(TheirOption::RoutingId, b"them");
    second.connect(&bound).expect("an endpoint");
    loop {
        match router.take_event() {
            Some(SocketEvent::PeerRefused(..)) => break,
            Some(_) => {}
            None => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    router.send(vec![text("them"), text("x")]).await.expect("it is there");
    assert_eq!(dealer.recv().expect("a message"), [text("x")]);
    router.close().await;
    let router = context.socket(Kind::Router);
    router.set(TheirOption::RouterHandover, 1);
    let bound = router.bind("tcp://127.0.0.1:*").expect("free");
    for round in 0..3 {
        let dealer = open::<R>(SocketType::Dealer, |options| options.routing_id("us").probe_router(true));
        dealer.connect(&bound);
        assert_eq!(router.recv().expect("a probe"), [text("us"), text("")]);
        router.send(&["us".to_owned(), round.to_string()]).expect("it is there");
        assert_eq!(dealer.recv().await.expect("a message"), [text(&round.to_string())]);
        // It stays connected when the next one takes its name over.
        std::mem::forget(dealer);
    }
    // The longest name, and a message that greets.
    let router = context.socket(Kind::Router);
    router.set_bytes(TheirOption::HelloMessage, b"hello");
    let name = vec![b'n'; 255];
    let ours = name.clone();
    let dealer = open::<R>(SocketType::Dealer, |options| options.routing_id(ours));
    dealer.connect(&router.bind("tcp://127.0.0.1:*").expect("free"));
    dealer.send(vec![text("x")]).await.expect("open");
    assert_eq!(router.recv().expect("a message"), [name, text("x")]);
    assert_eq!(dealer.recv().await.expect("a message"), [text("hello")]);
    dealer.close().await;
}

/// Groups begin and end, of either side; their names count whole.
pub(crate) async fn groups_begin_and_end<R: Runtime>() {
    let context = Context::default();
    let radio = open::<R>(SocketType::Radio, |options| options);
    let dish = context.socket(Kind::Dish);
    let longest = "g".repeat(255);
    for group in ["a", "b", &longest] {
        dish.join(group).expect("a group");
    }
    dish.connect(&radio.bind("tcp://127.0.0.1:*")).expect("an endpoint");
    while radio.subscriptions() < 3 {
        let _none = dish.recv_within(1);
    }
    dish.leave("b").expect("it is in it");
    while radio.subscriptions() > 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for group in ["b", "ab", "a", &longest] {
        radio.send(vec![text(group), text("body")]).await.expect("open");
    }
    assert_eq!(dish.recv_one("").expect("a message").group, "a");
    assert_eq!(dish.recv_one("").expect("a message").group, longest);
    radio.close().await;

    let dish = open::<R>(SocketType::Dish, |options| options);
    let radio = context.socket(Kind::Radio);
    dish.subscribe(b"a");
    dish.subscribe(b"b");
    dish.connect(&radio.bind("tcp://127.0.0.1:*").expect("free"));
    // It cannot say whom it knows.
    loop {
        radio.send_in_group("b", b"probe").expect("there is room");
        if dish.recv_within(std::time::Duration::from_millis(5)).await.is_ok() {
            break;
        }
    }
    assert!(dish.unsubscribe(b"b"));
    for group in ["b", "ab", "a"] {
        radio.send_in_group(group, b"body").expect("there is room");
    }
    loop {
        let came = dish.recv().await.expect("a message");
        // Of before, if anything.
        if came != [text("b"), text("probe")] {
            assert_eq!(came, [text("a"), text("body")]);
            break;
        }
    }
    dish.close().await;
}
