//! W5: the core without sockets: what a message costs in time. That it allocates nothing is a test of the
//! core's (`core/tests/zero_alloc.rs`): a counting allocator here would slow down every contender.
//!
//! One link encodes into its write queue, a batch of about 64 KiB is copied, as a socket would
//! copy it (timed apart), and another link decodes it.

use std::hint::black_box;
use std::time::{Duration, Instant as StdInstant};

use bowline::Config;
use bowline::core::link::{CallOptions, CastOptions, Event, Link, Reader, Role};
use bowline::core::machine::{Machine, Next};
use bowline::core::recv_buf::RecvBuf;
use bowline::core::supervisor::Epoch;
use bowline::core::time::Instant;
use bowline::frame::native::Native;

use crate::plan::median;

/// Messages between two batches.
const RUN: usize = 500;
const NOW: Instant = Instant::ZERO;

struct End {
    link: Link<Native, u64>,
    reader: Reader<Native>,
    buf: RecvBuf,
}

impl End {
    fn new(role: Role) -> Self {
        let mut link = Link::new(Config::default(), role);
        link.lend_replies();
        let reader = link.handle_connected(NOW, Epoch::FIRST);
        Self { link, reader, buf: RecvBuf::new() }
    }

    fn decode(&mut self, n: usize) -> usize {
        let Self { link, reader, buf } = self;
        let (mut seen, mut access) = (0, &mut *link);
        Link::begin_input(reader, &mut access, NOW, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, NOW, buf).expect("good bytes") {
            match event {
                Event::Burst(burst) => {
                    seen += burst.len();
                    burst.for_each(|message| {
                        black_box(message.body);
                    });
                }
                Event::Request(request) => {
                    seen += 1;
                    reader.answer(request.id(), request.body.into()).expect("it fits");
                }
                Event::Reply(reply) => {
                    seen += 1;
                    black_box(reply.body);
                }
                _ => {}
            }
        }
        Link::end_input(reader, &mut access, NOW, buf);
        seen
    }
}

/// Time spent in each part.
#[derive(Default, Clone, Copy)]
struct Spent {
    encode: Duration,
    copy: Duration,
    decode: Duration,
}

/// Carries what `from` has to write to the other, whose messages are counted.
fn carry(from: &mut End, to: &mut End, spent: &mut Spent) -> usize {
    let mut seen = 0;
    loop {
        let start = StdInstant::now();
        let Some(mut batch) = from.link.begin_write(NOW) else { return seen };
        spent.encode += start.elapsed();
        while !batch.is_done() {
            let start = StdInstant::now();
            let mut slices = [&[][..]; 1];
            batch.slices(&mut slices);
            let room = to.buf.spare();
            let n = room.len().min(slices[0].len());
            room[..n].copy_from_slice(&slices[0][..n]);
            to.buf.filled(n);
            batch.wrote(n);
            spent.copy += start.elapsed();
            let start = StdInstant::now();
            seen += to.decode(n);
            spent.decode += start.elapsed();
        }
        let _more = from.link.end_write(NOW, batch);
    }
}

/// Nanoseconds a message: encoding, copying, decoding.
fn measure(time: Duration, mut queue: impl FnMut(&mut End)) -> [f64; 3] {
    let (mut a, mut b) = (End::new(Role::Dialing), End::new(Role::Accepting));
    let mut spent = Spent::default();
    for _ in 0..100 {
        queue(&mut a);
        carry(&mut a, &mut b, &mut spent);
        carry(&mut b, &mut a, &mut spent);
    }
    let (mut messages, begun) = (0, StdInstant::now());
    spent = Spent::default();
    while begun.elapsed() < time {
        let start = StdInstant::now();
        queue(&mut a);
        spent.encode += start.elapsed();
        messages += carry(&mut a, &mut b, &mut spent);
        messages += carry(&mut b, &mut a, &mut spent);
    }
    let per = |spent: Duration| spent.as_nanos() as f64 / messages as f64;
    [per(spent.encode), per(spent.copy), per(spent.decode)]
}

/// Measures and prints.
pub fn run(rounds: usize, time: Duration) {
    let body = [7_u8; 110];
    let bodies = [&body[..]; RUN];
    let (cast, call) = (CastOptions::new(1), CallOptions::new(1));
    let one_by_one = |end: &mut End| {
        for _ in 0..RUN {
            let _ = end.link.cast(NOW, &cast, black_box(&body).into()).expect("room");
        }
    };
    let many = |end: &mut End| {
        let mut queued = 0;
        while queued < RUN {
            queued += end.link.cast_plain_many(&cast, black_box(&bodies[queued..]));
            if queued < RUN {
                let _ = end.link.cast(NOW, &cast, black_box(&body).into()).expect("room");
                queued += 1;
            }
        }
    };
    let calls = |end: &mut End| {
        for _ in 0..RUN {
            let id = |id: bowline::core::link::CallId| id.get();
            end.link.call_named(NOW, &call, black_box(&body).into(), id).expect("a place");
        }
    };
    println!(
        "\nw5 core alone, 110 bytes, {rounds} rounds: nanoseconds a message (a call is two: request and reply)"
    );
    println!("{:<34} {:>9} {:>9} {:>13} {:>9} ", "", "encode", "decode", "both", "copy");
    let print = |name: &str, run: &dyn Fn() -> [f64; 3]| {
        let all: Vec<_> = (0..rounds).map(|_| run()).collect();
        let of =
            |part: usize| median(&all.iter().map(|one| one[part]).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        let (encode, copy, decode) = (of(0), of(1), of(2));
        let both = encode + decode;
        println!("{name:<34} {encode:>9.1} {decode:>9.1} {both:>13.1} {copy:>9.1}");
    };
    print("casts, one by one", &|| measure(time, one_by_one));
    print("casts, many at once", &|| measure(time, many));
    print("calls, with table and deadline", &|| measure(time, calls));
}
