//! What comes in: the reading half of a link.

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use super::assembly::{Assembled, Assembly};
use super::flow::{Arrived, CLASSES, cost, lane};
use super::guard::Guard;
use super::parked::{Kept, Parked};
use super::{Link, LinkEvent, Phase};
use crate::arena::{CHUNK, LocalFrames, Sent};
use crate::body::{Body, Payload};
use crate::calls::Reply;
use crate::error::{CallError, EncodeError, Failure, FrameError, PeerError, Status};
use crate::frame::native::{Credit, Hello};
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
    /// Its frame, where that has memory of its own.
    frame: Option<&'b Bytes>,
    /// What it costs of the credit this side granted.
    pub(super) cost: u64,
}

impl Incoming<'_> {
    /// Its bytes, owned: copied, unless they came in fragments.
    #[must_use]
    pub fn to_body(&self) -> Body {
        match self.frame {
            Some(frame) if self.body.len() > crate::body::INLINE_BODY => Body::from(frame.slice_ref(self.body)),
            _ => Body::copy_from(self.body),
        }
    }

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
    /// Longer answers are cut up, and go to the bulk class.
    fragment: usize,
    /// Answers encoded here, without the lock; appended at the end of the pass.
    local: LocalFrames,
    /// Bytes of answers the write queue had room for when the pass began.
    answer_room: usize,
    answers: u64,
    /// When the pass began.
    now: Instant,
    /// When the frame under way began.
    frame_since: Option<Instant>,
    failures: Vec<Status>,
    messages: u64,
    requests: u64,
    last_was_request: bool,
    /// How many requests may be started before the link has to be asked again.
    starts: usize,
    /// By class: what may still come, what came and was not told to the link yet, fragments,
    /// messages that wait to be handed over.
    allowance: [u64; 2],
    arrived: [Arrived; 2],
    assemblies: [Option<Assembly>; 2],
    parked: [Parked; 2],
    has_parked: bool,
    /// The message lent out last, if it does not lie in the receive buffer.
    aside: Option<Kept>,
    guard: Guard,
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
            fragment: usize::MAX,
            framing,
            local: LocalFrames::default(),
            answer_room: 0,
            answers: 0,
            now: Instant::ZERO,
            frame_since: None,
            failures: Vec::new(),
            messages: 0,
            requests: 0,
            last_was_request: false,
            starts: 0,
            allowance: [0; 2],
            arrived: [Arrived::default(); 2],
            assemblies: [None, None],
            parked: [Parked::default(), Parked::default()],
            has_parked: false,
            aside: None,
            guard: Guard::new(),
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
        let start = self.local.chunk.own_len();
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
            Ok(Ok(bytes)) => {
                self.answers += 1;
                if bytes > self.fragment {
                    self.framing.set_class(self.local.chunk.own_from(start), Class::Bulk);
                    self.local.split_last(start);
                }
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
        self.now = now;
        let link = access.machine();
        link.handle_received(now, bytes);
        self.answer_room = link.answer_room();
        self.starts = link.free_inbound();
        self.max_answer = link.conn.max_message;
        self.fragment = link.fragment();
        self.closing = link.closing.is_some() && self.profile.go_away;
        self.allowance = link.allowances();
        self.guard.refill(now, link.counters.bytes_out);
    }

    /// Hands over what was kept back.
    pub(super) fn flush<T: Send + 'static>(&mut self, link: &mut Link<F, T>) {
        if !self.local.is_empty() {
            link.arena.append(&mut self.local);
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

    /// Tells the link what came, and learns what may still come.
    fn sync<T: Send + 'static>(&mut self, link: &mut Link<F, T>) {
        for ((arrived, parked), assembly) in self.arrived.iter_mut().zip(&self.parked).zip(&self.assemblies) {
            arrived.parked = parked.cost();
            arrived.assembling = assembly.as_ref().map_or(0, Assembly::spent);
            arrived.missing = assembly.as_ref().map_or(0, Assembly::missing);
        }
        link.note_arrived(&self.arrived);
        self.arrived = Default::default();
        self.allowance = link.allowances();
    }

    pub(super) fn end<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &mut RecvBuf,
    ) {
        buf.take_lent();
        self.aside = None;
        // A frame is under way if bytes are left that make none yet.
        self.frame_since = match (buf.unread().is_empty(), self.frame_since) {
            (true, _) => None,
            (false, None) => Some(now),
            (false, since) => since,
        };
        let link = access.machine();
        self.flush(link);
        link.conn.frame_since = self.frame_since;
        if self.profile.flow_control {
            self.sync(link);
            link.conn.parked = !self.parked.iter().all(Parked::is_empty);
            link.conn.parked_casts = self.parked.iter().map(Parked::casts).sum();
            let assembly_since = |assembly: &Option<Assembly>| assembly.as_ref().map(|a| a.since);
            link.conn.note_assemblies([&self.assemblies[0], &self.assemblies[1]].map(assembly_since));
        }
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
                self.begin(access, now, 0);
                return Ok(Next::Event(Event::Ready));
            }
            if self.local.len() >= CHUNK {
                self.flush(access.machine());
                self.answer_room = access.machine().answer_room();
            }
            if self.has_parked && self.unpark(access) {
                return Ok(Next::Event(self.lend_aside(buf, now)));
            }
            let step = self.framing.next_frame(buf.unread())?;
            let (meta, extensions, body, consumed) = match step {
                Step::Frame { meta, extensions, body, consumed } => (meta, extensions, body, consumed),
                Step::Need(need) => {
                    let limit = self.longest_frame();
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
            let flow = self.profile.flow_control;
            match kind {
                Kind::Cast | Kind::Numbered | Kind::Request => {
                    let is_request = kind == Kind::Request;
                    if flow {
                        self.charge(access, meta.class, cost(consumed), consumed)?;
                        if is_request {
                            self.guard.request();
                        }
                    }
                    if is_request && self.closing {
                        self.turn_away(meta.id);
                        buf.lend(consumed);
                        continue;
                    }
                    if self.must_wait(access, is_request, meta.class) {
                        if !flow {
                            access.machine().conn.paused_for_answers = true;
                            return Ok(Next::Paused);
                        }
                        let frame = Bytes::copy_from_slice(&buf.unread()[..consumed]);
                        self.park(access, Kept { meta, extensions, body, frame, since: now })?;
                        buf.lend(consumed);
                        continue;
                    }
                    if self.aside.is_some() {
                        self.aside = None;
                    }
                    buf.lend(consumed);
                    return Ok(Next::Event(self.lend(buf, is_request, meta, extensions, body, consumed)));
                }
                Kind::Reply | Kind::ErrorReply => {
                    self.arrived[lane(meta.class)].bytes += consumed as u64;
                    let unread = buf.unread();
                    let link = access.machine();
                    link.handle_reply(kind, &meta, &unread[extensions], || Body::copy_from(&unread[body]))?;
                    buf.lend(consumed);
                }
                _ => {
                    let whole = self.handle_other(access, now, &meta, &buf.unread()[body], consumed)?;
                    buf.lend(consumed);
                    if whole {
                        return Ok(Next::Event(self.lend_aside(buf, now)));
                    }
                }
            }
        }
    }

    /// A frame that is no message, or a part of one. True: a message is whole, and lies aside.
    #[inline(never)]
    fn handle_other<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        meta: &Meta,
        body: &[u8],
        consumed: usize,
    ) -> Result<bool, PeerError> {
        match meta.kind {
            Kind::Fragment => {
                let Some(kept) = self.assemble(access, now, meta, body, consumed)? else { return Ok(false) };
                if kept.is_request() && self.closing {
                    self.turn_away(kept.meta.id);
                } else if self.must_wait(access, kept.is_request(), kept.meta.class) {
                    self.park(access, kept)?;
                } else {
                    self.aside = Some(kept);
                    return Ok(true);
                }
            }
            Kind::Abort => {
                let Some(assembly) = self.assemblies[lane(meta.class)].take() else {
                    return Err(PeerError::Fragment { field: "id of an abort", value: meta.id, limit: 0 });
                };
                assembly.check_id(meta.id)?;
            }
            Kind::Cancel => {
                self.arrived[lane(meta.class)].bytes += consumed as u64;
                self.handle_cancel(access, meta.id)?;
            }
            Kind::Credit => {
                self.guard.control(consumed)?;
                let credit = Credit::decode(body)?;
                access.machine().handle_credit(&credit)?;
            }
            Kind::Ping => {
                self.guard.control(consumed)?;
                let link = access.machine();
                link.conn.pong = Some(meta.id);
                link.wake_driver();
            }
            // Any byte is life: the pass noted it.
            Kind::Pong => self.guard.control(consumed)?,
            Kind::GoAway => {
                self.guard.control(consumed)?;
                access.machine().handle_go_away(Status(meta.status));
            }
            _ => return Err(PeerError::SecondHello),
        }
        Ok(false)
    }

    /// Tells the application of the message that lies aside.
    fn lend_aside<'b>(&mut self, buf: &'b mut RecvBuf, now: Instant) -> Event<'b> {
        let (meta, extensions, body, is_request, frame) = match &self.aside {
            Some(kept) => (
                kept.meta_at(now),
                kept.extensions.clone(),
                kept.body.clone(),
                kept.is_request(),
                kept.frame.clone(),
            ),
            None => (Meta::default(), 0..0, 0..0, false, Bytes::new()),
        };
        let len = frame.len();
        buf.lend_aside(frame);
        self.lend(buf, is_request, meta, extensions, body, len)
    }

    /// The longest frame, in bytes, that the peer may send.
    fn longest_frame(&self) -> usize {
        self.framing.max_message().saturating_add(FRAME_OVERHEAD)
    }

    /// Tells the application of the message that was lent out.
    #[inline]
    fn lend<'b>(
        &mut self,
        buf: &'b RecvBuf,
        is_request: bool,
        meta: Meta,
        extensions: Range<usize>,
        body: Range<usize>,
        len: usize,
    ) -> Event<'b> {
        self.last_was_request = is_request;
        if is_request {
            self.requests += 1;
        } else {
            self.messages += 1;
        }
        let lent = buf.lent();
        let (extensions, body) = (&lent[extensions], &lent[body]);
        let incoming = Incoming { meta, extensions, body, frame: buf.aside(), cost: cost(len) };
        if is_request { Event::Request(incoming) } else { Event::Message(incoming) }
    }

    /// Takes `cost` off the credit that the peer has.
    #[inline]
    fn charge<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        class: Class,
        cost: u64,
        bytes: usize,
    ) -> Result<(), PeerError> {
        let lane = lane(class);
        if self.allowance[lane] < cost {
            // More may have been granted since this pass began.
            self.sync(access.machine());
            let credit = self.allowance[lane];
            if credit < cost {
                return Err(PeerError::Credit { class, cost, credit });
            }
        }
        self.allowance[lane] -= cost;
        self.arrived[lane].cost += cost;
        self.arrived[lane].bytes += bytes as u64;
        Ok(())
    }

    /// Whether a message cannot be handed over now: for want of room for a request's answer, or
    /// because others of its class wait.
    #[inline]
    fn must_wait<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        is_request: bool,
        class: Class,
    ) -> bool {
        (self.has_parked && !self.parked[lane(class)].is_empty()) || (is_request && !self.can_start(access))
    }

    /// Whether a request may be started: there is room for its answer.
    fn can_start<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>) -> bool {
        if self.local.len() >= self.answer_room || self.starts == 0 {
            let link = access.machine();
            self.flush(link);
            self.answer_room = link.answer_room();
            self.starts = link.free_inbound();
            if self.answer_room == 0 || self.starts == 0 {
                return false;
            }
        }
        self.starts -= 1;
        true
    }

    /// Keeps a message until it can be handed over.
    fn park<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        kept: Kept,
    ) -> Result<(), PeerError> {
        if kept.is_request() {
            let parked = self.parked.iter().map(Parked::requests).sum::<usize>();
            access.machine().check_inbound(kept.meta.id, parked)?;
            if self.parked.iter().any(|parked| parked.has_request(kept.meta.id)) {
                return Err(PeerError::RequestIdInUse { id: kept.meta.id });
            }
        }
        self.parked[lane(kept.meta.class)].push(kept);
        self.has_parked = true;
        Ok(())
    }

    /// Lays the next of the messages kept back aside, if it can be handed over now.
    fn unpark<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>) -> bool {
        for lane in 0..2 {
            while let Some(front) = self.parked[lane].front() {
                let is_request = front.is_request();
                if is_request && !self.closing && !self.can_start(access) {
                    break;
                }
                let Some(kept) = self.parked[lane].pop() else { break };
                if is_request && self.closing {
                    self.turn_away(kept.meta.id);
                    continue;
                }
                self.aside = Some(kept);
                return true;
            }
        }
        self.has_parked = !self.parked.iter().all(Parked::is_empty);
        false
    }

    /// This side is closing, and said so.
    fn turn_away(&mut self, id: u64) {
        let failure = Failure::new(Status::SHUTTING_DOWN, "");
        self.fail(id, &failure).ok();
        self.failures.pop();
    }

    /// A fragment came. `Some`: a message is whole that the application has to be told of.
    fn assemble<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        fragment: &Meta,
        piece: &[u8],
        bytes: usize,
    ) -> Result<Option<Kept>, PeerError> {
        let lane = lane(fragment.class);
        let mut assembly = match self.assemblies[lane].take() {
            Some(assembly) => assembly,
            None => {
                let mut assembly = Assembly::begin(&self.framing, fragment, piece, now)?;
                if matches!(assembly.meta.kind, Kind::Reply | Kind::ErrorReply) {
                    assembly.unwanted = !access.machine().is_in_flight(assembly.meta.id);
                }
                assembly
            }
        };
        assembly.check_id(fragment.id)?;
        // What is missing is granted by what came: the link has to know of both.
        let cost = assembly.cost(piece.len());
        self.charge(access, fragment.class, cost, bytes)?;
        let meta = assembly.meta;
        let limit = self.longest_frame();
        let frame = match assembly.add(&mut self.framing, limit, piece)? {
            Assembled::More => {
                self.assemblies[lane] = Some(assembly);
                return Ok(None);
            }
            Assembled::Discarded => {
                access.machine().note_late_reply(meta.id)?;
                return Ok(None);
            }
            Assembled::Whole(frame) => frame,
        };
        let Step::Frame { meta, extensions, body, .. } = self.framing.next_frame(&frame)? else {
            return Err(PeerError::Fragment { field: "end of the message", value: frame.len() as u64, limit: 0 });
        };
        if matches!(meta.kind, Kind::Reply | Kind::ErrorReply) {
            let link = access.machine();
            link.handle_reply(meta.kind, &meta, &frame[extensions], || Body::from(frame.slice(body)))?;
            return Ok(None);
        }
        if meta.kind == Kind::Request {
            self.guard.request();
        }
        Ok(Some(Kept { meta, extensions, body, frame, since: now }))
    }

    /// The peer no longer wants an answer.
    fn handle_cancel<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        id: u64,
    ) -> Result<(), PeerError> {
        self.guard.cancel()?;
        if self.parked.iter_mut().any(|parked| parked.cancel(id)) {
            access.machine().counters.cancels += 1;
            return Ok(());
        }
        // Answers kept back may be for the very request.
        let link = access.machine();
        self.flush(link);
        link.cancel_inbound(id);
        Ok(())
    }

    /// Bytes of memory the reader holds besides the receive buffer.
    #[must_use]
    pub fn memory(&self) -> usize {
        let assemblies = self.assemblies.iter().flatten().map(Assembly::memory).sum::<usize>();
        let parked = self.parked.iter().map(Parked::cost).sum::<u64>();
        assemblies + usize::try_from(parked).unwrap_or(usize::MAX)
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

    /// The event lent last was refused. True: it is kept, and reading goes on.
    pub(super) fn refuse(&mut self, buf: &mut RecvBuf) -> bool {
        if self.last_was_request {
            self.requests = self.requests.saturating_sub(1);
        } else {
            self.messages = self.messages.saturating_sub(1);
        }
        if !self.profile.flow_control {
            buf.unlend();
            return false;
        }
        self.starts = 0;
        self.has_parked = true;
        if let Some(kept) = self.aside.take() {
            self.parked[lane(kept.meta.class)].push_front(kept);
            return true;
        }
        buf.unlend();
        let Ok(Step::Frame { meta, extensions, body, consumed }) = self.framing.next_frame(buf.unread()) else {
            return false;
        };
        let frame = Bytes::copy_from_slice(&buf.unread()[..consumed]);
        let since = self.now;
        self.parked[lane(meta.class)].push_front(Kept { meta, extensions, body, frame, since });
        buf.lend(consumed);
        true
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
        Kind::Credit => "credit",
        Kind::Fragment => "fragment",
        Kind::Abort => "abort",
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A reply came: for a call in flight, or counted as late.
    #[inline]
    fn handle_reply(
        &mut self,
        kind: Kind,
        meta: &Meta,
        extensions: &[u8],
        body: impl FnOnce() -> Body,
    ) -> Result<(), PeerError> {
        let completed = self.calls.complete(meta.id, || {
            if kind == Kind::ErrorReply {
                return Err(CallError::Failed(Failure {
                    status: Status(meta.status),
                    retry_after: meta.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms))),
                    body: body().into_bytes(),
                }));
            }
            Ok(Reply {
                body: body(),
                method: meta.method,
                extensions: (!extensions.is_empty()).then(|| extensions.into()),
            })
        });
        match completed {
            Some(token) => {
                self.counters.calls_replied += 1;
                self.tokens.push(token);
                Ok(())
            }
            None => self.note_late_reply(meta.id),
        }
    }

    /// An answer came that nobody waits for.
    #[cold]
    fn note_late_reply(&mut self, id: u64) -> Result<(), PeerError> {
        self.counters.late_replies += 1;
        self.conn.late_replies += 1;
        self.event(LinkEvent::LateReply { id });
        let (value, limit) = (self.conn.late_replies, self.counters.calls - self.conn.calls_before);
        if self.profile.flow_control && value > limit {
            return Err(PeerError::Flood { what: "replies", value, limit });
        }
        Ok(())
    }

    fn is_in_flight(&self, id: u64) -> bool {
        self.calls.get(id).is_some()
    }

    fn handle_go_away(&mut self, status: Status) {
        self.event(LinkEvent::GoAway { status });
        if !self.conn.gone_away {
            self.conn.gone_away = true;
            for (class, begun) in CLASSES.into_iter().zip(self.arena.hold_back()) {
                if let Some(message) = begun {
                    self.abort_message(class, message);
                }
            }
        }
        self.wake = true;
    }

    /// Bytes of answers the write queue has room for.
    pub(super) fn answer_room(&self) -> usize {
        if self.phase != Phase::Ready {
            return CHUNK;
        }
        let (limit, owed) = (self.settings.write_queue, self.arena.owed());
        if owed.messages >= limit.messages.saturating_mul(2) {
            return 0;
        }
        limit.bytes.saturating_sub(owed.bytes)
    }

    /// What may still come, by class.
    fn allowances(&self) -> [u64; 2] {
        [self.inflow[0].allowance(), self.inflow[1].allowance()]
    }
}
