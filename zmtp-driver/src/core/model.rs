//! The handles in random order, compared with their guarantees: sockets that bind, connect, close and return
//! while senders, receivers and pollers start, are polled, and are dropped wherever they wait.
//!
//! The sockets are joined in memory: no runtime is involved, and a seed repeats the whole run.

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

use super::{Interest, SocketCore, new_poller};
use crate::error::{ReceiveError, Refusal};
use crate::inproc;
use crate::parts::with_parts;

const PUSHERS: usize = 3;
const PULLERS: usize = 2;
const LIMIT: usize = 4;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[derive(Default)]
pub(super) struct Flag(pub(super) AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A caller that waits.
struct Op {
    core: Arc<SocketCore>,
    what: What,
    ticket: Option<Ticket>,
    woken: Arc<Flag>,
}

enum What {
    Send(Message),
    Recv(usize),
    Poll(Interest, u64),
}

/// Dropped wherever it waits, as a future is.
impl Drop for Op {
    fn drop(&mut self) {
        match (&self.what, self.ticket.take()) {
            (What::Poll(_, poller), _) => self.core.leave_pollers(*poller),
            (What::Send(..), Some(ticket)) => self.core.leave_senders(ticket),
            (What::Recv(_), Some(ticket)) => self.core.leave_receivers(ticket),
            (_, None) => {}
        }
    }
}

struct World {
    seed: u64,
    random: Random,
    pushers: Vec<Arc<SocketCore>>,
    /// Whether their messages go to peers that are there only.
    immediate: Vec<bool>,
    /// To which names each is connected.
    connected: Vec<BTreeMap<usize, PipeId>>,
    pullers: Vec<Arc<SocketCore>>,
    waiting: Vec<Op>,
    next: u64,
    /// Messages that a socket took: in which order, and how often they came out again.
    taken: BTreeMap<u64, (usize, u32)>,
    /// Which was taken last of those that came over each pipe, from each pusher.
    last: BTreeMap<(usize, PipeId, u64), usize>,
}

fn open(kind: SocketType, immediate: bool) -> Arc<SocketCore> {
    let limit = QueueLimit { messages: LIMIT, bytes: 1 << 20 };
    let options = Options::new(kind).immediate(immediate).send_limit(limit).receive_limit(limit);
    crate::lifetime::for_tests(options)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            seed,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            pushers: Vec::new(),
            immediate: (0..PUSHERS).map(|at| at % 2 == 0).collect(),
            connected: vec![BTreeMap::new(); PUSHERS],
            pullers: Vec::new(),
            waiting: Vec::new(),
            next: 0,
            taken: BTreeMap::new(),
            last: BTreeMap::new(),
        };
        for at in 0..PUSHERS {
            world.pushers.push(open(SocketType::Push, at % 2 == 0));
        }
        for at in 0..PULLERS {
            world.pullers.push(open(SocketType::Pull, true));
            world.bind(at);
        }
        world
    }

    fn name(&self, puller: usize) -> String {
        format!("model-{}-{puller}", self.seed)
    }

    fn bind(&self, at: usize) {
        assert!(inproc::bind(&self.pullers[at], &self.name(at)), "the one before is closed");
    }

    fn step(&mut self) {
        let (pusher, puller) = (self.random.below(PUSHERS), self.random.below(PULLERS));
        match self.random.below(100) {
            0..30 => {
                let mut message = Message::new();
                self.next += 1;
                for number in [self.next, pusher as u64, u64::from(self.immediate[pusher])] {
                    message.push(number.to_be_bytes().to_vec().into());
                }
                self.begin(Arc::clone(&self.pushers[pusher]), What::Send(message));
            }
            30..55 => self.begin(Arc::clone(&self.pullers[puller]), What::Recv(puller)),
            55..60 => {
                let core = Arc::clone(&self.pushers[pusher]);
                self.begin(core, What::Poll(Interest::SEND, new_poller()));
            }
            60..65 => {
                let core = Arc::clone(&self.pullers[puller]);
                self.begin(core, What::Poll(Interest::RECV, new_poller()));
            }
            // A woken task continues, or a task polls again without reason.
            65..80 if !self.waiting.is_empty() => {
                let at = self.random.below(self.waiting.len());
                self.go_on(at);
            }
            80..88 if !self.waiting.is_empty() => {
                let at = self.random.below(self.waiting.len());
                drop(self.waiting.swap_remove(at));
            }
            88..94 => match self.connected[pusher].remove(&puller) {
                None => {
                    let id = inproc::connect(&self.pushers[pusher], &self.name(puller), None)
                        .expect("no name is chosen");
                    self.connected[pusher].insert(puller, id);
                }
                Some(id) => self.pushers[pusher].close_pipe(id),
            },
            94 => self.replace_pusher(pusher),
            95 => self.replace_puller(puller),
            96 => inproc::unbind(&self.pullers[puller], &self.name(puller)),
            97 => drop(inproc::bind(&self.pullers[puller], &self.name(puller))),
            _ => self.settle(),
        }
    }

    fn begin(&mut self, core: Arc<SocketCore>, what: What) {
        self.waiting.push(Op { core, what, ticket: None, woken: Arc::default() });
        self.go_on(self.waiting.len() - 1);
    }

    /// Polls one that waits; what is ready goes.
    fn go_on(&mut self, at: usize) {
        let op = &mut self.waiting[at];
        op.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&op.woken));
        let cx = &mut Context::from_waker(&waker);
        match &op.what {
            What::Send(message) => {
                match with_parts(message, |parts| op.core.poll_send_parts(parts, &mut op.ticket, cx)) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => {
                        // Of several that wait at once any may be first.
                        let order = self.taken.len() + 1;
                        self.taken.insert(number(message, 0), (order, 0));
                    }
                    Poll::Ready(Err(error)) => assert_eq!(error, Refusal::Closed),
                }
            }
            What::Recv(puller) => {
                let (puller, mut message) = (*puller, Message::new());
                match op.core.poll_receive_into(&mut message, &mut op.ticket, cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(pipe)) => self.came(puller, pipe, &message),
                    Poll::Ready(Err(error)) => assert_eq!(error, ReceiveError::Closed),
                }
            }
            What::Poll(want, poller) => {
                if !op.core.poll_ready(*poller, *want, cx).any() {
                    return;
                }
            }
        }
        self.waiting.swap_remove(at);
    }

    fn came(&mut self, puller: usize, pipe: PipeId, message: &Message) {
        let (number, pusher) = (number(message, 0), number(message, 1));
        let order = self.once(number);
        if message[2][7] == 0 {
            // It may have waited for another peer first, which did not come.
            return;
        }
        let last = self.last.entry((puller, pipe, pusher)).or_insert(0);
        assert!(*last < order, "{order} after {last} from pusher {pusher}, seed {}", self.seed);
        *last = order;
    }

    /// The message came out. When it was taken.
    fn once(&mut self, number: u64) -> usize {
        let taken = self.taken.get_mut(&number).unwrap_or_else(|| panic!("{number} was never taken"));
        taken.1 += 1;
        assert_eq!(taken.1, 1, "{number} came twice, seed {}", self.seed);
        taken.0
    }

    /// Everything that was woken goes on, and what came is received, until nothing moves. Nobody waits then for what is
    /// there.
    fn settle(&mut self) {
        loop {
            if let Some(at) = self.waiting.iter().position(|op| op.woken.0.load(Ordering::SeqCst)) {
                self.go_on(at);
                continue;
            }
            let received: usize = (0..PULLERS).map(|at| self.drain(at)).sum();
            if received == 0 {
                break;
            }
        }
        for op in &self.waiting {
            let want = match op.what {
                What::Send(..) => Interest::SEND,
                What::Recv(_) => Interest::RECV,
                What::Poll(want, _) => want,
            };
            assert!(!op.core.ready(want).any(), "{want:?} is there and nobody was told, seed {}", self.seed);
        }
    }

    fn drain(&mut self, puller: usize) -> usize {
        let core = Arc::clone(&self.pullers[puller]);
        let mut count = 0;
        loop {
            let mut message = Message::new();
            let Ok(pipe) = core.try_receive(|state| state.receive(&mut message)) else { return count };
            self.came(puller, pipe, &message);
            count += 1;
        }
    }

    fn is_closed(core: &SocketCore) -> bool {
        core.poll_closed(Waker::noop())
    }

    fn replace_pusher(&mut self, at: usize) {
        self.immediate[at] = self.random.below(2) == 0;
        let fresh = open(SocketType::Push, self.immediate[at]);
        let core = std::mem::replace(&mut self.pushers[at], fresh);
        self.connected[at].clear();
        core.begin_close(Duration::ZERO);
        assert!(Self::is_closed(&core), "joined sockets part at once, seed {}", self.seed);
        for message in core.take_unsent() {
            self.once(number(&message, 0));
        }
        self.end(&core);
    }

    fn replace_puller(&mut self, at: usize) {
        self.pullers[at].begin_close(Duration::ZERO);
        assert!(Self::is_closed(&self.pullers[at]), "joined sockets part at once, seed {}", self.seed);
        // Messages that arrived before can still be received.
        self.drain(at);
        let core = std::mem::replace(&mut self.pullers[at], open(SocketType::Pull, true));
        self.end(&core);
        self.last.retain(|(puller, ..), _| *puller != at);
        inproc::unbind(&core, &self.name(at));
        self.bind(at);
    }

    /// Callers that wait for a closed socket were woken and get an error.
    fn end(&mut self, core: &Arc<SocketCore>) {
        while let Some(at) = self.waiting.iter().position(|op| Arc::ptr_eq(&op.core, core)) {
            assert!(self.waiting[at].woken.0.load(Ordering::SeqCst), "nobody was told, seed {}", self.seed);
            let before = self.waiting.len();
            self.go_on(at);
            assert!(self.waiting.len() < before, "it waits for a closed socket, seed {}", self.seed);
        }
    }

    /// Everything is closed: each message that a socket took came out of one of them, once.
    fn finish(mut self) {
        self.settle();
        (0..PUSHERS).for_each(|at| self.replace_pusher(at));
        (0..PULLERS).for_each(|at| self.replace_puller(at));
        let lost: Vec<_> = self.taken.iter().filter(|(_, (_, times))| *times == 0).collect();
        assert!(lost.is_empty(), "{lost:?} were lost, seed {}", self.seed);
        self.waiting.clear();
        for core in self.pushers.iter().chain(&self.pullers) {
            core.begin_close(Duration::ZERO);
        }
    }
}

fn number(message: &Message, part: usize) -> u64 {
    u64::from_be_bytes(message[part][..].try_into().expect("a number"))
}

#[test]
fn whatever_is_done_in_any_order_nothing_is_lost_or_forgotten() {
    let schedules =
        std::env::var("BOWLINE_SCHEDULES").map_or(4_000, |count| count.parse().expect("a number"));
    let first = std::env::var("BOWLINE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in first..first + schedules {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.finish();
    }
}
