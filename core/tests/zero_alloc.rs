//! In steady state a link allocates nothing: not for casts, not for calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bowline_core::config::Config;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, Event, Link, Reader, Role};
use bowline_core::machine::{Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

struct Counting;

std::thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every method passes its arguments on to the system's allocator unchanged and returns
// what that returned; counting touches a thread-local number without allocating.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

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
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
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
            // What is granted comes back.
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
