use alloc::vec;
use core::time::Duration;

use super::*;
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
    for kind in [Kind::Cancel, Kind::Ping, Kind::Pong] {
        let out = encode(&Meta::new(kind, 5), &[], b"");
        assert_eq!(out.len(), 16);
        assert!(matches!(open().next_frame(&out), Ok(Step::Frame { meta, .. }) if meta.id == 5));
    }
}

#[test]
fn bad_bytes_are_named_as_early_as_they_can_be() {
    let bad = |bytes: &[u8]| open().next_frame(bytes).unwrap_err();
    assert_eq!(bad(&[0]), FrameError::BadField { field: "kind", value: 0, limit: 9 });
    assert_eq!(bad(b"G"), FrameError::BadField { field: "kind", value: 71, limit: 9 });
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
    let limit = 4 + 2 + 65_535 + (8 << 20);
    assert_eq!(
        bad(&[5, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        FrameError::TooLong { field: "length", value: u64::from(u32::MAX), limit }
    );
    // A ping with a body.
    let mut ping = encode(&Meta::new(Kind::Ping, 5), &[], b"");
    ping[7] = 9;
    ping.push(0);
    assert_eq!(bad(&ping), FrameError::TooLong { field: "body", value: 1, limit: 0 });
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
fn before_a_hello_nothing_else_is_taken_and_nothing_long() {
    assert!(matches!(Native::new().next_frame(&[5]), Err(FrameError::BadMagic { found: 5, .. })));
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
    let mut bytes = Vec::new();
    Hello { heartbeat: Duration::from_millis(5), ..ours }.encode(&mut bytes);
    bytes.extend_from_slice(b"from the future");
    assert_eq!(Hello::decode(&bytes).unwrap().heartbeat, Duration::from_millis(5));
    assert!(matches!(Hello::decode(&bytes[..39]), Err(FrameError::TooShort { value: 39, .. })));
    assert!(matches!(Hello::decode(b"HTTP/1.1"), Err(FrameError::BadMagic { .. })));
}
