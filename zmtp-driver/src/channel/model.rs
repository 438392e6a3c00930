//! Channels with senders and receivers that start, are polled, and are dropped wherever they wait, in random
//! order, compared with a plain list.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bowline_core::waiters::Ticket;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use super::queue::{Closed, Entry, Shared};
use super::{Buffer, BufferKind};

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A caller that waits: with an entry one that sends.
struct Op {
    shared: Arc<Shared>,
    entry: Option<Entry>,
    sends: bool,
    ticket: Option<Ticket>,
    woken: Arc<Flag>,
}

impl Drop for Op {
    fn drop(&mut self) {
        match self.ticket.take() {
            Some(ticket) if self.sends => self.shared.leave_senders(ticket),
            Some(ticket) => self.shared.leave_receivers(ticket),
            None => {}
        }
    }
}

struct World {
    seed: u64,
    random: u64,
    buffer: Buffer,
    shared: Arc<Shared>,
    waiting: Vec<Op>,
    next: u64,
    /// The messages in the channel, if it is correct.
    list: VecDeque<u64>,
    dropped: u64,
    is_closed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let room = 1 + (seed / 3 % 3) as usize;
        let buffer = match seed % 3 {
            0 => Buffer::fixed(room),
            1 => Buffer::sliding(room),
            _ => Buffer::dropping(room),
        };
        let shared = Shared::new(buffer);
        shared.add_sender();
        shared.add_receiver();
        Self {
            seed,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            buffer,
            shared,
            waiting: Vec::new(),
            next: 0,
            list: VecDeque::new(),
            dropped: 0,
            is_closed: false,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }

    fn is_full(&self) -> bool {
        self.list.len() >= self.buffer.limit.messages
    }

    fn step(&mut self) {
        match self.below(100) {
            0..30 => {
                let entry = self.fresh();
                self.begin(Some(entry));
            }
            30..60 => self.begin(None),
            60..75 if !self.waiting.is_empty() => {
                let at = self.below(self.waiting.len());
                self.go_on(at);
            }
            75..85 if !self.waiting.is_empty() => {
                let at = self.below(self.waiting.len());
                drop(self.waiting.swap_remove(at));
            }
            85..90 => {
                let mut entry = Some(self.fresh());
                let number = self.next;
                match self.shared.try_push(&mut entry) {
                    Ok(true) => self.pushed(number),
                    Ok(false) => assert!(entry.is_some() && self.buffer.kind == BufferKind::Fixed),
                    Err(Closed) => assert!(self.is_closed),
                }
            }
            90..95 => match self.shared.try_pop() {
                Ok(Some(entry)) => self.popped(&entry),
                Ok(None) => assert!(!self.is_closed),
                Err(Closed) => assert!(self.is_closed && self.list.is_empty()),
            },
            95..99 => self.settle(),
            _ if self.below(10) == 0 => {
                self.shared.close();
                self.is_closed = true;
            }
            _ => {}
        }
    }

    fn fresh(&mut self) -> Entry {
        self.next += 1;
        Ok(Message::from_iter([self.next.to_be_bytes().to_vec()]))
    }

    fn begin(&mut self, entry: Option<Entry>) {
        let sends = entry.is_some();
        let shared = Arc::clone(&self.shared);
        self.waiting.push(Op { shared, entry, sends, ticket: None, woken: Arc::default() });
        self.go_on(self.waiting.len() - 1);
    }

    fn go_on(&mut self, at: usize) {
        let op = &mut self.waiting[at];
        op.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&op.woken));
        let cx = &mut Context::from_waker(&waker);
        if op.sends {
            let number = op.entry.as_ref().map_or(0, number);
            match op.shared.poll_push(&mut op.entry, &mut op.ticket, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => self.pushed(number),
                Poll::Ready(Err(Closed)) => assert!(self.is_closed && op.entry.is_some()),
            }
        } else {
            match op.shared.poll_pop(&mut op.ticket, cx) {
                Poll::Pending => return,
                Poll::Ready(Some(entry)) => self.popped(&entry),
                Poll::Ready(None) => assert!(self.is_closed && self.list.is_empty(), "seed {}", self.seed),
            }
        }
        self.waiting.swap_remove(at);
    }

    fn pushed(&mut self, number: u64) {
        assert!(!self.is_closed, "seed {}", self.seed);
        match self.buffer.kind {
            BufferKind::Fixed => assert!(!self.is_full(), "over its bound, seed {}", self.seed),
            BufferKind::Sliding if self.is_full() => {
                self.list.pop_front();
                self.dropped += 1;
            }
            BufferKind::Dropping if self.is_full() => {
                self.dropped += 1;
                return;
            }
            _ => {}
        }
        self.list.push_back(number);
    }

    fn popped(&mut self, entry: &Entry) {
        assert_eq!(Some(number(entry)), self.list.pop_front(), "in order and once, seed {}", self.seed);
    }

    /// All woken tasks continue; afterwards no task waits for an available message.
    fn settle(&mut self) {
        while let Some(at) = self.waiting.iter().position(|op| op.woken.0.load(Ordering::SeqCst)) {
            self.go_on(at);
        }
        for op in &self.waiting {
            let waits_in_vain =
                self.is_closed || if op.sends { !self.is_full() } else { !self.list.is_empty() };
            assert!(!waits_in_vain, "a caller that sends ({}) was not told, seed {}", op.sends, self.seed);
        }
        let stats = self.shared.stats();
        assert_eq!((stats.waiting, stats.dropped), (self.list.len(), self.dropped), "seed {}", self.seed);
    }
}

fn number(entry: &Entry) -> u64 {
    let message = entry.as_ref().expect("a message");
    u64::from_be_bytes(message[0][..].try_into().expect("a number"))
}

#[test]
fn a_channel_does_as_a_list_would_and_nobody_waits_in_vain() {
    for seed in 1..3_000 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.settle();
    }
}
