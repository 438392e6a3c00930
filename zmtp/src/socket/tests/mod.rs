use bowline_core::error::Disconnect;

use super::{Drop, HandshakeFailure, PipeId, Pipes, RecvError, SendError, SocketEvent};
use crate::error::ZmtpError;
use crate::options::{Options, Overflow, QueueLimit};
use crate::pipe::Role;
use crate::socket_type::SocketType;

mod balanced;
mod net;
mod published;
mod requested;
mod routed;
mod sums;

use net::Net;

fn of(kind: SocketType) -> Options {
    Options::new(kind)
}

fn limited(kind: SocketType, messages: usize) -> Options {
    of(kind).send_limit(QueueLimit { messages, bytes: 1 << 20 })
}

/// Refusals of peers and dropped messages, from all events.
fn trouble(events: Vec<SocketEvent>) -> (Vec<ZmtpError>, Vec<(usize, Drop)>) {
    let (mut refused, mut dropped) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            SocketEvent::PeerRefused(_, error) => refused.push(error),
            SocketEvent::Dropped { count, why, .. } => dropped.push((count, why)),
            _ => {}
        }
    }
    (refused, dropped)
}

#[test]
fn types_do_what_they_are_for() {
    let mut net = Net::default();
    for kind in SocketType::ALL {
        let node = net.add(of(kind));
        let sent = net.nodes[node].send(&["x"]);
        assert_eq!(sent == Err(SendError::NotSupported(kind)), !kind.sends(), "{kind}: {sent:?}");
        let received = net.nodes[node].recv();
        assert_eq!(received == Err(RecvError::NotSupported(kind)), !kind.receives(), "{kind}: {received:?}");
    }
}

#[test]
fn types_that_do_not_go_together_are_not_connected() {
    let mut net = Net::default();
    let (push, sub) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Sub)));
    net.connect(push, sub);
    assert!(net.nodes[push].socket.targets().is_empty());
    assert!(net.nodes[push].pipes.is_empty(), "it does not try again");
    assert_eq!(net.nodes[push].send(&["x"]), Err(SendError::WouldBlock));
    for (node, ours, theirs) in [(push, SocketType::Push, "SUB"), (sub, SocketType::Sub, "PUSH")] {
        let events = net.nodes[node].events();
        let SocketEvent::HandshakeFailed { why, .. } = &events[0] else { panic!("{events:?}") };
        let expected = HandshakeFailure::Protocol(ZmtpError::SocketType { ours, theirs: theirs.into() });
        // The other side has disconnected when the second one checks.
        assert!(*why == expected || *why == HandshakeFailure::Connection(Disconnect::PeerClosed), "{why}");
    }
}

#[test]
fn only_what_ends_before_its_handshake_is_a_handshake_that_failed() {
    let mut net = Net::default();
    let (push, pull) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Pull)));
    let [from, _] = net.connect(push, pull);
    net.cut(from);
    let socket = &mut net.nodes[pull].socket;
    let pipe = socket.add(Role::Accepting);
    socket.connection_ended(pipe, &Disconnect::LocalClose);
    socket.connection_ended(pipe, &Disconnect::PeerClosed);
    let events = net.nodes[pull].events();
    assert!(
        matches!(
            &events[..],
            [
                SocketEvent::PeerUp(..),
                SocketEvent::PeerDown(..),
                SocketEvent::HandshakeFailed { pipe: failed, why: HandshakeFailure::Connection(Disconnect::PeerClosed) }
            ] if *failed == pipe
        ),
        "{events:?}"
    );
}

#[test]
fn events_that_nobody_takes_are_counted() {
    let mut net = Net::default();
    let (push, pull) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Pull)));
    for _ in 0..600 {
        let [from, _] = net.connect(push, pull);
        net.cut(from);
        net.nodes[push].pipes.clear();
    }
    assert_eq!(net.nodes[pull].socket.stats().events_lost, 1200 - 1024);
    assert_eq!(net.nodes[pull].events().len(), 1024);
}
