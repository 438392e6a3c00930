//! One direction of a proxy between sockets that open and close in random order, with other tasks that send
//! and receive over the same sockets: no message is lost or duplicated, none is held unnecessarily, and no
//! wake is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bowline_core::config::QueueLimit;
use bowline_core::waiters::Ticket;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::socket::PipeId;
use bowline_zmtp::socket_type::SocketType;

use super::flow::Flow;
use super::steer::Steer;
use crate::core::{Interest, SocketCore, new_poller};
use crate::inproc;
use crate::parts::with_parts;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn open(kind: SocketType) -> Arc<SocketCore> {
    let limit = QueueLimit { messages: 3, bytes: 1 << 20 };
    let options = Options::new(kind).send_limit(limit).receive_limit(limit);
    crate::lifetime::for_tests(options)
}

struct World {
    seed: u64,
    random: u64,
    push: Arc<SocketCore>,
    front: Arc<SocketCore>,
    back: Arc<SocketCore>,
    pulls: [Arc<SocketCore>; 2],
    connected: [Option<PipeId>; 2],
    flow: Flow,
    poller: u64,
    steer: Steer,
    woken: Arc<Flag>,
    /// Another that receives from the front: its place in line, if it waits.
    other: Option<(Ticket, Arc<Flag>)>,
    next: u64,
    /// Messages that were taken, and how often they came out.
    taken: BTreeMap<u64, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (push, front, back) = (open(SocketType::Push), open(SocketType::Pull), open(SocketType::Push));
        assert!(inproc::bind(&front, &format!("proxy-front-{seed}")));
        assert!(inproc::bind(&back, &format!("proxy-back-{seed}")));
        inproc::connect(&push, &format!("proxy-front-{seed}"), None).expect("no name is chosen");
        Self {
            seed,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            flow: Flow::new(Arc::clone(&front), Arc::clone(&back)),
            push,
            front,
            back,
            pulls: [open(SocketType::Pull), open(SocketType::Pull)],
            connected: [None; 2],
            poller: new_poller(),
            steer: Steer::new(false),
            woken: Arc::default(),
            other: None,
            next: 0,
            taken: BTreeMap::new(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }

    fn step(&mut self) {
        let at = self.below(2);
        match self.below(100) {
            0..30 => self.send(true),
            // Another takes the room that the flow was told of.
            30..40 => self.send(false),
            40..60 => {
                self.receive(at);
            }
            60..70 => self.run(),
            70..78 => self.receive_beside(),
            78..83 => self.leave_line(),
            83..88 => match self.connected[at].take() {
                None => {
                    let name = format!("proxy-back-{}", self.seed);
                    self.connected[at] = inproc::connect(&self.pulls[at], &name, None).ok();
                }
                Some(id) => self.pulls[at].close_pipe(id),
            },
            88..93 => {
                self.steer.set_paused(at == 0);
                // As its task is.
                self.woken.0.store(true, Ordering::SeqCst);
            }
            _ => self.settle(),
        }
    }

    fn send(&mut self, to_front: bool) {
        self.next += 1;
        let message = Message::from_iter([self.next.to_be_bytes().to_vec()]);
        let core = if to_front { &self.push } else { &self.back };
        if with_parts(&message, |parts| core.try_send_parts(parts)).is_ok() {
            self.taken.insert(self.next, 0);
        }
    }

    fn came(&mut self, message: &Message) {
        let number = u64::from_be_bytes(message[0][..].try_into().expect("a number"));
        let times = self.taken.get_mut(&number).expect("it was taken");
        *times += 1;
        assert_eq!(*times, 1, "{number} came twice, seed {}", self.seed);
    }

    fn receive(&mut self, at: usize) -> bool {
        let mut message = Message::new();
        let received = self.pulls[at].try_receive(|state| state.receive(&mut message)).is_ok();
        if received {
            self.came(&message);
        }
        received
    }

    /// Another receiver of the front's.
    fn receive_beside(&mut self) {
        let (ticket, woken) =
            self.other.take().map_or_else(Default::default, |(ticket, woken)| (Some(ticket), woken));
        woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&woken));
        let (mut ticket, mut message) = (ticket, Message::new());
        let polled =
            self.front.poll_receive_into(&mut message, &mut ticket, &mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(received) => {
                received.expect("it is open");
                self.came(&message);
            }
            Poll::Pending => self.other = ticket.map(|ticket| (ticket, woken)),
        }
    }

    fn leave_line(&mut self) {
        if let Some((ticket, _)) = self.other.take() {
            self.front.leave_receivers(ticket);
        }
    }

    fn run(&mut self) {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        let cx = &mut Context::from_waker(&waker);
        let mut left = 1 + self.next as u32 % 5;
        self.flow.run(cx, self.poller, &self.steer, &self.steer.counters[0], None, &mut left);
        if left == 0 {
            self.woken.0.store(true, Ordering::SeqCst);
        }
    }

    /// Woken tasks continue, and arrived messages are received, until nothing moves.
    fn settle(&mut self) {
        loop {
            let other_woken = self.other.as_ref().is_some_and(|(_, woken)| woken.0.load(Ordering::SeqCst));
            if self.woken.0.load(Ordering::SeqCst) {
                self.run();
            } else if other_woken {
                self.receive_beside();
            } else if !(0..2).any(|at| self.receive(at)) {
                break;
            }
        }
        let there = self.front.ready(Interest::RECV).recv;
        let room = self.back.ready(Interest::SEND).send;
        let seed = self.seed;
        assert!(!(there && self.other.is_some()), "another receiver was forgotten, seed {seed}");
        assert!(self.steer.is_paused() || !(there && room), "the proxy was forgotten, seed {seed}");
    }

    fn finish(mut self) {
        self.woken.0.store(true, Ordering::SeqCst);
        self.settle();
        self.leave_line();
        let held = self.flow.end(self.poller);
        assert!(
            held.is_none() || !self.back.ready(Interest::SEND).send,
            "held without need, seed {}",
            self.seed
        );
        if let Some(message) = held {
            self.came(&message);
        }
        let mut message = Message::new();
        while self.front.try_receive(|state| state.receive(&mut message)).is_ok() {
            self.came(&message);
        }
        while (0..2).any(|at| self.receive(at)) {}
        for core in [&self.push, &self.front, &self.back, &self.pulls[0], &self.pulls[1]] {
            core.begin_close(Duration::ZERO);
        }
        for core in [&self.push, &self.back] {
            for message in core.take_unsent() {
                self.taken
                    .entry(u64::from_be_bytes(message[0][..].try_into().expect("a number")))
                    .and_modify(|n| *n += 1);
            }
        }
        while (0..2).any(|at| self.receive(at)) {}
        assert_eq!(self.steer.stats().forth.refused, 0);
        let wrong: Vec<_> = self.taken.iter().filter(|(_, times)| **times != 1).collect();
        assert!(wrong.is_empty(), "{wrong:?}, seed {}", self.seed);
    }
}

#[test]
fn a_flow_loses_nothing_holds_nothing_and_forgets_nobody() {
    for seed in 1..2_000 {
        let mut world = World::new(seed);
        // Its task runs at once.
        world.run();
        for _ in 0..300 {
            world.step();
        }
        world.finish();
    }
}
