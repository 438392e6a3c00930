//! The core alone, in memory: encode, batch and decode 110-byte messages.
//!
//! `cargo bench -p bowline-benches --bench core_alone` for criterion's figures. With `BOWLINE_MESSAGES=n` it moves n
//! messages once and exits, for counting instructions (`benches/instructions.sh`); `BOWLINE_KIND`
//! says which: `casts`, `many` (casts queued together), `calls`, `lent` (calls of a single owner), `batched` (messages
//! through a batcher, whose senders wait for the result), `forgotten` (no sender waits).

use std::hint::black_box;

use bowline::Config;
use bowline::core::batcher::{Batcher, SendId, Settings, Step};
use bowline::core::link::{CallOptions, CastOptions, Event, Link, Reader, Role};
use bowline::core::machine::{Machine, Next};
use bowline::core::recv_buf::RecvBuf;
use bowline::core::supervisor::Epoch;
use bowline::core::time::Instant;
use bowline::frame::native::Native;
use criterion::{Criterion, Throughput};

/// Messages between two exchanges of batches.
const RUN: u64 = 500;

struct End {
    link: Link<Native, u32>,
    reader: Reader<Native>,
    buf: RecvBuf,
    tokens: Vec<u32>,
}

impl End {
    fn new(role: Role) -> Self {
        let mut link = Link::new(Config::default(), role);
        let reader = link.handle_connected(Instant::ZERO, Epoch::FIRST);
        Self { link, reader, buf: RecvBuf::new(), tokens: Vec::new() }
    }

    fn pass(&mut self, n: usize) {
        let now = Instant::ZERO;
        let Self { link, reader, buf, tokens } = self;
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf).expect("good bytes") {
            match event {
                Event::Message(message) => {
                    black_box(message.body);
                }
                Event::Burst(messages) => messages.for_each(|message| {
                    black_box(message.body);
                }),
                Event::Request(request) => {
                    reader.answer(request.id(), request.body.into()).expect("it fits");
                }
                _ => {}
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        link.take_tokens(tokens);
        tokens.clear();
    }
}

/// Carries everything that one end has to write to the other, as a socket would: by copying.
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

fn casts(a: &mut End, b: &mut End) {
    let (body, options) = ([7; 110], CastOptions::new(1));
    for _ in 0..RUN {
        let _ = a.link.cast(Instant::ZERO, &options, black_box(&body).into()).expect("room");
    }
    carry(a, b);
    // What is granted comes back.
    carry(b, a);
}

fn calls(a: &mut End, b: &mut End, ids: &mut Vec<bowline::core::link::CallId>) {
    let (body, options) = ([7; 110], CallOptions::new(1));
    for token in 0..RUN {
        let token = u32::try_from(token).unwrap_or_default();
        ids.push(a.link.call(Instant::ZERO, &options, black_box(&body).into(), token).expect("a place"));
    }
    carry(a, b);
    carry(b, a);
    for id in ids.drain(..) {
        black_box(a.link.poll_reply(id, || 0).expect("it is there").expect("a reply"));
    }
}

fn many(a: &mut End, b: &mut End) {
    let (body, options) = ([7; 110], CastOptions::new(1));
    let bodies = [&body[..]; RUN as usize];
    let mut queued = 0;
    while queued < bodies.len() {
        let count = a.link.cast_plain_many(&options, black_box(&bodies[queued..]));
        queued += count;
        if count == 0 {
            let _ = a.link.cast(Instant::ZERO, &options, black_box(&body).into()).expect("room");
            queued += 1;
        }
    }
    carry(a, b);
    carry(b, a);
}

fn lent(a: &mut End, b: &mut End) {
    let (body, options) = ([7; 110], CallOptions::new(1));
    for token in 0..RUN {
        let token = u32::try_from(token).unwrap_or_default();
        let _ = a.link.call(Instant::ZERO, &options, black_box(&body).into(), token).expect("a place");
    }
    carry(a, b);
    carry(b, a);
}

type Batched = Batcher<[u8; 110], (), u64, (), u32>;

fn append(batcher: &mut Batched) {
    while let Step::Batch(mut batch) = batcher.poll_batch(Instant::ZERO, || 0) {
        let (messages, answers) = batch.parts();
        for (index, message) in messages.iter().enumerate() {
            black_box(message);
            answers.answer(index, Ok(index as u64));
        }
        batcher.end_batch(Instant::ZERO, batch);
    }
}

fn batched(batcher: &mut Batched, ids: &mut Vec<SendId>, tokens: &mut Vec<u32>) {
    for token in 0..RUN {
        let id = batcher.send(Instant::ZERO, black_box([7; 110]), 110).expect("it is open");
        let polled = batcher.poll_send(id, || u32::try_from(token).unwrap_or_default());
        assert!(polled.is_pending());
        ids.push(id);
    }
    append(batcher);
    batcher.take_tokens(tokens);
    tokens.clear();
    for id in ids.drain(..) {
        black_box(batcher.poll_send(id, || 0).is_ready());
    }
}

fn forgotten(batcher: &mut Batched, tokens: &mut Vec<u32>) {
    for _ in 0..RUN / 200 {
        for _ in 0..200 {
            batcher.try_send_and_forget(Instant::ZERO, black_box([7; 110]), 110).expect("room");
        }
        append(batcher);
        batcher.take_tokens(tokens);
        tokens.clear();
    }
    for _ in 0..RUN % 200 {
        batcher.try_send_and_forget(Instant::ZERO, black_box([7; 110]), 110).expect("room");
    }
    append(batcher);
}

fn main() {
    let (mut a, mut b) = pair();
    let mut batcher = Batched::new(Settings::default(), 1).expect("it can work");
    let (mut sent, mut tokens) = (Vec::new(), Vec::new());
    let mut ids = Vec::new();
    if let Some(messages) = std::env::var("BOWLINE_MESSAGES").ok().and_then(|n| n.parse::<u64>().ok()) {
        let kind = std::env::var("BOWLINE_KIND").unwrap_or_else(|_| "casts".into());
        if kind == "lent" {
            a.link.lend_replies();
        }
        for _ in 0..messages.div_ceil(RUN) {
            match kind.as_str() {
                "casts" => casts(&mut a, &mut b),
                "many" => many(&mut a, &mut b),
                "calls" => calls(&mut a, &mut b, &mut ids),
                "lent" => lent(&mut a, &mut b),
                "batched" => batched(&mut batcher, &mut sent, &mut tokens),
                "forgotten" => forgotten(&mut batcher, &mut tokens),
                other => panic!("no such kind: {other}"),
            }
        }
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("110 bytes");
    group.throughput(Throughput::Elements(RUN));
    group.bench_function("casts: encode, batch, copy, decode", |bencher| {
        bencher.iter(|| casts(&mut a, &mut b));
    });
    group.bench_function("casts queued together", |bencher| {
        bencher.iter(|| many(&mut a, &mut b));
    });
    group.bench_function("calls: both ways with the calls table", |bencher| {
        bencher.iter(|| calls(&mut a, &mut b, &mut ids));
    });
    group.bench_function("batched: through the batcher, with a result", |bencher| {
        bencher.iter(|| batched(&mut batcher, &mut sent, &mut tokens));
    });
    group.bench_function("batched: sent and forgotten", |bencher| {
        bencher.iter(|| forgotten(&mut batcher, &mut tokens));
    });
    group.finish();
    criterion.final_summary();
}
