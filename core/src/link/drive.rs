//! The driver's view of a link: [`Machine`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::time::Duration;

use super::answers::UNKNOWN_SIZE;
use super::timers::Key;
use super::{Closing, Line, Link, LinkEvent, Phase, Role};
use crate::address::Address;
use crate::arena::Batch;
use crate::error::{Disconnect, PeerError, Status};
use crate::frame::{Framing, Kind, Meta};
use crate::link::reader::{Event, LONG, Reader};
use crate::machine::{Access, Ending, Machine, Next, Reason, Wake};
use crate::memory::{Holding, Verdict};
use crate::recv_buf::RecvBuf;
use crate::supervisor::{DialFailure, Epoch};
use crate::time::Instant;

/// Up to this many control frames in this time are those of an idle link.
const RARE: (u32, Duration) = (4, Duration::from_millis(500));

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Encodes the control frames that are due: at most one of each kind.
    fn encode_control(&mut self) {
        if self.phase != Phase::Ready || self.conn.parting.is_some() {
            return;
        }
        if let Some(token) = self.conn.due.take_pong() {
            self.send_control(Meta::control(Kind::Pong, token), b"");
        }
        if core::mem::take(&mut self.conn.due.ping) {
            self.send_control(Meta::control(Kind::Ping, self.conn.life.pings), b"");
        }
        self.encode_ack();
        if self.framing.profile().flow_control {
            self.encode_credit();
        }
        // After everything that was queued before: the peer may close once it has received it.
        if self.conn.due.go_away && self.arena.has_no_data() {
            self.conn.due.go_away = false;
            let status = Status::SHUTTING_DOWN.0;
            self.send_control(Meta { status, ..Meta::control(Kind::GoAway, 0) }, b"");
        }
    }

    /// A control frame was written. Returns whether control frames are rare.
    fn is_control_rare(&mut self, now: Instant) -> bool {
        let (count, since) = &mut self.conn.writing.controls;
        if now.saturating_since(*since) >= RARE.1 {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count <= RARE.0
    }

    /// Messages that wait in the reader may be handed over now.
    pub(super) fn after_making_room(&mut self) {
        if self.conn.reading.parked && self.has_answer_room() && self.free_inbound() > 0 {
            self.wakes.attend();
        }
    }

    fn has_control(&self) -> bool {
        self.conn.due.has_pong()
            || self.conn.due.ping
            || self.conn.due.go_away
            || self.has_ack_due()
            || self.has_credit_due()
    }

    /// The peer is shutting down, and nothing is owed in either direction any more: this side closes, too.
    fn is_gone_away(&self) -> bool {
        self.conn.gone_away
            && self.inbound.len() == 0
            // Messages that it sent before wait in the reader, and would be lost with the connection.
            && !self.conn.reading.parked
            && !self.arena.is_lent()
            && !self.arena.has_answers()
            && self.answers.is_empty()
            && self.arena.unacked() == 0
            && !self.calls.any_in_flight(|id, class| self.has_left(id, class))
    }
}

impl<F: Framing, T: Send + 'static> Machine for Link<F, T> {
    type Token = T;
    type Reader = Reader<F>;
    type Event<'b> = Event<'b>;
    type Error = PeerError;

    fn handle_connected(&mut self, now: Instant, epoch: Epoch) -> Reader<F> {
        self.connect(now, epoch)
    }

    fn begin_input(reader: &mut Reader<F>, access: &mut impl Access<Self>, now: Instant, bytes: usize) {
        reader.begin(access, now, bytes);
    }

    #[inline]
    fn next_event<'b>(
        reader: &mut Reader<F>,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<Event<'b>>, PeerError> {
        reader.next(access, now, buf)
    }

    fn refuse(reader: &mut Reader<F>, buf: &mut RecvBuf) -> bool {
        reader.refuse(buf)
    }

    #[inline]
    fn flush_answers(reader: &mut Reader<F>, access: &mut impl Access<Self>, pile: usize) -> bool {
        reader.is_piling_up(pile) && reader.flush_early(access)
    }

    fn end_input(reader: &mut Reader<F>, access: &mut impl Access<Self>, now: Instant, buf: &mut RecvBuf) {
        reader.end(access, now, buf);
    }

    fn release_memory(reader: &mut Reader<F>, access: &mut impl Access<Self>, buf: &mut RecvBuf) {
        reader.release_memory(access, buf);
    }

    fn handle_eof(reader: &mut Reader<F>, buf: &RecvBuf) -> Result<(), PeerError> {
        reader.end_of_stream(buf.unread())
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn was_ready(&self) -> bool {
        self.counters.connections > 0
    }

    fn is_paused(&self) -> bool {
        self.conn.paused.any() || self.waits_for_memory() || self.conn.parting.is_some()
    }

    fn is_heavy(&self) -> bool {
        self.expected_answer() > UNKNOWN_SIZE
            || self.conn.reading.is_long
            || self.inflows.iter().any(|inflow| inflow.assembling() > LONG as u64)
    }

    fn streams(&self) -> bool {
        self.calls.in_flight() == 0
            && self.inbound.len() == 0
            && self.answers.is_empty()
            && self.closing.is_none()
            && !self.watches_casts()
            && !self.has_control()
    }

    fn wants_pass(&self) -> bool {
        self.conn.released || (self.conn.reading.parked && self.has_answer_room() && self.free_inbound() > 0)
    }

    fn next_leftover<'b>(
        reader: &mut Reader<F>,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
        cause: &Disconnect,
    ) -> Option<Event<'b>> {
        reader.next_leftover(access, now, buf, cause)
    }

    fn retire_reader(&mut self, now: Instant, reader: Reader<F>, buf: RecvBuf) {
        self.keep_left_blocks(buf);
        let retired = reader.retire(self, now);
        // If the handshake was not done, casts of an earlier session continue to wait.
        let is_left = self.phase == Phase::Handshaking && retired.casts() > 0;
        self.history.retired = (self.history.session.is_some() || is_left).then(|| Box::new(retired));
    }

    fn handle_disconnected(&mut self, now: Instant, lent: Option<Batch>, cause: Disconnect) {
        self.disconnect(now, lent, cause);
    }

    fn begin_write(&mut self, now: Instant) -> Option<Batch> {
        if matches!(self.phase, Phase::Down | Phase::Closed) {
            return None;
        }
        if self.conn.due.has_pong() {
            self.give_back_if_quiet(now);
        }
        self.last_time = self.last_time.max(now);
        self.encode_control();
        let data = self.phase == Phase::Ready && !self.waits_for_late_batch() && self.conn.parting.is_none();
        let batch = self.arena.begin_write(&self.framing, data);
        match &batch {
            Some(batch) => {
                self.wakes.note_writer(false);
                self.conn.writing.since = Some(now);
                if self.settings.expire_after.is_some() {
                    self.conn.writing.casts_from = batch.casts().next().and_then(NonZeroU64::new);
                }
                self.conn.life.last_written = self.conn.life.last_written.max(now);
                if self.limits().drain_rate > 0 && self.conn.writing.draining.is_none() {
                    self.conn.writing.draining = Some((now, self.counters.bytes_out));
                }
                self.note_cancels(batch);
                self.retries.note_taken(batch);
                self.after_taking();
                self.place_held();
                if self.conn.paused.for_answers && self.has_answer_room() {
                    self.conn.paused.for_answers = false;
                    self.wakes.attend();
                }
                self.after_making_room();
                self.note_memory();
            }
            None if !self.arena.is_lent() => {
                self.wakes.note_writer(true);
                self.conn.writing.draining = None;
            }
            None => {}
        }
        batch
    }

    fn handle_progress(&mut self, now: Instant, written: usize) {
        if self.conn.writing.since.is_some() {
            self.conn.writing.since = Some(now);
            self.conn.writing.in_batch = written as u64;
        }
        self.note_taken_by_peer(now);
        self.arena.slow_down();
    }

    fn end_write(&mut self, now: Instant, mut batch: Batch) -> bool {
        if !self.arena.is_current(&batch) {
            self.handle_late_batch(batch);
            return false;
        }
        let done = batch.is_done();
        self.counters.bytes_out += batch.take_written() as u64;
        self.conn.writing.in_batch = 0;
        self.note_taken_by_peer(now);
        if done {
            self.note_written(&batch);
            self.note_told();
        }
        // An idle link sends one control frame every few seconds, and keeps no memory for it.
        if batch.is_control() && done && self.is_control_rare(now) {
            self.arena.end_rare_write(batch);
        } else {
            let (watched, mut acked) = (self.watches_casts(), Vec::new());
            self.arena.end_write(batch, |sent| acked.extend(sent.cast().filter(|_| watched)));
            self.note_acked(acked);
        }
        if done {
            self.forget_written();
        }
        self.conn.writing.since = if done { None } else { Some(now) };
        self.conn.writing.casts_from.take_if(|_| done);
        let more = !self.arena.is_flushed() || self.has_control();
        self.wakes.note_writer(!more);
        if !more {
            self.conn.writing.draining = None;
        }
        if !more && (self.closing.is_some() || self.conn.gone_away) {
            // This may have been the last work, and the side that ends the connection may be the other one.
            self.wakes.attend();
        }
        more
    }

    #[inline]
    fn is_due(&mut self, now: Instant) -> bool {
        !self.wakes.is_armed_past(now) && self.poll_timeout().is_some_and(|(at, _)| at <= now)
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        let mut next: Option<(Instant, Reason)> = None;
        let mut consider = |at: Instant, reason: Reason| {
            if next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, reason));
            }
        };
        if let Some(at) = self.deadlines.next() {
            consider(at, Reason::Deadline);
        }
        if let Some(Closing { deadline, finished: false, .. }) = self.closing.as_deref()
            && self.phase != Phase::Closed
        {
            consider(*deadline, Reason::Linger);
        }
        if let Some(at) = self.next_session_timeout() {
            consider(at, Reason::Session);
        }
        if let Some(at) = self.next_auth_timeout() {
            consider(at, Reason::Handshake);
        }
        match self.phase {
            Phase::Handshaking => {
                consider(self.conn.life.began + self.limits().handshake, Reason::Handshake);
            }
            Phase::Ready => {
                if let Some(since) = self.conn.writing.since {
                    consider(since + self.settings.write_stall, Reason::WriteStall);
                }
                if let Some(at) = self.next_late_check() {
                    consider(at, Reason::WriteStall);
                }
                if let Some(at) = self.next_accept_check() {
                    consider(at, Reason::AcceptLimit);
                }
                if !self.is_paused() {
                    if let Some(at) = self.next_slow_message() {
                        consider(at, Reason::SlowMessage);
                    }
                    if self.framing.profile().heartbeat {
                        consider(self.next_ping(), Reason::Heartbeat);
                        let dead = self.conn.life.last_received + self.settings.dead_after;
                        consider(dead, Reason::DeadPeer);
                    }
                }
            }
            Phase::Down | Phase::Closed => {}
        }
        if let Some(at) = self.next_memory_check().into_iter().chain(self.next_blocks_end()).min() {
            let earlier = next.is_none_or(|(earliest, _)| at < earliest);
            next = if earlier { Some((at, Reason::Memory)) } else { next };
        }
        self.wakes.arm(next.map(|(at, _)| at));
        next
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.deadlines.pop_due(now) {
            match key {
                Key::Call(id) => self.expire_call(id),
                Key::CallTurn(class, ticket) => self.expire_turn(Line::Call(class), ticket),
                Key::RoomTurn(class, ticket) => self.expire_turn(Line::Room(class), ticket),
                Key::Inbound(key) => self.expire_inbound(key),
                Key::Cast(class, number) => self.expire_cast(class, number),
                Key::Wait(class, number) => self.expire_wait(class, number),
                Key::Retry(id) => self.requeue(now, id),
            }
        }
        self.check_peer(now);
        self.check_session(now);
        self.check_memory(now);
        self.check_blocks(now);
        self.note_memory();
        if let Some(closing) = &mut self.closing
            && now >= closing.deadline
            && !closing.finished
        {
            closing.finished = true;
            if self.phase == Phase::Down {
                self.end(now, Disconnect::LocalClose);
            }
        }
    }

    fn poll_ending(&mut self, now: Instant) -> Option<Ending> {
        if let Some(cause) = self.conn.abort.take() {
            return Some(Ending::Abort(*cause));
        }
        if self.phase == Phase::Closed {
            return Some(Ending::Abort(Disconnect::LocalClose));
        }
        if self.phase == Phase::Down {
            return None;
        }
        if let Some(ending) = self.parting(now) {
            return Some(ending);
        }
        if self.phase == Phase::Ready && core::mem::take(&mut self.route.reconnect) {
            return Some(Ending::Abort(Disconnect::Reopened));
        }
        if let Some(closing) = self.closing.as_deref() {
            let over = closing.finished || now >= closing.deadline;
            // Messages that the peer sent before it could know are still handled: if it can be told to go
            // away, it ends the connection when it has nothing more to send.
            let nothing_comes = !self.framing.profile().go_away || self.conn.gone_away || over;
            let is_done = self.is_drained() && !self.received.is_being_handled();
            if self.phase == Phase::Ready && nothing_comes && is_done {
                let wait = closing.deadline.saturating_since(now);
                return Some(Ending::Graceful { wait, cause: Disconnect::LocalClose });
            }
            let unborn = self.role == Role::Accepting && self.history.session.is_none();
            if over || (self.phase == Phase::Handshaking && unborn) {
                return Some(Ending::Abort(Disconnect::LocalClose));
            }
        }
        if self.is_gone_away() {
            // Without this acknowledgement, the peer would report its last answers as not delivered.
            if self.owes_ack() {
                self.ack_now();
                return None;
            }
            let wait = self.settings.linger;
            return Some(Ending::Graceful { wait, cause: Disconnect::GoneAway });
        }
        None
    }

    fn close(&mut self, now: Instant, linger: Duration) {
        self.begin_closing(now, linger);
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn give_up(&mut self, now: Instant, cause: Disconnect) {
        match self.phase {
            Phase::Down | Phase::Closed => self.end(now, cause),
            // The outcome of its messages is known when the connection has ended.
            Phase::Handshaking | Phase::Ready => Self::abort(self, now, cause),
        }
    }

    fn abort(&mut self, now: Instant, cause: Disconnect) {
        Self::abort(self, now, cause);
    }

    fn count_memory(&mut self) {
        Self::count_memory(self);
    }

    fn close_for_memory(&mut self, now: Instant, held: usize, limit: usize) -> usize {
        self.give_memory_back(now, held, limit);
        self.holding().bytes
    }

    fn note_held_below(&mut self, bytes: usize) {
        if self.conn.reading.set_below(bytes) {
            self.note_memory();
        }
    }

    fn handled(&self) -> Option<usize> {
        self.held_by_handlers()
    }

    fn handle_dialing(&mut self, address: Address, attempt: u32) {
        if self.phase == Phase::Closed {
            return;
        }
        self.note_dialing(attempt);
        self.event(LinkEvent::Connecting { address, attempt });
    }

    fn handle_dial_failed(&mut self, attempt: u32, failure: DialFailure) {
        self.note_dial_failed(attempt, failure);
    }

    fn handle_waiting(&mut self, attempt: u32, after: Duration, cause: Disconnect) {
        // The link may have been closed after its supervisor decided to wait.
        if self.phase == Phase::Closed {
            return;
        }
        self.event(LinkEvent::Retrying { attempt, after, cause });
    }

    fn take_reconnect(&mut self) -> bool {
        core::mem::take(&mut self.route.reconnect)
    }

    #[inline]
    fn has_wakes(&self) -> bool {
        self.wakes.has_any() || self.has_holding()
    }

    fn take_holding(&mut self) -> Option<Holding> {
        self.holding_to_say()
    }

    fn handle_memory(&mut self, now: Instant, verdict: Verdict) {
        self.take_verdict(now, verdict);
    }

    fn take_wake(&mut self) -> Wake {
        self.wakes.take_sides()
    }

    fn take_tokens(&mut self, into: &mut Vec<T>) {
        self.wakes.take_callers(into);
    }
}
