//! Properties of bodies and of the framing: encoded values can be decoded, and any bytes are handled without
//! a panic.

use bowline_core::frame::{Framing, Kind, Meta, Step};
use bowline_forestbus::protocol::{
    Bounds, ClusterDetails, Code, Receive, Received, Reply, Request, Send, Sent, Status, TopicDetails,
};
use bowline_forestbus::wire::{CborRpc, Codec, DecodeError, Empty, KeyOrder, METHODS, Method, Walk, Walker};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9.:]{1,12}", "\\PC{0,40}"]
}

fn messages() -> impl Strategy<Value = Vec<Bytes>> {
    vec(
        prop_oneof![8 => vec(any::<u8>(), 0..30), 1 => vec(any::<u8>(), 250..300)].prop_map(Bytes::from),
        0..30,
    )
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -3..300_i64, Just(i64::MIN), Just(i64::MAX)]
}

fn request() -> impl Strategy<Value = Request> {
    let send = (text(), text(), messages(), any::<bool>()).prop_map(
        |(cluster_id, topic, messages, wait_for_commit)| {
            Request::Send(Send { cluster_id, topic, messages, wait_for_commit })
        },
    );
    let receive = (text(), text(), number(), number(), any::<bool>()).prop_map(
        |(cluster_id, topic, id, quantity, wait)| {
            Request::Receive(Receive { cluster_id, topic, id, quantity, wait })
        },
    );
    let details = text().prop_map(|topic| Request::TopicDetails { topic });
    prop_oneof![Just(Request::ClusterDetails), details, send, receive]
}

fn reply() -> impl Strategy<Value = (Method, Reply)> {
    let status =
        || {
            (number().prop_map(Code::from_number), text(), text())
                .prop_map(|(code, description, extra)| Status { code, description, extra })
        };
    let cluster = (status(), text(), vec(text(), 0..5), vec(text(), 0..5)).prop_map(
        |(status, cluster_id, peers, topics)| {
            let details = ClusterDetails { status, cluster_id, peers, topics };
            (Method::ClusterDetails, Reply::ClusterDetails(details))
        },
    );
    let topic = (status(), number(), number(), number()).prop_map(|(status, first, last, commit)| {
        let bounds = Bounds { first, last, commit };
        (Method::TopicDetails, Reply::TopicDetails(TopicDetails { status, bounds }))
    });
    let sent = (status(), vec(number(), 0..40))
        .prop_map(|(status, ids)| (Method::Send, Reply::Sent(Sent { status, ids })));
    let received = (status(), messages(), number()).prop_map(|(status, messages, next_id)| {
        (Method::Receive, Reply::Received(Received { status, messages, next_id }))
    });
    prop_oneof![cluster, topic, sent, received]
}

fn codec() -> impl Strategy<Value = Codec> {
    let order = prop_oneof![Just(KeyOrder::Declared), Just(KeyOrder::Alphabetical)];
    let empty = prop_oneof![Just(Empty::Null), Just(Empty::Array)];
    (order, empty).prop_map(|(order, empty)| Codec::new().with_order(order).with_empty(empty))
}

/// One item, and nothing else.
fn is_item(body: &[u8]) -> bool {
    Walker::new(body.len()).walk(body) == Ok(Walk::Whole(body.len()))
}

/// Each frame's fields, extensions and body; whether the stream ended properly.
type Frames = (Vec<(Meta, Vec<u8>, Vec<u8>)>, bool);

/// All frames of a stream that arrives in pieces of those lengths, and whether it ended well.
fn frames(stream: &[u8], mut pieces: impl Iterator<Item = usize>) -> Frames {
    let (mut framing, mut frames) = (CborRpc::new(), Vec::new());
    let (mut at, mut end) = (0, 0);
    loop {
        let unread = &stream[at..end];
        match framing.next_frame(unread) {
            Ok(Step::Frame { meta, extensions, body, consumed }) => {
                frames.push((meta, unread[extensions].to_vec(), unread[body].to_vec()));
                at += consumed;
            }
            Ok(Step::Need(need)) => {
                assert!(need > unread.len());
                if end == stream.len() {
                    return (frames, unread.is_empty());
                }
                end = stream.len().min(end + pieces.next().unwrap_or(1).max(1));
            }
            Err(_) => return (frames, false),
        }
    }
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(request in request(), codec in codec()) {
        let mut body = Vec::new();
        codec.write_request(&request, &mut body).unwrap();
        prop_assert!(is_item(&body));
        let body = Bytes::from(body);
        prop_assert_eq!(Codec::new().read_request(request.method(), &body), Ok(request.clone()));
        // A part of it is no request.
        for cut in [0, body.len() / 2, body.len() - 1] {
            let part = Codec::new().read_request(request.method(), &body.slice(..cut));
            prop_assert!(matches!(part, Err(DecodeError::Malformed { .. } | DecodeError::TooMany { .. })), "{:?}", part);
        }
    }

    #[test]
    fn replies_are_read_as_they_were_written((method, reply) in reply(), codec in codec()) {
        let mut body = b"before".to_vec();
        codec.write_reply(&reply, &mut body).unwrap();
        let body = Bytes::from(body).slice(6..);
        prop_assert!(is_item(&body));
        let read = Codec::new().read_reply(method, &body).unwrap();
        if let Reply::Received(received) = &read {
            for message in received.messages.iter().filter(|message| !message.is_empty()) {
                prop_assert!(body.as_ptr_range().contains(&message.as_ptr()), "a message was copied");
            }
        }
        prop_assert_eq!(read, reply);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..200), at in 0..4_usize) {
        let bytes = Bytes::from(bytes);
        let method = Method::ALL[at];
        if let Ok(request) = Codec::new().read_request(method, &bytes) {
            prop_assert_eq!(request.method(), method);
        }
        let _ = Codec::new().read_reply(method, &bytes);
    }

    #[test]
    fn a_changed_reply_is_a_value_or_an_error(
        (method, reply) in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = Vec::new();
        Codec::new().write_reply(&reply, &mut body).unwrap();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(Reply::Received(received)) = Codec::new().read_reply(method, &Bytes::from(body.clone())) {
            prop_assert!(received.messages.iter().map(Bytes::len).sum::<usize>() <= body.len());
        }
    }

    #[test]
    fn frames_are_the_same_however_they_arrive(
        requests in vec((request(), any::<u64>()), 1..4),
        replies in vec((reply(), any::<u64>(), text()), 0..4),
        pieces in vec(1..40_usize, 1..60),
        order in prop_oneof![Just(KeyOrder::Declared), Just(KeyOrder::Alphabetical)],
    ) {
        let (codec, framing) = (Codec::new(), CborRpc::new().with_order(order));
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (request, id) in requests {
            let (mut body, method) = (Vec::new(), request.method());
            codec.write_request(&request, &mut body).unwrap();
            let meta = Meta { method: method.number(), ..Meta::new(Kind::Request, id) };
            framing.encode(&mut stream, &meta, &[], &body).unwrap();
            expected.push((meta, method.name().as_bytes().to_vec(), body));
        }
        for ((method, reply), id, error) in replies {
            let mut body = Vec::new();
            codec.write_reply(&reply, &mut body).unwrap();
            framing.encode(&mut stream, &Meta::new(Kind::Reply, id), method.name().as_bytes(), &body).unwrap();
            expected.push((Meta { method: method.number(), ..Meta::new(Kind::Reply, id) }, Vec::new(), body));
            if !error.is_empty() {
                let meta = Meta { status: 1, ..Meta::new(Kind::ErrorReply, id) };
                framing.encode(&mut stream, &meta, b"A.B", error.as_bytes()).unwrap();
                expected.push((meta, Vec::new(), error.into_bytes()));
            }
        }
        prop_assert_eq!(frames(&stream, pieces.iter().copied().cycle()), (expected, true));
    }

    #[test]
    fn any_bytes_give_the_same_frames_at_any_split(
        stream in vec(prop_oneof![4 => 0xa0..=0xa3_u8, 1 => any::<u8>(), 1 => 0x60..0x64_u8], 0..80),
        pieces in vec(1..9_usize, 1..20),
    ) {
        let whole = frames(&stream, core::iter::once(stream.len()));
        prop_assert_eq!(frames(&stream, pieces.into_iter()), whole);
    }
}

#[test]
fn more_items_than_the_limit_are_neither_written_nor_read() {
    let codec = Codec::new().with_max_items(3);
    let four = vec![Bytes::from_static(b"x"); 4];
    let request = Request::Send(Send { messages: four.clone(), ..Send::default() });
    let mut body = b"before".to_vec();
    let error = codec.write_request(&request, &mut body).unwrap_err();
    assert_eq!(error.to_string(), "SentMessages has 4 items, limit 3");
    let reply = Reply::Received(Received { messages: four, ..Received::default() });
    let failure = codec.write_reply(&reply, &mut body).unwrap_err();
    assert_eq!(failure.status, bowline_core::error::Status::REPLY_TOO_LARGE);
    assert_eq!(body, b"before");
    let mut body = Vec::new();
    Codec::new().write_reply(&reply, &mut body).unwrap();
    let error = codec.read_reply(Method::Receive, &body.into()).unwrap_err();
    assert_eq!(error.to_string(), "ReceivedMessages at offset 53 has 4 items, limit 3");
}

#[test]
fn replies_are_read_by_key_with_whatever_else_stands_there() {
    let read = |method, body: &'static [u8]| Codec::new().read_reply(method, &Bytes::from_static(body));
    // Unknown keys of any type, byte strings as keys, text as bytes, chunks, undefined.
    let body = b"\xbf\x66Future\xa1\x01\x9f\x80\xf4\xff\x46NextID\xf9\x44\0\x70ReceivedMessages\x83\x61a\x5f\x41b\x41c\xff\xf7\x66Result\xf6\xff";
    let expected =
        Received { messages: vec!["a".into(), "bc".into(), Bytes::new()], next_id: 4, ..Received::default() };
    assert_eq!(read(Method::Receive, body), Ok(Reply::Received(expected)));
    // Arrays in the order of declaration, with more behind.
    let status = Status { code: Code::NotLeader, description: "d".into(), extra: "x".into() };
    let sent = Sent { status, ids: vec![7] };
    assert_eq!(read(Method::Send, b"\x83\x84\x04\x61d\x61x\x00\x81\x07\x00"), Ok(Reply::Sent(sent)));
    // A reply that does not match is reported.
    let error = read(Method::Receive, b"\xa1\x66NextID\x1b\x80\0\0\0\0\0\0\0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "NextID at offset 8 is 9223372036854775808, must be -9223372036854775808 to 9223372036854775807"
    );
    let error = read(Method::Send, b"\xa1\x63IDs\x9b\x40\0\0\0\0\0\0\0").unwrap_err();
    assert_eq!(error.to_string(), "IDs at offset 5 has 4611686018427387904 items, limit 0");
    let error = read(Method::Send, b"\xa0\x00").unwrap_err();
    assert_eq!(error, DecodeError::Trailing { at: 1, value: 1 });
    let error = read(Method::ClusterDetails, b"\xa1\x69ClusterID\x41\xff").unwrap_err();
    assert_eq!(error, DecodeError::Utf8 { field: "ClusterID", at: 11 });
}

#[test]
fn headers_in_chunks_say_the_same() {
    let stream =
        b"\xbf\x7f\x67Service\x66Method\xff\x7f\x6aRPCHandler\x6d.SendMessages\xff\x63Seq\x02\xff\xa0\
        \xa2\x65Error\x7f\x64not \x64here\xff\x63Seq\xf6\xa0";
    let (frames, ended) = frames(stream, core::iter::once(stream.len()));
    assert!(ended);
    let [(request, name, _), (error, _, text)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((request.kind, request.id, request.method), (Kind::Request, 2, Method::Send.number()));
    assert_eq!(bowline_forestbus::wire::text_of(name), METHODS[2]);
    assert_eq!((error.kind, error.id), (Kind::ErrorReply, 0));
    assert_eq!(bowline_forestbus::wire::text_of(text), "not here");
    // The answer repeats the name in one piece.
    let mut answer = Vec::new();
    CborRpc::new().encode(&mut answer, &Meta::new(Kind::Reply, 2), name, b"\xa0").unwrap();
    assert_eq!(answer, b"\xa3\x6dServiceMethod\x77RPCHandler.SendMessages\x63Seq\x02\x65Error\x60\xa0");
}
