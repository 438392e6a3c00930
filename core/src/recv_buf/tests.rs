//! The receive buffer: what is kept, what is given back, what is counted.

use alloc::format;

use super::blocks::MOST;
use super::*;

#[test]
fn reads_that_fill_the_buffer_get_more_room_however_fast_they_are_consumed() {
    let mut buf = RecvBuf::new();
    for _ in 0..20 {
        let room = buf.spare().len();
        buf.filled(room);
        buf.consume(room);
        buf.release_if_small();
    }
    assert_eq!(buf.capacity(), BUSY_READ);
    buf.spare();
    buf.filled(1);
    buf.consume(1);
    let mut small = RecvBuf::new();
    small.spare();
    small.filled(1);
    small.consume(1);
    small.release_if_small();
    assert_eq!(small.capacity(), 0, "nothing much came");
}

fn feed(buf: &mut RecvBuf, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = buf.spare();
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        buf.filled(n);
        rest = &rest[n..];
    }
}

#[test]
fn lent_bytes_stay_until_the_next_step() {
    let mut buf = RecvBuf::new();
    feed(&mut buf, b"abcdef");
    buf.lend(2);
    assert_eq!(buf.unread(), b"cdef");
    buf.unlend();
    assert_eq!(buf.unread(), b"abcdef");
    buf.lend(2);
    buf.take_lent();
    feed(&mut buf, b"g");
    assert_eq!(buf.unread(), b"cdefg");
}

#[test]
fn memory_follows_what_arrives_not_what_is_claimed() {
    let mut buf = RecvBuf::new();
    buf.spare();
    assert_eq!(buf.capacity(), FIRST_READ);
    buf.want(100 << 20);
    feed(&mut buf, &[1; 100]);
    assert_eq!(buf.capacity(), FIRST_READ);
    feed(&mut buf, &vec![2; 1 << 20]);
    assert!(buf.capacity() <= 4 << 20, "{}", buf.capacity());
}

#[test]
fn a_large_frame_ends_at_its_own_size_and_the_memory_is_given_back() {
    let mut buf = RecvBuf::new();
    let frame = vec![7; 3_000_000];
    buf.spare();
    buf.want(frame.len());
    feed(&mut buf, &frame);
    assert_eq!(buf.capacity(), frame.len());
    buf.lend(frame.len());
    buf.spare();
    assert!(buf.capacity() <= BUSY_READ);
}

#[test]
fn what_is_kept_stays_while_the_buffer_goes_on() {
    let mut buf = RecvBuf::new();
    let mut kept = Vec::new();
    let mut next = 0u8;
    // Frames of 100 to 227 bytes, each filled with its number.
    for _ in 0..2_000 {
        let len = 100 + usize::from(next % 128);
        feed(&mut buf, &vec![next; len]);
        let body = buf.keep(&buf.unread()[..len]);
        kept.push((body, vec![next; len]));
        buf.consume(len);
        next = next.wrapping_add(1);
        if kept.len() > 50 {
            kept.drain(..usize::from(next % 50));
        }
        assert!(kept.iter().all(|(body, bytes)| body[..] == bytes[..]));
        assert!(buf.capacity() <= (MOST + 1) * BUSY_READ);
    }
}

#[test]
fn blocks_are_read_into_again_when_nothing_holds_them() {
    let mut buf = RecvBuf::new();
    for _ in 0..20 {
        let room = buf.spare().len();
        buf.filled(room);
        buf.consume(room);
    }
    let mut blocks = Vec::new();
    let mut held = alloc::collections::VecDeque::new();
    for _ in 0..100 {
        let room = buf.spare();
        blocks.push(room.as_ptr() as usize);
        let len = room.len();
        buf.filled(len);
        held.push_back(buf.keep(&buf.unread()[..200]));
        buf.consume(len);
        if held.len() > 3 {
            held.pop_front();
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    assert!(blocks.len() <= 6, "{} blocks", blocks.len());
}

#[test]
fn blocks_of_long_messages_are_read_into_again_and_bounded() {
    let mut buf = RecvBuf::new();
    let frame = vec![7; BUSY_READ + 12];
    let (mut blocks, mut held) = (Vec::new(), alloc::collections::VecDeque::new());
    for _ in 0..100 {
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let room = buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buf.filled(n);
            buf.want(frame.len());
            rest = &rest[n..];
        }
        held.push_back(buf.keep(buf.unread()));
        blocks.push(held.back().unwrap().as_ptr() as usize);
        buf.consume(frame.len());
        if held.len() > 3 {
            held.pop_front();
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    assert!(blocks.len() <= 6, "{} blocks", blocks.len());
    // The longest watched blocks: together no more bytes than the others.
    let frame = vec![7; KEEP];
    for _ in 0..10 {
        feed(&mut buf, &frame);
        held.push_back(buf.keep(&buf.unread()[..KEEP]));
        buf.consume(KEEP);
        assert!(buf.capacity() <= WATCHED_BYTES + KEEP, "{}", buf.capacity());
    }
}

#[test]
fn a_little_of_many_blocks_is_copied() {
    let mut buf = RecvBuf::new();
    feed(&mut buf, &[0; BUSY_READ]);
    buf.consume(BUSY_READ);
    let mut held = Vec::new();
    for _ in 0..100 {
        let len = buf.spare().len();
        buf.filled(len);
        held.push(buf.keep(&buf.unread()[..200]));
        buf.consume(len);
    }
    assert_eq!(buf.watched.iter().count(), MOST, "the others were copied");
    assert!(buf.block.as_ref().is_some_and(|block| Arc::strong_count(block) == 1));
    // A message that makes up most of its block is not copied.
    let len = buf.spare().len();
    buf.filled(len);
    held.push(buf.keep(&buf.unread()[..len / 2]));
    assert!(buf.block.as_ref().is_some_and(|block| Arc::strong_count(block) == 2));
    // When they are dropped, memory is available again.
    held.clear();
    buf.consume(len);
    let len = buf.spare().len();
    buf.filled(len);
    held.push(buf.keep(&buf.unread()[..200]));
    assert!(buf.block.as_ref().is_some_and(|block| Arc::strong_count(block) == 2));
}

#[test]
fn blocks_that_messages_hold_are_counted_after_the_memory_was_given_back() {
    let mut buf = RecvBuf::new();
    let mut held = Vec::new();
    for round in 0..11 {
        feed(&mut buf, &[0; BUSY_READ]);
        buf.consume(BUSY_READ);
        for _ in 0..MOST {
            let len = buf.spare().len();
            buf.filled(len);
            held.push(buf.keep(&buf.unread()[..200]));
            buf.consume(len);
        }
        buf.release_if_empty();
        let mut blocks: Vec<_> = held.iter().filter_map(Body::block).map(Arc::as_ptr).collect();
        blocks.sort_unstable();
        blocks.dedup();
        assert!(blocks.len() <= MOST + 1, "{} blocks in round {round}", blocks.len());
        assert!(buf.capacity() >= MOST * BUSY_READ, "{} bytes in round {round}", buf.capacity());
    }
    held.clear();
    buf.release_if_empty();
    assert_eq!((buf.capacity(), format!("{:?}", buf.watched)), (0, "Blocks(None)".into()));
}

#[test]
fn a_little_of_many_blocks_is_copied_where_long_messages_hold_much() {
    let mut buf = RecvBuf::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        feed(&mut buf, &[7; KEEP]);
        held.push(buf.keep(&buf.unread()[..KEEP]));
        buf.consume(KEEP);
    }
    // Busy as before, in blocks of the usual size.
    buf.release_if_empty();
    for _ in 0..100 {
        feed(&mut buf, &[7; BUSY_READ]);
        buf.consume(BUSY_READ);
        let len = buf.spare().len();
        buf.filled(len);
        held.push(buf.keep(&buf.unread()[..200]));
        buf.consume(len);
    }
    let mut blocks: Vec<_> = held.iter().filter_map(Body::block).collect();
    blocks.sort_unstable_by_key(|block| Arc::as_ptr(block));
    blocks.dedup_by_key(|block| Arc::as_ptr(block));
    let bytes: usize = blocks.iter().map(|block| block.len()).sum();
    assert!(bytes <= buf.capacity() && bytes <= WATCHED_BYTES + KEEP, "{bytes} in {} blocks", blocks.len());
}

#[test]
fn a_lone_message_in_a_large_block_is_copied() {
    let mut buf = RecvBuf::new();
    feed(&mut buf, &[0; BUSY_READ]);
    buf.consume(BUSY_READ);
    feed(&mut buf, &[1; 500]);
    let body = buf.keep(&buf.unread()[..500]);
    assert_eq!(body[..], [1; 500]);
    assert!(buf.block.as_ref().is_some_and(|block| Arc::strong_count(block) == 1));
}

#[test]
fn only_a_buffer_that_has_not_grown_is_given_back_between_reads() {
    let mut small = RecvBuf::new();
    // A read that fills it shows that more is coming.
    feed(&mut small, &[1; FIRST_READ - 1]);
    small.release_if_small();
    assert_eq!(small.capacity(), FIRST_READ, "something is unread");
    small.consume(FIRST_READ - 1);
    small.release_if_small();
    assert_eq!(small.capacity(), 0);
    let mut busy = RecvBuf::new();
    feed(&mut busy, &[1; FIRST_READ + 1]);
    busy.consume(FIRST_READ + 1);
    let capacity = busy.capacity();
    busy.release_if_small();
    assert_eq!(busy.capacity(), capacity, "a busy connection keeps its buffer");
    busy.release_if_empty();
    assert_eq!(busy.capacity(), 0);
}

/// A block of that many bytes, as an assembled message leaves one.
fn block(bytes: usize) -> Block {
    Arc::new(vec![7; bytes])
}

#[test]
fn a_block_that_something_holds_is_not_used_again() {
    let mut blocks = WholeBlocks::default();
    let held: Vec<_> = (0..4).map(|_| block(BUSY_READ)).collect();
    for block in &held {
        assert!(blocks.watch(Block::clone(block)));
    }
    assert!(blocks.take_free(|_| true).is_none());
    let address = Arc::as_ptr(&held[2]);
    let held: Vec<_> = held.into_iter().enumerate().filter(|(at, _)| *at != 2).collect();
    assert!(blocks.take_free(|bytes| bytes > BUSY_READ).is_none(), "of another size");
    let free = blocks.take_free(|bytes| bytes == BUSY_READ).expect("dropped");
    assert_eq!(Arc::as_ptr(&free), address);
    assert!(blocks.take_free(|_| true).is_none());
    assert!(held.iter().all(|(_, block)| Arc::strong_count(block) == 2));
}

#[test]
fn watched_blocks_are_bounded_and_free_ones_make_room() {
    let mut blocks = WholeBlocks::default();
    let held: Vec<_> = (0..3 * MOST).map(|_| block(BUSY_READ)).collect();
    let watched = held.iter().filter(|block| blocks.watch(Block::clone(block))).count();
    assert_eq!((watched, blocks.bytes()), (MOST, MOST * BUSY_READ), "eight, whatever is held");
    drop(held);
    // All are free: as many go as a longer one needs.
    let longer = block(3 * BUSY_READ);
    assert!(blocks.watch(Block::clone(&longer)));
    assert_eq!(blocks.bytes(), WHOLE_BYTES);
    assert!(!blocks.watch(block(WHOLE_BYTES + 1)), "too long for all of the room");
    assert_eq!(blocks.bytes(), WHOLE_BYTES, "and frees nothing");
    blocks.keep_held();
    assert_eq!(blocks.bytes(), 3 * BUSY_READ);
    drop(longer);
    blocks.keep_held();
    assert_eq!(format!("{blocks:?}"), "Blocks(None)");
}

#[test]
fn a_buffer_that_grows_takes_no_more_memory_than_it_counts() {
    let mut buf = RecvBuf::new();
    let frame = vec![7; BUSY_READ + 12];
    buf.spare();
    buf.want(frame.len());
    feed(&mut buf, &frame);
    assert_eq!(buf.block.as_ref().map(|block| block.capacity()), Some(buf.capacity()));
}
