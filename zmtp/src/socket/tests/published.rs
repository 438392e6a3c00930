//! PUB, SUB, XPUB, XSUB, RADIO and DISH.

use alloc::collections::BTreeMap;

use super::net::Node;
use super::*;
use crate::pipe::PipeEvent;
use crate::socket::SubscribeError;

fn subscribe(net: &mut Net, node: usize, topics: &[&str]) {
    let node = &mut net.nodes[node];
    for topic in topics {
        node.socket.subscribe(&mut node.pipes, topic.as_bytes());
    }
    net.run();
}

fn unsubscribe(net: &mut Net, node: usize, topic: &str) -> bool {
    let node = &mut net.nodes[node];
    let last = node.socket.unsubscribe(&mut node.pipes, topic.as_bytes());
    net.run();
    last
}

#[test]
fn each_gets_what_it_subscribed_to_once() {
    let mut net = Net::default();
    let publisher = net.add(of(SocketType::Pub));
    let subs = [net.add(of(SocketType::Sub)), net.add(of(SocketType::Sub))];
    subscribe(&mut net, subs[0], &["a", "ab"]);
    for sub in subs {
        net.connect(sub, publisher);
    }
    subscribe(&mut net, subs[1], &["", "b"]);
    assert_eq!(net.nodes[publisher].socket.subscriptions(), 4);
    for topic in ["abc", "b", "c"] {
        net.send(publisher, &[topic, "body"]).unwrap();
    }
    assert_eq!(net.all(subs[0]), ["abc|body"]);
    assert_eq!(net.all(subs[1]), ["abc|body", "b|body", "c|body"]);
    assert!(unsubscribe(&mut net, subs[1], ""));
    assert!(!unsubscribe(&mut net, subs[1], ""));
    net.send(publisher, &["c"]).unwrap();
    assert_eq!(net.all(subs[1]), Vec::<String>::new());
    assert_eq!(net.nodes[publisher].socket.stats().discarded, 1);
}

#[test]
fn a_subscription_holds_over_connections_and_ends_with_them_at_the_publisher() {
    let mut net = Net::default();
    let (publisher, sub) = (net.add(of(SocketType::XPub)), net.add(of(SocketType::Sub)));
    let [from, _] = net.connect(sub, publisher);
    subscribe(&mut net, sub, &["a", "b", "a"]);
    assert_eq!(net.all(publisher), [r"\x01a", r"\x01b"], "the second time matters to nobody");
    net.cut(from);
    assert_eq!(net.all(publisher), [r"\x00a", r"\x00b"]);
    assert!(!unsubscribe(&mut net, sub, "a"), "it was subscribed to twice");
    net.dial(from, publisher);
    assert_eq!(net.all(publisher), [r"\x01a", r"\x01b"]);
    net.send(publisher, &["b1"]).unwrap();
    assert_eq!(net.all(sub), ["b1"]);
}

#[test]
fn a_subscriber_with_too_many_topics_is_refused_and_others_are_not() {
    let mut net = Net::default();
    let limit = QueueLimit { messages: 2, bytes: 1000 };
    let publisher = net.add(of(SocketType::Pub).subscriptions(limit));
    let (flood, honest) = (net.add(of(SocketType::Sub)), net.add(of(SocketType::Sub)));
    net.connect(honest, publisher);
    net.connect(flood, publisher);
    subscribe(&mut net, honest, &["a", "b"]);
    subscribe(&mut net, flood, &["a", "b", "c"]);
    let too_many = ZmtpError::TooMany { field: "subscriptions", value: 3, limit: 2 };
    assert_eq!(trouble(net.nodes[publisher].events()).0, [too_many]);
    net.send(publisher, &["a"]).unwrap();
    assert_eq!(net.all(honest), ["a"]);
    assert_eq!(net.nodes[publisher].socket.subscriptions(), 2, "those of the other are gone with it");
}

#[test]
fn a_full_subscriber_is_left_out_or_stops_the_publisher() {
    for nodrop in [false, true] {
        let mut net = Net::default();
        let publisher = net.add(limited(SocketType::Pub, 1).pub_nodrop(nodrop));
        let subs = [net.add(of(SocketType::Sub)), net.add(of(SocketType::Sub))];
        for sub in subs {
            net.connect(sub, publisher);
            subscribe(&mut net, sub, &[""]);
        }
        net.deaf = vec![subs[0]];
        net.send(publisher, &["1"]).unwrap();
        let second = net.send(publisher, &["2"]);
        net.deaf.clear();
        net.run();
        let stats = net.nodes[publisher].socket.stats();
        if nodrop {
            assert_eq!((second, stats.overflowed), (Err(SendError::Full), 0));
            assert_eq!((net.all(subs[0]), net.all(subs[1])), (vec!["1".into()], vec!["1".into()]));
        } else {
            assert_eq!((second, stats.overflowed), (Ok(()), 1));
            assert_eq!(
                (net.all(subs[0]), net.all(subs[1])),
                (vec!["1".into()], vec!["1".into(), "2".into()])
            );
        }
    }
}

#[test]
fn an_xpub_hears_more_if_it_wants_to() {
    let heard = |options: Options| {
        let mut net = Net::default();
        let xpub = net.add(options);
        let subs = [net.add(of(SocketType::Sub)), net.add(of(SocketType::Sub))];
        for sub in subs {
            net.connect(sub, xpub);
            subscribe(&mut net, sub, &["t"]);
        }
        for sub in subs {
            unsubscribe(&mut net, sub, "t");
        }
        net.all(xpub)
    };
    assert_eq!(heard(of(SocketType::XPub)), [r"\x01t", r"\x00t"]);
    assert_eq!(heard(of(SocketType::XPub).xpub_verbose(true)), [r"\x01t", r"\x01t", r"\x00t"]);
    assert_eq!(heard(of(SocketType::XPub).xpub_verboser(true)), [r"\x01t", r"\x01t", r"\x00t", r"\x00t"]);
}

#[test]
fn a_manual_xpub_subscribes_its_peers_to_what_it_likes() {
    let mut net = Net::default();
    let xpub = net.add(of(SocketType::XPub).xpub_manual(true));
    let sub = net.add(of(SocketType::Sub));
    net.connect(sub, xpub);
    subscribe(&mut net, sub, &["", "B"]);
    net.send(xpub, &["A1"]).unwrap();
    assert_eq!(net.all(sub), Vec::<String>::new(), "nothing comes of it by itself");
    let Node { socket, pipes, .. } = &mut net.nodes[xpub];
    let mut message = crate::message::Message::new();
    let from = socket.recv(pipes, &mut message).unwrap();
    let peer = socket.peer_id(from);
    assert_eq!(message[0].as_slice(), b"\x01");
    assert_eq!((peer.pipe(), socket.subscribe_peer(pipes, peer, b"A")), (from, Ok(())));
    net.send(xpub, &["A2"]).unwrap();
    net.send(xpub, &["B2"]).unwrap();
    assert_eq!(net.all(sub), ["A2"]);
    assert_eq!(net.nodes[xpub].socket.unsubscribe_peer(peer, b"A"), Ok(true));
    assert_eq!(net.nodes[xpub].socket.unsubscribe_peer(peer, b"A"), Ok(false));
    assert!(unsubscribe(&mut net, sub, "B"));
    assert_eq!(net.all(xpub), [r"\x01B", r"\x00B"]);
    let stranger = net.nodes[xpub].socket.add(Role::Accepting);
    let Node { socket, pipes, .. } = &mut net.nodes[xpub];
    let stranger = socket.peer_id(stranger);
    assert_eq!(socket.subscribe_peer(pipes, stranger, b"A"), Err(SubscribeError::PeerGone));
    assert_eq!(socket.unsubscribe_peer(stranger, b"A"), Err(SubscribeError::PeerGone));
}

#[test]
fn who_comes_next_over_a_pipe_is_another_peer() {
    let mut net = Net::default();
    let limit = QueueLimit { messages: 1, bytes: 1000 };
    let xpub = net.add(of(SocketType::XPub).xpub_manual(true).subscriptions(limit));
    let sub = net.add(of(SocketType::Sub));
    let [from, _] = net.connect(xpub, sub);
    subscribe(&mut net, sub, &["a"]);
    let first = net.nodes[xpub].socket.peer_id(from.1);
    net.cut(from);
    net.dial(from, sub);
    let Node { socket, pipes, .. } = &mut net.nodes[xpub];
    let second = socket.peer_id(from.1);
    assert_eq!((second.pipe(), second == first), (first.pipe(), false));
    assert_eq!(socket.subscribe_peer(pipes, first, b"b"), Err(SubscribeError::PeerGone));
    assert_eq!(socket.unsubscribe_peer(first, b"a"), Err(SubscribeError::PeerGone));
    assert_eq!(socket.subscribe_peer(pipes, second, b"b"), Ok(()));
    let over = ZmtpError::TooMany { field: "subscriptions", value: 2, limit: 1 };
    assert_eq!(socket.subscribe_peer(pipes, second, b"c"), Err(SubscribeError::Limit(over)));
    assert_eq!(net.all(xpub), [r"\x01a", r"\x00a", r"\x01a"], "a peer that goes asks no more");
    let other = net.add(of(SocketType::XPub));
    let Node { socket, pipes, .. } = &mut net.nodes[other];
    let id = socket.add(Role::Accepting);
    let peer = socket.peer_id(id);
    assert_eq!(socket.subscribe_peer(pipes, peer, b"A"), Err(SubscribeError::NotManual));
    assert_eq!(socket.unsubscribe_peer(peer, b"A"), Err(SubscribeError::NotManual));
}

#[test]
fn what_peers_subscribe_to_is_heard_in_the_order_in_which_they_said_it() {
    for conflate in [false, true] {
        let mut net = Net::default();
        let xpub = net.add(of(SocketType::XPub).conflate(conflate));
        let [one, two] = [0, 1].map(|_| net.add(of(SocketType::XSub)));
        net.connect(one, xpub);
        let [there, _] = net.connect(two, xpub);
        // Its inbox has its turn first, and its last message matters.
        for (peer, parts) in [
            (one, &["\u{1}a"][..]),
            (one, &["first", "message"]),
            (one, &["\0a"]),
            (two, &["second", "message"]),
            (two, &["\u{1}a"]),
            (two, &["\0a"]),
            (one, &["\u{1}a"]),
            (two, &["\u{1}b"]),
        ] {
            net.send(peer, parts).unwrap();
        }
        net.cut(there);
        let heard = net.all(xpub);
        let (messages, notices): (Vec<_>, Vec<_>) =
            heard.iter().cloned().partition(|text| text.contains("message"));
        assert_eq!(notices, [r"\x01a", r"\x00a", r"\x01a", r"\x00a", r"\x01a", r"\x01b", r"\x00b"]);
        assert_eq!(messages.len(), 2);
        let place = |text: &str| heard.iter().position(|heard| heard == text).unwrap();
        assert!(place("first|message") > 0, "{heard:?}");
        assert!(place("first|message") < place(r"\x00a"), "those of one peer are in order: {heard:?}");
    }
}

#[test]
fn ends_of_subscriptions_are_heard_though_nothing_else_is_kept_of_those_that_went() {
    for verboser in [false, true] {
        let mut net = Net::default();
        let xpub = net.add(of(SocketType::XPub).left_behind(1).xpub_verboser(verboser));
        let stays = net.add(of(SocketType::XSub));
        net.connect(stays, xpub);
        net.send(stays, &["\u{1}kept"]).unwrap();
        let first = net.add(of(SocketType::XSub));
        let [there, _] = net.connect(first, xpub);
        net.send(first, &["\u{1}known"]).unwrap();
        net.send(first, &["\u{1}kept"]).unwrap();
        assert_eq!(net.all(xpub).len(), if verboser { 3 } else { 2 });
        net.cut(there);
        for round in 0..300 {
            let peer = net.add(of(SocketType::XSub));
            let [there, _] = net.connect(peer, xpub);
            for text in ["\u{1}new", "\u{1}known", "\0known", "\u{1}other"] {
                net.send(peer, &[text]).unwrap();
            }
            net.send(peer, &["user", "message"]).unwrap();
            if round < 299 {
                net.cut(there);
            }
        }
        let mut heard: BTreeMap<String, i32> = BTreeMap::new();
        let all = net.all(xpub);
        assert!(all.len() < 300, "merged: {}", all.len());
        for text in all.iter().filter(|text| text.starts_with(r"\x0")) {
            *heard.entry(text[4..].into()).or_default() += if text.starts_with(r"\x01") { 1 } else { -1 };
        }
        heard.retain(|_, times| *times != 0);
        let ended = heard.remove("known");
        assert_eq!(ended, Some(-1), "{heard:?}");
        assert_eq!(heard.remove("kept"), if verboser { Some(-1) } else { None });
        assert_eq!(heard, BTreeMap::from([("new".into(), 1), ("other".into(), 1)]));
        assert_eq!(net.nodes[xpub].socket.subscriptions(), 3);
        let gone = trouble(net.nodes[xpub].events()).1;
        assert!(!gone.is_empty(), "their messages are dropped, and that is told");
    }
}

#[test]
fn new_subscribers_are_welcomed_once() {
    let mut net = Net::default();
    let xpub = net.add(of(SocketType::XPub).xpub_welcome("news: welcome"));
    let sub = net.add(of(SocketType::Sub));
    net.connect(sub, xpub);
    subscribe(&mut net, sub, &["sports", "news", "ne"]);
    assert_eq!(net.all(sub), ["news: welcome"]);
}

#[test]
fn a_welcome_that_finds_no_room_is_counted() {
    let mut net = Net::default();
    let xpub = net.add(limited(SocketType::XPub, 1).xpub_welcome("news: welcome"));
    let sub = net.add(of(SocketType::XSub));
    net.connect(sub, xpub);
    subscribe(&mut net, sub, &["x"]);
    net.nodes[xpub].send(&["x1"]).unwrap();
    assert_eq!(net.nodes[xpub].socket.stats().overflowed, 0);
    // The subscription arrives before the publisher writes its message.
    let pipe = net.nodes[xpub].socket.targets()[0];
    let Node { socket, pipes, .. } = &mut net.nodes[xpub];
    socket.handle_event(pipes, pipe, PipeEvent::Subscribe(b"news"));
    assert_eq!(socket.stats().overflowed, 1);
    net.run();
    assert_eq!(net.all(sub), ["x1"]);
}

#[test]
fn an_xsub_writes_its_subscriptions_and_messages_upstream() {
    let mut net = Net::default();
    let (xsub, xpub) = (net.add(limited(SocketType::XSub, 1)), net.add(of(SocketType::XPub)));
    net.send(xsub, &["nobody hears it"]).unwrap();
    net.send(xsub, &["\u{1}early"]).unwrap();
    net.connect(xsub, xpub);
    for parts in [&["\u{1}topic"][..], &["user", "message"], &["\u{1}topic"], &["\0topic"]] {
        net.send(xsub, parts).unwrap();
    }
    assert_eq!(net.all(xpub), [r"\x01early", r"\x01topic", "user|message"]);
    net.send(xpub, &["topic x"]).unwrap();
    net.send(xpub, &["other"]).unwrap();
    assert_eq!(net.all(xsub), ["topic x"], "it was subscribed to twice, and ended once");
    net.send(xsub, &["\0topic"]).unwrap();
    assert_eq!(net.all(xpub), [r"\x00topic"]);
    net.deaf = vec![xpub];
    net.send(xsub, &["1"]).unwrap();
    assert_eq!(net.send(xsub, &["2"]), Err(SendError::WouldBlock));
}

#[test]
fn what_an_xsub_has_no_room_for_upstream_follows_the_policy() {
    for (overflow, expected) in [(Overflow::DropNewest, "1"), (Overflow::DropOldest, "3")] {
        let mut net = Net::default();
        let options = limited(SocketType::XSub, 1).overflow(overflow);
        let (xsub, xpub) = (net.add(options), net.add(of(SocketType::XPub)));
        net.connect(xsub, xpub);
        net.deaf = vec![xpub];
        for text in ["1", "2", "3"] {
            net.send(xsub, &[text]).unwrap();
        }
        net.deaf.clear();
        net.run();
        assert_eq!(net.all(xpub), [expected]);
        assert_eq!(net.nodes[xsub].socket.stats().overflowed, 2);
    }
}

#[test]
fn with_inverted_matching_each_gets_the_rest() {
    let mut net = Net::default();
    let publisher = net.add(of(SocketType::Pub).invert_matching(true));
    let sub = net.add(of(SocketType::Sub).invert_matching(true));
    net.connect(sub, publisher);
    subscribe(&mut net, sub, &["a"]);
    for topic in ["a1", "b1"] {
        net.send(publisher, &[topic]).unwrap();
    }
    assert_eq!(net.all(sub), ["b1"]);
}

#[test]
fn a_radio_reaches_the_members_of_a_group() {
    let mut net = Net::default();
    let (radio, dish) = (net.add(of(SocketType::Radio)), net.add(of(SocketType::Dish)));
    subscribe(&mut net, dish, &["movies"]);
    net.connect(dish, radio);
    subscribe(&mut net, dish, &["tv"]);
    for group in ["movies", "movies2", "tv", "mov"] {
        net.send(radio, &[group, "body"]).unwrap();
    }
    assert_eq!(net.all(dish), ["movies|body", "tv|body"]);
    assert!(unsubscribe(&mut net, dish, "tv"));
    net.send(radio, &["tv", "body"]).unwrap();
    assert_eq!(net.all(dish), Vec::<String>::new());
    assert_eq!(net.send(radio, &["x"]), Err(SendError::Envelope(SocketType::Radio, 1)));
    assert_eq!(net.send(radio, &[&"g".repeat(256), "x"]), Err(SendError::Group(256)));
}

#[test]
fn a_large_body_is_shared_among_subscribers() {
    let mut net = Net::default();
    let publisher = net.add(of(SocketType::Pub));
    for _ in 0..3 {
        let sub = net.add(of(SocketType::Sub));
        net.connect(sub, publisher);
        subscribe(&mut net, sub, &[""]);
    }
    let body = bytes::Bytes::from(vec![7; 100_000]);
    let node = &mut net.nodes[publisher];
    node.socket.send(&mut node.pipes, &[(&body).into(), "tail".into()]).unwrap();
    let memory: usize = node.pipes.values().map(crate::pipe::Pipe::memory).sum();
    let ids: Vec<PipeId> = node.pipes.keys().copied().collect();
    assert_eq!(ids.len(), 3);
    // Counted where it is referred to, without a copy.
    assert!(memory < 3 * (100_000 + 4096), "{memory}");
    net.run();
    for sub in 1..4 {
        assert_eq!(net.all(sub)[0].len(), r"\x07".len() * 100_000 + "|tail".len());
    }
}
