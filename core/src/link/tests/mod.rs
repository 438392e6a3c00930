use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::auth::{Challenge, Shown};
use crate::body::Body;
use crate::config::{Delivery, QueueLimit};
use crate::error::{CallError, CastRefusal, Disconnect, LinkWas, Outcome, PeerError, Status};
use crate::frame::native::Native;
use crate::frame::raw::Raw;
use crate::frame::tcpstream::Tcpstream;
use crate::machine::{Ending, Machine, Next, Reason};
use crate::recv_buf::RecvBuf;

mod answers;
mod auth;
mod calls;
mod casts;
mod connections;
mod delivery;
mod drive;
mod flow;
mod greeting;
mod guards;
mod handling;
mod late_writes;
mod leftovers;
mod limits;
mod memory;
mod outcomes;
mod repeated;
mod resume;
mod retries;
mod runs;
mod starts;
mod waiting;
mod whole_blocks;

const MS: Duration = Duration::from_millis(1);

/// One end with its reading half and its events.
struct End<F: Framing> {
    link: Link<F, u32>,
    reader: Reader<F>,
    buf: RecvBuf,
    events: Vec<(bool, u64, Vec<u8>)>,
    answer: bool,
    /// Messages go to the link's queue.
    queue: bool,
    /// Requests go to handlers that answer later.
    handle: bool,
    handled: Vec<Inbound>,
    /// The bodies that those hold.
    bodies: Vec<Body>,
    /// Credentials of peers, to be decided about.
    shown: Vec<Shown>,
    /// Challenges that wait for an answer, if they are not answered at once.
    challenges: Option<Vec<Challenge>>,
}

impl<F: Framing> End<F> {
    fn new(config: &Config<F>, role: Role) -> Self {
        let mut link = Link::new(config.clone(), role);
        let reader = link.handle_connected(Instant::ZERO, Epoch::FIRST);
        Self {
            link,
            reader,
            buf: RecvBuf::new(),
            events: Vec::new(),
            answer: true,
            queue: false,
            handle: false,
            handled: Vec::new(),
            bodies: Vec::new(),
            shown: Vec::new(),
            challenges: None,
        }
    }

    fn input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PeerError> {
        let mut rest = bytes;
        loop {
            let room = self.buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            self.buf.filled(n);
            rest = &rest[n..];
            self.pass(now, n)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn pass(&mut self, now: Instant, n: usize) -> Result<(), PeerError> {
        let Self { link, reader, buf, events, answer, queue, handle, handled, bodies, shown, challenges } =
            self;
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf)? {
            match event {
                Event::Message(m) if *queue => {
                    if !access.enqueue_received(&m) && !Link::<F, u32>::refuse(reader, buf) {
                        break;
                    }
                }
                Event::Burst(run) if *queue => access.enqueue_burst(run),
                Event::Burst(run) => events.extend(run.map(|m| (false, m.id(), m.body.to_vec()))),
                Event::Request(m) if *handle => match access.open_inbound(now, &m)? {
                    Some(inbound) => {
                        handled.push(inbound);
                        bodies.push(m.to_body());
                    }
                    None if Link::<F, u32>::refuse(reader, buf) => {}
                    None => break,
                },
                Event::Message(m) => events.push((false, m.id(), m.body.to_vec())),
                Event::Request(m) => {
                    events.push((true, m.id(), m.body.to_vec()));
                    if *answer {
                        reader.answer(m.id(), m.body.into()).unwrap();
                    }
                }
                Event::Challenge(challenge) => match challenges {
                    Some(waiting) => waiting.push(*challenge),
                    None => access.answer_challenge(now, &challenge),
                },
                Event::Credentials(one) => shown.push(*one),
                Event::Ready | Event::Resumed | Event::Reply(_) => {}
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        Ok(())
    }

    fn output(&mut self, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(mut batch) = self.link.begin_write(now) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let n = batch.slices(&mut slices);
                let bytes = slices[..n].concat();
                batch.wrote(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let _more = self.link.end_write(now, batch);
        }
        out
    }

    fn tokens(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.link.take_tokens(&mut tokens);
        tokens
    }
}

struct Pair<F: Framing> {
    a: End<F>,
    b: End<F>,
}

impl<F: Framing> Pair<F> {
    fn new(config: &Config<F>) -> Self {
        let mut pair = Self { a: End::new(config, Role::Dialing), b: End::new(config, Role::Accepting) };
        pair.a.pass(Instant::ZERO, 0).unwrap();
        pair.b.pass(Instant::ZERO, 0).unwrap();
        pair.run(Instant::ZERO);
        assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
        pair
    }

    fn run(&mut self, now: Instant) {
        for _ in 0..8 {
            let out = self.a.output(now);
            self.b.input(now, &out).unwrap();
            let out = self.b.output(now);
            self.a.input(now, &out).unwrap();
        }
    }
}

fn native() -> Pair<Native> {
    Pair::new(&Config::default())
}

/// Both ends of a new session.
fn in_session() -> Pair<Native> {
    let config = Config::builder().delivery(Delivery::Session).build().unwrap();
    let mut a = End::new(&config, Role::Dialing);
    let mut link = Link::new(config.clone(), Role::Accepting);
    link.offer_session(SessionIdentity { id: resume::ID, token: resume::TOKEN });
    let mut b = End { link, ..End::new(&config, Role::Accepting) };
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    a.pass(Instant::ZERO, 0).unwrap();
    b.pass(Instant::ZERO, 0).unwrap();
    let mut pair = Pair { a, b };
    pair.run(Instant::ZERO);
    assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
    pair
}

fn call<F: Framing>(end: &mut End<F>, body: &[u8], token: u32) -> Result<CallId, CallError> {
    end.link.call(Instant::ZERO, &CallOptions::new(1).timeout(MS * 100), body.into(), token)
}
