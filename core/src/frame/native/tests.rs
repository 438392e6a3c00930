use alloc::vec;
use core::time::Duration;

use super::*;
use proptest::prelude::*;

use crate::error::PeerError;
use crate::frame::{Class, Kind};

/// A decoder that has read a hello.
fn open() -> Native {
    let mut native = Native::new();
    native.past_hello = true;
    native
}

fn encode(meta: &Meta, extensions: &[u8], body: &[u8]) -> Vec<u8> {
    let native = Native::new();
    let mut out = vec![0xEE; 3];
    let mark = native.begin(&mut out, meta, extensions).unwrap();
    out.extend_from_slice(body);
    native.finish(&mut out, mark, 0).unwrap();
    out.split_off(3)
}

fn metas() -> Vec<Meta> {
    vec![
        Meta { attempt: 2, method: 9, remaining_ms: Some(10_000), ..Meta::new(Kind::Request, 7) },
        Meta { attempt: 1, method: 9, class: Class::Bulk, ..Meta::new(Kind::Request, u64::MAX) },
        Meta::new(Kind::Reply, 7),
        Meta { status: 3, retry_after_ms: Some(250), ..Meta::new(Kind::ErrorReply, 7) },
        Meta { method: 0xDEAD_BEEF, ..Meta::new(Kind::Cast, 0) },
        Meta { class: Class::Control, status: 6, ..Meta::new(Kind::GoAway, 41) },
    ]
}

#[test]
fn every_kind_comes_back_as_it_went() {
    let mut extensions = Extensions::new();
    extensions.push(TRACE_CONTEXT, b"trace").unwrap();
    extensions.push(0x8001, b"").unwrap();
    let extensions = extensions.into_bytes();
    for meta in metas() {
        for extensions in [&[][..], &extensions] {
            for body in [&b""[..], b"x", &[7; 1000]] {
                let out = encode(&meta, extensions, body);
                let Step::Frame { meta: read, extensions: e, body: b, consumed } =
                    open().next_frame(&out).unwrap()
                else {
                    panic!("not whole");
                };
                assert_eq!((read, consumed), (meta, out.len()));
                assert_eq!((&out[e], &out[b]), (extensions, body));
            }
        }
    }
    for kind in [Kind::Cancel, Kind::Ping, Kind::Pong, Kind::Abort] {
        let out = encode(&Meta::new(kind, 5), &[], b"");
        assert_eq!(out.len(), 16);
        assert!(matches!(open().next_frame(&out), Ok(Step::Frame { meta, .. }) if meta.id == 5));
    }
}

#[test]
fn bad_bytes_are_named_as_early_as_they_can_be() {
    let bad = |bytes: &[u8]| open().next_frame(bytes).unwrap_err();
    assert_eq!(bad(&[0]), FrameError::BadField { field: "kind", value: 0, limit: 14 });
    assert_eq!(bad(b"G"), FrameError::BadField { field: "kind", value: 71, limit: 14 });
    assert_eq!(bad(&[5, 3]), FrameError::BadField { field: "class", value: 3, limit: 2 });
    assert_eq!(bad(&[5, 8]), FrameError::BadField { field: "flags", value: 8, limit: 7 });
    assert_eq!(
        bad(&[2, 1, 0, 0, 0, 0, 0, 16]),
        FrameError::BadField { field: "attempt", value: 0, limit: 1 }
    );
    assert_eq!(bad(&[5, 1, 1, 0, 0, 0, 0, 4]), FrameError::BadField { field: "attempt", value: 1, limit: 0 });
    assert_eq!(
        bad(&[5, 1, 0, 9, 0, 0, 0, 4]),
        FrameError::BadField { field: "reserved", value: 9, limit: 0 }
    );
    assert_eq!(bad(&[5, 1, 0, 0, 0, 0, 0, 3]), FrameError::TooShort { field: "length", value: 3, limit: 4 });
    assert_eq!(bad(&[5, 1, 1]), FrameError::BadField { field: "attempt", value: 1, limit: 0 });
    assert_eq!(bad(&[5, 1, 0, 9]), FrameError::BadField { field: "reserved", value: 9, limit: 0 });
    let max = 8 << 20;
    let too_long = |value: u32, limit| FrameError::TooLong { field: "length", value: value.into(), limit };
    assert_eq!(bad(&[5, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]), too_long(u32::MAX, 4 + max));
    assert_eq!(bad(&[5, 5, 0, 0, 0xff, 0xff, 0xff, 0xff]), too_long(u32::MAX, 4 + 2 + 65_535 + max));
    // One byte over the limit, and the limit itself.
    assert_eq!(bad(&[5, 1, 0, 0, 0, 0x80, 0, 5]), too_long(0x80_0005, 4 + max));
    assert_eq!(open().next_frame(&[5, 1, 0, 0, 0, 0x80, 0, 4]), Ok(Step::Need(8 + 4 + (8 << 20))));
    // A ping with a body, and one with extensions.
    assert_eq!(bad(&[7, 0, 0, 0, 0, 0, 0, 9]), too_long(9, 8));
    assert_eq!(bad(&[7, 4]), FrameError::BadField { field: "flags", value: 4, limit: 3 });
}

#[test]
fn a_body_behind_extensions_is_held_to_the_limit_before_it_comes() {
    let mut native = open();
    native.set_max_message(10).unwrap();
    let head = |length, extensions| [5, 5, 0, 0, 0, 0, 0, length, 0, 0, 0, 1, 0, extensions];
    assert_eq!(native.next_frame(&head(21, 4)[..12]), Ok(Step::Need(14)));
    assert_eq!(native.next_frame(&head(20, 4)), Ok(Step::Need(28)));
    assert_eq!(
        native.next_frame(&head(21, 4)),
        Err(FrameError::TooLong { field: "body", value: 11, limit: 10 })
    );
    assert_eq!(native.next_frame(&head(21, 5)), Ok(Step::Need(29)));
    assert_eq!(
        native.next_frame(&head(9, 4)),
        Err(FrameError::TooShort { field: "length", value: 9, limit: 10 })
    );
}

#[test]
fn extensions_that_do_not_add_up_are_refused() {
    let mut extensions = Extensions::new();
    extensions.push(1, b"abc").unwrap();
    let good = encode(&Meta { method: 1, ..Meta::default() }, &extensions.into_bytes(), b"");
    let mut long = good.clone();
    long[13] = 99; // the length of all
    assert_eq!(
        open().next_frame(&long),
        Err(FrameError::TooLong { field: "extensions", value: 99, limit: 7 })
    );
    let mut inner = good;
    inner[17] = 4; // the length of the one
    assert_eq!(
        open().next_frame(&inner),
        Err(FrameError::TooLong { field: "extension", value: 8, limit: 7 })
    );
}

#[test]
fn a_cast_has_no_room_for_a_number() {
    let (native, mut out) = (Native::new(), b"before".to_vec());
    let refused = Err(EncodeError::Unsupported { what: "a Seq" });
    let meta = Meta::new(Kind::Cast, 1);
    assert_eq!(native.begin(&mut out, &meta, &[]).map(drop), refused);
    assert_eq!(native.encode(&mut out, &meta, &[], b"body"), refused);
    assert_eq!(native.encode(&mut out, &meta, &[0, 1, 0, 0], b"body"), refused);
    assert_eq!(out, b"before");
}

#[test]
fn extensions_that_the_peer_would_refuse_are_not_written() {
    let mut out = b"before".to_vec();
    let native = Native::new();
    let refused = [
        native.begin(&mut out, &Meta::new(Kind::Reply, 1), &[0, 1, 0]),
        native.begin(&mut out, &Meta::new(Kind::Reply, 1), &[0, 1, 0, 1]),
        native.begin(&mut out, &Meta::new(Kind::Ping, 1), &[0, 1, 0, 0]),
        native.begin(&mut out, &Meta::new(Kind::Hello, 0), &[0, 1, 0, 0]),
    ];
    for refusal in refused {
        assert!(matches!(refusal, Err(EncodeError::Unsupported { .. })), "{refusal:?}");
    }
    let long = native.begin(&mut out, &Meta::new(Kind::Reply, 1), &[0; 65_536]);
    assert_eq!(long, Err(EncodeError::TooLarge { len: 65_536, max: 65_535 }));
    assert_eq!(out, b"before");
    let mut extensions = Extensions::new();
    assert!(extensions.push(1, &[0; 65_532]).is_err());
    extensions.push(1, &[0; 65_531]).unwrap();
    assert!(extensions.push(1, b"").is_err(), "and no room is left");
    let extensions = extensions.into_bytes();
    assert_eq!(extensions.len(), 65_535);
    let out = encode(&Meta::new(Kind::Reply, 1), &extensions, b"x");
    assert!(matches!(open().next_frame(&out), Ok(Step::Frame { extensions: e, .. }) if e.len() == 65_535));
}

#[test]
fn a_hello_fits_whatever_the_limit_on_messages() {
    let mut native = Native::new();
    native.set_max_message(1).unwrap();
    let mut out = Vec::new();
    let mark = native.begin(&mut out, &Meta::new(Kind::Hello, 0), &[]).unwrap();
    Hello::new().encode(&mut out);
    native.finish(&mut out, mark, 0).unwrap();
    assert_eq!(out.len(), 64);
    assert!(matches!(native.next_frame(&out), Ok(Step::Frame { .. })));
    // A clone reads another connection.
    assert!(matches!(native.clone().next_frame(&[5]), Err(FrameError::BadMagic { .. })));
    assert!(matches!(native.next_frame(&[5]), Ok(Step::Need(8))));
}

#[test]
fn before_a_hello_nothing_else_is_taken_and_nothing_long() {
    assert_eq!(Native::new().next_frame(&[5]), Err(FrameError::BadMagic { found: 5, expected: 1 }));
    let others = [
        (&b"G"[..], "HTTP"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], "TLS"),
        (&[0xad, 0x12, 0, 0, 0, 3, 0, 0, 0, 0], "a tcpstream header"),
        (&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f], "ZeroMQ"),
    ];
    for (other, looks_like) in others {
        let found = u64::from(other[0]);
        let error = FrameError::OtherProtocol { looks_like, found, expected: 1 };
        assert_eq!(Native::new().next_frame(other), Err(error));
    }
    let expected = u64::from(u32::from_be_bytes(*b"BWLN"));
    assert_eq!(
        Native::new().next_frame(&[1, 0, 0, 0, 0, 0, 0, 56, b'B', b'X']),
        Err(FrameError::BadMagic { found: 0x4258_0000, expected })
    );
    let long = [1, 0, 0, 0, 0, 0, 4, 1];
    assert_eq!(
        Native::new().next_frame(&long),
        Err(FrameError::TooLong { field: "length", value: 1025, limit: 1024 })
    );
}

#[test]
fn a_body_over_the_limit_leaves_the_buffer_as_it_was() {
    let mut native = Native::new();
    native.set_max_message(10).unwrap();
    let mut out = b"before".to_vec();
    let mark = native.begin(&mut out, &Meta::new(Kind::Reply, 1), &[]).unwrap();
    out.extend_from_slice(&[0; 11]);
    assert_eq!(native.finish(&mut out, mark, 0), Err(EncodeError::TooLarge { len: 11, max: 10 }));
    assert_eq!(out, b"before");
    let mark = native.begin(&mut out, &Meta::new(Kind::Reply, 1), &[]).unwrap();
    assert!(native.finish(&mut out, mark, 11).is_err(), "bytes by reference count");
    assert!(native.set_max_message(0).is_err());
    assert!(native.set_max_message(u32::MAX as usize).is_err());
}

#[test]
fn the_remaining_time_can_be_brought_up_to_date() {
    let meta = Meta { attempt: 1, remaining_ms: Some(5_000), ..Meta::new(Kind::Request, 7) };
    let mut out = encode(&meta, &[], b"x");
    Native::new().set_remaining(&mut out, 1_200);
    let Step::Frame { meta: read, .. } = open().next_frame(&out).unwrap() else { panic!() };
    assert_eq!(read.remaining_ms, Some(1_200));
    // The largest number means none on the wire: a deadline must not turn into that.
    let meta = Meta { remaining_ms: Some(u32::MAX), ..meta };
    let out = encode(&meta, &[], b"x");
    let Step::Frame { meta: read, .. } = open().next_frame(&out).unwrap() else { panic!() };
    assert_eq!(read.remaining_ms, Some(u32::MAX - 1));
}

#[test]
fn hellos_agree_or_say_why_not() {
    let ours = Hello::new();
    let mut theirs = Hello { version_max: 3, max_message: 100, features: 6, ..Hello::new() };
    let agreed = ours.agree(&theirs).unwrap();
    assert_eq!((agreed.version, agreed.max_message, agreed.features), (1, 100, 0));
    theirs.version_min = 2;
    assert_eq!(
        ours.agree(&theirs),
        Err(PeerError::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 3 })
    );
    let needy = Hello { required: 4, ..Hello::new() };
    assert_eq!(ours.agree(&needy), Err(PeerError::HelloField { field: "required", value: 4, limit: 0 }));
    let needy = Hello { features: 4, ..needy };
    assert_eq!(ours.agree(&needy), Err(PeerError::FeatureRequired { features: Features(4) }));
    let picky = Hello { features: 12, required: 4, ..Hello::new() };
    assert_eq!(picky.agree(&ours), Err(PeerError::FeatureLacking { features: Features(4) }));
    let offering = Hello { features: 6, ..Hello::new() };
    assert_eq!(picky.agree(&offering).unwrap().features, 4);
    let mut bytes = Vec::new();
    Hello { heartbeat: Duration::from_millis(5), ..ours }.encode(&mut bytes);
    bytes.extend_from_slice(b"from the future");
    assert_eq!(Hello::decode(&bytes).unwrap().heartbeat, Duration::from_millis(5));
    assert!(matches!(Hello::decode(&bytes[..55]), Err(FrameError::TooShort { value: 55, .. })));
    assert!(matches!(Hello::decode(b"HTTP/1.1"), Err(FrameError::BadMagic { .. })));
}

#[test]
fn numbers_of_a_hello_that_cannot_work_are_named() {
    let refused = |theirs: &Hello| match Hello::new().agree(theirs) {
        Err(PeerError::HelloField { field, value, limit }) => (field, value, limit),
        other => panic!("{other:?}"),
    };
    let ms = Duration::from_millis;
    let hello = Hello::new;
    assert_eq!(refused(&Hello { version_min: 0, ..hello() }), ("version_min", 0, 1));
    assert_eq!(refused(&Hello { version_min: 3, version_max: 2, ..hello() }), ("version_max", 2, 3));
    assert_eq!(refused(&Hello { max_message: 0, ..hello() }), ("max_message", 0, 1));
    assert_eq!(refused(&Hello { heartbeat: ms(0), ..hello() }), ("heartbeat", 0, 1));
    assert_eq!(refused(&Hello { dead_after: ms(0), ..hello() }), ("dead_after", 0, 10_000));
    assert_eq!(refused(&Hello { dead_after: ms(9_999), ..hello() }), ("dead_after", 9_999, 10_000));
    assert_eq!(refused(&Hello { required: 6, features: 4, ..hello() }), ("required", 2, 4));
    let none = Hello { max_in_flight: 0, ..hello() };
    assert_eq!(Hello::new().agree(&none).unwrap().max_in_flight, 0);
}

proptest! {
    /// The shortcut gives the result of the general method, or none.
    #[test]
    fn the_shortcut_agrees_with_the_long_way(
        head in prop::array::uniform4(0_u8..8),
        length in 0_u32..60,
        rest in prop::collection::vec(any::<u8>(), 0..80),
        max in 1_usize..60,
    ) {
        let mut native = open();
        native.set_max_message(max).unwrap();
        let bytes = [&head[..], &length.to_be_bytes(), &rest].concat();
        if let Some(plain) = native.plain(&bytes) {
            let body = plain.body..plain.end;
            let step = Step::Frame { meta: plain.meta(), extensions: 0..0, body, consumed: plain.end };
            prop_assert_eq!(native.next_frame(&bytes), Ok(step));
        }
    }

    #[test]
    fn the_shortcut_knows_every_plain_frame(
        kind in prop::sample::select(vec![Kind::Cast, Kind::Request, Kind::Reply]),
        id: u64,
        method: u32,
        remaining_ms in prop::option::of(0_u32..1000),
        body in prop::collection::vec(any::<u8>(), 0..40),
        cut in 0_usize..10,
    ) {
        let attempt = u8::from(kind == Kind::Request);
        let id = if kind == Kind::Cast { 0 } else { id };
        let meta = Meta { attempt, method, remaining_ms, ..Meta::new(kind, id) };
        let bytes = encode(&meta, &[], &body);
        let plain = open().plain(&bytes).expect("it is plain");
        let Ok(Step::Frame { meta, .. }) = open().next_frame(&bytes) else { panic!("whole") };
        prop_assert_eq!(plain.meta(), meta);
        prop_assert_eq!(plain.end, bytes.len());
        prop_assert_eq!(&bytes[plain.body..], &body[..]);
        let cut = bytes.len().saturating_sub(1 + cut);
        prop_assert_eq!(open().plain(&bytes[..cut]), None);
    }
}
