//! The reading half of a pipe: turns bytes into messages in the inbox, and commands.

use alloc::vec::Vec;

use bowline_core::machine::{Access, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bytes::BytesMut;

use super::handshake::Progress;
use super::sealed::Sealed;
use super::{AuthRequest, Pipe, PipeEvent};
use crate::error::ZmtpError;
use crate::inbox::{LARGE, Staged, check};
use crate::options::Options;
use crate::socket_type::SocketType;
use crate::wire::{Command, Frame, Version};

/// Longest command after the handshake, and longest subscription, bytes.
pub(super) const MAX_COMMAND: usize = 64 * 1024;
/// Longest name of a group, bytes.
const MAX_GROUP: usize = 255;
/// The buffer of a large body grows by as much as has been received of it, and at least by this, bytes.
const AHEAD: usize = 16 * 1024;
/// Size of one read, bytes.
const READ: usize = 64 * 1024;

/// State of the bytes of one connection that are not messages yet.
#[derive(Debug, Default)]
pub struct Reader {
    /// Set when the handshake is done.
    version: Option<Version>,
    /// The incoming message, up to its last complete frame.
    pub(super) staged: Staged,
    /// The incoming body, if it is large; for an encrypted frame, the box.
    pub(super) large: Option<Large>,
    /// Content of the box that was decrypted last.
    pub(super) opened: Vec<u8>,
    /// Whether a message was incomplete after the last read.
    pub(super) was_within: bool,
    /// Whether a whole message or an event was received since the last read ended.
    pub(super) has_moved: bool,
}

#[derive(Debug)]
pub(super) struct Large {
    pub(super) more: bool,
    pub(super) length: usize,
    pub(super) body: BytesMut,
}

/// A kind of event, before its place in the buffer is known.
pub(super) enum Told {
    Subscribe,
    Cancel,
    Join,
    Leave,
}

/// The result of handling a command.
enum Handled {
    Tell(Told),
    /// It is incomplete.
    Need(usize),
    /// Nothing else to do.
    Done,
}

type Found<'b> = Result<Next<PipeEvent<'b>>, ZmtpError>;

impl Reader {
    /// Whether a message is incomplete.
    pub(super) fn is_within_message(&self) -> bool {
        !self.staged.is_empty() || self.large.is_some()
    }

    /// Received bytes of a large body.
    pub(super) fn held(&self) -> usize {
        self.large.as_ref().map_or(0, |large| large.body.len())
    }

    /// Memory allocated for it, bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.large.as_ref().map_or(0, |large| large.body.capacity())
    }

    pub(super) fn next<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Pipe<T>>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Found<'b> {
        let found = self.step(access, now, buf);
        self.has_moved |= matches!(found, Ok(Next::Event(_)));
        access.machine().note_reading(now, self.held() + self.staged.size());
        found
    }

    fn step<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Pipe<T>>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Found<'b> {
        buf.take_lent();
        let pipe = access.machine();
        loop {
            let Some(version) = self.version else {
                match self.handshake(pipe, now, buf)? {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            };
            if pipe.waits_for_memory() || (self.large.is_some() && pipe.is_received_sum_spent()) {
                pipe.pause(now);
                return Ok(Next::Paused);
            }
            if self.large.is_some() {
                if !self.read_large(buf) {
                    return Ok(Next::NeedData);
                }
                if pipe.is_sealed() {
                    let frame = self.large.take().map_or_else(BytesMut::new, |large| large.body);
                    let opened = self.open(pipe, now, &frame);
                    pipe.recent.note(&frame.freeze());
                    match opened? {
                        Sealed::Event(event) => return Ok(Next::Event(event)),
                        Sealed::Tell(told, topic) => {
                            buf.lend_aside(topic);
                            return Ok(Next::Event(told_of(told, buf.lent())));
                        }
                        _ => continue,
                    }
                }
                match self.deliver_if_whole(pipe) {
                    Some(event) => return Ok(Next::Event(event)),
                    None => continue,
                }
            }
            if pipe.is_inbox_full(now) {
                return Ok(Next::Paused);
            }
            if pipe.is_sealed() {
                match self.sealed(pipe, now, buf)? {
                    Sealed::Event(event) => return Ok(Next::Event(event)),
                    Sealed::Tell(told, topic) => {
                        buf.lend_aside(topic);
                        return Ok(Next::Event(told_of(told, buf.lent())));
                    }
                    Sealed::Need(bytes) => return Ok(need(buf, bytes)),
                    Sealed::GoOn => continue,
                }
            }
            if let Some(event) = self.run(pipe, version, buf) {
                return Ok(Next::Event(event));
            }
            let Some(frame) = Frame::parse(version, buf.unread())? else {
                return Ok(need(buf, buf.unread().len() + 1));
            };
            if frame.command {
                match command(pipe, now, frame, buf)? {
                    Handled::Tell(told) => return Ok(Next::Event(lend(told, frame, buf))),
                    Handled::Need(bytes) => return Ok(need(buf, bytes)),
                    Handled::Done => continue,
                }
            }
            self.staged.check(frame.body, &pipe.options)?;
            let alone = self.staged.is_empty() && !frame.more && frame.body > 0;
            let subscription = match (alone && pipe.options.kind.publishes(), buf.unread().get(frame.header))
            {
                (false, _) => None,
                (true, Some(first)) => subscription(frame.body, *first)?,
                (true, None) => return Ok(need(buf, frame.header + 1)),
            };
            if frame.body >= LARGE && subscription.is_none() {
                buf.consume(frame.header);
                let Frame { more, body: length, .. } = frame;
                self.large = Some(Large { more, length, body: pipe.recent.take(length) });
                continue;
            }
            if buf.unread().len() < frame.total() {
                return Ok(need(buf, frame.total()));
            }
            if let Some(told) = subscription {
                // The first byte of the body distinguishes them.
                return Ok(Next::Event(lend_topic(told, frame.header + 1, frame, buf)));
            }
            self.staged.push(frame.more, &buf.unread()[frame.header..frame.total()]);
            buf.consume(frame.total());
            if !frame.more
                && let Some(event) = self.deliver(pipe)
            {
                return Ok(Next::Event(event));
            }
        }
    }

    fn handshake<'b, T>(
        &mut self,
        pipe: &mut Pipe<T>,
        now: Instant,
        buf: &mut RecvBuf,
    ) -> Result<Option<Next<PipeEvent<'b>>>, ZmtpError> {
        Ok(match pipe.handshake(now, buf.unread())? {
            Progress::Need(bytes) => Some(need(buf, bytes)),
            Progress::Consumed(bytes) => {
                buf.consume(bytes);
                None
            }
            Progress::Waiting | Progress::Refused(_) => Some(Next::Paused),
            Progress::Ask(bytes, credentials) => {
                buf.consume(bytes);
                let connection = pipe.connections;
                let domain = pipe.options.domain.clone();
                let request = AuthRequest { connection, domain, credentials };
                Some(Next::Event(PipeEvent::Authenticate(request)))
            }
            Progress::Ready(bytes, introduced) => {
                buf.consume(bytes);
                let peer = pipe.introduce(introduced);
                self.version = Some(peer.version);
                pipe.probe(peer.version);
                Some(Next::Event(PipeEvent::Ready(peer)))
            }
        })
    }

    /// Moves received bytes of a large body to its own buffer, which grows as they arrive. Returns true if it
    /// is complete.
    fn read_large(&mut self, buf: &mut RecvBuf) -> bool {
        let Some(large) = &mut self.large else { return false };
        let missing = large.length - large.body.len();
        let came = buf.unread().len().min(missing);
        if large.body.capacity() < large.body.len() + came {
            let room = missing.min(came + large.body.len().max(AHEAD));
            large.body.reserve(room);
        }
        large.body.extend_from_slice(&buf.unread()[..came]);
        buf.consume(came);
        if came == missing {
            return true;
        }
        buf.want((missing - came).min(READ));
        false
    }

    fn deliver_if_whole<'b, T>(&mut self, pipe: &mut Pipe<T>) -> Option<PipeEvent<'b>> {
        let Large { more, body, .. } = self.large.take()?;
        let body = body.freeze();
        pipe.recent.note(&body);
        self.staged.push_large(more, body);
        if more { None } else { self.deliver(pipe) }
    }

    /// The assembled message is complete.
    pub(super) fn deliver<'b, T>(&mut self, pipe: &mut Pipe<T>) -> Option<PipeEvent<'b>> {
        if !takes_messages(pipe.options.kind) {
            self.staged.clear();
            self.has_moved = true;
            pipe.stats.unwanted += 1;
            return None;
        }
        pipe.note_heard();
        let was_empty = pipe.inbox.is_empty();
        pipe.inbox.append_staged(&mut self.staged);
        pipe.settle_received();
        pipe.stats.received += 1;
        Some(PipeEvent::Messages { count: 1, was_empty })
    }

    /// Appends the whole messages at the front whose bytes can be stored unchanged.
    #[inline]
    fn run<'b, T>(
        &mut self,
        pipe: &mut Pipe<T>,
        version: Version,
        buf: &mut RecvBuf,
    ) -> Option<PipeEvent<'b>> {
        let kind = pipe.options.kind;
        if !self.staged.is_empty() || version == Version::V1 || kind.publishes() || !takes_messages(kind) {
            return None;
        }
        let limit = pipe.options.inbox_limit();
        let room = limit.messages.saturating_sub(pipe.inbox.messages());
        let room_bytes = limit.bytes.saturating_sub(pipe.inbox.bytes());
        let (count, length) = scan(version, buf.unread(), &pipe.options, room, room_bytes);
        if count == 0 {
            return None;
        }
        pipe.note_heard();
        let was_empty = pipe.inbox.is_empty();
        pipe.inbox.append_run(&buf.unread()[..length], count);
        pipe.stats.received += count as u64;
        pipe.settle_received();
        buf.consume(length);
        Some(PipeEvent::Messages { count, was_empty })
    }
}

/// Handles a command of a connection whose handshake is done.
fn command<T>(
    pipe: &mut Pipe<T>,
    now: Instant,
    frame: Frame,
    buf: &mut RecvBuf,
) -> Result<Handled, ZmtpError> {
    if frame.body > MAX_COMMAND {
        let (value, limit) = (frame.body as u64, MAX_COMMAND as u64);
        return Err(ZmtpError::TooLong { field: "command", value, limit });
    }
    let Some(body) = buf.unread().get(frame.header..frame.total()) else {
        return Ok(Handled::Need(frame.total()));
    };
    Ok(match handle(pipe, now, Command::parse(body)?)? {
        Some(told) => Handled::Tell(told),
        None => {
            buf.consume(frame.total());
            Handled::Done
        }
    })
}

/// Carries out a command; returns the event to report.
pub(super) fn handle<T>(
    pipe: &mut Pipe<T>,
    now: Instant,
    command: Command<'_>,
) -> Result<Option<Told>, ZmtpError> {
    let kind = pipe.options.kind;
    if let Command::Ping(ping) = command {
        if let Some(connection) = &mut pipe.connection {
            connection.timers.pinged(now, ping.ttl, ping.context);
            pipe.wake.write = true;
        }
        return Ok(None);
    }
    pipe.note_heard();
    Ok(told(kind, command)?.map(|(told, _)| told))
}

/// The event of a command about topics or groups, and the topic or group.
pub(super) fn told(kind: SocketType, command: Command<'_>) -> Result<Option<(Told, &[u8])>, ZmtpError> {
    Ok(match command {
        Command::Subscribe(topic) if kind.publishes() => Some((Told::Subscribe, topic)),
        Command::Cancel(topic) if kind.publishes() => Some((Told::Cancel, topic)),
        Command::Join(group) if kind == SocketType::Radio => {
            check_group(group)?;
            Some((Told::Join, group))
        }
        Command::Leave(group) if kind == SocketType::Radio => {
            check_group(group)?;
            Some((Told::Leave, group))
        }
        // A repeated READY, an ERROR after the handshake, PONG (which shows life as any bytes do) and unknown
        // commands have no effect.
        _ => None,
    })
}

/// Whether sockets of that type have an inbox. A PUB only receives subscriptions.
pub(super) fn takes_messages(kind: SocketType) -> bool {
    kind.receives()
}

fn need<'b>(buf: &mut RecvBuf, bytes: usize) -> Next<PipeEvent<'b>> {
    buf.want(bytes);
    Next::NeedData
}

fn check_group(group: &[u8]) -> Result<(), ZmtpError> {
    if group.len() <= MAX_GROUP {
        return Ok(());
    }
    let (value, limit) = (group.len() as u64, MAX_GROUP as u64);
    Err(ZmtpError::TooLong { field: "group", value, limit })
}

/// Whether a message of one part that begins with `first` is a subscription (01 and a topic) or the end of
/// one (00 and a topic).
pub(super) fn subscription(length: usize, first: u8) -> Result<Option<Told>, ZmtpError> {
    let told = match first {
        1 => Told::Subscribe,
        0 => Told::Cancel,
        _ => return Ok(None),
    };
    if length > MAX_COMMAND {
        let (value, limit) = (length as u64, MAX_COMMAND as u64);
        return Err(ZmtpError::TooLong { field: "subscription", value, limit });
    }
    Ok(Some(told))
}

pub(super) fn told_of(told: Told, topic: &[u8]) -> PipeEvent<'_> {
    match told {
        Told::Subscribe => PipeEvent::Subscribe(topic),
        Told::Cancel => PipeEvent::Cancel(topic),
        Told::Join => PipeEvent::Join(topic),
        Told::Leave => PipeEvent::Leave(topic),
    }
}

/// Borrows the frame of a command; the event contains the bytes after its name.
fn lend(told: Told, frame: Frame, buf: &mut RecvBuf) -> PipeEvent<'_> {
    let name = usize::from(buf.unread()[frame.header]);
    lend_topic(told, frame.header + 1 + name, frame, buf)
}

fn lend_topic(told: Told, from: usize, frame: Frame, buf: &mut RecvBuf) -> PipeEvent<'_> {
    buf.lend(frame.total());
    told_of(told, &buf.lent()[from..frame.total()])
}

/// Whole messages at the front of `unread` without large bodies: their number and bytes. At most `room`
/// messages, and none after `room_bytes` bytes. An invalid frame ends the run; it is found again, and
/// reported, after the messages before it have been stored.
#[inline]
fn scan(
    version: Version,
    unread: &[u8],
    options: &Options,
    room: usize,
    room_bytes: usize,
) -> (usize, usize) {
    let (mut at, mut whole, mut count) = (0, 0, 0);
    let (mut parts, mut size) = (0, 0);
    while count < room && whole < room_bytes {
        let Ok(Some(frame)) = Frame::parse(version, &unread[at..]) else { break };
        if !frame.as_written || frame.body >= LARGE || unread.len() - at < frame.total() {
            break;
        }
        parts += 1;
        if check(parts, size, frame.body, options).is_err() {
            break;
        }
        size += frame.body;
        at += frame.total();
        if !frame.more {
            (whole, parts, size) = (at, 0, 0);
            count += 1;
        }
    }
    (count, whole)
}

impl<T> Pipe<T> {
    /// Whether the connection is encrypted.
    fn is_sealed(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.session.is_some())
    }

    fn note_heard(&mut self) {
        self.unconflated = true;
        if let Some(connection) = &mut self.connection {
            connection.timers.heard();
        }
    }

    /// Whether the inbox is full, so that reading pauses.
    fn is_inbox_full(&mut self, now: Instant) -> bool {
        let limit = self.options.inbox_limit();
        if self.options.conflate && self.inbox.is_full(&limit) {
            self.conflate_inbox();
        }
        let full = self.inbox.is_full(&limit) || self.is_received_sum_spent();
        if full {
            self.pause(now);
        }
        full
    }

    /// Pauses reading until there is room.
    fn pause(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.paused, true) {
            let version = self.peer().map_or(Version::V1, |peer| peer.version);
            if let Some(connection) = &mut self.connection {
                connection.timers.paused(now, version);
            }
        }
    }
}
