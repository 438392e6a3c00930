//! One peer of a socket, as a machine: its connection, what waits to be sent to it, what came from it.
//!
//! A pipe that was made to connect outlives its connections: what was not wholly sent on one goes out,
//! whole, on the next. One that was made by accepting ends with its connection, and what it did not send
//! can be [taken back](Pipe::take_unsent). Which pipe a message goes to, and what its parts mean, is for
//! the socket to say: a pipe moves whole messages.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;
use bowline_core::machine::Wake;
use bowline_core::out_queue::OutQueue;
use bowline_core::time::Instant;

mod direct;
mod handshake;
mod holding;
mod machine;
mod outbox;
mod reader;
mod recent;
mod sealed;
mod timers;

pub use direct::DirectNews;
pub use outbox::{Late, Refusal};
pub(crate) use outbox::{check_message, is_shared};
pub use reader::Reader;

use crate::inbox::Inbox;
use crate::mechanism::{Credentials, Decision, Draw, Session, put_refusal};
use crate::options::Options;
use crate::socket_type::SocketType;
use crate::wire::{Frame, Metadata, Version};
use direct::Direct;
use handshake::{Handshake, Introduced, Progress};
use holding::Shares;
use recent::Recent;
use timers::Timers;

/// Which side a pipe is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It connects, again and again.
    Dialing,
    /// It was accepted, and ends with its connection.
    Accepting,
}

/// Who is at the other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The version that is spoken.
    pub version: Version,
    /// Its socket type, if it said so: peers of 1.0 do not.
    pub socket_type: Option<SocketType>,
    /// Its routing id, up to 255 bytes, or none.
    pub routing_id: Vec<u8>,
    /// What it said of itself.
    pub metadata: Metadata,
    /// Who the authenticator says it is.
    pub user_id: Option<String>,
}

/// A peer wants to be let in: [`Pipe::decide`] goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRequest {
    /// Which connection of the pipe it is: a decision about another one is ignored.
    pub connection: u64,
    /// Which socket it is asked for ([`Options::domain`]).
    pub domain: String,
    /// What the peer said.
    pub credentials: Credentials,
}

/// What a pipe tells its socket.
///
/// Each has happened and is told once: an application refuses none
/// ([`Machine::refuse`](bowline_core::machine::Machine::refuse)).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PipeEvent<'b> {
    /// A peer wants to be let in.
    Authenticate(AuthRequest),
    /// The handshake is done.
    Ready(Arc<Peer>),
    /// Messages are in the inbox.
    Messages {
        /// How many came with this.
        count: usize,
        /// There were none before: the receiver has to be woken.
        was_empty: bool,
    },
    /// The peer subscribes to a topic.
    Subscribe(&'b [u8]),
    /// The peer ends a subscription.
    Cancel(&'b [u8]),
    /// The peer joins a group.
    Join(&'b [u8]),
    /// The peer leaves a group.
    Leave(&'b [u8]),
}

/// What a pipe has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PipeStats {
    /// Messages that came whole.
    pub received: u64,
    /// Messages that were written whole.
    pub sent: u64,
    /// Messages of which a part came, and then the connection ended. They are dropped.
    pub half_received: u64,
    /// Messages of the peer's that this socket type has no use for. They are dropped.
    pub unwanted: u64,
    /// Messages, both ways, that a newer one with the same first part replaced
    /// ([`Options::conflate`]).
    pub conflated: u64,
    /// Handshakes that were done.
    pub handshakes: u64,
}

/// How a connection is to end.
#[derive(Debug)]
enum End {
    Now(Disconnect),
    /// When what belongs to the connection is written.
    Flushed(Disconnect),
}

#[derive(Debug)]
struct Connection {
    /// Counts connections.
    number: u64,
    handshake: Handshake,
    peer: Option<Arc<Peer>>,
    user_id: Option<String>,
    timers: Timers,
    /// Everything is sealed.
    session: Option<Session>,
    end: Option<End>,
}

/// Where the random bytes come from that CURVE needs.
#[cfg(feature = "curve")]
struct Entropy(alloc::boxed::Box<Fill>);

#[cfg(feature = "curve")]
type Fill = dyn FnMut(&mut [u8]) + Send;

#[cfg(feature = "curve")]
impl core::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Entropy")
    }
}

/// One peer of a socket. `T` wakes a sender that waits for room.
#[derive(Debug)]
pub struct Pipe<T> {
    options: Arc<Options>,
    role: Role,
    connection: Option<Connection>,
    /// In place of a connection, if it is joined to a pipe of another socket of this process.
    direct: Option<alloc::boxed::Box<Direct<T>>>,
    connections: u64,
    out: OutQueue,
    /// How the messages of the queue are encoded from now on.
    encoding: Version,
    /// Some of them are encoded otherwise.
    mixed: bool,
    inbox: Inbox,
    recent: Recent,
    /// Messages came in since the last time that the inbox was conflated.
    unconflated: bool,
    paused: bool,
    /// Shall be woken when there is room.
    room: Option<T>,
    tokens: Vec<T>,
    /// Drains until then, and is closed.
    closing: Option<Instant>,
    closed: bool,
    wake: Wake,
    shares: Shares,
    /// Not told yet.
    late: Late,
    stats: PipeStats,
    scratch: Vec<u8>,
    #[cfg(feature = "curve")]
    entropy: Option<Entropy>,
}

impl<T> Pipe<T> {
    /// A pipe without a connection.
    #[must_use]
    pub fn new(options: Arc<Options>, role: Role) -> Self {
        Self {
            options,
            role,
            connection: None,
            direct: None,
            connections: 0,
            out: OutQueue::new(),
            encoding: Version::V3_1,
            mixed: false,
            inbox: Inbox::new(),
            recent: Recent::default(),
            unconflated: false,
            paused: false,
            room: None,
            tokens: Vec::new(),
            closing: None,
            closed: false,
            wake: Wake::default(),
            shares: Shares::default(),
            late: Late::default(),
            stats: PipeStats::default(),
            scratch: Vec::new(),
            #[cfg(feature = "curve")]
            entropy: None,
        }
    }

    /// CURVE draws random bytes from `fill` for each connection: a transient key, a nonce, a cookie. They have
    /// to be fit for keys, as those of the operating system are. Other mechanisms need none.
    #[cfg(feature = "curve")]
    #[must_use]
    pub fn with_entropy(mut self, fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        self.entropy = Some(Entropy(alloc::boxed::Box::new(fill)));
        self
    }

    /// What a new connection needs of that.
    #[cfg(feature = "curve")]
    fn draw(&mut self) -> Option<Draw> {
        let entropy = self.entropy.as_mut().filter(|_| self.options.mechanism.name() == "CURVE")?;
        Some(Draw::new(&mut entropy.0))
    }

    /// Without CURVE, nothing.
    #[cfg(not(feature = "curve"))]
    fn draw(&mut self) -> Option<Draw> {
        None
    }

    /// Which side it is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Who is at the other end, once the handshake is done.
    #[must_use]
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        if let Some(direct) = &self.direct {
            return Some(&direct.peer);
        }
        self.connection.as_ref()?.peer.as_ref()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> PipeStats {
        self.stats
    }

    /// Bytes of memory set aside for what waits.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.out.memory() + self.inbox.memory() + self.recent.memory() + self.scratch.capacity()
    }

    /// The messages that came and were not received.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Swaps the inbox for `empty`, which the receiver has emptied, and whose memory the pipe uses again. Reading goes on if it was paused: wake
    /// the driver when [`take_wake`](bowline_core::machine::Machine::take_wake) says so.
    pub fn swap_inbox(&mut self, empty: &mut Inbox) {
        self.conflate_inbox();
        self.inbox.hand_over(empty);
        // The receiver has them now; those that it took before it has received.
        self.shares.taken = empty.bytes();
        self.note_inbox_room();
    }

    /// Takes the oldest message out of the inbox, as [`Inbox::pop_into`] does: for receivers that take one at a time.
    pub fn receive_into(&mut self, message: &mut crate::message::Message) -> bool {
        self.conflate_inbox();
        let received = self.inbox.pop_into(message);
        self.note_inbox_room();
        received
    }

    fn conflate_inbox(&mut self) {
        let joined = || self.direct.as_ref().is_some_and(|direct| direct.conflate);
        if core::mem::take(&mut self.unconflated) && (self.options.conflate || joined()) {
            self.stats.conflated += self.inbox.conflate() as u64;
        }
    }

    /// Drops the messages in the inbox; what an XPUB is to be told of subscriptions stays. Returns how many messages that
    /// were.
    pub fn clear_inbox(&mut self) -> usize {
        let dropped = self.inbox.keep_notices(|_| true);
        self.note_inbox_room();
        dropped
    }

    fn note_inbox_room(&mut self) {
        self.settle_received();
        self.read_on();
    }

    /// Reading goes on, if it was paused and there is room.
    fn read_on(&mut self) {
        if self.direct.is_some() {
            return self.note_room();
        }
        let deciding = self.connection.as_ref().is_some_and(|connection| connection.handshake.is_deciding());
        // Half of it has to be free, so that the driver is not woken for each message.
        if self.paused
            && !deciding
            && !self.inbox.is_full(&self.options.inbox_limit().low_mark())
            && !self.waits_for_memory()
            && !self.is_received_sum_spent()
        {
            self.paused = false;
            self.wake.attend = true;
        }
    }

    /// The socket's pipes hold less than they did: one that waited for that reads on.
    pub(crate) fn resume_reading(&mut self) {
        self.note_inbox_room();
    }

    /// Keeps a place in the inbox for a notice of so many bytes that the socket itself has for its application.
    pub(crate) fn notify(&mut self, bytes: usize) {
        self.inbox.push_notice(bytes);
        self.settle_received();
    }

    /// The application's decision about a peer. One about another connection than the present one, or that
    /// was not asked for, changes nothing.
    pub fn decide(&mut self, connection: u64, decision: Decision) {
        let Self { connection: Some(current), options, scratch, out, wake, paused, .. } = self else {
            return;
        };
        if current.number != connection || !current.handshake.is_deciding() || current.end.is_some() {
            return;
        }
        scratch.clear();
        match decision {
            Decision::Accept { user_id } => {
                current.user_id = Some(user_id);
                current.handshake.accepted(options, scratch);
            }
            Decision::Refuse { status } => {
                put_refusal(status, scratch);
                let error = crate::error::ZmtpError::NotAuthenticated { status };
                current.end = Some(End::Flushed(error.into()));
            }
        }
        push_connection(out, scratch);
        // The pass that goes on with the bytes behind the request.
        (*paused, wake.attend) = (current.end.is_some(), true);
    }

    /// Ends the present connection with that error: the socket has no use for its peer.
    pub fn disconnect(&mut self, error: impl Into<Disconnect>) {
        if self.direct.is_some() {
            return self.end_direct(error.into());
        }
        if let Some(connection) = &mut self.connection {
            connection.end.get_or_insert(End::Now(error.into()));
            self.wake.attend = true;
        }
    }

    /// What the peer says in its handshake; puts out the answers.
    fn handshake(&mut self, now: Instant, unread: &[u8]) -> Result<Progress, crate::error::ZmtpError> {
        let Self { connection: Some(connection), options, scratch, out, .. } = self else {
            return Ok(Progress::Waiting);
        };
        scratch.clear();
        let progress = connection.handshake.input(options, unread, scratch);
        push_connection(out, scratch);
        match &progress {
            // Nothing is read until the decision is there.
            Ok(Progress::Ask(..) | Progress::Waiting) => self.paused = true,
            Ok(Progress::Refused(status)) => {
                let error = crate::error::ZmtpError::NotAuthenticated { status: *status };
                connection.end = Some(End::Flushed(error.into()));
                (self.paused, self.wake.attend) = (true, true);
            }
            Ok(Progress::Ready(..)) => {
                connection.session = connection.handshake.take_session();
                let version = connection.handshake.version().unwrap_or(Version::V3_1);
                connection.timers.handshake_done(options, version, now);
                self.stats.handshakes += 1;
                self.encode_for(version);
            }
            _ => {}
        }
        progress
    }

    /// Makes what the peer said of itself known.
    fn introduce(&mut self, introduced: Introduced) -> Arc<Peer> {
        let connection = self.connection.as_mut();
        let version = connection.as_ref().and_then(|connection| connection.handshake.version());
        let user_id = connection.as_ref().and_then(|connection| connection.user_id.clone());
        let Introduced { socket_type, routing_id, metadata } = introduced;
        let version = version.unwrap_or(Version::V3_1);
        let peer = Arc::new(Peer { version, socket_type, routing_id, metadata, user_id });
        if let Some(connection) = connection {
            connection.peer = Some(peer.clone());
        }
        peer
    }

    /// Sends what belongs to the present connection only, in front of messages: subscriptions.
    pub(crate) fn send_control(&mut self, encoded: &[u8]) {
        if self.direct.is_some() {
            return self.control_direct(encoded);
        }
        if self.peer().is_none() {
            return;
        }
        match self.connection.as_mut().and_then(|connection| connection.session.as_mut()) {
            Some(session) => {
                let mut sealed = Vec::new();
                seal(session, encoded, &mut sealed);
                push_connection(&mut self.out, &sealed);
            }
            None => push_connection(&mut self.out, encoded),
        }
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

/// Appends frames, as 3.1 has them, each sealed.
fn seal(session: &mut Session, mut frames: &[u8], out: &mut Vec<u8>) {
    while let Ok(Some(frame)) = Frame::parse(Version::V3_1, frames) {
        let Some(body) = frames.get(frame.header..frame.total()) else { return };
        session.seal(frame.more, frame.command, body, out);
        frames = &frames[frame.total()..];
    }
}

fn push_connection(out: &mut OutQueue, encoded: &[u8]) {
    if !encoded.is_empty() {
        out.push_connection(encoded);
    }
}

#[cfg(test)]
mod tests;
