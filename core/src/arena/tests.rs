use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::body::Payload;
use crate::frame::Meta;
use crate::frame::raw::Raw;

fn push(arena: &mut Arena, class: Class, number: u64, body: Payload<'_>) {
    let meta = Meta { class, ..Meta::default() };
    if class == Class::Control {
        arena.push_control(&Raw::default(), &meta, body.as_slice()).unwrap();
        return;
    }
    arena.push(&Raw::default(), Sent::Cast(number), &meta, &[], body, true).unwrap();
}

/// Writes up to `n` bytes of the batch into `out`.
fn write(batch: &mut Batch, mut n: usize, out: &mut Vec<u8>) {
    while n > 0 && !batch.is_done() {
        let mut slices = [&[][..]; 3];
        let filled = batch.slices(&mut slices);
        assert!(filled > 0);
        let mut wrote = 0;
        for slice in &slices[..filled] {
            let take = slice.len().min(n - wrote);
            out.extend_from_slice(&slice[..take]);
            wrote += take;
        }
        batch.wrote(wrote);
        n -= wrote;
    }
}

/// The loopback interface of Linux sends 32,741 bytes in a segment.
#[test]
fn a_write_is_never_a_little_more_than_two_segments() {
    for size in 1..700 {
        let mut arena = Arena::new(usize::MAX);
        let body = vec![0; size];
        for number in 0..70_000 / size as u64 {
            push(&mut arena, Class::Normal, number, (&body[..]).into());
        }
        let batch = arena.begin_write(&Raw::default(), true).unwrap();
        // Less the longest header, which is set aside before a frame is encoded.
        assert!((CHUNK - size - 64..=2 * 32_741).contains(&batch.len()), "{size}: {}", batch.len());
        arena.end_write(batch, |_| {});
    }
}

#[test]
fn control_goes_first_and_bulk_is_not_starved() {
    let mut arena = Arena::new(usize::MAX);
    let chunk = vec![0; CHUNK - 100];
    for number in 0..8 {
        push(&mut arena, Class::Normal, number, (&chunk[..]).into());
    }
    push(&mut arena, Class::Bulk, 100, (&chunk[..]).into());
    push(&mut arena, Class::Control, 200, (&b"ping"[..]).into());
    let mut order = Vec::new();
    while let Some(mut batch) = arena.begin_write(&Raw::default(), true) {
        assert!(arena.begin_write(&Raw::default(), true).is_none(), "one batch is out at a time");
        order.push(batch.class);
        batch.wrote(batch.len());
        arena.end_write(batch, |_| {});
    }
    use Class::{Bulk, Control, Normal};
    // Two chunks are 64 KiB: then bulk has its turn.
    let rest = [Normal; 6];
    assert_eq!(order[..4], [Control, Normal, Normal, Bulk]);
    assert_eq!(order[4..], rest);
    assert!(arena.is_flushed());
    assert_eq!(arena.ours(Class::Normal), Load::default());
}

#[test]
fn nothing_but_control_leaves_before_the_handshake() {
    let mut arena = Arena::new(usize::MAX);
    push(&mut arena, Class::Normal, 1, b"x".into());
    assert!(arena.begin_write(&Raw::default(), false).is_none());
    push(&mut arena, Class::Control, 2, b"h".into());
    assert_eq!(arena.begin_write(&Raw::default(), false).unwrap().class, Class::Control);
}

#[test]
fn a_batch_given_back_unfinished_goes_out_first() {
    let mut arena = Arena::new(usize::MAX);
    push(&mut arena, Class::Normal, 1, b"hello".into());
    let mut out = Vec::new();
    let mut batch = arena.begin_write(&Raw::default(), true).unwrap();
    write(&mut batch, 2, &mut out);
    arena.end_write(batch, |_| {});
    push(&mut arena, Class::Control, 2, b"!".into());
    let mut batch = arena.begin_write(&Raw::default(), true).unwrap();
    write(&mut batch, 99, &mut out);
    arena.end_write(batch, |_| {});
    assert_eq!(out, b"hello");
    assert!(!arena.is_flushed());
}

#[test]
fn the_oldest_cast_is_dropped_and_calls_are_not() {
    let mut arena = Arena::new(usize::MAX);
    arena.push(&Raw::default(), Sent::Call(9), &Meta::default(), &[], b"call".into(), true).unwrap();
    push(&mut arena, Class::Normal, 1, b"one".into());
    push(&mut arena, Class::Normal, 2, b"two".into());
    assert_eq!(arena.oldest_cast(Class::Normal), Some(1));
    assert_eq!(arena.withdraw(Class::Normal, Sent::Cast(1)), Withdrawn::Waiting);
    let mut out = Vec::new();
    write(&mut arena.begin_write(&Raw::default(), true).unwrap(), 99, &mut out);
    assert_eq!(out, b"calltwo");
}

#[test]
fn a_chunk_that_grew_for_one_message_is_not_kept() {
    let mut arena = Arena::new(usize::MAX);
    let large = vec![1; 10 * CHUNK];
    push(&mut arena, Class::Normal, 1, (&large[..]).into());
    let mut batch = arena.begin_write(&Raw::default(), true).unwrap();
    batch.wrote(large.len());
    arena.end_write(batch, |_| {});
    assert!(arena.memory() <= 2 * CHUNK, "{}", arena.memory());
}

proptest! {
    /// With a resend window: when a connection ends, the batch that was being written is sent again
    /// completely, preceded by at least that many of the bytes written before it.
    #[test]
    fn what_was_written_last_is_sent_again(
        sizes in prop::collection::vec(1_usize..3_000, 1..200),
        cut in 0_usize..300_000,
        window in prop_oneof![Just(0_usize), 1_usize..200_000],
    ) {
        let mut arena = Arena::new(usize::MAX);
        arena.set_resend_window(window);
        let mut whole = Vec::new();
        for (number, &n) in sizes.iter().enumerate() {
            let body = vec![number as u8; n];
            push(&mut arena, Class::Normal, number as u64, (&body[..]).into());
            whole.extend_from_slice(&body);
        }
        let cut = cut % (whole.len() + 1);
        let (mut out, mut lent, mut begun) = (Vec::new(), None, 0);
        while out.len() < cut {
            begun = out.len();
            let mut batch = arena.begin_write(&Raw::default(), true).unwrap();
            write(&mut batch, cut - out.len(), &mut out);
            if out.len() < cut || batch.is_done() {
                begun = out.len();
                arena.end_write(batch, |_| {});
            } else {
                lent = Some(batch);
            }
        }
        arena.disconnect(lent, |_, _| true);
        let mut again = Vec::new();
        while let Some(mut batch) = arena.begin_write(&Raw::default(), true) {
            write(&mut batch, usize::MAX, &mut again);
            arena.end_write(batch, |_| {});
        }
        prop_assert!(whole.ends_with(&again));
        let repeated = again.len() - (whole.len() - begun);
        prop_assert!(repeated >= window.min(begun), "{} of {}", repeated, window);
        prop_assert!(window > 0 || repeated == 0);
        prop_assert!(repeated < window + CHUNK + 3_000);
    }

    /// Messages of any size, cut at any byte: a message that ends at or before the cut was sent; the rest is
    /// kept whole and sent next, in order.
    #[test]
    fn a_cut_splits_what_left_from_what_did_not(
        sizes in prop::collection::vec(prop_oneof![1_usize..300, 16_384_usize..40_000], 1..60),
        cut in 0_usize..300_000,
        atomic: bool,
    ) {
        let mut arena = Arena::new(usize::MAX);
        let bodies: Vec<Bytes> =
            sizes.iter().enumerate().map(|(i, &n)| Bytes::from(vec![i as u8; n])).collect();
        for (number, body) in bodies.iter().enumerate() {
            push(&mut arena, Class::Normal, number as u64, body.clone().into());
        }
        let total: usize = sizes.iter().sum();
        let cut = cut % (total + 1);
        let mut out = Vec::new();
        let mut lent = None;
        while out.len() < cut {
            let mut batch = arena.begin_write(&Raw::default(), true).unwrap();
            write(&mut batch, cut - out.len(), &mut out);
            if out.len() < cut { arena.end_write(batch, |_| {}) } else { lent = Some(batch) }
        }
        let mut partial = Vec::new();
        arena.disconnect(lent, |frame, fate| match fate {
            Fate::Left => false,
            Fate::InPart if !atomic => {
                partial.push(frame.sent);
                false
            }
            _ => true,
        });

        let mut end = 0;
        let mut expected = Vec::new();
        let mut expected_partial = Vec::new();
        for (number, body) in bodies.iter().enumerate() {
            let start = end;
            end += body.len();
            if end <= cut {
                continue;
            }
            if start < cut && !atomic {
                expected_partial.push(Sent::Cast(number as u64));
            } else {
                expected.extend_from_slice(body);
            }
        }
        prop_assert_eq!(partial, expected_partial);
        prop_assert_eq!(arena.ours(Class::Normal).bytes, expected.len());
        let mut again = Vec::new();
        while let Some(mut batch) = arena.begin_write(&Raw::default(), true) {
            write(&mut batch, usize::MAX, &mut again);
            arena.end_write(batch, |_| {});
        }
        prop_assert!(again == expected);
        prop_assert!(arena.is_flushed());
    }
}

proptest! {
    /// With any credit, in any steps: the same bytes in the same order, and consistent counts.
    #[test]
    fn what_the_credit_covers_goes_and_the_rest_stays(
        lens in prop::collection::vec(0_usize..2_000, 1..200),
        grants in prop::collection::vec(1_u64..200_000, 1..20),
        many: bool,
    ) {
        let mut arena = Arena::new(usize::MAX);
        let mut expected = Vec::new();
        let bodies: Vec<Vec<u8>> =
            (0_u8..).cycle().zip(&lens).map(|(n, &len)| vec![n; len + 1]).collect();
        let mut pushed = 0;
        while pushed < bodies.len() {
            let first = pushed as u64;
            let rest = &bodies[pushed..];
            let count = if many {
                arena.push_many_behind(&Raw::default(), first, &Meta::default(), rest, |_| true)
            } else {
                0
            };
            if count == 0 {
                push(&mut arena, Class::Normal, first, (&rest[0][..]).into());
            }
            pushed += count.max(1);
        }
        expected.extend(bodies.iter().flatten().copied());
        arena.open_flow([0, u64::MAX], u64::MAX, usize::MAX);
        let (mut out, mut limit) = (Vec::new(), 0);
        for grant in grants.into_iter().chain([u64::from(u32::MAX)]) {
            limit += grant;
            prop_assert!(arena.update_flow(Class::Normal, limit, 0));
            while let Some(mut batch) = arena.begin_write(&Raw::default(), true) {
                let before = out.len();
                write(&mut batch, usize::MAX, &mut out);
                let numbers: Vec<u64> = batch.casts().collect();
                let sent: usize = numbers.iter().map(|&n| bodies[n as usize].len()).sum();
                prop_assert_eq!(sent, out.len() - before);
                arena.end_write(batch, |_| {});
            }
            let waiting = arena.ours(Class::Normal);
            prop_assert_eq!(waiting.bytes, expected.len() - out.len());
            prop_assert!(limit >= out.len() as u64, "more than was granted");
        }
        prop_assert_eq!(out, expected);
        prop_assert!(arena.is_flushed());
    }
}
