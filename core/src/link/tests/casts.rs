//! Casts: fields that a framing cannot carry, numbers and counters.

use super::*;
use crate::config::{OnDisconnect, Overflow};
use crate::error::{CastError, EncodeError};
use crate::frame::Class;
use crate::frame::buffstreams::Buffstreams;
use crate::frame::length_prefixed::LengthPrefixed;

const METHOD: EncodeError = EncodeError::Unsupported { what: "a method (message type)" };
const SEQ: EncodeError = EncodeError::Unsupported { what: "a Seq" };
const EXTENSIONS: EncodeError = EncodeError::Unsupported { what: "extensions" };

fn with_extensions() -> CastOptions {
    let mut extensions = crate::frame::native::Extensions::new();
    extensions.push(200, b"more").unwrap();
    CastOptions::new(0).extensions(extensions.into_bytes())
}

fn refusal<T: core::fmt::Debug>(result: Result<T, CastError>) -> EncodeError {
    match result.unwrap_err().into_reason() {
        CastRefusal::Encode(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Every way of casting refuses these options with that error, returns the body, and queues nothing.
fn is_refused<F: Framing>(framing: &F, options: &CastOptions, error: &EncodeError) {
    let config = Config::with_framing(framing.clone()).build().unwrap();
    let mut end = End::new(&config, Role::Dialing);
    end.pass(Instant::ZERO, 0).unwrap();
    let before = end.output(Instant::ZERO).len();
    for len in [1, 300, 20_000, 100_000] {
        let body = bytes::Bytes::from(vec![7; len]);
        for options in [
            options.clone(),
            options.clone().notify(true),
            options.clone().class(Class::Normal),
            options.clone().class(Class::Bulk),
        ] {
            let link = &mut end.link;
            assert_eq!(link.cast_plain(&options, &body), None);
            assert_eq!(link.cast_plain_many(&options, &[&body[..], b"another"]), 0);
            assert_eq!(refusal(link.cast(Instant::ZERO, &options, (&body[..]).into())), *error, "{len}");
            let refused = link.cast(Instant::ZERO, &options, body.clone().into()).unwrap_err();
            assert_eq!(refused.into_body().map(crate::body::Body::into_bytes).as_ref(), Some(&body), "{len}");
            let shared = SharedCast::new(framing, options, body.clone());
            assert_eq!(refusal(link.cast_shared(Instant::ZERO, &shared)), *error, "{len}");
        }
    }
    assert_eq!(end.link.counters().casts, 0);
    assert_eq!(end.output(Instant::ZERO).len(), 0, "behind {before} of a handshake");
    let queued = end.link.cast(Instant::ZERO, &CastOptions::new(0), b"plain".as_slice().into()).unwrap();
    assert_eq!(queued.number, 1);
}

#[test]
fn what_a_framing_cannot_carry_is_refused() {
    let large = || Buffstreams::new().with_max_message(1 << 20).unwrap();
    for (options, error) in
        [(CastOptions::new(7), METHOD), (CastOptions::new(0).seq(7), SEQ), (with_extensions(), EXTENSIONS)]
    {
        is_refused(&Raw::new(), &options, &error);
        is_refused(&LengthPrefixed::new(), &options, &error);
        is_refused(&large(), &options, &error);
    }
    is_refused(&Tcpstream::new(), &with_extensions(), &EXTENSIONS);
    is_refused(&Native::new(), &CastOptions::new(7).seq(1), &SEQ);
}

#[test]
fn what_cannot_be_encoded_costs_no_other_its_place() {
    let limit = QueueLimit { messages: 2, bytes: 1 << 20 };
    let short = LengthPrefixed::builder().length_adjustment(4).build().unwrap();
    let cannot = [(CastOptions::new(7), &b"with a method"[..]), (CastOptions::new(0), b"abc")];
    for policy in [Overflow::DropOldest, Overflow::Disconnect] {
        for (options, body) in &cannot {
            let config = Config::with_framing(short.clone()).write_queue(limit).write_overflow(policy);
            let mut link: Link<LengthPrefixed, u32> = Link::new(config.build().unwrap(), Role::Dialing);
            for _ in 0..2 {
                let _ = link.cast(Instant::ZERO, &CastOptions::new(0), b"it waits".into()).unwrap();
            }
            assert!(link.is_write_queue_full());
            let refused = refusal(link.cast(Instant::ZERO, options, (*body).into()));
            assert!(matches!(refused, EncodeError::Unsupported { .. }), "{refused:?}");
            assert_eq!(link.counters().casts_dropped, 0);
            assert_eq!(link.poll_ending(Instant::ZERO), None, "{policy:?}");
            link.close(Instant::ZERO, Duration::ZERO);
            link.handle_timeout(Instant::ZERO);
            assert_eq!(link.take_undelivered().len(), 2, "{policy:?}");
        }
    }
}

/// Casts of one call are numbered and counted like single casts before and after them.
#[test]
fn casts_in_one_go_are_counted_like_others() {
    let config = Config::builder().on_disconnect(OnDisconnect::Return).build().unwrap();
    let mut link: Link<Native, u32> = Link::new(config, Role::Dialing);
    let bodies: Vec<[u8; 4]> = (0..9_u32).map(u32::to_be_bytes).collect();
    let options = CastOptions::new(3);
    let (mut given, mut many, mut longest) = (Vec::new(), 0, 0);
    for n in [1, 9, 2, 9, 5, 9] {
        let queued = link.cast(Instant::ZERO, &options, (&bodies[0]).into()).unwrap();
        given.push(bodies[0]);
        assert_eq!(queued.number, given.len() as u64);
        // As many as there is memory for after the others.
        let count = link.cast_plain_many(&options, &bodies[..n]);
        (many, longest) = (many + count, longest.max(count));
        given.extend_from_slice(&bodies[..count]);
        assert_eq!(link.next_cast, given.len() as u64 + 1);
        assert_eq!(link.counters().casts, given.len() as u64);
    }
    assert!(many > 9 && longest > 2, "{many} casts in one go, at most {longest}");
    let last = link.cast(Instant::ZERO, &options, b"last".into()).unwrap();
    assert_eq!(last.number, given.len() as u64 + 1);

    // Each is found by its number, with its original body.
    link.close(Instant::ZERO, Duration::ZERO);
    link.handle_timeout(Instant::ZERO);
    given.push(*b"last");
    let back = link.take_undelivered();
    assert!(back.iter().map(|back| back.number).eq(1..=given.len() as u64));
    assert!(back.iter().map(|back| &back.body[..]).eq(given.iter().map(|body| &body[..])));
}

/// A long message replaces several short ones, and the queue stays within its limit of bytes plus one
/// message.
#[test]
fn dropping_the_oldest_keeps_to_the_bytes() {
    let limit = QueueLimit { messages: 10_000, bytes: 64 * 1024 };
    let most = limit.bytes + 4_100;
    let config = Config::with_framing(Buffstreams::new());
    let config = config.write_queue(limit).write_overflow(Overflow::DropOldest);
    let config = config.read_queue(limit).read_overflow(Overflow::DropOldest).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.queue = true;
    let cast = |end: &mut End<Buffstreams>, body: &[u8]| {
        let _queued = end.link.cast(Instant::ZERO, &CastOptions::new(0), body.into()).unwrap();
    };
    for (count, len) in [(3_000, 25), (100, 4_000)] {
        for _ in 0..count {
            cast(&mut pair.a, &vec![1; len]);
        }
    }
    let held = pair.a.link.arena.ours(Class::Normal);
    assert!(held.bytes <= most, "{held:?} wait to be written");
    assert_eq!(pair.a.link.counters().casts_dropped, 3_100 - held.messages as u64);
    pair.run(Instant::ZERO);
    for (count, len) in [(3_000, 25), (100, 4_000)] {
        for _ in 0..count {
            cast(&mut pair.a, &vec![1; len]);
            let out = pair.a.output(Instant::ZERO);
            pair.b.input(Instant::ZERO, &out).unwrap();
        }
    }
    let kept = pair.b.link.received.depth();
    assert!(kept.bytes <= most, "{kept:?} wait to be received");
    let came = pair.b.link.counters().messages;
    assert_eq!(pair.b.link.counters().messages_dropped, came - kept.messages as u64);
}

/// A short message that is refused does not block a long one after it.
#[test]
fn what_cannot_be_encoded_holds_up_nothing() {
    let mut pair = native();
    for (class, len) in [(Class::Normal, 100_000), (Class::Bulk, 100_000), (Class::Bulk, 10)] {
        let options = CastOptions::new(0).class(class);
        let refused = pair.a.link.cast(Instant::ZERO, &options.clone().seq(7), b"x".as_slice().into());
        assert_eq!(refusal(refused), SEQ);
        let _queued = pair.a.link.cast(Instant::ZERO, &options, vec![1; len].as_slice().into()).unwrap();
        pair.run(Instant::ZERO);
    }
    assert_eq!(pair.b.events.len(), 3);
}
