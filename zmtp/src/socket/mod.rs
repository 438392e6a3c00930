//! The routing of a socket: which peer a message goes to and comes from, and what its parts mean.
//!
//! A [`Socket`] owns no bytes but those on their way to its application. It knows its pipes by number and
//! reaches them through [`Pipes`], which a driver implements with their locks. It is told when a pipe
//! [is ready](Socket::handle_event), has messages, or [is gone](Socket::disconnected), and decides.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;

mod balance;
mod error;
mod fair;
mod lifecycle;
mod publish;
mod recv;
mod requests;
mod router;
mod send;
mod subscribe;

pub use error::{RecvError, SendError};

use crate::error::ZmtpError;
use crate::message::Message;
use crate::options::Options;
use crate::pipe::{Peer, Pipe, Role};
use crate::socket_type::SocketType;
use balance::Balancer;
use fair::FairQueue;
use publish::Publisher;
use requests::{Rep, Req};
use router::Router;
use subscribe::Subscriptions;

/// Which pipe of a socket it is. Numbers are not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PipeId(u64);

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
}

impl<T: Send + 'static> Pipes for BTreeMap<PipeId, Pipe<T>> {
    type Token = T;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<T>) -> R) -> Option<R> {
        self.get_mut(&id).map(f)
    }
}

/// What a socket tells of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketEvent {
    /// A peer is there, past its handshake and accepted.
    PeerUp(PipeId, Arc<Peer>),
    /// A connection ended after that.
    PeerDown(PipeId, Disconnect),
    /// A peer was refused: it has a routing id that is in use, say, or too many subscriptions.
    PeerRefused(PipeId, ZmtpError),
    /// Messages were dropped.
    Dropped {
        /// Of which pipe.
        pipe: PipeId,
        /// How many.
        count: usize,
        /// Why.
        why: Drop,
    },
}

/// Why messages were dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Drop {
    /// They waited for a peer that went, and are for nobody else.
    PeerGone,
    /// Replies for which no request waits, requests without a delimiter.
    Stray,
    /// The reply of a REP, to a peer that is gone or has no room.
    Unanswerable,
    /// What a peer sent before it went is beyond [`Options::left_behind`].
    LeftBehind,
}

/// What a socket has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
    /// The peer of its present connection was refused, and what it says is not heard.
    refused: bool,
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
        Self {
            options,
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
