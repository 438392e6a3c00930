//! Requests that start within one pass: how often the link's lock is taken for them.

use super::*;
use crate::error::Failure;
use crate::machine::Access;

/// Access to the link that counts how often it is used.
struct Counting<'a, F: Framing> {
    link: &'a mut Link<F, u32>,
    asked: usize,
}

impl<F: Framing> Access<Link<F, u32>> for Counting<'_, F> {
    fn machine(&mut self) -> &mut Link<F, u32> {
        self.asked += 1;
        self.link
    }
}

/// Lets `end` handle that many requests that arrived together. Returns the number of delivered requests, and
/// how often the link was accessed.
fn serve(requests: u64, mut each: impl FnMut(&mut Reader<Native>, u64)) -> (u64, usize) {
    let mut pair = native();
    for token in 0..requests {
        let token = u32::try_from(token).unwrap();
        let _ = pair.a.link.call(Instant::ZERO, &CallOptions::new(1), b"x".as_slice().into(), token).unwrap();
    }
    let bytes = pair.a.output(Instant::ZERO);
    let End { link, reader, buf, .. } = &mut pair.b;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let room = buf.spare();
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        buf.filled(n);
        rest = &rest[n..];
    }
    let mut access = Counting { link, asked: 0 };
    Link::begin_input(reader, &mut access, Instant::ZERO, bytes.len());
    let (mut started, before) = (0, access.asked);
    while let Next::Event(event) = Link::next_event(reader, &mut access, Instant::ZERO, buf).unwrap() {
        if let Event::Request(request) = event {
            started += 1;
            each(reader, request.id());
        }
    }
    (started, access.asked - before)
}

#[test]
fn requests_answered_on_the_spot_start_without_asking_the_link() {
    let answered = serve(500, |reader, id| reader.answer(id, b"y".as_slice().into()).unwrap());
    assert_eq!(answered, (500, 0), "each gave its place back");
    let failure = Failure::new(Status::BUSY, "");
    let failed = serve(500, |reader, id| reader.fail(id, &failure).unwrap());
    assert_eq!(failed, (500, 0));
}

#[test]
fn requests_that_nobody_answered_yet_take_a_place_each() {
    let (started, asked) = serve(200, |_, _| {});
    assert_eq!((started, asked > 0), (200, true), "asked after 128, which is what a fresh link starts");
}
