//! REQ and REP.

use super::*;

fn pair(req: Options) -> (Net, usize, usize, [net::End; 2]) {
    let mut net = Net::default();
    let (req, rep) = (net.add(req), net.add(of(SocketType::Rep)));
    let ends = net.connect(req, rep);
    (net, req, rep, ends)
}

#[test]
fn each_side_has_its_turn() {
    let (mut net, req, rep, _) = pair(of(SocketType::Req));
    assert_eq!(net.nodes[req].recv(), Err(RecvError::State(SocketType::Req)));
    assert_eq!(net.nodes[rep].send(&["x"]), Err(SendError::State(SocketType::Rep)));
    for round in 0..3 {
        let text = round.to_string();
        net.send(req, &[&text, "?"]).unwrap();
        assert_eq!(net.nodes[req].send(&["x"]), Err(SendError::State(SocketType::Req)));
        assert_eq!(net.nodes[req].recv(), Err(RecvError::WouldBlock));
        assert_eq!(net.nodes[rep].recv().unwrap(), format!("{text}|?"));
        assert_eq!(net.nodes[rep].recv(), Err(RecvError::State(SocketType::Rep)));
        net.send(rep, &[&text, "!"]).unwrap();
        assert_eq!(net.nodes[req].recv().unwrap(), format!("{text}|!"));
    }
}

#[test]
fn a_probe_is_not_taken_for_the_request_before_it() {
    let mut net = Net::default();
    let req = net.add(of(SocketType::Req).probe_router(true).immediate(false));
    let router = net.add(of(SocketType::Router));
    let [early, late] = [(); 2].map(|()| net.pipe(req, Role::Dialing));
    net.nodes[req].send(&["x"]).unwrap();
    // The first peer leaves before anything was written.
    net.ready(early, SocketType::Router);
    net.leave(early);
    net.dial(late, router);
    assert_eq!(trouble(net.nodes[req].events()).1, []);
    let received = net.all(router);
    assert!(received[0].ends_with('|') && received[1].ends_with("||x"), "{received:?}");
    assert_eq!(received.len(), 2);
}

#[test]
fn a_reply_that_is_too_long_leaves_the_turn() {
    let mut net = Net::default();
    let (req, rep) = (net.add(of(SocketType::Req)), net.add(of(SocketType::Rep).max_message(10)));
    net.connect(req, rep);
    net.send(req, &["x"]).unwrap();
    net.nodes[rep].recv().unwrap();
    assert!(matches!(net.nodes[rep].send(&["0123456789a"]), Err(SendError::Refused(_))));
    net.send(rep, &["short"]).unwrap();
    assert_eq!(net.all(req), ["short"]);
}

#[test]
fn a_request_whose_peer_goes_is_lost_and_another_may_be_sent() {
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req));
    net.send(req, &["x"]).unwrap();
    net.cut(from);
    assert_eq!(net.nodes[req].recv(), Err(RecvError::PeerLost));
    assert_eq!(net.nodes[req].recv(), Err(RecvError::State(SocketType::Req)));
    net.dial(from, rep);
    // The peer that asked is gone: its reply must go to no one, in particular not to the next peer that asks.
    assert_eq!(net.nodes[rep].recv().unwrap(), "x");
    net.send(req, &["y"]).unwrap();
    net.send(rep, &["to x"]).unwrap();
    assert_eq!(trouble(net.nodes[rep].events()).1, [(1, Drop::Unanswerable)]);
    assert_eq!(net.nodes[req].recv(), Err(RecvError::WouldBlock));
    assert_eq!(net.nodes[rep].recv().unwrap(), "y");
    net.send(rep, &["to y"]).unwrap();
    assert_eq!(net.nodes[req].recv().unwrap(), "to y");
}

#[test]
fn a_connecting_rep_does_not_answer_another_process_than_the_one_that_asked() {
    for has_received in [true, false] {
        let mut net = Net::default();
        let (rep, req, other) =
            (net.add(of(SocketType::Rep)), net.add(of(SocketType::Req)), net.add(of(SocketType::Req)));
        let [from, _] = net.connect(rep, req);
        net.send(req, &["x"]).unwrap();
        if has_received {
            assert_eq!(net.nodes[rep].recv().unwrap(), "x");
        }
        net.cut(from);
        net.dial(from, other);
        net.send(other, &["y"]).unwrap();
        if !has_received {
            assert_eq!(net.nodes[rep].recv().unwrap(), "x");
        }
        net.send(rep, &["to x"]).unwrap();
        assert_eq!(net.nodes[rep].recv().unwrap(), "y");
        net.send(rep, &["to y"]).unwrap();
        assert_eq!(net.all(other), ["to y"]);
        assert_eq!(trouble(net.nodes[rep].events()).1, [(1, Drop::Unanswerable)]);
    }
}

#[test]
fn a_reply_that_came_before_its_peer_went_is_received() {
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req));
    net.send(req, &["x"]).unwrap();
    net.nodes[rep].recv().unwrap();
    net.send(rep, &["reply"]).unwrap();
    net.cut(from);
    assert_eq!(net.nodes[req].recv().unwrap(), "reply");
    assert_eq!(net.nodes[req].recv(), Err(RecvError::State(SocketType::Req)));
}

#[test]
fn a_request_that_had_not_left_goes_to_another_peer() {
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req));
    net.deaf = vec![rep];
    net.send(req, &["x"]).unwrap();
    let other = net.add(of(SocketType::Rep));
    net.connect(req, other);
    net.cut(from);
    net.run();
    assert_eq!(net.nodes[other].recv().unwrap(), "x");
    net.send(other, &["reply"]).unwrap();
    assert_eq!(net.nodes[req].recv().unwrap(), "reply");

    // Without another peer it waits for the same peer.
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req));
    net.deaf = vec![rep];
    net.send(req, &["x"]).unwrap();
    net.cut(from);
    assert_eq!(net.nodes[req].recv(), Err(RecvError::WouldBlock));
    net.deaf.clear();
    net.dial(from, rep);
    assert_eq!(net.nodes[rep].recv().unwrap(), "x");
}

#[test]
fn replies_to_what_was_given_up_are_not_mixed_up() {
    for correlate in [false, true] {
        let (mut net, req, rep, _) = pair(of(SocketType::Req).req_relaxed(true).req_correlate(correlate));
        net.send(req, &["one"]).unwrap();
        assert_eq!(net.nodes[rep].recv().unwrap(), "one");
        net.send(rep, &["to one"]).unwrap();
        net.send(req, &["two"]).unwrap();
        assert_eq!(net.nodes[req].recv(), Err(RecvError::WouldBlock), "that reply came too late");
        assert_eq!(net.nodes[rep].recv().unwrap(), "two");
        net.send(rep, &["to two"]).unwrap();
        assert_eq!(net.nodes[req].recv().unwrap(), "to two");
        assert_eq!(trouble(net.nodes[req].events()).1, [(1, Drop::Stray)]);
    }
    // With numbers the reply may also arrive after the second request.
    let (mut net, req, rep, _) = pair(of(SocketType::Req).req_relaxed(true).req_correlate(true));
    net.send(req, &["one"]).unwrap();
    net.send(req, &["two"]).unwrap();
    net.nodes[rep].recv().unwrap();
    net.send(rep, &["to one"]).unwrap();
    assert_eq!(net.nodes[req].recv(), Err(RecvError::WouldBlock));
    net.nodes[rep].recv().unwrap();
    net.send(rep, &["to two"]).unwrap();
    assert_eq!(net.nodes[req].recv().unwrap(), "to two");
    assert_eq!(trouble(net.nodes[req].events()).1, [(1, Drop::Stray)]);
}

#[test]
fn a_request_that_was_given_up_does_not_come_back() {
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req).req_relaxed(true));
    let other = net.add(of(SocketType::Rep));
    net.connect(req, other);
    net.deaf = vec![rep];
    net.send(req, &["one"]).unwrap();
    net.send(req, &["two"]).unwrap();
    // The peer of the first request disconnects. The peer that was asked since is still the one to answer.
    net.cut(from);
    net.run();
    assert_eq!(net.nodes[other].recv().unwrap(), "two");
    net.send(other, &["to two"]).unwrap();
    assert_eq!(net.nodes[req].recv().unwrap(), "to two");
    assert_eq!(net.nodes[other].recv(), Err(RecvError::WouldBlock));
    assert_eq!(trouble(net.nodes[req].events()).1, [(1, Drop::GivenUp)]);

    // Of the requests that were queued for one peer the last is not given up.
    let (mut net, req, rep, [from, _]) = pair(of(SocketType::Req).req_relaxed(true));
    net.deaf = vec![rep];
    net.send(req, &["one"]).unwrap();
    net.send(req, &["two"]).unwrap();
    let other = net.add(of(SocketType::Rep));
    net.connect(req, other);
    net.cut(from);
    net.run();
    assert_eq!(net.all(other), ["two"]);
    assert_eq!(trouble(net.nodes[req].events()).1, [(1, Drop::GivenUp)]);
}

#[test]
fn a_request_that_came_back_is_not_in_the_way_of_the_next() {
    let options = limited(SocketType::Req, 1).req_relaxed(true).overflow(Overflow::DropOldest);
    let (mut net, req, rep, _) = pair(options);
    let other = net.add(of(SocketType::Rep));
    let [from, _] = net.connect(req, other);
    net.deaf = vec![rep, other];
    for text in ["one", "two"] {
        net.send(req, &[text]).unwrap();
    }
    // The other peer has no room for it.
    net.cut(from);
    assert_eq!(net.nodes[req].socket.returned(), 1);
    net.send(req, &["three"]).unwrap();
    net.deaf.clear();
    net.run();
    assert_eq!(net.all(rep), ["three"]);
    assert_eq!(net.nodes[req].socket.stats().overflowed, 1);
    assert_eq!(trouble(net.nodes[req].events()).1, [(1, Drop::GivenUp)]);
}

#[test]
fn a_request_that_is_dropped_for_want_of_room_gives_nothing_up() {
    let options = limited(SocketType::Req, 1).req_relaxed(true).overflow(Overflow::DropNewest);
    let (mut net, req, rep, _) = pair(options);
    net.send(req, &["one"]).unwrap();
    net.nodes[rep].recv().unwrap();
    net.deaf = vec![rep];
    net.send(req, &["two"]).unwrap();
    net.send(rep, &["a reply"]).unwrap();
    net.send(req, &["three"]).unwrap();
    assert_eq!(net.nodes[req].socket.stats().overflowed, 1);
    assert_eq!(net.nodes[req].recv().unwrap(), "a reply");
}

#[test]
fn what_is_no_request_is_dropped_and_counted() {
    let mut net = Net::default();
    let (dealer, rep) = (net.add(of(SocketType::Dealer)), net.add(of(SocketType::Rep)));
    net.connect(dealer, rep);
    net.send(dealer, &["no delimiter"]).unwrap();
    net.send(dealer, &["id", "", "good"]).unwrap();
    assert_eq!(net.all(rep), ["good"]);
    assert_eq!(trouble(net.nodes[rep].events()).1, [(1, Drop::Stray)]);
    net.send(rep, &["reply"]).unwrap();
    assert_eq!(net.all(dealer), ["id||reply"]);
}

#[test]
fn what_nobody_asked_for_fills_nothing() {
    let mut net = Net::default();
    let (router, req) = (net.add(of(SocketType::Router)), net.add(of(SocketType::Req).routing_id("req")));
    net.connect(req, router);
    for _ in 0..50 {
        net.send(router, &["req", "", "unasked"]).unwrap();
    }
    let pipe = *net.nodes[req].pipes.keys().next().unwrap();
    let waiting = net.nodes[req].pipes.with(pipe, |pipe| pipe.inbox().messages());
    assert_eq!(waiting, Some(0));
    assert_eq!(net.nodes[req].socket.stats().dropped, 50);
}
