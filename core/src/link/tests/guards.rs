//! Violations by a peer, and the largest load of a conforming one.

use alloc::vec;

use super::*;
use crate::frame::native::Credit;
use crate::frame::{Class, Kind, Meta};

fn frame(meta: &Meta, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let framing = Native::new();
    let mark = framing.begin(&mut out, meta, &[]).unwrap();
    out.extend_from_slice(body);
    framing.finish(&mut out, mark, 0).unwrap();
    out
}

fn fragment(class: Class, message: u64, piece: &[u8]) -> Vec<u8> {
    frame(&Meta { class, ..Meta::new(Kind::Fragment, message) }, piece)
}

fn credit(class: Class, limit: u64, seen: u64) -> Vec<u8> {
    let body = Credit::new(class, limit, seen).to_bytes();
    frame(&Meta { class: Class::Control, ..Meta::new(Kind::Credit, 0) }, &body)
}

/// The reaction of a new link to these bytes.
fn refused(bytes: &[u8]) -> PeerError {
    let mut pair = native();
    pair.b.queue = true;
    pair.b.input(Instant::ZERO, bytes).expect_err("a violation")
}

#[test]
fn more_than_was_granted_is_a_violation() {
    let config = Config::builder().normal_window(64 * 1024).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.queue = true;
    let cast = frame(&Meta { method: 1, ..Meta::default() }, &[1; 1000]);
    let cost = cast.len() as u64 + 256;
    let fits = 64 * 1024 / cost;
    for _ in 0..fits {
        pair.b.input(Instant::ZERO, &cast).unwrap();
    }
    let error = pair.b.input(Instant::ZERO, &cast).unwrap_err();
    assert_eq!(error, PeerError::Credit { class: Class::Normal, cost, credit: 64 * 1024 - fits * cost });
}

#[test]
fn fragments_that_make_no_message_are_violations() {
    let whole = frame(&Meta { method: 1, class: Class::Bulk, ..Meta::default() }, &[1; 100]);
    let named = |bytes: &[u8]| match refused(bytes) {
        PeerError::Fragment { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let bulk = Class::Bulk;
    assert_eq!(named(&fragment(bulk, 1, &whole[..31])), "length of the first");
    assert_eq!(named(&fragment(Class::Normal, 1, &whole[..50])), "class of the message");
    let begun = fragment(bulk, 1, &whole[..50]);
    assert_eq!(named(&[&begun[..], &fragment(bulk, 2, &whole[50..])].concat()), "message id");
    assert_eq!(named(&[&begun[..], &fragment(bulk, 1, &whole)].concat()), "bytes of the message");
    let abort = |id| frame(&Meta { class: bulk, ..Meta::new(Kind::Abort, id) }, b"");
    assert_eq!(named(&abort(1)), "id of an abort");
    assert_eq!(named(&[&begun[..], &abort(2)].concat()), "message id");
    let ping = frame(&Meta { class: bulk, ..Meta::new(Kind::Ping, 1) }, b"");
    assert_eq!(named(&fragment(bulk, 1, &[&ping[..], &[0; 40]].concat())), "kind of the message");
    assert_eq!(named(&fragment(bulk, 1, &fragment(bulk, 1, &whole))), "kind of the message");
    // A length over the limit is refused with the first fragment.
    let long = [&[5, 2, 0, 0, 0xff, 0xff, 0xff, 0xff][..], &[0; 40]].concat();
    assert!(matches!(refused(&fragment(bulk, 1, &long)), PeerError::Frame(_)));
    // So is an empty fragment.
    assert!(matches!(refused(&[13, 2, 0, 0, 0, 0, 0, 8]), PeerError::Frame(_)));
}

#[test]
fn grants_that_cannot_be_are_violations() {
    let bulk = Class::Bulk;
    let limit = 4 << 20;
    assert_eq!(
        refused(&credit(bulk, limit - 1, 0)),
        PeerError::BadGrant { class: bulk, limit: limit - 1, seen: 0 }
    );
    assert_eq!(refused(&credit(bulk, limit, 9)), PeerError::BadGrant { class: bulk, limit, seen: 9 });
}

#[test]
fn floods_of_control_are_violations_and_cost_no_memory() {
    let ping = frame(&Meta { class: Class::Control, ..Meta::new(Kind::Ping, 1) }, b"");
    let pong = frame(&Meta { class: Class::Control, ..Meta::new(Kind::Pong, 1) }, b"");
    let grant = credit(Class::Bulk, 4 << 20, 0);
    for one in [ping, pong, grant] {
        let mut pair = native();
        let before = pair.b.link.memory();
        let mut taken = 0_u64;
        let error = loop {
            match pair.b.input(Instant::ZERO, &one) {
                Ok(()) => taken += one.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, PeerError::Flood { what: "control bytes", .. }), "{error}");
        assert!((64 * 1024 - 64..=64 * 1024).contains(&taken), "{taken}");
        assert!(pair.b.link.memory() <= before + 1024);
        assert!(pair.b.output(Instant::ZERO).len() <= 16, "one pong at most");
    }
}

#[test]
fn cancels_and_replies_need_something_to_cancel_and_to_reply_to() {
    let cancel = frame(&Meta::new(Kind::Cancel, 1), b"");
    assert_eq!(refused(&cancel), PeerError::Flood { what: "cancels", value: 1, limit: 0 });
    let reply = frame(&Meta::new(Kind::Reply, 1), b"");
    assert_eq!(refused(&reply), PeerError::Flood { what: "replies", value: 1, limit: 0 });
    // A late or repeated reply is no violation as long as there were calls for it.
    let mut pair = native();
    let id = call(&mut pair.b, b"x", 1).unwrap();
    let reply = frame(&Meta::new(Kind::Reply, id.get()), b"");
    pair.b.input(Instant::ZERO, &reply).unwrap();
    pair.b.input(Instant::ZERO, &reply).unwrap();
    assert!(pair.b.input(Instant::ZERO, &reply).is_err());
}

#[test]
fn the_heaviest_honest_load_is_no_flood() {
    let config = Config::builder()
        .normal_window(64 * 1024)
        .bulk_window(64 * 1024)
        .fragment(1024)
        .heartbeat(MS)
        .dead_after(MS * 2)
        .build()
        .unwrap();
    let mut pair = Pair::new(&config);
    let mut now = Instant::ZERO;
    let long = vec![1; 50_000];
    let mut ids = Vec::new();
    // Everything in one instant except occasional heartbeats: calls that are cancelled as soon as they are
    // sent, aborted long messages, grants for the smallest windows.
    for round in 0..20_000_u32 {
        if round % 10 == 0 {
            let at = now + MS;
            for end in [&mut pair.a, &mut pair.b] {
                end.link.handle_timeout(at);
            }
            now = at;
        }
        for end in [&mut pair.a, &mut pair.b] {
            let _ = end.link.cast(now, &CastOptions::new(1), (&[2; 300]).into());
            let len = if round % 3 == 0 { long.len() } else { 20 };
            if let Ok(id) = end.link.call(now, &CallOptions::new(1), (&long[..len]).into(), 1) {
                ids.push(id);
            }
        }
        let swap = |from: &mut End<Native>, to: &mut End<Native>| {
            for _ in 0..round % 4 {
                if let Some(mut batch) = from.link.begin_write(now) {
                    let mut bytes = Vec::new();
                    while !batch.is_done() {
                        let mut slices = [&[][..]; 4];
                        let n = batch.slices(&mut slices);
                        let piece = slices[..n].concat();
                        batch.wrote(piece.len());
                        bytes.extend_from_slice(&piece);
                    }
                    let _more = from.link.end_write(now, batch);
                    to.input(now, &bytes).expect("an honest peer");
                }
            }
        };
        swap(&mut pair.a, &mut pair.b);
        swap(&mut pair.b, &mut pair.a);
        for id in ids.drain(..) {
            pair.a.link.cancel_call(id);
            pair.b.link.cancel_call(id);
        }
        for end in [&mut pair.a, &mut pair.b] {
            end.events.clear();
            let _ = end.tokens();
        }
    }
    let counters = pair.b.link.counters();
    assert!(counters.grants > 1_000 && counters.cancels > 1_000 && counters.aborts > 100, "{counters:?}");
}
