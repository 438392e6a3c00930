//! The reading half of a link.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use crate::arena::CHUNK;
use crate::config::OnFailure;
use crate::error::{FrameError, PeerError};
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Calls, Class, Framing, Kind, Meta, Plain, Step};
use crate::link::Link;
use crate::link::assembly::Assembly;
use crate::link::classes::{NORMAL, cost, lane};
use crate::link::guard::Guard;
use crate::link::inflow::{Arrived, Held};
use crate::machine::{Access, Next};
use crate::recv_buf::{Frame, Place, RecvBuf};
use crate::time::Instant;

mod answer;
mod control;
mod fragments;
mod handshake;
mod incoming;
mod kept_messages;
mod memory;
mod retired;
mod waiting;

use answer::KeptBack;
use handshake::Stage;
pub(in crate::link) use handshake::{Front, front};
pub(in crate::link) use incoming::Rest;
pub use incoming::{Burst, Event, Incoming};
use kept_messages::{Kept, Parked};
pub(in crate::link) use retired::Retired;

/// Longer messages count as long. The receive buffer does not grow for shorter ones.
pub(in crate::link) const LONG: usize = 64 * 1024;
/// Bytes a frame may need beyond the largest message: headers and extensions.
pub(in crate::link) const FRAME_OVERHEAD: usize = 128 * 1024;

/// The reading half of a [`Link`]: one per connection, owned by the side that reads the socket.
#[derive(Debug)]
pub struct Reader<F: Framing> {
    framing: F,
    stage: Stage,
    /// The first id of this side's calls, on a framing that does not distinguish requests from replies.
    first_own: u64,
    longest_answer: usize,
    /// The policy for failed requests, if there are no error replies.
    on_failure: OnFailure,
    /// Longer answers are cut into fragments, and use the bulk class.
    fragment: usize,
    /// Answers that were encoded here without the lock; appended to the link at the end of the pass. Freed at
    /// a quiet heartbeat of the peer.
    local: Option<Box<KeptBack>>,
    /// Bytes of answers that each class had room for at the last check.
    answer_rooms: [usize; 2],
    /// When the pass began.
    now: Instant,
    /// When the incomplete frame began.
    frame_since: Option<Instant>,
    messages: u64,
    requests: u64,
    last_was_request: bool,
    lends_replies: bool,
    /// The extensions of the last request, if its answer repeats them. Boxed: few framings do that.
    #[allow(clippy::box_collection, reason = "one word in place of three")]
    repeated: Option<Box<Vec<u8>>>,
    /// Nothing is processed: the server has no memory for more, or the peer was refused.
    is_stopped: bool,
    /// How many requests may be started before the link must be asked again.
    starts: usize,
    /// By class: what may still be received; what was received and not reported to the link yet; fragments;
    /// messages that wait to be handed over.
    allowance: [u64; 2],
    arrived: [Arrived; 2],
    assemblies: [Option<Box<Assembly>>; 2],
    parked: [Parked; 2],
    has_parked: bool,
    /// The current message, if it is not in the receive buffer.
    aside: Option<Box<Kept>>,
    guard: Guard,
    /// The connection belongs to a session: its frames are counted. The frames and bytes not yet reported to
    /// the link.
    in_session: bool,
    /// The dialing side authenticates.
    authenticates: bool,
    frames: u64,
    frame_bytes: u64,
    /// The session continues.
    resumed: bool,
}

impl<F: Framing> Reader<F> {
    pub(in crate::link) fn new(framing: F, first_id: u64, on_failure: OnFailure) -> Self {
        let profile = framing.profile();
        Self {
            stage: if profile.handshake { Stage::Hello } else { Stage::Announce },
            first_own: first_id,
            longest_answer: framing.max_message(),
            on_failure,
            fragment: usize::MAX,
            framing,
            local: None,
            answer_rooms: [0; 2],
            now: Instant::ZERO,
            frame_since: None,
            messages: 0,
            requests: 0,
            last_was_request: false,
            lends_replies: false,
            repeated: None,
            is_stopped: false,
            starts: 0,
            allowance: [0; 2],
            arrived: [Arrived::default(); 2],
            assemblies: [None, None],
            parked: [Parked::default(), Parked::default()],
            has_parked: false,
            aside: None,
            guard: Guard::new(),
            in_session: false,
            authenticates: false,
            frames: 0,
            frame_bytes: 0,
            resumed: false,
        }
    }

    pub(in crate::link) fn begin<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        bytes: usize,
    ) {
        self.now = now;
        let link = access.machine();
        link.handle_received(now, bytes);
        self.answer_rooms = link.answer_rooms();
        self.starts = link.free_inbound();
        link.conn.released = false;
        self.note_held(&link.held);
        self.longest_answer = link.longest_answer();
        self.lends_replies = link.lends_replies;
        self.is_stopped = link.waits_for_memory() || link.conn.parting.is_some();
        self.fragment = link.fragment();
        self.allowance = link.allowances();
        self.guard.refill(now, link.counters.bytes_out);
    }

    /// Bytes of buffered answers that the link does not know of yet.
    #[inline]
    fn kept_back(&self) -> usize {
        self.local.as_ref().map_or(0, |local| local.frames.len())
    }

    /// Moves buffered answers to the link.
    pub(in crate::link) fn flush<T: Send + 'static>(&mut self, link: &mut Link<F, T>) {
        if let Some(local) = &mut self.local {
            if !local.frames.is_empty() {
                link.append_answers(&mut local.frames);
                link.counters.answers += core::mem::take(&mut local.answers);
                link.after_queueing();
            }
            for status in local.failures.drain(..) {
                link.note_failure(status);
            }
            if let Some(status) = local.unanswered.take() {
                link.end_unanswered(status);
            }
        }
        link.counters.messages += core::mem::take(&mut self.messages);
        link.counters.requests += core::mem::take(&mut self.requests);
    }

    /// Reports received messages to the link, and gets the remaining allowance.
    fn sync<T: Send + 'static>(&mut self, link: &mut Link<F, T>) {
        let held = [NORMAL, lane(Class::Bulk)].map(|lane| {
            let assembly = self.assemblies[lane].as_deref();
            Held {
                parked: self.parked[lane].cost(),
                assembling: assembly.map_or(0, Assembly::spent),
                missing: assembly.map_or(0, Assembly::missing),
                answer: assembly.map_or(0, Assembly::answer),
            }
        });
        link.note_arrived(&core::mem::take(&mut self.arrived), &held);
        self.allowance = link.allowances();
    }

    /// Reports to the link how many frames of the session were received.
    fn count<T: Send + 'static>(&mut self, link: &mut Link<F, T>, now: Instant) {
        if self.in_session {
            let (frames, bytes) = (core::mem::take(&mut self.frames), core::mem::take(&mut self.frame_bytes));
            link.note_received_frames(now, frames, bytes);
        }
    }

    pub(in crate::link) fn end<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &mut RecvBuf,
    ) {
        buf.take_lent();
        self.aside = None;
        // A frame is incomplete if bytes are left that are not a whole frame.
        self.frame_since = match (buf.unread().is_empty(), self.frame_since) {
            (true, _) => None,
            (false, None) => Some(now),
            (false, since) => since,
        };
        let link = access.machine();
        self.flush(link);
        link.conn.reading.frame_since = self.frame_since;
        self.count_buffer(link, buf);
        if link.closing.is_some() || link.conn.gone_away {
            // This may have been the last thing that was waited for.
            link.wakes.attend();
        }
        if self.framing.profile().flow_control {
            self.sync(link);
            self.count(link, now);
            link.conn.reading.parked = !self.parked.iter().all(Parked::is_empty);
            link.conn.reading.parked_casts = self.parked.iter().map(Parked::casts).sum();
            let assembly_since = |assembly: &Option<Box<Assembly>>| assembly.as_ref().map(|a| a.since);
            link.conn.reading.note_assemblies([&self.assemblies[0], &self.assemblies[1]].map(assembly_since));
        }
        self.spare_memory(link, buf);
        link.note_memory();
    }

    #[inline]
    pub(in crate::link) fn next<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<Event<'b>>, PeerError> {
        if self.is_stopped {
            return Ok(Next::Paused);
        }
        if !matches!(self.stage, Stage::Open | Stage::Held) {
            return self.handshake(access, now, buf);
        }
        loop {
            buf.take_lent();
            if self.kept_back() >= CHUNK {
                self.flush(access.machine());
                self.answer_rooms = access.machine().answer_rooms();
            }
            if self.has_parked && self.unpark(access) {
                return Ok(Next::Event(self.lend_aside(buf, now)));
            }
            if self.stage == Stage::Open
                && self.framing.profile().flow_control
                && self.parked[NORMAL].is_empty()
                && let Some(plain) = self.framing.plain(buf.unread())
            {
                self.frame_since = None;
                match plain.kind {
                    Kind::Cast if self.take_run(buf) => {
                        return Ok(Next::Event(Event::Burst(Burst::new(buf))));
                    }
                    Kind::Cast => {}
                    Kind::Reply if self.lends_replies => {
                        self.note_plain(&plain);
                        if access.machine().take_lent_reply(plain.id)? {
                            buf.lend(plain.end);
                            return Ok(Next::Event(Event::Reply(Incoming::plain(&plain, buf))));
                        }
                        buf.lend(plain.end);
                        continue;
                    }
                    Kind::Reply => {
                        self.note_plain(&plain);
                        let body = &buf.unread()[plain.body..plain.end];
                        access.machine().handle_plain_reply(plain.id, body, buf)?;
                        buf.lend(plain.end);
                        continue;
                    }
                    _ if self.allowance[NORMAL] >= cost(plain.end) && self.can_start(access) => {
                        self.note_plain(&plain);
                        self.charge(access, Class::Normal, cost(plain.end), plain.end)?;
                        self.guard.request();
                        self.aside = None;
                        if self.framing.profile().repeats_extensions {
                            self.repeat_extensions(&[]);
                        }
                        (self.last_was_request, self.requests) = (true, self.requests + 1);
                        buf.lend(plain.end);
                        return Ok(Next::Event(Event::Request(Incoming::plain(&plain, buf))));
                    }
                    _ => {}
                }
            }
            let step = self.framing.next_frame(buf.unread())?;
            let (meta, extensions, body, consumed) = match step {
                Step::Frame { meta, extensions, body, consumed } => (meta, extensions, body, consumed),
                Step::Need(need) => return self.wait_for(buf, need),
            };
            self.frame_since = None;
            let kind = self.resolve(&meta);
            let flow = self.framing.profile().flow_control;
            if self.in_session && kind.is_counted() {
                self.frames += 1;
                self.frame_bytes += consumed as u64;
            }
            match kind {
                Kind::Cast | Kind::Numbered | Kind::Request => {
                    let is_request = kind == Kind::Request;
                    if flow {
                        self.charge(access, meta.class, cost(consumed), consumed)?;
                        if is_request {
                            self.guard.request();
                        }
                    }
                    if self.must_wait(access, is_request, meta.class) {
                        if !flow {
                            access.machine().conn.paused.for_answers = true;
                            return Ok(Next::Paused);
                        }
                        let frame = Frame::Bytes(Bytes::copy_from_slice(&buf.unread()[..consumed]));
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
                    link.handle_reply(now, &Meta { kind, ..meta }, &unread[extensions], || {
                        buf.keep(&unread[body])
                    })?;
                    buf.lend(consumed);
                }
                _ => {
                    let (unread, blocks) = buf.unread_and_whole();
                    let whole = self.handle_other(access, now, &meta, &unread[body], consumed, blocks)?;
                    buf.lend(consumed);
                    if whole {
                        return Ok(Next::Event(self.lend_aside(buf, now)));
                    }
                }
            }
        }
    }

    /// The frame at the front is incomplete: at least this many bytes are needed.
    fn wait_for<'b>(&self, buf: &mut RecvBuf, need: usize) -> Result<Next<Event<'b>>, PeerError> {
        let limit = self.longest_frame();
        if need > limit {
            let (value, limit) = (need as u64, limit as u64);
            return Err(FrameError::TooLong { field: "frame", value, limit }.into());
        }
        buf.want(need);
        Ok(Next::NeedData)
    }

    /// The longest frame, in bytes, that the peer may send.
    fn longest_frame(&self) -> usize {
        self.framing.max_message().saturating_add(FRAME_OVERHEAD)
    }

    /// Gives the current message to the application.
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
        if is_request && self.framing.profile().repeats_extensions {
            self.repeat_extensions(extensions);
        }
        let incoming = Incoming { meta, extensions, body, buf, cost: cost(len) };
        if is_request { Event::Request(incoming) } else { Event::Message(incoming) }
    }

    /// Gives the plain messages at the front to the application, if there are any that need not wait.
    #[inline]
    fn take_run(&mut self, buf: &mut RecvBuf) -> bool {
        let (framing, allowance) = (&self.framing, self.allowance[NORMAL]);
        let cost = |count: usize, bytes: usize| bytes as u64 + count as u64 * MESSAGE_COST;
        let fits = |count, bytes| cost(count, bytes) <= allowance;
        let next = |unread: &[u8]| match framing.plain(unread)? {
            Plain { kind: Kind::Cast, method, body, end, .. } => Some(Place { method, body, end }),
            _ => None,
        };
        let (count, bytes) = buf.lend_run(next, fits);
        if count == 0 {
            return false;
        }
        self.allowance[NORMAL] -= cost(count, bytes);
        self.arrived[NORMAL].cost += cost(count, bytes);
        self.arrived[NORMAL].bytes += bytes as u64;
        self.messages += count as u64;
        if self.in_session {
            self.frames += count as u64;
            self.frame_bytes += bytes as u64;
        }
        self.aside = None;
        true
    }

    /// Records one frame of the normal class other than a cast.
    #[inline]
    fn note_plain(&mut self, plain: &Plain) {
        if self.in_session {
            self.frames += 1;
            self.frame_bytes += plain.end as u64;
        }
        if plain.kind == Kind::Reply {
            self.arrived[NORMAL].bytes += plain.end as u64;
        }
    }

    /// Deducts `cost` from the peer's credit.
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

    /// Whether a numbered message is a reply, a request or a plain message.
    #[inline]
    fn resolve(&self, meta: &Meta) -> Kind {
        if meta.kind != Kind::Numbered || self.framing.profile().calls != Calls::ByRange {
            return meta.kind;
        }
        if (self.first_own..self.first_own.saturating_add(1 << 62)).contains(&meta.id) {
            Kind::Reply
        } else if meta.id == 0 {
            Kind::Numbered
        } else {
            Kind::Request
        }
    }

    pub(in crate::link) fn end_of_stream(&mut self, unread: &[u8]) -> Result<(), PeerError> {
        Ok(self.framing.end_of_stream(unread)?)
    }
}
