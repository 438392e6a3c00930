//! What comes in: the reading half of a link.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Link, LinkEvent, Phase};
use crate::arena::{CHUNK, LocalFrames, Sent};
use crate::body::{Body, Payload};
use crate::calls::Reply;
use crate::error::{CallError, EncodeError, Failure, FrameError, PeerError, Status};
use crate::frame::native::Hello;
use crate::frame::{Calls, Class, Framing, Kind, Meta, Profile, Step};
use crate::link::inbound::{failure_meta, too_large};
use crate::machine::{Access, Next};
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

/// Bytes a frame may need beyond the largest message: headers and extensions.
const FRAME_OVERHEAD: usize = 128 * 1024;

/// What the application is told of what came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The connection is ready for messages: the handshake is done, or there is none. First on
    /// every connection.
    Ready,
    /// A message that wants no answer.
    Message(Incoming<'b>),
    /// A request: answer it with [`Reader::answer`] on the spot, or note it with
    /// [`Link::open_inbound`] and answer later.
    Request(Incoming<'b>),
}

/// A message as it lies in the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Incoming<'b> {
    /// What its frame says.
    pub meta: Meta,
    /// Its extensions, encoded.
    pub extensions: &'b [u8],
    /// Its bytes.
    pub body: &'b [u8],
}

impl Incoming<'_> {
    /// Method id or message type.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// Call id or Seq.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.meta.id
    }

    /// Time left until the caller's deadline, as of when it was sent.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.remaining_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }
}

/// The reading half of a [`Link`]: one per connection, with whoever reads the socket.
#[derive(Debug)]
pub struct Reader<F: Framing> {
    framing: F,
    profile: Profile,
    stage: Stage,
    /// Ids of our own calls on a framing that does not tell requests from replies.
    own_ids: core::ops::Range<u64>,
    max_answer: usize,
    /// Answers encoded here, without the lock; appended at the end of the pass.
    local: LocalFrames,
    /// Bytes of answers the write queue had room for when the pass began.
    answer_room: usize,
    answers: u64,
    /// When the frame under way began.
    frame_since: Option<Instant>,
    failures: Vec<Status>,
    messages: u64,
    requests: u64,
    last_was_request: bool,
    /// This side is closing and said so: requests are turned away.
    closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The first frame has to be a hello.
    Hello,
    /// Tell the application that the connection is ready.
    Announce,
    Open,
}

impl<F: Framing> Reader<F> {
    pub(super) fn new(framing: F, first_id: u64) -> Self {
        let profile = framing.profile();
        Self {
            profile,
            stage: if profile.handshake { Stage::Hello } else { Stage::Announce },
            own_ids: first_id..first_id.saturating_add(1 << 62),
            max_answer: framing.max_message(),
            framing,
            local: LocalFrames::default(),
            answer_room: 0,
            answers: 0,
            frame_since: None,
            failures: Vec::new(),
            messages: 0,
            requests: 0,
            last_was_request: false,
            closing: false,
        }
    }

    /// Answers the request with that id on the spot.
    ///
    /// # Errors
    /// The answer cannot be written; where the protocol has error replies, the caller was told.
    pub fn answer(&mut self, id: u64, payload: Payload<'_>) -> Result<(), EncodeError> {
        self.answer_with(id, |out| {
            out.extend_from_slice(payload.as_slice());
            Ok(())
        })
    }

    /// Answers on the spot with a body that `fill` appends in place, behind the frame's header;
    /// what stands in the buffer before is not `fill`'s. A failure is sent as an error reply.
    ///
    /// # Errors
    /// The answer cannot be written (too large, or a failure on a framing without error replies);
    /// where the protocol has error replies, the caller was told.
    pub fn answer_with(
        &mut self,
        id: u64,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), EncodeError> {
        let meta = Meta::new(Kind::Reply, id);
        let max = self.max_answer;
        self.local.chunk.reserve(256);
        let pushed = self.local.chunk.push_with(&self.framing, Sent::Answer(id), &meta, |out| {
            let before = out.len();
            fill(out)?;
            let len = out.len() - before;
            if len > max {
                let error = EncodeError::TooLarge { len: len as u64, max: max as u64 };
                return Err(too_large(&error));
            }
            Ok(())
        });
        let (failure, error) = match pushed {
            Ok(Ok(_)) => {
                self.answers += 1;
                return Ok(());
            }
            Ok(Err(error)) => (too_large(&error), error),
            Err(failure) => (failure, EncodeError::Unsupported { what: "an error reply" }),
        };
        self.fail(id, &failure).map_err(|_| error)
    }

    /// Answers with a failure.
    ///
    /// # Errors
    /// The framing has no error replies.
    pub fn fail(&mut self, id: u64, failure: &Failure) -> Result<(), EncodeError> {
        self.failures.push(failure.status);
        if !self.profile.error_reply {
            return Err(EncodeError::Unsupported { what: "an error reply" });
        }
        let meta = failure_meta(id, failure);
        // Text that is too long for the peer is cut: the status is what matters.
        let body = Payload::Borrowed(&failure.body[..failure.body.len().min(self.max_answer)]);
        self.local.chunk.push(&self.framing, Sent::Answer(id), &meta, &[], body, false)?;
        self.answers += 1;
        Ok(())
    }

    /// A request stays without an answer: counted and reported.
    pub fn note_unanswered<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>, id: u64) {
        access.machine().drop_answer(id);
    }

    pub(super) fn begin<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        bytes: usize,
    ) {
        let link = access.machine();
        link.handle_received(now, bytes);
        self.answer_room = link.answer_room();
        self.max_answer = link.conn.max_message;
        self.closing = link.closing.is_some() && self.profile.go_away;
    }

    /// Hands over what was kept back.
    pub(super) fn flush<T: Send + 'static>(&mut self, link: &mut Link<F, T>) {
        if !self.local.chunk.is_empty() {
            link.arena.append(Class::Normal, &mut self.local);
            link.counters.answers += self.answers;
            self.answers = 0;
            link.after_queueing();
        }
        link.counters.messages += core::mem::take(&mut self.messages);
        link.counters.requests += core::mem::take(&mut self.requests);
        for status in self.failures.drain(..) {
            link.note_failure(status);
        }
    }

    pub(super) fn end<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &mut RecvBuf,
    ) {
        buf.take_lent();
        // A frame is under way if bytes are left that make none yet.
        self.frame_since = match (buf.unread().is_empty(), self.frame_since) {
            (true, _) => None,
            (false, None) => Some(now),
            (false, since) => since,
        };
        let link = access.machine();
        self.flush(link);
        link.conn.frame_since = self.frame_since;
    }

    #[inline]
    pub(super) fn next<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<Event<'b>>, PeerError> {
        loop {
            buf.take_lent();
            if self.stage == Stage::Announce {
                self.stage = Stage::Open;
                access.machine().handle_ready(now);
                return Ok(Next::Event(Event::Ready));
            }
            if self.local.chunk.len() >= CHUNK {
                self.flush(access.machine());
                self.answer_room = access.machine().answer_room();
            }
            let step = self.framing.next_frame(buf.unread())?;
            let (meta, extensions, body, consumed) = match step {
                Step::Frame { meta, extensions, body, consumed } => (meta, extensions, body, consumed),
                Step::Need(need) => {
                    let limit = self.framing.max_message().saturating_add(FRAME_OVERHEAD);
                    if need > limit {
                        let (value, limit) = (need as u64, limit as u64);
                        return Err(FrameError::TooLong { field: "frame", value, limit }.into());
                    }
                    buf.want(need);
                    return Ok(Next::NeedData);
                }
            };
            self.frame_since = None;
            if self.stage == Stage::Hello {
                if meta.kind != Kind::Hello {
                    return Err(PeerError::ExpectedHello { found: name(meta.kind) });
                }
                let hello = Hello::decode(&buf.unread()[body])?;
                buf.lend(consumed);
                access.machine().handle_hello(now, &hello)?;
                self.stage = Stage::Announce;
                continue;
            }
            let kind = self.resolve(&meta);
            match kind {
                Kind::Cast | Kind::Numbered | Kind::Request => {
                    let is_request = kind == Kind::Request;
                    if is_request && self.local.chunk.len() >= self.answer_room {
                        let link = access.machine();
                        self.flush(link);
                        self.answer_room = link.answer_room();
                        if self.answer_room == 0 {
                            link.conn.paused_for_answers = true;
                            return Ok(Next::Paused);
                        }
                    }
                    if is_request && self.closing {
                        let failure = Failure::new(Status::SHUTTING_DOWN, "");
                        self.fail(meta.id, &failure).ok();
                        self.failures.pop();
                        buf.lend(consumed);
                        continue;
                    }
                    buf.lend(consumed);
                    self.last_was_request = is_request;
                    if is_request {
                        self.requests += 1;
                    } else {
                        self.messages += 1;
                    }
                    let lent = buf.lent();
                    let incoming = Incoming { meta, extensions: &lent[extensions], body: &lent[body] };
                    return Ok(Next::Event(if is_request {
                        Event::Request(incoming)
                    } else {
                        Event::Message(incoming)
                    }));
                }
                Kind::Reply | Kind::ErrorReply => {
                    let unread = buf.unread();
                    let link = access.machine();
                    link.handle_reply(kind, &meta, &unread[extensions], &unread[body]);
                    buf.lend(consumed);
                }
                Kind::Cancel => {
                    // Answers kept back may be for the very request.
                    let link = access.machine();
                    self.flush(link);
                    link.cancel_inbound(meta.id);
                    buf.lend(consumed);
                }
                Kind::Ping => {
                    let link = access.machine();
                    link.conn.pong = Some(meta.id);
                    link.wake_driver();
                    buf.lend(consumed);
                }
                // Any byte is life: the pass noted it.
                Kind::Pong => buf.lend(consumed),
                Kind::GoAway => {
                    access.machine().handle_go_away(Status(meta.status));
                    buf.lend(consumed);
                }
                Kind::Hello => return Err(PeerError::SecondHello),
            }
        }
    }

    /// Whether a numbered message is a reply, a request or a plain message.
    #[inline]
    fn resolve(&self, meta: &Meta) -> Kind {
        if meta.kind != Kind::Numbered || self.profile.calls != Calls::ByRange {
            return meta.kind;
        }
        if self.own_ids.contains(&meta.id) {
            Kind::Reply
        } else if meta.id == 0 {
            Kind::Numbered
        } else {
            Kind::Request
        }
    }

    pub(super) fn end_of_stream(&mut self, unread: &[u8]) -> Result<(), PeerError> {
        Ok(self.framing.end_of_stream(unread)?)
    }

    /// The event lent last was refused.
    pub(super) fn refuse(&mut self) {
        if self.last_was_request {
            self.requests = self.requests.saturating_sub(1);
        } else {
            self.messages = self.messages.saturating_sub(1);
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => "hello",
        Kind::Request => "request",
        Kind::Reply => "reply",
        Kind::ErrorReply => "error reply",
        Kind::Cast | Kind::Numbered => "message",
        Kind::Cancel => "cancel",
        Kind::Ping => "ping",
        Kind::Pong => "pong",
        Kind::GoAway => "go-away",
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A reply came: for a call in flight, or counted as late.
    fn handle_reply(&mut self, kind: Kind, meta: &Meta, extensions: &[u8], body: &[u8]) {
        let completed = self.calls.complete(meta.id, || {
            if kind == Kind::ErrorReply {
                return Err(CallError::Failed(Failure {
                    status: Status(meta.status),
                    retry_after: meta.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms))),
                    body: bytes::Bytes::copy_from_slice(body),
                }));
            }
            Ok(Reply {
                body: Body::copy_from(body),
                method: meta.method,
                extensions: (!extensions.is_empty()).then(|| extensions.into()),
            })
        });
        match completed {
            Some(token) => {
                self.counters.calls_replied += 1;
                self.tokens.push(token);
            }
            None => {
                self.counters.late_replies += 1;
                self.event(LinkEvent::LateReply { id: meta.id });
            }
        }
    }

    fn handle_go_away(&mut self, status: Status) {
        self.event(LinkEvent::GoAway { status });
        self.conn.gone_away = true;
        self.wake = true;
    }

    /// Bytes of answers the write queue has room for.
    fn answer_room(&self) -> usize {
        if self.phase != Phase::Ready {
            return CHUNK;
        }
        let limit = self.settings.write_queue;
        if self.arena.messages() >= limit.messages.saturating_mul(2) {
            return 0;
        }
        limit.bytes.saturating_sub(self.arena.bytes())
    }
}
