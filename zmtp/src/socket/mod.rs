//! The routing of a socket: which peer a message goes to or comes from, and the meaning of its parts.
//!
//! A [`Socket`] stores no message data except received messages on their way to the application. It
//! identifies its pipes by number and accesses them through [`Pipes`], which a driver implements with the
//! pipes' locks. The driver reports when a pipe [is ready](Socket::handle_event), has messages, or [has
//! disconnected](Socket::disconnected).

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

/// Identifies a pipe of a socket. Numbers are not reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PipeId(u64);

impl PipeId {
    /// The number of the pipe within its socket.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Identifies a peer of a socket: a pipe and one of its connections. A pipe may be connected to another peer
/// later; a `PeerId` never refers to another peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId {
    pipe: PipeId,
    connection: u64,
}

impl PeerId {
    /// The pipe, as in [events](SocketEvent).
    #[must_use]
    pub fn pipe(self) -> PipeId {
        self.pipe
    }
}

/// A socket's access to its pipes.
///
/// A driver takes the pipe's lock, calls `f`, and handles the pipe's wakes
/// ([`take_wake`](bowline_core::machine::Machine::take_wake),
/// [`take_tokens`](bowline_core::machine::Machine::take_tokens)) after it has released the lock.
pub trait Pipes {
    /// A token that wakes a task or thread that waits for a pipe.
    type Token: Send + 'static;

    /// Calls `f` with the pipe, if it exists.
    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Self::Token>) -> R) -> Option<R>;

    /// Calls `f` with the pipe that takes messages for the peer of `id`: the pipe itself or, if it is
    /// [joined](Pipe::join), the other socket's pipe.
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

/// Counters of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SocketStats {
    /// Messages that were dropped because a queue was full, as the policy or the type demands.
    pub overflowed: u64,
    /// Messages that had no recipient: no peer, or no matching subscriber.
    pub discarded: u64,
    /// Messages that were [dropped](SocketEvent::Dropped) with an event.
    pub dropped: u64,
    /// Received messages that matched no subscription, or none any more.
    pub filtered: u64,
    /// Events that were lost because earlier ones had not been taken.
    pub events_lost: u64,
}

/// Largest number of events that wait to be taken.
const EVENTS: usize = 1024;

#[derive(Debug)]
struct Entry {
    role: Role,
    /// The routing id that this side chose for it.
    chosen_id: Option<Vec<u8>>,
    peer: Option<Arc<Peer>>,
    /// Number of peers that the pipe has had.
    connections: u64,
    /// Whether the current connection's peer was refused; its messages are ignored.
    refused: bool,
    /// Why the pipe will not connect again.
    gave_up: Option<Box<Disconnect>>,
}

impl Entry {
    /// Whether it has a peer that was not refused.
    fn is_up(&self) -> bool {
        self.peer.is_some() && !self.refused
    }
}

/// State that belongs to some types only.
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

/// The decisions of a socket.
#[derive(Debug)]
pub struct Socket {
    options: Arc<Options>,
    next_pipe: u64,
    entries: BTreeMap<PipeId, Entry>,
    /// Pipes that messages may go to, in the order in which their peers connected.
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
    /// Creates a socket without pipes. `seed` sets the first of the generated numbers: routing ids of peers
    /// that have none, and numbers of requests.
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

    /// The limits on what its pipes hold together; each pipe [gets them](Pipe::with_sums).
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.sums.clone()
    }

    /// Half of the receive limit is free again: pipes that waited for it resume reading.
    pub(crate) fn resume_reading(&self, pipes: &mut impl Pipes) {
        if self.sums.received.as_ref().is_some_and(|sum| sum.take_eased()) {
            for id in self.entries.keys() {
                pipes.with(*id, Pipe::resume_reading);
            }
        }
    }

    /// The socket's type.
    #[must_use]
    pub fn kind(&self) -> SocketType {
        self.options.kind
    }

    /// Pipes that messages may go to now, in the order in which their peers connected.
    #[must_use]
    pub fn targets(&self) -> &[PipeId] {
        &self.targets
    }

    /// A number that changes whenever [`targets`](Self::targets) changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The routing id of a peer, in a ROUTER, SERVER or PEER.
    #[must_use]
    pub fn routing_id(&self, pipe: PipeId) -> Option<&[u8]> {
        match &self.pattern {
            Pattern::Router(router) => router.id_of(pipe).map(|id| id.as_slice()),
            _ => None,
        }
    }

    /// Number of subscriptions (or group memberships) of a publisher's peers.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        match &self.pattern {
            Pattern::Publisher(publisher) => publisher.subscriptions(),
            _ => 0,
        }
    }

    /// Number of messages that came back from disconnected peers and wait for another.
    #[must_use]
    pub fn returned(&self) -> usize {
        self.balancer.returned()
    }

    /// Removes the messages that came back: for a socket that is closed.
    pub fn take_returned(&mut self) -> impl Iterator<Item = Message> {
        self.balancer.take_returned().into_iter()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        self.stats
    }

    /// Removes the oldest event. Up to 1,024 events are kept; later ones are only counted.
    pub fn take_event(&mut self) -> Option<SocketEvent> {
        self.events.pop_front()
    }

    /// Whether an event is waiting.
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
