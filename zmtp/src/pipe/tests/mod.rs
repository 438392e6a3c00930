use std::time::Duration;

use alloc::vec::Vec;
use bowline_core::body::Payload;
use bowline_core::machine::{Epoch, Machine};
use bowline_core::recv_buf::RecvBuf;
use proptest::prelude::*;

use super::*;
use crate::error::ZmtpError;
use crate::mechanism::{Admission, Mechanism};
use crate::message::Message;
use crate::options::QueueLimit;
use crate::wire::{LONG, MORE, put_command, put_header, rest_of_greeting, signature};

#[cfg(feature = "curve")]
mod curve;
mod direct;
mod driven;
mod holding;

use driven::Driven;

const SECOND: Duration = Duration::from_secs(1);

fn greeting(minor: u8, mechanism: &str) -> Vec<u8> {
    let mut bytes = signature(0).to_vec();
    bytes.push(3);
    bytes.extend(rest_of_greeting(mechanism));
    bytes[11] = minor;
    bytes
}

/// The first bytes of a peer of that type, with NULL.
fn hello(kind: &str) -> Vec<u8> {
    let mut bytes = greeting(1, "NULL");
    let mut data = Vec::new();
    crate::wire::put_property(&mut data, "Socket-Type", kind.as_bytes());
    put_command(&mut bytes, "READY", &[&data]);
    bytes
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, Version::V3_1, flags, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn ready(options: Options, peer: &str) -> Driven {
    let mut driven = Driven::new(options, Role::Accepting);
    driven.feed(&hello(peer));
    assert!(driven.pipe.is_ready(), "{:?}", driven.ended);
    driven.sent();
    driven
}

fn dealer() -> Options {
    Options::new(SocketType::Dealer)
}

#[test]
fn the_handshake_of_null_and_messages_both_ways() {
    let mut driven = Driven::new(dealer().routing_id("me"), Role::Dialing);
    driven.pipe.send(&[], &[b"early".into()]).unwrap();
    driven.work();
    assert_eq!(driven.sent(), b"\xff\0\0\0\0\0\0\0\x03\x7f");
    let hello = hello("ROUTER");
    driven.feed(&hello[..10]);
    assert_eq!(driven.sent(), b"\x03");
    driven.feed(&hello[10..64]);
    let mut expected = rest_of_greeting("NULL").to_vec();
    expected.extend(b"\x04\x2b\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02me");
    assert_eq!(driven.sent(), expected, "and no message before the peer's READY");
    driven.feed(&hello[64..]);
    assert_eq!(driven.sent(), b"\x00\x05early");
    assert_eq!(driven.told, ["ready ZMTP 3.1 "]);
    driven.feed(&[frame(MORE, b"one"), frame(0, b"two"), frame(0, b"")].concat());
    assert_eq!(driven.received(), [vec![b"one".to_vec(), b"two".to_vec()], vec![vec![]]]);
    let stats = driven.pipe.stats();
    assert_eq!((stats.received, stats.sent, stats.handshakes), (2, 1, 1));
}

#[test]
fn commands_may_stand_within_messages() {
    let mut driven = ready(dealer(), "ROUTER");
    driven.feed(&frame(MORE, b"one"));
    driven.feed(b"\x04\x08\x04PING\0\x05x\x04\x04\x03FOO\x05\x00");
    assert_eq!(driven.sent(), b"\x04\x06\x04PONGx");
    driven.feed(&frame(0, b"two"));
    assert_eq!(driven.received(), [vec![b"one".to_vec(), b"two".to_vec()]]);
}

#[test]
fn a_large_body_comes_in_without_room_for_more_than_came() {
    let mut driven = ready(dealer(), "ROUTER");
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let bytes = [frame(MORE, b"head"), frame(MORE, &body), frame(0, b"tail")].concat();
    let (front, back) = bytes.split_at(100);
    driven.feed(front);
    let reader = driven.reader.as_ref().unwrap();
    assert!(reader.held() < 100 && reader.memory() <= 17 * 1024, "{}", reader.memory());
    driven.feed(back);
    assert!(driven.buf.capacity() <= 256 * 1024, "{}", driven.buf.capacity());
    assert_eq!(driven.received(), [vec![b"head".to_vec(), body, b"tail".to_vec()]]);
}

#[test]
fn limits_close_the_connection_and_name_themselves() {
    let limited = || ready(dealer().max_message(100).max_parts(3), "ROUTER");
    let too_long = ZmtpError::TooLong { field: "message", value: 101, limit: 100 };
    let mut driven = limited();
    driven.feed(&[MORE, 60]);
    driven.feed(&[7; 60]);
    driven.feed(&[0, 41]);
    assert_eq!(driven.error(), Some(&too_long), "before the body is there");
    let mut driven = limited();
    driven.feed(&[frame(0, &[7; 100]), frame(0, &[7; 101])].concat());
    assert_eq!(driven.error(), Some(&too_long));
    let mut driven = limited();
    driven.feed(&frame(MORE, b"").repeat(4));
    assert_eq!(driven.error(), Some(&ZmtpError::TooMany { field: "parts of a message", value: 4, limit: 3 }));
    let mut driven = limited();
    driven.feed(&[4 | LONG, 0, 0, 0, 0, 0, 1, 0, 1]);
    assert_eq!(driven.error(), Some(&ZmtpError::TooLong { field: "command", value: 65537, limit: 65536 }));
    let mut driven = limited();
    driven.feed(&[LONG, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(driven.error(), Some(ZmtpError::TooLong { field: "frame", .. })));
    let mut driven = ready(Options::new(SocketType::Server), "CLIENT");
    driven.feed(&[frame(MORE, b"a"), frame(0, b"b")].concat());
    assert!(matches!(driven.error(), Some(ZmtpError::TooMany { limit: 1, .. })));
}

#[test]
fn what_came_in_part_is_dropped_and_counted() {
    let mut driven = ready(dealer(), "ROUTER");
    driven.feed(&[frame(0, b"whole"), frame(MORE, b"half")].concat());
    driven.eof();
    assert!(matches!(driven.error(), Some(ZmtpError::Truncated { .. })));
    assert_eq!(driven.received(), [vec![b"whole".to_vec()]]);
    assert_eq!(driven.pipe.stats().half_received, 1);
    assert!(driven.pipe.is_closed(), "an accepted pipe ends with its connection");
}

#[test]
fn a_full_inbox_pauses_reading_and_half_of_it_lets_it_go_on() {
    let limit = QueueLimit { messages: 8, bytes: 10_000 };
    let mut driven = ready(dealer().receive_limit(limit), "ROUTER");
    driven.feed(&frame(0, b"x").repeat(10));
    assert!(driven.pipe.is_paused());
    assert_eq!(driven.pipe.inbox().messages(), 4, "half of the limit");
    driven.pass_time(SECOND * 60);
    assert_eq!(driven.ended, None, "who does not read does not call the peer dead");
    let sign = b"\x04\x05\x04PONG";
    assert_eq!(driven.sent(), sign.repeat(12), "and is heard all the same");
    let mut message = Message::new();
    assert!(driven.pipe.receive_into(&mut message) && driven.pipe.receive_into(&mut message));
    assert!(driven.pipe.is_paused());
    assert!(driven.pipe.receive_into(&mut message));
    driven.work();
    assert_eq!(driven.pipe.inbox().messages(), 4, "more was read");
    assert_eq!(driven.received().len(), 4);
    assert_eq!(driven.received().len(), 3);
    assert!(!driven.pipe.is_paused());
}

#[test]
fn a_silent_handshake_ends() {
    let mut driven = Driven::new(dealer(), Role::Dialing);
    driven.feed(&greeting(1, "NULL"));
    driven.pass_time(SECOND * 9);
    assert_eq!(driven.ended, None);
    driven.pass_time(SECOND);
    assert_eq!(driven.ended, Some(Disconnect::ConnectTimeout { limit: SECOND * 10 }));
    assert!(!driven.pipe.is_closed(), "and is tried again");
}

#[test]
fn other_mechanisms_and_types_end_dialing_for_good() {
    for bytes in [greeting(1, "PLAIN"), greeting(1, "NULLX"), hello("PUB"), hello("null")] {
        let mut driven = Driven::new(dealer(), Role::Dialing);
        driven.feed(&bytes);
        assert!(driven.error().is_some_and(ZmtpError::is_final), "{:?}", driven.ended);
        assert!(driven.pipe.is_closed());
    }
    let mut refused = Driven::new(dealer(), Role::Dialing);
    refused.feed(&[&greeting(1, "NULL")[..], b"\x04\x0a\x05ERROR\x03400"].concat());
    assert_eq!(refused.error(), Some(&ZmtpError::Refused { reason: "400".into() }));
    assert!(refused.pipe.is_closed());
}

#[test]
fn a_message_before_ready_is_refused() {
    for early in [&b"\x00\x02hi"[..], b"\x00\x00", b"\x04\x04\x03FOO", b"\x04\x07\x04PING\0\0"] {
        let mut driven = Driven::new(dealer(), Role::Accepting);
        driven.feed(&[&greeting(1, "NULL")[..], early].concat());
        assert!(matches!(driven.error(), Some(ZmtpError::Unexpected { .. })), "{:?}", driven.ended);
    }
}

fn plain_server() -> Options {
    Options::new(SocketType::Rep).mechanism(Mechanism::PlainServer).admission(Admission::Ask).domain("d")
}

const PLAIN_HELLO: &[u8] = b"\x04\x0a\x05HELLO\x01u\x01p";
const INITIATE: &[u8] = b"\x04\x1c\x08INITIATE\x0bSocket-Type\0\0\0\x03REQ";

#[test]
fn nothing_is_read_while_it_is_decided_whether_a_peer_is_let_in() {
    let mut driven = Driven::new(plain_server(), Role::Accepting);
    driven.feed(&[&greeting(1, "PLAIN"), PLAIN_HELLO].concat());
    assert_eq!(driven.told, ["asks Plain(u)"]);
    assert!(driven.pipe.is_paused());
    driven.sent();
    driven.pipe.decide(7, Decision::Refuse { status: 400 });
    driven.work();
    assert!(driven.ended.is_none(), "that was another connection");
    driven.pipe.decide(1, Decision::Accept { user_id: "somebody".into() });
    driven.work();
    assert_eq!(driven.sent(), b"\x04\x08\x07WELCOME");
    assert!(!driven.pipe.is_paused());
    driven.feed(INITIATE);
    assert_eq!(driven.pipe.peer().unwrap().user_id.as_deref(), Some("somebody"));
    assert_eq!(driven.sent(), b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REP");
}

#[test]
fn a_peer_that_is_not_let_in_hears_so_if_it_is_for_good() {
    for (status, said) in
        [(400, &b"\x04\x0a\x05ERROR\x03400"[..]), (500, b"\x04\x0a\x05ERROR\x03500"), (300, b"")]
    {
        let mut driven = Driven::new(plain_server(), Role::Accepting);
        driven.feed(&[&greeting(1, "PLAIN"), PLAIN_HELLO].concat());
        driven.sent();
        driven.pipe.decide(1, Decision::Refuse { status });
        driven.work();
        assert_eq!(driven.sent(), said);
        assert_eq!(driven.error(), Some(&ZmtpError::NotAuthenticated { status }));
    }
    let mut silent = Driven::new(plain_server(), Role::Accepting);
    silent.feed(&[&greeting(1, "PLAIN"), PLAIN_HELLO].concat());
    silent.pass_time(SECOND * 10);
    assert_eq!(silent.ended, Some(Disconnect::ConnectTimeout { limit: SECOND * 10 }));
}

#[test]
fn what_was_not_wholly_sent_goes_out_whole_on_the_next_connection() {
    let mut driven = Driven::new(dealer(), Role::Dialing);
    driven.feed(&hello("ROUTER"));
    driven.sent();
    driven.pipe.send(&[b"part"], &[b"one".into()]).unwrap();
    driven.pipe.send(&[], &[b"two".into()]).unwrap();
    let mut batch = driven.pipe.begin_write(driven.now).unwrap();
    batch.wrote(8);
    driven.reader = None;
    driven.pipe.handle_disconnected(driven.now, Some(batch), Disconnect::PeerClosed);
    driven.reader = Some(driven.pipe.handle_connected(driven.now, Epoch::FIRST.next()));
    driven.buf = RecvBuf::new();
    driven.feed(&hello("ROUTER"));
    let sent = driven.sent();
    assert!(sent.ends_with(b"\x01\x04part\x00\x03one\x00\x03two"), "{sent:?}");
    assert_eq!(driven.pipe.stats().sent, 2, "each once");
}

#[test]
fn an_accepted_pipe_hands_back_what_it_did_not_send() {
    let mut driven = ready(dealer(), "ROUTER");
    for body in [b"1", b"2", b"3"] {
        driven.pipe.send(&[], &[body.into()]).unwrap();
    }
    let mut batch = driven.pipe.begin_write(driven.now).unwrap();
    batch.wrote(4);
    driven.reader = None;
    driven.pipe.handle_disconnected(driven.now, Some(batch), Disconnect::PeerClosed);
    assert!(driven.pipe.is_closed());
    assert_eq!(driven.pipe.send(&[], &[b"4".into()]), Err(Refusal::Closed));
    let mut unsent = Vec::new();
    driven.pipe.take_unsent(|message| unsent.push(message[0].to_vec()));
    assert_eq!(unsent, [b"2", b"3"], "the half-written one, too");
    assert!(driven.pipe.is_drained());
}

#[test]
fn a_closed_pipe_sends_what_waits_and_then_ends() {
    let mut driven = ready(dealer(), "ROUTER");
    driven.pipe.send(&[], &[b"last".into()]).unwrap();
    driven.pipe.close(driven.now, SECOND);
    assert_eq!(driven.pipe.send(&[], &[b"later".into()]), Err(Refusal::Closed));
    driven.work();
    assert_eq!(driven.sent(), b"\x00\x04last");
    assert_eq!(driven.ended, Some(Disconnect::LocalClose));
    assert!(driven.pipe.is_closed());

    let mut unconnected: Pipe<u32> = Pipe::new(dealer().build().unwrap(), Role::Dialing);
    unconnected.send(&[], &[b"x".into()]).unwrap();
    unconnected.close(Instant::ZERO, SECOND);
    assert!(!unconnected.is_closed(), "it may come to be sent");
    let (at, _) = unconnected.poll_timeout().unwrap();
    unconnected.handle_timeout(at);
    assert!(unconnected.is_closed());
    let mut unsent = 0;
    unconnected.take_unsent(|_| unsent += 1);
    assert_eq!(unsent, 1);
}

#[test]
fn subscriptions_are_told_in_both_forms() {
    let mut driven = ready(Options::new(SocketType::XPub), "SUB");
    driven.feed(b"\x04\x0b\x09SUBSCRIBEA\x00\x02\x01B\x04\x08\x06CANCELA\x00\x01\x00\x00\x03\x05hi\x00\x00");
    driven.feed(&[frame(MORE, b"\x01x"), frame(0, b"y")].concat());
    assert_eq!(driven.told[1..], ["+A", "+B", "-A", "-"]);
    assert_eq!(
        driven.received(),
        [vec![b"\x05hi".to_vec()], vec![vec![]], vec![b"\x01x".to_vec(), b"y".to_vec()]]
    );
    let topic = [&[1][..], &[b'x'; 40_000]].concat();
    driven.feed(&frame(0, &topic));
    assert_eq!(driven.told.last().unwrap().len(), 40_001);
    driven.feed(&[LONG, 0, 0, 0, 0, 0, 1, 0, 1, 1]);
    let long = ZmtpError::TooLong { field: "subscription", value: 65537, limit: 65536 };
    assert_eq!(driven.error(), Some(&long));
    let mut publisher = ready(Options::new(SocketType::Pub), "SUB");
    publisher.feed(b"\x00\x03\x05hi\x00\x02\x01B");
    assert_eq!((&publisher.told[1..], publisher.pipe.stats().unwanted), (&["+B".into()][..], 1));
}

/// The sent bytes, the events, the received messages, and how it ended.
type Outcome = (Vec<u8>, Vec<String>, Vec<Vec<Vec<u8>>>, Option<Disconnect>);

/// The reaction of a pipe to bytes, independently of their fragmentation.
fn outcome(options: &Options, bytes: &[u8], mut piece: impl FnMut() -> usize) -> Outcome {
    let mut driven = Driven::new(options.clone(), Role::Accepting);
    let mut rest = bytes;
    let mut received = Vec::new();
    while !rest.is_empty() && driven.ended.is_none() {
        let n = piece().clamp(1, rest.len());
        driven.feed(&rest[..n]);
        rest = &rest[n..];
        received.extend(driven.received());
    }
    received.extend(driven.received());
    // The number of PINGs that one PONG answers depends on when it is written.
    let pong = driven.sent.windows(5).position(|window| window == b"\x04PONG");
    driven.sent.truncate(pong.map_or(usize::MAX, |at| at - 2));
    (driven.sent, driven.told, received, driven.ended)
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let body = |most| proptest::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        8 => (body(20), any::<bool>()).prop_map(|(body, more)| frame(u8::from(more), &body)),
        1 => (body(40), any::<u8>()).prop_map(|(body, flags)| frame(flags & !LONG, &body)),
        1 => (0..3_usize).prop_map(|more| frame(0, &vec![7; crate::inbox::LARGE - 1 + more])),
        1 => body(20).prop_map(|body| frame(4, &[&b"\x04PING"[..], &body].concat())),
        1 => body(20).prop_map(|body| frame(4, &[&b"\x09SUBSCRIBE"[..], &body].concat())),
        1 => body(20).prop_map(|body| frame(0, &[&[1][..], &body].concat())),
        1 => body(6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        kind in 0..SocketType::ALL.len(),
        version in 0..4_u8,
        content in proptest::collection::vec(pieces(), 0..12),
        splits in proptest::collection::vec(1..40_usize, 1..20),
    ) {
        let kind = SocketType::ALL[kind];
        let peer = SocketType::ALL.into_iter().find(|peer| kind.goes_with(*peer)).unwrap();
        let mut bytes = match version {
            0 => b"\x03\0me".to_vec(),
            1 => [&b"\xff\0\0\0\0\0\0\0\x03\x7f\x01"[..], &[peer.number().unwrap_or(99)], b"\0\x02me"].concat(),
            _ => hello(peer.name()),
        };
        if version == 2 {
            bytes[11] = 0;
        }
        bytes.extend(content.concat());
        let options = Options::new(kind).max_message(40_000);
        let whole = outcome(&options, &bytes, || usize::MAX);
        let single = outcome(&options, &bytes, || 1);
        prop_assert_eq!(&whole, &single);
        let mut at = splits.iter().cycle();
        let split = outcome(&options, &bytes, || *at.next().unwrap());
        prop_assert_eq!(&whole, &split);
    }
}

#[test]
fn a_long_message_for_a_peer_is_encoded_with_what_is_shared() {
    let mut driven = ready(dealer(), "ROUTER");
    let body = bytes::Bytes::from(vec![7; 20_000]);
    driven.pipe.send(&[b"id"], &[Payload::from(&body), b"x".into()]).unwrap();
    assert!(driven.pipe.memory() < 20_000 + 128 * 1024);
    driven.work();
    let sent = driven.sent();
    assert_eq!(sent[..13], *b"\x01\x02id\x03\0\0\0\0\0\0\x4e\x20");
    assert_eq!((sent.len(), &sent[sent.len() - 3..]), (13 + 20_000 + 3, &b"\x00\x01x"[..]));
}
