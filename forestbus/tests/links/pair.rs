//! A client's link and a node's.

use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::{
    CallError, CastRefusal, Disconnect, EncodeError, Failure, FrameError, Outcome, PeerError, Status,
};
use bowline_core::link::{CallOptions, CastOptions, Role};
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_forestbus::protocol::{Receive, Received, Reply, Request, Send, Sent, TopicDetails};
use bowline_forestbus::wire::{CborRpc, Method};
use bowline_netsim::{Direction, NetConfig, Pair};

use crate::end::End;

const MS: Duration = Duration::from_millis(1);
const START: Instant = Instant::ZERO;

struct Two {
    client: End,
    node: End,
}

impl Two {
    fn new() -> Self {
        let config = || Config::with_framing(CborRpc::new()).seed(1).build().unwrap();
        Self { client: End::new(config(), Role::Dialing), node: End::new(config(), Role::Accepting) }
    }

    /// Delivers the bytes of both sides.
    fn run(&mut self, now: Instant) {
        for _ in 0..2 {
            let out = self.client.output(now);
            self.node.input(now, &out).unwrap();
            let out = self.node.output(now);
            self.client.input(now, &out).unwrap();
        }
    }
}

fn options(request: &Request) -> CallOptions {
    CallOptions::new(request.method().number())
}

fn details() -> Request {
    Request::TopicDetails { topic: "t".into() }
}

fn poll() -> Request {
    Request::Receive(Receive { topic: "t".into(), id: 1, quantity: 10, wait: true, ..Receive::default() })
}

fn send(messages: &[&'static str]) -> Request {
    let messages = messages.iter().map(|message| (*message).into()).collect();
    Request::Send(Send { topic: "t".into(), messages, ..Send::default() })
}

#[test]
fn replies_come_in_any_order() {
    let mut two = Two::new();
    let requests = [poll(), send(&["a", "b"]), details()];
    let calls = requests.each_ref().map(|request| two.client.call(START, request, options(request)));
    two.run(START);
    assert_eq!(
        two.node.asked.iter().map(|asked| asked.request.clone().unwrap()).collect::<Vec<_>>(),
        requests
    );
    // The last one first, the long poll last.
    let replies = [
        Reply::TopicDetails(TopicDetails::default()),
        Reply::Sent(Sent { ids: vec![1, 2], ..Sent::default() }),
        Reply::Received(Received { messages: vec!["a".into()], next_id: 2, ..Received::default() }),
    ];
    for reply in &replies {
        two.node.answer(two.node.asked.len() - 1, reply);
    }
    two.run(START);
    let methods = requests.each_ref().map(Request::method);
    for ((call, method), reply) in calls.into_iter().zip(methods).zip(replies.iter().rev()) {
        assert_eq!(two.client.reply(call, method), *reply);
    }
}

#[test]
fn errors_come_back_as_text_and_close_nothing() {
    let mut two = Two::new();
    let not_found = Reply::Error("Topic not found on server.".into());
    let first = two.client.call(START, &poll(), options(&poll()));
    two.run(START);
    two.node.answer(0, &not_found);
    two.run(START);
    assert_eq!(two.client.reply(first, Method::Receive), not_found);
    // Without text it gets some: an empty error is success.
    for (status, words) in [
        (Status::BUSY, "busy"),
        (Status::DEADLINE_EXCEEDED, "deadline exceeded"),
        (Status::FAILED, "failed"),
        (Status(4000), "failed"),
        (Status::FORBIDDEN, "forbidden"),
        (Status::NO_METHOD, "rpc: can't find method RPCHandler.GetTopicDetails"),
    ] {
        let call = two.client.call(START, &details(), options(&details()));
        two.run(START);
        let asked = two.node.asked.remove(0);
        two.node.link.answer(asked.inbound, Err(Failure::new(status, "")));
        two.run(START);
        assert_eq!(two.client.reply(call, Method::TopicDetails), Reply::Error(words.into()));
    }
    // Invalid UTF-8 is replaced, and a long text is truncated between two characters.
    let long = "ü".repeat(20_000);
    for (text, expected) in [(&b"\xffno"[..], "\u{fffd}no"), (long.as_bytes(), &long[..32 * 1024])] {
        let call = two.client.call(START, &details(), options(&details()));
        two.run(START);
        let asked = two.node.asked.remove(0);
        two.node.link.answer(asked.inbound, Err(Failure::new(Status::FAILED, text)));
        two.run(START);
        assert_eq!(two.client.reply(call, Method::TopicDetails), Reply::Error(expected.into()));
    }
    let last = two.client.call(START, &details(), options(&details()));
    two.run(START);
    two.node.answer(0, &Reply::TopicDetails(TopicDetails::default()));
    two.run(START);
    assert_eq!(two.client.reply(last, Method::TopicDetails), Reply::TopicDetails(TopicDetails::default()));
}

#[test]
fn methods_that_are_not_in_the_table_are_called_and_refused_by_name() {
    let mut two = Two::new();
    let named = CallOptions::new(0).extensions(b"RPCHandler.ConfigurationChange".to_vec());
    let call = two.client.link.call(START, &named, b"\xa0"[..].into(), 0).unwrap();
    two.run(START);
    let asked = two.node.asked.remove(0);
    assert_eq!((asked.name.as_str(), asked.request), ("RPCHandler.ConfigurationChange", None));
    two.node.link.answer(asked.inbound, Err(Failure::new(Status::NO_METHOD, "")));
    two.run(START);
    let Err(CallError::Failed(failure)) = two.client.poll(call).unwrap() else { panic!() };
    let text = "rpc: can't find method RPCHandler.ConfigurationChange";
    assert_eq!(failure, Failure::new(Status::NO_METHOD, text));
}

#[test]
fn bad_arguments_are_answered_and_the_stream_goes_on() {
    let mut two = Two::new();
    let send = CallOptions::new(Method::Send.number());
    let bad = two.client.link.call(START, &send, b"\xa1\x6cSentMessages\x43abc"[..].into(), 0).unwrap();
    let good = two.client.call(START, &details(), options(&details()));
    two.run(START);
    two.node.answer(0, &Reply::TopicDetails(TopicDetails::default()));
    two.run(START);
    let error = "SentMessages at offset 14 is a byte string, not an array";
    assert_eq!(two.client.reply(bad, Method::Send), Reply::Error(error.into()));
    assert_eq!(two.client.reply(good, Method::TopicDetails), Reply::TopicDetails(TopicDetails::default()));
}

#[test]
fn calls_end_at_their_deadline_and_late_replies_are_counted() {
    let mut two = Two::new();
    let call = two.client.call(START, &poll(), options(&poll()).timeout(MS * 100));
    two.run(START);
    let (at, _) = two.client.link.poll_timeout().unwrap();
    assert!(at <= START + MS * 101);
    two.client.link.handle_timeout(START + MS * 101);
    match two.client.poll(call) {
        Some(Err(CallError::DeadlineExceeded { outcome: Outcome::MaybeDelivered, .. })) => {}
        other => panic!("{other:?}"),
    }
    // The node is not informed, and answers.
    two.node.answer(0, &Reply::Received(Received::default()));
    two.run(START + MS * 200);
    assert_eq!(two.client.link.counters().late_replies, 1);
    let next = two.client.call(START + MS * 200, &details(), options(&details()));
    two.run(START + MS * 200);
    two.node.answer(0, &Reply::TopicDetails(TopicDetails::default()));
    two.run(START + MS * 200);
    assert_eq!(two.client.reply(next, Method::TopicDetails), Reply::TopicDetails(TopicDetails::default()));
}

#[test]
fn a_connection_that_dies_says_what_may_have_happened_and_the_next_one_begins_fresh() {
    let mut two = Two::new();
    let left = two.client.call(START, &send(&["a"]), options(&send(&["a"])));
    let out = two.client.output(START);
    two.node.input(START, &out).unwrap();
    two.node.answer(0, &Reply::Sent(Sent { ids: vec![1], ..Sent::default() }));
    let reply = two.node.output(START);
    // Cut in the middle of the reply, with the reader in the middle of its header.
    two.client.input(START, &reply[..reply.len() / 2]).unwrap();
    let waits = two.client.call(START, &details(), options(&details()));
    two.client.disconnect(START, Disconnect::PeerClosed);
    assert_eq!(two.client.poll(left), Some(Err(CallError::MaybeDelivered(Disconnect::PeerClosed))));
    assert!(two.client.poll(waits).is_none(), "it goes out on the next one");
    two.client.connect(START);
    two.node = Two::new().node;
    two.run(START);
    assert_eq!(two.node.asked[0].request, Some(details()));
    two.node.answer(0, &Reply::TopicDetails(TopicDetails::default()));
    two.run(START);
    assert_eq!(two.client.reply(waits, Method::TopicDetails), Reply::TopicDetails(TopicDetails::default()));
}

#[test]
fn what_the_wire_has_no_room_for_is_refused_where_it_is_asked() {
    let mut two = Two::new();
    let unsupported = |what| EncodeError::Unsupported { what };
    let mut call = |options: CallOptions, body: &'static [u8]| match two.client.link.call(
        START,
        &options,
        body.into(),
        0,
    ) {
        Err(CallError::Encode(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(call(CallOptions::new(0), b"\xa0"), unsupported("a request without a method"));
    assert_eq!(call(CallOptions::new(9), b"\xa0"), unsupported("a method that is not in its table"));
    let both = CallOptions::new(1).extensions(b"X.Y".to_vec());
    assert_eq!(call(both, b"\xa0"), unsupported("a method and the name of another one"));
    let body = unsupported("a body that is no map, array or null of CBOR");
    for bad in [&b""[..], b"text", b"\x05", b"\xa1", b"\xa0\xa0", b"\x81\xc2\x41\x01"] {
        assert_eq!(call(CallOptions::new(1), bad), body, "{bad:x?}");
    }
    let named = CallOptions::new(0).extensions(vec![b'x'; 5000]);
    assert_eq!(call(named, b"\xa0"), EncodeError::TooLarge { len: 5000, max: 4096 });
    let cast = two.client.link.cast(START, &CastOptions::new(1), b"\xa0"[..].into());
    let what = "anything but requests and their answers";
    assert_eq!(cast.unwrap_err().into_reason(), CastRefusal::Encode(unsupported(what)));
    assert_eq!(two.client.output(START), b"", "nothing of all that");
}

#[test]
fn bad_bytes_end_the_connection_with_what_is_wrong() {
    for (bytes, expected) in [
        (
            &b"GET / HTTP/1.1\r\n"[..],
            FrameError::other(
                "this looks like HTTP: the header at offset 0 is a byte string, not a map or an array",
            ),
        ),
        (
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
            FrameError::other(
                "this looks like TLS: the header at offset 0 is an unsigned integer, not a map or an array",
            ),
        ),
        (b"\x9b\x40\0\0\0\0\0\0\0", FrameError::TooLong { field: "an array", value: 1 << 62, limit: 65_527 }),
        (
            b"\xa1\x63Seq\x61x",
            FrameError::other("in the header: Seq at offset 5 is a text string, not an integer"),
        ),
        (
            b"\xa1\x6dServiceMethod\x62\xff\xfe",
            FrameError::other("in the header: ServiceMethod at offset 15 is not UTF-8"),
        ),
        (
            b"\xa1\x63Seq\x01\xa1\x81\x00\x00\x05",
            FrameError::other("the header at offset 0 is an unsigned integer, not a map or an array"),
        ),
    ] {
        assert_eq!(Two::new().node.input(START, bytes), Err(PeerError::Frame(expected)));
    }
    let mut deep = b"\xa0".to_vec();
    deep.extend([0x81; 17]);
    let expected =
        "in the body, which begins at offset 1: 17 levels of arrays and maps at offset 16, limit 16";
    assert_eq!(Two::new().node.input(START, &deep), Err(PeerError::Frame(FrameError::other(expected))));
}

/// Calls over a line that is cut at each of its bytes: each has one end, and the replies are those that were
/// given.
#[test]
fn a_cut_at_every_byte_leaves_every_call_with_its_outcome() {
    let config = Config::with_framing(CborRpc::new()).seed(3).build().unwrap();
    // Wide enough to be told apart; the other end answers with what it got.
    let body = |at: u8| [&[0x81, 0x58, 30][..], &[at; 30]].concat();
    for direction in [Direction::ToServer, Direction::ToClient] {
        let mut cuts = 0;
        for bytes in 0..400 {
            let net = NetConfig { max_write: 50, max_read: 23, ..NetConfig::default() };
            let mut pair = Pair::new(&config, net, bytes).reconnecting(MS * 5);
            pair.cut_at(direction, bytes);
            let calls: Vec<_> = (0..4)
                .map(|at| pair.call(0, &CallOptions::new(1).timeout(MS * 2000), body(at)).unwrap())
                .collect();
            pair.run_for(MS * 3000);
            for (at, call) in (0..).zip(calls) {
                match pair.outcome(call).unwrap_or_else(|| panic!("cut at {bytes}: no end")) {
                    Ok(reply) => assert_eq!(reply.body.as_slice(), body(at)),
                    Err(CallError::MaybeDelivered(_)) => cuts += 1,
                    Err(error) => panic!("cut at {bytes}: {error}"),
                }
            }
        }
        assert!(cuts > 100, "{direction:?}: only {cuts}");
    }
}
