//! One peer of a socket, as a machine: its connection, the messages to send to it and those received from it.
//!
//! A dialing pipe outlives its connections: a message that was not completely sent on one connection is sent
//! again, whole, on the next. An accepted pipe ends with its connection, and its unsent messages can be
//! [taken back](Pipe::take_unsent). A pipe moves whole messages; which pipe a message goes to, and the
//! meaning of its parts, is decided by the socket.

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
use crate::wire::{Frame, Metadata, Version, put_header};
use direct::Direct;
use handshake::{Handshake, Introduced, Progress};
use holding::Shares;
use recent::Recent;
use timers::Timers;

/// The role of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It dials, and dials again after a connection ended.
    Dialing,
    /// It was accepted, and ends with its connection.
    Accepting,
}

/// The peer at the other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The negotiated version.
    pub version: Version,
    /// The peer's socket type, if known: peers of 1.0 do not send it.
    pub socket_type: Option<SocketType>,
    /// The peer's routing id, up to 255 bytes, possibly empty.
    pub routing_id: Vec<u8>,
    /// The properties that the peer sent.
    pub metadata: Metadata,
    /// The user id that the authenticator assigned.
    pub user_id: Option<String>,
}

/// A peer asks to be accepted; [`Pipe::decide`] answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRequest {
    /// The number of the pipe's connection: a decision about another connection is ignored.
    pub connection: u64,
    /// The socket that is asked for ([`Options::domain`]).
    pub domain: String,
    /// The peer's credentials.
    pub credentials: Credentials,
}

/// An event of a pipe, for its socket.
///
/// Each event has happened and is reported once; an application cannot refuse it
/// ([`Machine::refuse`](bowline_core::machine::Machine::refuse)).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PipeEvent<'b> {
    /// A peer asks to be accepted.
    Authenticate(AuthRequest),
    /// The handshake is done.
    Ready(Arc<Peer>),
    /// Messages were added to the inbox.
    Messages {
        /// The number of messages that were added.
        count: usize,
        /// Whether the inbox was empty before: the receiver has to be woken.
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

/// Counters of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PipeStats {
    /// Messages that were received completely.
    pub received: u64,
    /// Messages that were written completely.
    pub sent: u64,
    /// Messages that were incomplete when the connection ended. They are dropped.
    pub half_received: u64,
    /// Received messages that this socket type does not use. They are dropped.
    pub unwanted: u64,
    /// Messages, in both directions, that were replaced by a newer one with the same first part
    /// ([`Options::conflate`]).
    pub conflated: u64,
    /// Completed handshakes.
    pub handshakes: u64,
}

/// How a connection has to end.
#[derive(Debug)]
enum End {
    Now(Disconnect),
    /// After the data of this connection has been written.
    Flushed(Disconnect),
}

#[derive(Debug)]
struct Connection {
    /// The number of the connection.
    number: u64,
    handshake: Handshake,
    peer: Option<Arc<Peer>>,
    user_id: Option<String>,
    timers: Timers,
    /// The encryption, if there is one.
    session: Option<Session>,
    end: Option<End>,
}

/// The source of the random bytes that CURVE needs.
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

/// One peer of a socket. A `T` wakes a sender that waits for room.
#[derive(Debug)]
pub struct Pipe<T> {
    options: Arc<Options>,
    role: Role,
    connection: Option<Connection>,
    /// Set instead of a connection if it is joined to a pipe of another socket of this process.
    direct: Option<alloc::boxed::Box<Direct<T>>>,
    connections: u64,
    out: OutQueue,
    /// The encoding of messages that are queued from now on.
    encoding: Version,
    /// Whether some queued messages have another encoding.
    mixed: bool,
    inbox: Inbox,
    recent: Recent,
    /// Whether messages were added since the inbox was last conflated.
    unconflated: bool,
    paused: bool,
    /// Handed out when there is room.
    room: Option<T>,
    tokens: Vec<T>,
    /// The pipe drains until then and is then closed.
    closing: Option<Instant>,
    closed: bool,
    wake: Wake,
    shares: Shares,
    /// Not reported yet.
    late: Late,
    stats: PipeStats,
    scratch: Vec<u8>,
    #[cfg(feature = "curve")]
    entropy: Option<Entropy>,
}

impl<T> Pipe<T> {
    /// Creates a pipe without a connection.
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

    /// Sets the source of random bytes for CURVE, which needs them for each connection: a transient key, a
    /// nonce, a cookie. They must be fit for keys, like those of the operating system. Other mechanisms need
    /// none.
    #[cfg(feature = "curve")]
    #[must_use]
    pub fn with_entropy(mut self, fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        self.entropy = Some(Entropy(alloc::boxed::Box::new(fill)));
        self
    }

    /// Draws the random values for a new connection.
    #[cfg(feature = "curve")]
    fn draw(&mut self) -> Option<Draw> {
        let entropy = self.entropy.as_mut().filter(|_| self.options.mechanism.name() == "CURVE")?;
        Some(Draw::new(&mut entropy.0))
    }

    /// Without CURVE none are needed.
    #[cfg(not(feature = "curve"))]
    fn draw(&mut self) -> Option<Draw> {
        None
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The peer, once the handshake is done.
    #[must_use]
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        if let Some(direct) = &self.direct {
            return Some(&direct.peer);
        }
        self.connection.as_ref()?.peer.as_ref()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> PipeStats {
        self.stats
    }

    /// Bytes of memory allocated for queued and received messages.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.out.memory() + self.inbox.memory() + self.recent.memory() + self.scratch.capacity()
    }

    /// The messages that were received and not taken yet.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Swaps the inbox for `empty`, which must be empty and whose memory the pipe reuses. Reading resumes if
    /// it was paused: wake the driver if [`take_wake`](bowline_core::machine::Machine::take_wake) says so.
    pub fn swap_inbox(&mut self, empty: &mut Inbox) {
        self.conflate_inbox();
        self.inbox.hand_over(empty);
        // The receiver has these now; it has received those that it took before.
        self.shares.taken = empty.bytes();
        self.note_inbox_room();
    }

    /// Removes the oldest message of the inbox, as [`Inbox::pop_into`] does: for receivers that take messages
    /// one by one.
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

    /// Drops the messages in the inbox, but keeps an XPUB's notices of subscriptions. Returns the number of
    /// dropped messages.
    pub fn clear_inbox(&mut self) -> usize {
        let dropped = self.inbox.keep_notices(|_| true);
        self.note_inbox_room();
        dropped
    }

    fn note_inbox_room(&mut self) {
        self.settle_received();
        self.read_on();
    }

    /// Resumes reading if it was paused and there is room.
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

    /// The pipes of the socket hold less than before: reading resumes if it waited for that.
    pub(crate) fn resume_reading(&mut self) {
        self.note_inbox_room();
    }

    /// Reserves a place in the inbox for a notice of that many bytes from the socket to its application.
    pub(crate) fn notify(&mut self, bytes: usize) {
        self.inbox.push_notice(bytes);
        self.settle_received();
    }

    /// Answers an [`AuthRequest`]. A decision about a connection other than the current one, or one that was
    /// not requested, is ignored.
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
        // The next pass continues with the bytes after the request.
        (*paused, wake.attend) = (current.end.is_some(), true);
    }

    /// Ends the current connection with that error: the socket does not accept its peer.
    pub fn disconnect(&mut self, error: impl Into<Disconnect>) {
        if self.direct.is_some() {
            return self.end_direct(error.into());
        }
        if let Some(connection) = &mut self.connection {
            connection.end.get_or_insert(End::Now(error.into()));
            self.wake.attend = true;
        }
    }

    /// Handles the peer's handshake and queues the answers.
    fn handshake(&mut self, now: Instant, unread: &[u8]) -> Result<Progress, crate::error::ZmtpError> {
        let Self { connection: Some(connection), options, scratch, out, .. } = self else {
            return Ok(Progress::Waiting);
        };
        scratch.clear();
        let progress = connection.handshake.input(options, unread, scratch);
        push_connection(out, scratch);
        match &progress {
            // Reading is paused until there is a decision.
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

    /// Records the peer's description of itself.
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

    /// Sends data that belongs to the current connection only (subscriptions), ahead of messages.
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

    /// Sends a new peer the empty message that makes this socket known to a ROUTER, if it is to be sent. It
    /// belongs to the connection: it goes ahead of all messages, and is neither sent again nor returned.
    fn probe(&mut self, version: Version) {
        if self.options.probes() {
            let mut probe = Vec::new();
            put_header(&mut probe, version, 0, 0);
            self.send_control(&probe);
        }
    }

    /// As `probe`, for the other end of a joined pipe.
    pub(crate) fn probe_joined(&mut self) {
        if self.direct.is_some() {
            // If its inbox is full, the messages there make that socket known as well.
            let _full = self.send_direct(&[], &[b"".into()]);
        }
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

/// Appends frames of 3.1, each encrypted.
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
