//! The routing of a socket: which peer a message goes to and comes from, and what its parts mean.
//!
//! A [`Socket`] owns no bytes but those on their way to its application. It knows its pipes by number and
//! reaches them through [`Pipes`], which a driver implements with their locks. It is told when a pipe
//! [is ready](Socket::handle_event), has messages, or [is gone](Socket::disconnected), and decides.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;

mod balance;
mod error;
mod events;
mod fair;
mod lifecycle;
mod notices;
mod publish;
mod readiness;
mod recv;
mod requests;
mod router;
mod send;
mod subscribe;
mod subscribers;

pub use error::{RecvError, SendError, SubscribeError};
pub use events::{AcceptLimit, Drop, HandshakeFailure, SocketEvent};
pub use send::Messages;

use crate::message::Message;
use crate::options::Options;
use crate::pipe::{Peer, Pipe, Role};
use crate::socket_type::SocketType;
use crate::sum::Sums;
use balance::Balancer;
use fair::FairQueue;
use publish::Publisher;
use requests::{Rep, Req};
use router::Router;
use subscribe::Subscriptions;

/// Which pipe of a socket it is. Numbers are not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PipeId(u64);

impl PipeId {
    /// Counts the pipes of a socket.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Which peer of a socket it is: a pipe, and which of its connections. Unlike a pipe, which may be connected again, it is
/// never another peer's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId {
    pipe: PipeId,
    connection: u64,
}

impl PeerId {
    /// The pipe, as [events](SocketEvent) name it.
    #[must_use]
    pub fn pipe(self) -> PipeId {
        self.pipe
    }
}

/// How a socket reaches its pipes.
///
/// A driver takes the pipe's lock, calls `f`, and sees to the pipe's wakes
/// ([`take_wake`](bowline_core::machine::Machine::take_wake),
/// [`take_tokens`](bowline_core::machine::Machine::take_tokens)) after letting go of it.
pub trait Pipes {
    /// What wakes those who wait for a pipe.
    type Token: Send + 'static;

    /// Calls `f` with a pipe, if it is there.
    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Self::Token>) -> R) -> Option<R>;

    /// Calls `f` with the pipe that takes messages for the peer of `id`: the pipe itself, or, if it is
    /// [joined](Pipe::join) to one of another socket, that one.
    fn with_out<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Self::Token>) -> R) -> Option<R> {
        self.with(id, f)
    }
}

impl<T: Send + 'static> Pipes for BTreeMap<PipeId, Pipe<T>> {
    type Token = T;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<T>) -> R) -> Option<R> {
        self.get_mut(&id).map(f)
    }
}

/// What a socket has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SocketStats {
    /// Messages that were dropped for want of room, as the policy or the type says.
    pub overflowed: u64,
    /// Messages that nobody wanted: no peer, or none that subscribed.
    pub discarded: u64,
    /// Messages of those [dropped](SocketEvent::Dropped) with an event.
    pub dropped: u64,
    /// Messages that came and were not, or no longer, subscribed to.
    pub filtered: u64,
    /// Events that were not told, because nobody took those before.
    pub events_lost: u64,
}

/// Events that wait to be taken.
const EVENTS: usize = 1024;

#[derive(Debug)]
struct Entry {
    role: Role,
    /// What its routing id here is to be.
    chosen_id: Option<Vec<u8>>,
    peer: Option<Arc<Peer>>,
    /// How many peers there were, one after another.
    connections: u64,
    /// The peer of its present connection was refused, and what it says is not heard.
    refused: bool,
    /// Why there will be no further connection.
    gave_up: Option<Box<Disconnect>>,
}

impl Entry {
    /// Whether it has a peer that was not refused.
    fn is_up(&self) -> bool {
        self.peer.is_some() && !self.refused
    }
}

/// What belongs to some types only.
#[derive(Debug)]
enum Pattern {
    /// PUSH, PULL, DEALER, PAIR, CLIENT, SCATTER, GATHER, CHANNEL.
    Plain,
    Req(Req),
    Rep(Rep),
    Router(Router),
    Publisher(Publisher),
    Subscriber(Subscriptions),
}

/// A socket, as far as it decides.
#[derive(Debug)]
pub struct Socket {
    options: Arc<Options>,
    next_pipe: u64,
    entries: BTreeMap<PipeId, Entry>,
    /// Peers that messages may go to, in the order in which they came.
    targets: Vec<PipeId>,
    /// Counts changes of the targets.
    generation: u64,
    balancer: Balancer,
    fair: FairQueue,
    pattern: Pattern,
    events: VecDeque<SocketEvent>,
    stats: SocketStats,
    scratch: Vec<u8>,
    sums: Sums,
}

impl Socket {
    /// A socket without pipes. `seed` chooses where made-up numbers begin: routing ids of peers that have
    /// none, numbers of requests.
    #[must_use]
    pub fn new(options: Arc<Options>, seed: u32) -> Self {
        use SocketType::{Dish, Peer, Pub, Radio, Rep as RepType, Req as ReqType, Server, Sub, XPub, XSub};
        let kind = options.kind;
        let pattern = match kind {
            ReqType => Pattern::Req(Req::new(seed)),
            RepType => Pattern::Rep(Rep::default()),
            SocketType::Router | Server | Peer => Pattern::Router(Router::new(kind, seed)),
            Pub | XPub | Radio => Pattern::Publisher(Publisher::default()),
            Sub | XSub | Dish => Pattern::Subscriber(Subscriptions::default()),
            _ => Pattern::Plain,
        };
        let sums = Sums::new(options.send_sum, options.receive_sum);
        Self {
            options,
            sums,
            next_pipe: 0,
            entries: BTreeMap::new(),
            targets: Vec::new(),
            generation: 0,
            balancer: Balancer::default(),
            fair: FairQueue::default(),
            pattern,
            events: VecDeque::new(),
            stats: SocketStats::default(),
            scratch: Vec::new(),
        }
    }

    /// What its pipes hold together: each is [given it](Pipe::with_sums).
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.sums.clone()
    }

    /// Half of what may be received is free again: pipes that waited for that read on.
    pub(crate) fn resume_reading(&self, pipes: &mut impl Pipes) {
        if self.sums.received.as_ref().is_some_and(|sum| sum.take_eased()) {
            for id in self.entries.keys() {
                pipes.with(*id, Pipe::resume_reading);
            }
        }
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> SocketType {
        self.options.kind
    }

    /// Pipes that messages may go to now, in the order in which their peers came.
    #[must_use]
    pub fn targets(&self) -> &[PipeId] {
        &self.targets
    }

    /// Changes whenever [`targets`](Self::targets) does.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The routing id of a peer of a ROUTER, SERVER or PEER.
    #[must_use]
    pub fn routing_id(&self, pipe: PipeId) -> Option<&[u8]> {
        match &self.pattern {
            Pattern::Router(router) => router.id_of(pipe).map(|id| id.as_slice()),
            _ => None,
        }
    }

    /// How many subscriptions (or memberships of groups) the peers of a publisher have.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        match &self.pattern {
            Pattern::Publisher(publisher) => publisher.subscriptions(),
            _ => 0,
        }
    }

    /// Messages that came back from peers that went, and wait for another.
    #[must_use]
    pub fn returned(&self) -> usize {
        self.balancer.returned()
    }

    /// Takes the messages that came back: for a socket that is closed.
    pub fn take_returned(&mut self) -> impl Iterator<Item = Message> {
        self.balancer.take_returned().into_iter()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        self.stats
    }

    /// The oldest event that was not taken. Up to 1,024 wait; later ones are counted and lost.
    pub fn take_event(&mut self) -> Option<SocketEvent> {
        self.events.pop_front()
    }

    /// Whether one waits to be taken.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn tell(&mut self, event: SocketEvent) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        } else {
            self.stats.events_lost += 1;
        }
    }

    fn note_dropped(&mut self, pipe: PipeId, count: usize, why: Drop) {
        if count > 0 {
            self.stats.dropped += count as u64;
            self.tell(SocketEvent::Dropped { pipe, count, why });
        }
    }
}

#[cfg(test)]
mod tests;
