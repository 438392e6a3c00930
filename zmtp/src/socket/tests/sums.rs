//! Limits over all pipes of a socket.

use bowline_core::machine::Machine;

use super::*;

#[test]
fn senders_wait_when_all_pipes_together_hold_too_much() {
    let mut net = Net::default();
    let push = net.add(of(SocketType::Push).send_sum(40_000));
    let pulls = [net.add(of(SocketType::Pull)), net.add(of(SocketType::Pull))];
    let ends = pulls.map(|pull| net.connect(push, pull)[0]);
    net.deaf = pulls.to_vec();
    let body = "x".repeat(10_000);
    let mut sent = 0;
    while net.send(push, &[&body]).is_ok() {
        sent += 1;
        assert!(sent < 10, "the limit of each pipe is 4 MiB");
    }
    assert_eq!(sent, 3);
    assert_eq!(net.send(push, &["small"]), Err(SendError::WouldBlock));
    let Net { nodes, .. } = &mut net;
    let node = &mut nodes[push];
    assert!(node.socket.sums().drawn()[0] >= 40_000);
    for (_, id) in ends {
        node.pipes.get_mut(&id).unwrap().watch_room(1);
    }
    let woken = |net: &mut Net| {
        let mut tokens = Vec::new();
        net.nodes[push].pipes.values_mut().for_each(|pipe| pipe.take_tokens(&mut tokens));
        tokens.len()
    };
    assert_eq!(woken(&mut net), 0);
    // One peer reads all of its messages: there is room for both again.
    net.deaf = vec![pulls[1]];
    net.run();
    assert_eq!(woken(&mut net), 1);
    assert!(net.send(push, &["small"]).is_ok());
    net.deaf.clear();
    net.run();
    let received: usize = pulls.map(|pull| net.all(pull).len()).iter().sum();
    assert_eq!((received, net.nodes[push].socket.sums().drawn()[0]), (sent + 1, 0), "none is lost");
}

#[test]
fn a_publisher_drops_what_is_beyond_and_counts_it() {
    for overflow in [Overflow::AsType, Overflow::DropOldest] {
        let mut net = Net::default();
        let publisher = net.add(of(SocketType::Pub).send_sum(40_000).overflow(overflow));
        let subscribers = [net.add(of(SocketType::Sub)), net.add(of(SocketType::Sub))];
        for subscriber in subscribers {
            let node = &mut net.nodes[subscriber];
            node.socket.subscribe(&mut node.pipes, b"");
            net.connect(publisher, subscriber);
        }
        net.deaf = subscribers.to_vec();
        let body = "x".repeat(10_000);
        for _ in 0..10 {
            net.send(publisher, &[&body]).unwrap();
        }
        assert!(net.nodes[publisher].socket.sums().drawn()[0] < 80_000);
        net.deaf.clear();
        net.run();
        let received: usize = subscribers.map(|subscriber| net.all(subscriber).len()).iter().sum();
        let overflowed = net.nodes[publisher].socket.stats().overflowed;
        assert_eq!(received as u64 + overflowed, 20, "{overflow:?}");
        assert!(overflowed > 10, "{overflowed}");
    }
}

#[test]
fn what_waits_for_a_peer_that_is_gone_for_good_counts_no_longer() {
    let mut net = Net::default();
    let router = net.add(of(SocketType::Router).send_sum(40_000));
    let dealer = net.add(of(SocketType::Dealer).routing_id("id"));
    let [end, _] = net.connect(dealer, router);
    net.deaf = vec![dealer];
    let body = "x".repeat(10_000);
    while net.send(router, &["id", &body]).is_ok() {}
    assert!(net.nodes[router].socket.sums().drawn()[0] >= 40_000);
    net.cut(end);
    assert_eq!(net.nodes[router].socket.sums().drawn()[0], 0);
}

#[test]
fn what_was_received_counts_no_longer_before_more_is_asked_for() {
    let mut net = Net::default();
    let pull = net.add(of(SocketType::Pull).receive_sum(40_000));
    let push = net.add(of(SocketType::Push));
    net.connect(push, pull);
    for _ in 0..3 {
        net.send(push, &[&"x".repeat(10_000)]).unwrap();
    }
    let drawn = |net: &Net| net.nodes[pull].socket.sums().drawn()[1];
    for _ in 0..3 {
        assert!(drawn(&net) >= 30_000, "what the receiver has is not received yet");
        assert_eq!(net.nodes[pull].recv().map(|text| text.len()), Ok(10_000));
    }
    assert_eq!(drawn(&net), 0);
}
