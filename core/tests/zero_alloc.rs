//! In steady state a link allocates nothing for casts and calls, and neither does a batcher.

use std::task::Poll;

use bowline_core::batcher::{Admission, Batcher, Failed, Retries, Settings, Step};
use bowline_core::config::Config;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, Event, Link, Reader, Role};
use bowline_core::machine::{Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_counting::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One end of a link in memory.
struct End {
    link: Link<Native, u32>,
    reader: Reader<Native>,
    buf: RecvBuf,
    seen: u64,
    tokens: Vec<u32>,
}

impl End {
    fn new(role: Role) -> Self {
        let mut link = Link::new(Config::default(), role);
        let reader = link.handle_connected(Instant::ZERO, Epoch::FIRST);
        Self { link, reader, buf: RecvBuf::new(), seen: 0, tokens: Vec::new() }
    }

    fn pass(&mut self, n: usize) {
        let now = Instant::ZERO;
        let Self { link, reader, buf, seen, tokens } = self;
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf).expect("good bytes") {
            match event {
                Event::Message(message) => *seen += message.body.len() as u64,
                Event::Burst(run) => *seen += run.map(|message| message.body.len() as u64).sum::<u64>(),
                Event::Request(request) => {
                    *seen += request.body.len() as u64;
                    let id = request.id();
                    reader.answer(id, request.body.into()).expect("it fits");
                }
                _ => {}
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        link.take_tokens(tokens);
        tokens.clear();
    }
}

/// Carries everything that one end has to write to the other.
fn carry(from: &mut End, to: &mut End) {
    while let Some(mut batch) = from.link.begin_write(Instant::ZERO) {
        while !batch.is_done() {
            let mut slices = [&[][..]; 1];
            batch.slices(&mut slices);
            let room = to.buf.spare();
            let n = room.len().min(slices[0].len());
            room[..n].copy_from_slice(&slices[0][..n]);
            to.buf.filled(n);
            batch.wrote(n);
            to.pass(n);
        }
        let _more = from.link.end_write(Instant::ZERO, batch);
    }
}

fn pair() -> (End, End) {
    let (mut a, mut b) = (End::new(Role::Dialing), End::new(Role::Accepting));
    for _ in 0..3 {
        carry(&mut a, &mut b);
        carry(&mut b, &mut a);
    }
    (a, b)
}

/// Allocations of the second run of `work`; the first warms up.
fn steady_allocations(mut work: impl FnMut()) -> u64 {
    work();
    let before = allocations();
    work();
    allocations() - before
}

#[test]
fn casts_allocate_nothing() {
    let (mut a, mut b) = pair();
    let (body, options) = ([7; 110], CastOptions::new(1));
    let allocations = steady_allocations(|| {
        for _ in 0..200 {
            for _ in 0..500 {
                let _ = a.link.cast(Instant::ZERO, &options, (&body).into()).expect("room");
            }
            carry(&mut a, &mut b);
            // Granted credit is returned.
            carry(&mut b, &mut a);
        }
    });
    assert_eq!(b.seen, 2 * 200 * 500 * 110);
    assert_eq!(allocations, 0);
}

#[test]
fn calls_allocate_nothing() {
    let (mut a, mut b) = pair();
    let (body, options) = ([7; 110], CallOptions::new(1));
    let mut ids = Vec::with_capacity(256);
    let allocations = steady_allocations(|| {
        for _ in 0..200 {
            for token in 0..256 {
                ids.push(a.link.call(Instant::ZERO, &options, (&body).into(), token).expect("a place"));
            }
            carry(&mut a, &mut b);
            carry(&mut b, &mut a);
            for id in ids.drain(..) {
                let reply = a.link.poll_reply(id, || 0).expect("it is there").expect("a reply");
                assert_eq!(reply.len(), 110);
            }
        }
    });
    assert_eq!(allocations, 0);
}

/// One batch of what waits: odd positions have to be tried a second time.
fn append_all(batcher: &mut Batcher<u64, u64, u64, u8, u32>, now: &mut Instant, tokens: &mut Vec<u32>) {
    loop {
        match batcher.poll_batch(*now, || 0) {
            Step::Batch(mut batch) => {
                let (messages, answers) = batch.parts();
                let first = messages[0];
                for index in 0..answers.len() {
                    let again = first.is_multiple_of(8) && index % 2 == 1;
                    let busy = Failed::not_appended(7).retryable(true);
                    answers.answer(index, if again { Err(busy) } else { Ok(index as u64) });
                }
                batcher.end_batch(*now, batch);
            }
            Step::Wait(_) if batcher.under_way() == 0 => return,
            Step::Wait(until) => *now = until.expect("a retry"),
            Step::Closed => unreachable!("it is open"),
        }
        batcher.take_tokens(tokens);
        tokens.clear();
    }
}

#[test]
fn a_batcher_allocates_nothing() {
    let settings = Settings::default().retries(Retries::Unlimited);
    let mut batcher = Batcher::new(settings, 1).expect("it can work");
    let receiver = batcher.add_receiver();
    let (mut now, mut tokens) = (Instant::ZERO, Vec::new());
    let mut ids = Vec::with_capacity(256);
    let (mut appended, mut taken, mut message) = (0_u64, 0_u64, 0_u64);
    let allocations = steady_allocations(|| {
        for _ in 0..200 {
            for _ in 0..256 {
                // More than there is room for: some wait.
                let id = batcher.send(now, message, 110).expect("it is open");
                assert!(batcher.poll_send(id, || 1).is_pending());
                ids.push(id);
                message += 1;
            }
            append_all(&mut batcher, &mut now, &mut tokens);
            for id in ids.drain(..) {
                appended += u64::from(matches!(batcher.poll_send(id, || 1), Poll::Ready(Ok(_))));
            }
            for reference in 0..200 {
                let sent = batcher.send_with_reference(now, message, 110, receiver, reference);
                assert!(matches!(sent, Ok(Admission::Accepted)));
                message += 1;
            }
            append_all(&mut batcher, &mut now, &mut tokens);
            while let Poll::Ready(Some(sent)) = batcher.poll_result(receiver, || 2) {
                taken += u64::from(sent.result.is_ok());
            }
            for _ in 0..200 {
                batcher.try_send_and_forget(now, message, 110).expect("there is room");
                message += 1;
            }
            append_all(&mut batcher, &mut now, &mut tokens);
        }
    });
    assert_eq!((appended, taken), (2 * 200 * 256, 2 * 200 * 200));
    assert_eq!(batcher.stats().appended, 2 * 200 * (256 + 400));
    assert!(batcher.stats().retries > 100, "{:?}", batcher.stats());
    assert_eq!(allocations, 0);
}
