//! [`Machine`] for pipes.

use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Access, Ending, Epoch, Machine, Next, Reason, Wake};
use bowline_core::memory::{Holding, Verdict};
use bowline_core::out_queue::Fate;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;

use super::handshake::Handshake;
use super::recent::Recent;
use super::timers::Timers;
use super::{Connection, End, Pipe, PipeEvent, Reader, Role, push_connection, seal};
use crate::error::ZmtpError;

/// Time for the peer to close its side after this side closed.
const GOODBYE: Duration = Duration::from_secs(1);

/// Size from which an incomplete message counts as heavy, bytes.
const LONG: usize = 64 * 1024;

impl<T> Pipe<T> {
    #[inline]
    pub(super) fn is_past_handshake(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.handshake.is_done())
    }

    fn note_writing(&mut self, now: Instant, writing: bool) {
        if let Some(connection) = &mut self.connection {
            connection.timers.writing(now, writing);
        }
    }

    /// No further work will be done.
    fn set_closed(&mut self) {
        self.closed = true;
        self.wake = Wake { write: true, attend: true };
        self.note_room();
    }

    /// Whether a pipe that is closing still has data to write.
    fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }
}

impl<T: Send + 'static> Machine for Pipe<T> {
    type Token = T;
    type Reader = Reader;
    type Event<'b> = PipeEvent<'b>;
    type Error = ZmtpError;

    fn handle_connected(&mut self, now: Instant, _: Epoch) -> Reader {
        self.connections += 1;
        self.scratch.clear();
        let draw = self.draw();
        let handshake = Handshake::start(&self.options, draw, &mut self.scratch);
        push_connection(&mut self.out, &self.scratch);
        self.paused = false;
        self.connection = Some(Connection {
            number: self.connections,
            handshake,
            peer: None,
            user_id: None,
            timers: Timers::new(&self.options, now),
            session: None,
            end: None,
        });
        Reader::default()
    }

    fn begin_input(_: &mut Reader, access: &mut impl Access<Self>, now: Instant, bytes: usize) {
        let pipe = access.machine();
        if let Some(connection) = &mut pipe.connection {
            if bytes > 0 {
                connection.timers.read(now);
            }
            if !pipe.paused {
                connection.timers.resumed(now);
            }
        }
    }

    fn next_event<'b>(
        reader: &mut Reader,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<PipeEvent<'b>>, ZmtpError> {
        reader.next(access, now, buf)
    }

    fn end_input(reader: &mut Reader, access: &mut impl Access<Self>, now: Instant, buf: &mut RecvBuf) {
        buf.take_lent();
        // If every message is complete, as on a quiet connection, no lock is taken.
        let within = reader.is_within_message() || !buf.unread().is_empty();
        if within || reader.was_within {
            reader.was_within = within;
            let pipe = access.machine();
            let (within, has_moved) = (within && !pipe.paused, core::mem::take(&mut reader.has_moved));
            pipe.note_buffered(now, buf.unread().len(), has_moved);
            if let Some(connection) = &mut pipe.connection {
                connection.timers.within_message(now, within, has_moved);
            }
        }
        buf.release_if_small();
    }

    fn handle_eof(reader: &mut Reader, buf: &RecvBuf) -> Result<(), ZmtpError> {
        let value = buf.unread().len() + reader.held();
        if value == 0 && !reader.is_within_message() {
            return Ok(());
        }
        Err(ZmtpError::Truncated { field: "the stream", value: value as u64, limit: value as u64 + 1 })
    }

    fn is_ready(&self) -> bool {
        self.is_past_handshake()
    }

    fn is_paused(&self) -> bool {
        self.paused
    }

    fn is_heavy(&self) -> bool {
        self.reading_bytes() > LONG
    }

    fn retire_reader(&mut self, _: Instant, reader: Reader, _: RecvBuf) {
        self.stats.half_received += u64::from(reader.is_within_message());
        self.forget_reading();
    }

    fn handle_disconnected(&mut self, now: Instant, lent: Option<Batch>, cause: Disconnect) {
        self.connection = None;
        self.paused = false;
        self.shares.lent = 0;
        self.forget_reading();
        let mut sent = 0;
        self.out.disconnect(lent, |message| {
            let left = message.fate() == Fate::Left;
            sent += u64::from(left);
            !left
        });
        self.stats.sent += sent;
        self.settle_sent();
        let final_error = ZmtpError::of(&cause).is_some_and(ZmtpError::is_final);
        let drained = self.closing.is_some_and(|until| !self.has_unsent() || until <= now);
        if self.role == Role::Accepting || final_error || drained {
            self.set_closed();
        }
    }

    fn begin_write(&mut self, now: Instant) -> Option<Batch> {
        let ready = self.is_past_handshake();
        if ready && !self.out.is_lent() {
            if self.mixed {
                self.recode();
            }
            if let Some(connection) =
                self.connection.as_mut().filter(|connection| connection.timers.has_output())
            {
                self.scratch.clear();
                connection.timers.put_output(&mut self.scratch);
                let commands = core::mem::take(&mut self.scratch);
                self.send_control(&commands);
                self.scratch = commands;
            }
        }
        let session = self.connection.as_mut().and_then(|connection| connection.session.as_mut());
        let batch = match session.filter(|_| ready) {
            Some(session) => self.out.begin_write_sealed(true, |message, out| {
                let mut parts = message.parts();
                match (parts.next(), parts.next()) {
                    (Some(whole), None) => seal(session, whole, out),
                    _ => seal(session, &message.to_vec(), out),
                }
            }),
            None => self.out.begin_write(ready),
        };
        if let Some(batch) = &batch {
            self.shares.lent = batch.len();
            self.note_writing(now, true);
        }
        self.note_room();
        batch
    }

    fn handle_progress(&mut self, now: Instant, _: usize) {
        self.note_writing(now, true);
    }

    fn end_write(&mut self, now: Instant, batch: Batch) -> bool {
        let (mut sent, mut dropped, mut other) = (0, 0, false);
        let encoding = self.encoding;
        let is_late = self.out.is_late(&batch);
        // Messages for the peer of an earlier connection are for no other peer.
        let keeps = !is_late || self.options.kind.is_balanced();
        self.out.end_write(batch, |message| {
            let left = message.fate() == Fate::Left;
            sent += u64::from(left);
            dropped += usize::from(!left && !keeps);
            other |= !left && keeps && Self::is_other_encoding(encoding, message.number());
            !left && keeps
        });
        self.stats.sent += sent;
        if is_late {
            self.late.dropped += dropped;
            self.late.left |= sent > 0 && self.out.messages() == 0;
        }
        self.mixed |= other;
        // A partly written batch that came back is sent again first.
        self.shares.lent = if self.out.is_lent() { self.shares.lent } else { 0 };
        self.settle_sent();
        if !self.out.is_lent() {
            self.note_writing(now, false);
        }
        let ready = self.is_past_handshake();
        let timers = self.connection.as_ref().map(|connection| &connection.timers);
        self.out.has_batch(ready) || (ready && timers.is_some_and(Timers::has_output))
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        if self.closed {
            return None;
        }
        let linger = self.closing.map(|until| (until, Reason::Linger));
        let timer = match &self.connection {
            // The driver ends the connection; nothing else is due.
            Some(Connection { end: Some(End::Now(_)), .. }) => return None,
            Some(connection) => connection.timers.next(&self.options),
            None => None,
        };
        let memory = self.next_memory_check().map(|at| (at, Reason::Memory));
        timer.into_iter().chain(linger).chain(memory).min_by_key(|(at, _)| *at)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.check_memory(now);
        let expired = match &mut self.connection {
            Some(connection) => connection.timers.expire(&self.options, now),
            None => None,
        };
        // The connection is quiet: memory of a busy period is freed.
        if self.connection.as_ref().is_some_and(|connection| connection.timers.asks()) {
            self.out.trim();
            self.inbox.trim();
            self.recent = Recent::default();
            self.scratch = Vec::new();
        }
        if let (Some(cause), Some(connection)) = (expired, &mut self.connection) {
            match &connection.end {
                Some(End::Now(_)) => {}
                // The farewell could not be written: the cause stays.
                Some(End::Flushed(said)) => connection.end = Some(End::Now(said.clone())),
                None => connection.end = Some(End::Now(cause)),
            }
        }
        if self.closing.is_some_and(|until| until <= now) {
            match &mut self.connection {
                Some(connection) => connection.end = Some(End::Now(Disconnect::LocalClose)),
                None => self.set_closed(),
            }
        }
    }

    fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
        let connection = self.connection.as_ref()?;
        match &connection.end {
            Some(End::Now(cause)) => return Some(Ending::Abort(cause.clone())),
            Some(End::Flushed(cause)) => {
                let flushed = !self.out.has_batch(false) && !self.out.is_lent();
                return flushed.then(|| Ending::Graceful { wait: GOODBYE, cause: cause.clone() });
            }
            None => {}
        }
        if self.closed {
            return Some(Ending::Abort(Disconnect::LocalClose));
        }
        self.closing?;
        if self.has_unsent() {
            return None;
        }
        Some(match connection.handshake.is_done() {
            true => Ending::Graceful { wait: GOODBYE, cause: Disconnect::LocalClose },
            false => Ending::Abort(Disconnect::LocalClose),
        })
    }

    fn close(&mut self, now: Instant, linger: Duration) {
        if self.closed {
            return;
        }
        if self.direct.is_some() {
            return self.end_direct(Disconnect::LocalClose);
        }
        self.closing = Some(self.closing.map_or(now + linger, |until| until.min(now + linger)));
        self.wake = Wake { write: true, attend: true };
        let waits = self.has_unsent() && !linger.is_zero() && self.role == Role::Dialing;
        if !self.is_connected() && !waits {
            self.set_closed();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn give_up(&mut self, _: Instant, cause: Disconnect) {
        if let Some(connection) = &mut self.connection {
            connection.end.get_or_insert(End::Now(cause));
        }
        self.set_closed();
    }

    fn count_memory(&mut self) {
        self.count_holding(true);
    }

    fn take_holding(&mut self) -> Option<Holding> {
        self.holding_to_say()
    }

    fn close_for_memory(&mut self, now: Instant, held: usize, limit: usize) -> usize {
        self.count_holding(false);
        self.abort(now, Disconnect::ServerMemory { held: held as u64, limit: limit as u64 });
        // It counts until the connection has ended.
        self.unfinished_bytes()
    }

    fn note_held_below(&mut self, bytes: usize) {
        self.note_below(bytes);
    }

    fn handle_memory(&mut self, now: Instant, verdict: Verdict) {
        self.take_verdict(now, verdict);
    }

    #[inline]
    fn has_wakes(&self) -> bool {
        self.wake.write
            || self.wake.attend
            || self.out.has_wake()
            || !self.tokens.is_empty()
            || self.shares.is_due()
    }

    fn take_wake(&mut self) -> Wake {
        let wake = core::mem::take(&mut self.wake);
        Wake { write: wake.write | self.out.take_wake(), ..wake }
    }

    fn take_tokens(&mut self, into: &mut Vec<T>) {
        into.append(&mut self.tokens);
    }
}
