//! ROUTER, SERVER and PEER.

use super::*;

#[test]
fn a_router_knows_its_peers_by_their_ids() {
    let mut net = Net::default();
    let router = net.add(of(SocketType::Router));
    let me = net.add(of(SocketType::Dealer).routing_id("me"));
    let nobody = net.add(of(SocketType::Dealer));
    net.connect(me, router);
    net.connect(nobody, router);
    net.send(me, &["a", "b"]).unwrap();
    net.send(nobody, &["c"]).unwrap();
    assert_eq!(net.all(router), ["me|a|b", r"\x00\x00\x00\x00\x01|c"]);
    net.send(router, &["me", "x"]).unwrap();
    net.send(router, &["\0\0\0\0\u{1}", "y", ""]).unwrap();
    assert_eq!((net.all(me), net.all(nobody)), (vec!["x".into()], vec!["y|".into()]));
    let unroutable = net.send(router, &["you", "x"]);
    assert!(matches!(unroutable, Err(SendError::Unroutable(id)) if id.as_slice() == b"you"));
    assert_eq!(net.send(router, &["me"]), Err(SendError::Envelope(SocketType::Router, 1)));
}

/// A pipe of `node` connects to another node while a writer has its batch, which then comes back with that
/// much written.
fn returned_late(net: &mut Net, from: net::End, to: usize, is_written: bool) {
    use bowline_core::machine::Machine;
    use bowline_core::time::Instant;
    let (node, id) = from;
    let mut batch = net.nodes[node].pipes.get_mut(&id).unwrap().begin_write(Instant::ZERO).unwrap();
    net.cut(from);
    net.dial(from, to);
    if is_written {
        batch.wrote(batch.len());
    }
    let net::Node { socket, pipes, .. } = &mut net.nodes[node];
    let pipe = pipes.get_mut(&id).unwrap();
    let _more = pipe.end_write(Instant::ZERO, batch);
    // As a driver does it.
    if pipe.late().is_any() {
        socket.collect_unsent(pipes, id);
    }
    net.run();
}

#[test]
fn what_a_writer_gives_back_late_goes_to_no_other_peer() {
    let mut net = Net::default();
    let router = net.add(of(SocketType::Router));
    let [me, you] = ["me", "you"].map(|name| net.add(of(SocketType::Dealer).routing_id(name)));
    let [from, _] = net.connect(router, me);
    net.nodes[router].send(&["me", "x"]).unwrap();
    returned_late(&mut net, from, you, false);
    net.send(router, &["you", "y"]).unwrap();
    assert_eq!(net.all(you), ["y"]);
    assert_eq!(trouble(net.nodes[router].events()).1, [(1, Drop::PeerGone)]);
}

#[test]
fn a_request_that_a_writer_gives_back_late_is_lost_or_sent_again() {
    for is_written in [true, false] {
        let mut net = Net::default();
        let req = net.add(of(SocketType::Req));
        let [rep, other] = [(); 2].map(|()| net.add(of(SocketType::Rep)));
        let [from, _] = net.connect(req, rep);
        net.nodes[req].send(&["x"]).unwrap();
        returned_late(&mut net, from, other, is_written);
        let (lost, again) = if is_written {
            (RecvError::PeerLost, Err(RecvError::WouldBlock))
        } else {
            (RecvError::WouldBlock, Ok("x".into()))
        };
        assert_eq!(net.nodes[req].recv(), Err(lost));
        assert_eq!(net.nodes[other].recv(), again);
    }
}

#[test]
fn a_full_or_missing_peer_is_an_error_or_a_drop() {
    for mandatory in [true, false] {
        let mut net = Net::default();
        let router = net.add(limited(SocketType::Router, 1).router_mandatory(mandatory));
        let me = net.add(of(SocketType::Dealer).routing_id("me"));
        let [from, _] = net.connect(me, router);
        net.deaf = vec![me];
        net.send(router, &["me", "1"]).unwrap();
        let full = net.send(router, &["me", "2"]);
        net.cut(from);
        let gone = net.send(router, &["me", "3"]);
        assert_eq!(trouble(net.nodes[router].events()).1, [(1, Drop::PeerGone)], "it was for nobody else");
        let stats = net.nodes[router].socket.stats();
        if mandatory {
            assert_eq!(full, Err(SendError::Full));
            assert!(matches!(gone, Err(SendError::Unroutable(_))));
        } else {
            assert_eq!((full, gone, stats.overflowed, stats.discarded), (Ok(()), Ok(()), 1, 1));
        }
    }
}

#[test]
fn a_second_peer_with_an_id_is_refused_or_takes_it_over() {
    for handover in [false, true] {
        let mut net = Net::default();
        let router = net.add(of(SocketType::Router).router_handover(handover));
        let (one, two) = (
            net.add(of(SocketType::Dealer).routing_id("id")),
            net.add(of(SocketType::Dealer).routing_id("id")),
        );
        net.connect(one, router);
        net.send(one, &["from one"]).unwrap();
        net.connect(two, router);
        let refused = trouble(net.nodes[router].events()).0;
        let _ = net.send(two, &["from two"]);
        net.send(router, &["id", "x"]).unwrap();
        if handover {
            assert_eq!(refused, [ZmtpError::HandedOver]);
            assert_eq!(net.all(router), ["id|from one", "id|from two"]);
            assert_eq!((net.all(one), net.all(two)), (vec![], vec!["x".into()]));
        } else {
            assert_eq!(refused, [ZmtpError::DuplicateRoutingId { length: 2 }]);
            assert_eq!(net.all(router), ["id|from one"]);
            assert_eq!((net.all(one), net.all(two)), (vec!["x".into()], vec![]));
        }
    }
}

#[test]
fn an_id_is_free_when_its_peer_is_gone_whatever_the_application_does() {
    let mut net = Net::default();
    let router = net.add(of(SocketType::Router));
    let me = net.add(of(SocketType::Dealer).routing_id("me"));
    let [from, _] = net.connect(me, router);
    net.send(me, &["before"]).unwrap();
    net.cut(from);
    net.dial(from, router);
    net.send(me, &["after"]).unwrap();
    assert_eq!(net.all(router), ["me|before", "me|after"]);
    assert_eq!(trouble(net.nodes[router].events()), (vec![], vec![]));
}

#[test]
fn what_one_process_sent_does_not_bear_the_id_of_the_next() {
    // A ROUTER that connects, and finds another process at the same address.
    let mut net = Net::default();
    let router = net.add(of(SocketType::Router));
    let (one, two) = (
        net.add(of(SocketType::Dealer).routing_id("one")),
        net.add(of(SocketType::Dealer).routing_id("two")),
    );
    let [from, _] = net.connect(router, one);
    net.send(one, &["x"]).unwrap();
    net.cut(from);
    net.dial(from, two);
    net.send(two, &["y"]).unwrap();
    assert_eq!(net.all(router), ["one|x", "two|y"]);
}

#[test]
fn a_chosen_id_and_a_probe() {
    let mut net = Net::default();
    let (router, other) = (
        net.add(of(SocketType::Router).probe_router(true).routing_id("router")),
        net.add(of(SocketType::Router).routing_id("other")),
    );
    let id = net.nodes[router].socket.add_as(Role::Dialing, b"chosen").unwrap();
    for wrong in [&b""[..], &[7; 256]] {
        assert!(net.nodes[router].socket.add_as(Role::Dialing, wrong).is_err());
    }
    let options = of(SocketType::Router).probe_router(true).routing_id("router").build().unwrap();
    net.nodes[router].pipes.insert(id, crate::pipe::Pipe::new(options, Role::Dialing));
    net.dial((router, id), other);
    assert_eq!(net.nodes[router].socket.routing_id(id), Some(&b"chosen"[..]));
    net.send(router, &["chosen", "hello"]).unwrap();
    assert_eq!(net.all(other), ["router|", "router|hello"]);
}

#[test]
fn a_probe_is_no_message_of_the_program() {
    let mut net = Net::default();
    let options = || of(SocketType::Dealer).probe_router(true);
    let (dealer, router) = (net.add(options()), net.add(of(SocketType::Router).routing_id("router")));
    // A peer that leaves before anything was written leaves no probe for the next one.
    let from = net.pipe(dealer, Role::Dialing);
    net.ready(from, SocketType::Router);
    net.leave(from);
    assert!(net.nodes[dealer].pipes[&from.1].is_drained());
    assert_eq!(net.nodes[dealer].socket.returned(), 0, "a closed socket would return it");
    net.dial(from, router);
    assert_eq!(net.all(router).len(), 1, "once for each connection");
}

#[test]
fn a_server_numbers_its_clients() {
    let mut net = Net::default();
    let server = net.add(of(SocketType::Server));
    let clients = [net.add(of(SocketType::Client)), net.add(of(SocketType::Client))];
    for client in clients {
        net.connect(client, server);
        net.send(client, &[&client.to_string()]).unwrap();
    }
    assert_eq!(net.all(server), [r"\x00\x00\x00\x01|1", r"\x00\x00\x00\x02|2"]);
    net.send(server, &["\0\0\0\u{2}", "to two"]).unwrap();
    assert_eq!((net.all(clients[0]), net.all(clients[1])), (vec![], vec!["to two".into()]));
    let two_parts = net.send(server, &["\0\0\0\u{2}", "a", "b"]);
    assert!(matches!(two_parts, Err(SendError::Refused(_))), "{two_parts:?}");

    let (one, two) = (net.add(of(SocketType::Peer)), net.add(of(SocketType::Peer)));
    net.connect(one, two);
    net.send(one, &["\0\0\0\u{1}", "hello"]).unwrap();
    assert_eq!(net.all(two), [r"\x00\x00\x00\x01|hello"]);
}
