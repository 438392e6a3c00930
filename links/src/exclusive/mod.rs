//! A connection that one owner drives: no lock, no other thread or task, received bytes are not copied.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bowline_core::Batch;
use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, CastRefusal, Disconnect, Full};
use bowline_core::frame::Framing;
use bowline_core::link::{
    CallId, CallOptions, CastOptions, Counters, Event, Link, Queued, Reader, Role, State, Undelivered,
};
use bowline_core::machine::{Ending, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::error::disconnect;
use bowline_driver::runtime::Wire;

use crate::handler::ReplyBuf;

mod handler;
mod turns;
mod writing;

pub use handler::Handler;
pub use turns::Exclusive;

use writing::{PILE, Piles, write_some};

/// The clock is read once per this many calls that are made between two turns.
const CALLS_PER_LOOK: u32 = 64;

/// The result of [`Owned::attend`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attended {
    /// When `attend` must be called again.
    pub until: Option<Instant>,
    /// Everything that was queued is written.
    pub written: bool,
    /// A callback was called, or there is room again after a message was refused.
    pub told: bool,
}

/// A link without a lock, and its connection: the operations of an exclusive connection that do not wait.
///
/// The runtimes' `Exclusive` derefs to it, and adds the operations that wait.
pub struct Owned<F: Framing, S> {
    link: Link<F, u64>,
    reader: Reader<F>,
    buf: RecvBuf,
    socket: S,
    batch: Option<Batch>,
    now: Instant,
    calls: u32,
    /// Casts expire, so that casting needs the time.
    timed_casts: bool,
    piles: Piles,
    /// A message was refused because the write queue was full.
    refused: bool,
    /// Calls that ended and are not reported to the handler yet.
    ended: Vec<u64>,
    paused: bool,
    /// This side has closed: the deadline of the wait for the peer's end of the stream, and the reason of the
    /// close.
    lingering: Option<(Instant, Disconnect)>,
    over: Option<Disconnect>,
}

impl<F: Framing, S: std::fmt::Debug> std::fmt::Debug for Owned<F, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owned")
            .field("socket", &self.socket)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl<F: Framing, S: Wire> Owned<F, S> {
    /// A link over `socket`; `buf` contains the bytes that were read from it already.
    #[doc(hidden)]
    pub fn new(config: Config<F>, role: Role, (socket, buf): (S, RecvBuf)) -> Self {
        let now = clock::now();
        let timed_casts = config.expire_after().is_some();
        let mut link = Link::new(config, role);
        link.lend_replies();
        let reader = link.handle_connected(now, Epoch::FIRST);
        let piles = Piles::overlap(socket.is_layered());
        let mut owned = Self {
            link,
            reader,
            buf: RecvBuf::new(),
            socket,
            batch: None,
            now,
            calls: 0,
            timed_casts,
            piles,
            refused: false,
            ended: Vec::new(),
            paused: false,
            lingering: None,
            over: None,
        };
        // Framings without a handshake are ready now, and wait for nothing from the peer.
        if let Err(cause) = owned.pass(0, &mut ()) {
            owned.end(cause, &mut ());
        }
        if !buf.unread().is_empty() {
            // The first turn hands the bytes over, because it has a handler.
            (owned.buf, owned.paused) = (buf, true);
        }
        owned
    }

    /// The socket under it.
    #[doc(hidden)]
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Sets whether the other side needs time to wake up, so that it should get work early.
    #[doc(hidden)]
    pub fn overlap(&mut self, wakes: bool) {
        let is_layered = self.socket.is_layered();
        self.piles = if wakes { Piles::overlap(is_layered) } else { Piles::spin(is_layered) };
    }

    /// The state of the link.
    #[must_use]
    pub fn state(&self) -> State {
        self.link.state()
    }

    /// Counters since the link was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.link.counters()
    }

    /// The number of calls under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.link.in_flight()
    }

    /// Queues a message that is not answered. Full batches are written at once, the rest in the next turn.
    ///
    /// # Errors
    /// [`CastRefusal::Full`](bowline_core::error::CastRefusal) if the write queue is full: take a turn, then
    /// try again. Other errors as [`Peer::cast`](crate::Peer::cast).
    #[inline]
    pub fn cast<'a>(&mut self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Queued, CastError> {
        self.cast_with(&CastOptions::new(method), payload)
    }

    /// [`cast`](Self::cast) with options.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    #[inline]
    pub fn cast_with<'a>(
        &mut self,
        options: &CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Queued, CastError> {
        let now = self.cast_time();
        let queued =
            self.link.cast(now, options, payload.into()).inspect_err(|error| self.note_refused(error))?;
        if self.batch.is_none() && self.link.is_piling_up(PILE) {
            self.write_pile();
        }
        Ok(queued)
    }

    /// Queues several messages to one method, in order; cheaper than one call for each. Returns the number of
    /// queued messages, which is smaller than the number of bodies if the write queue is full: take a turn,
    /// then queue the rest.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), if the first message cannot be queued.
    #[inline]
    pub fn cast_many<B: AsRef<[u8]>>(&mut self, method: u32, bodies: &[B]) -> Result<usize, CastError> {
        let options = &CastOptions::new(method);
        let mut queued = 0;
        while let Some(next) = bodies.get(queued) {
            let count = self.link.cast_plain_many(options, &bodies[queued..]);
            queued += count;
            if count == 0 {
                let now = self.cast_time();
                match self.link.cast(now, options, next.as_ref().into()) {
                    Ok(_) => queued += 1,
                    Err(error) => {
                        self.note_refused(&error);
                        if queued == 0 {
                            return Err(error);
                        }
                        break;
                    }
                }
            }
            if self.batch.is_none() && self.link.is_piling_up(PILE) {
                self.write_pile();
            }
        }
        Ok(queued)
    }

    /// Begins a call. [`Handler::reply`] or [`Handler::failed`] is called when it ends. The timeouts of calls
    /// that are made between two turns may count from the same moment.
    ///
    /// # Errors
    /// [`CallError::Full`] at the limit of calls under way: take a turn, then try again. Other errors as
    /// [`Peer::call`](crate::Peer::call).
    #[inline]
    pub fn call<'a>(&mut self, method: u32, payload: impl Into<Payload<'a>>) -> Result<CallId, CallError> {
        self.call_with(&CallOptions::new(method), payload)
    }

    /// [`call`](Self::call) with options. Idempotent calls are not retried here, because there is no next
    /// connection.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_with<'a>(
        &mut self,
        options: &CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<CallId, CallError> {
        if self.calls == 0 {
            self.now = clock::now();
        }
        self.calls = (self.calls + 1) % CALLS_PER_LOOK;
        let call =
            self.link.call_named(self.now, options, payload.into(), CallId::get).inspect_err(|error| {
                self.refused |= matches!(error, CallError::Full(Full::WriteQueue { .. }));
            })?;
        if self.batch.is_none() && self.link.is_piling_up(self.piles.calls) {
            self.write_pile();
        }
        Ok(call)
    }

    /// Reads no clock unless casts can expire.
    #[inline]
    fn cast_time(&self) -> Instant {
        if self.timed_casts { clock::now() } else { self.now }
    }

    /// Only a refusal for want of room means that the owner waits for room.
    fn note_refused(&mut self, error: &CastError) {
        self.refused |= matches!(error.reason(), CastRefusal::Full(_));
    }

    /// Handles timers that are due, and writes as much as the socket takes.
    ///
    /// # Errors
    /// The connection is over.
    #[doc(hidden)]
    pub fn attend(&mut self, handler: &mut impl Handler) -> Result<Attended, Disconnect> {
        self.now = clock::now();
        self.calls = 0;
        let result = self.work(handler);
        let told = self.tell_ended(handler);
        let attended = result.map_err(|cause| self.end(cause, handler))?;
        Ok(Attended { told: attended.told | told, ..attended })
    }

    fn work(&mut self, handler: &mut impl Handler) -> Result<Attended, Disconnect> {
        if let Some(cause) = &self.over {
            return Err(cause.clone());
        }
        let now = self.now;
        if self.link.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.link.handle_timeout(now);
            Link::release_memory(&mut self.reader, &mut &mut self.link, &mut self.buf);
        }
        // This comes before the connection may end: a program that closes it at once gets the messages that were
        // read together with the handshake.
        let resumes =
            self.lingering.is_none() && (self.link.wants_pass() || (self.paused && !self.link.is_paused()));
        if resumes {
            self.pass(0, handler)?;
        }
        let ending = self.link.poll_ending(now);
        if let Some((until, cause)) = &mut self.lingering {
            // Deadlines of calls continue to apply, and the remaining patience may have become shorter.
            *until = ending.map_or(*until, |ending| (*until).min(now + ending.patience()));
            let next = self.link.poll_timeout().map_or(*until, |(at, _)| at.min(*until));
            let attended = Attended { until: Some(next), written: true, told: false };
            return if now < *until { Ok(attended) } else { Err(cause.clone()) };
        }
        match ending {
            Some(Ending::Abort(cause)) => return Err(cause),
            Some(Ending::Graceful { wait, cause }) if self.batch.is_none() => {
                if self.socket.shutdown_write().is_err() {
                    return Err(cause);
                }
                self.lingering = Some((now + wait, cause));
                return Ok(Attended { until: Some(now + wait), written: true, told: resumes });
            }
            _ => {}
        }
        let written = self.write(true)?;
        let _ = self.link.take_wake();
        // An owner whose message was refused is told about room as about received bytes.
        let roomy = self.refused && !self.link.is_write_queue_full();
        self.refused &= !roomy;
        Ok(Attended { until: self.link.poll_timeout().map(|(at, _)| at), written, told: resumes || roomy })
    }

    /// Whether the link wants to read now.
    #[doc(hidden)]
    pub fn wants_read(&self) -> bool {
        !self.paused
    }

    /// Reads once by `read`, handles everything received, and writes the answers. `false`: nothing was
    /// received.
    ///
    /// # Errors
    /// The connection is over.
    #[doc(hidden)]
    #[inline]
    pub fn read(
        &mut self,
        handler: &mut impl Handler,
        read: impl FnOnce(&S, &mut [u8]) -> io::Result<usize>,
    ) -> Result<bool, Disconnect> {
        let result = match read(&self.socket, self.buf.spare()) {
            Ok(0) => Err(self.end_of_stream()),
            Ok(_) if self.lingering.is_some() => Ok(true),
            Ok(n) => {
                self.now = clock::now();
                self.calls = 0;
                self.pass(n, handler).and_then(|()| self.write(true)).map(|_| true)
            }
            Err(error) if is_for_now(&error) => Ok(false),
            Err(error) => Err(disconnect(error)),
        };
        if !self.ended.is_empty() {
            self.tell_ended(handler);
        }
        result.map_err(|cause| self.end(cause, handler))
    }

    /// The connection is idle: an idle connection keeps no receive buffer.
    #[doc(hidden)]
    pub fn nothing_now(&mut self) {
        self.buf.release_if_small();
    }

    fn pass(&mut self, n: usize, handler: &mut impl Handler) -> Result<(), Disconnect> {
        if n > 0 {
            self.buf.filled(n);
        }
        let now = self.now;
        let Self { link, reader, buf, socket, batch, piles, .. } = self;
        Link::begin_input(reader, &mut &mut *link, now, n);
        let mut is_greeting = false;
        let all = loop {
            match Link::next_event(reader, &mut &mut *link, now, buf) {
                Ok(Next::Event(event)) => match event {
                    Event::Burst(burst) => burst.for_each(|message| handler.message(message)),
                    Event::Reply(reply) => handler.reply(CallId::from_wire(reply.id()), reply.body),
                    Event::Message(message) => handler.message(message),
                    Event::Request(request) => {
                        let id = request.id();
                        let answered = reader.answer_as(id, |out| {
                            let mut reply = ReplyBuf::new(out);
                            handler.request(request, &mut reply).map(|()| reply.method())
                        });
                        if answered.is_err() {
                            reader.note_unanswered(&mut &mut *link, id);
                        }
                    }
                    Event::Challenge(challenge) => link.answer_challenge(now, &challenge),
                    // The handshake has no handler of the program: messages that were read together with its
                    // end are handed over in the next turn.
                    Event::Ready | Event::Resumed => {
                        is_greeting = true;
                        break Ok(false);
                    }
                    _ => {}
                },
                Ok(Next::NeedData) => break Ok(true),
                Ok(Next::Paused) => break Ok(false),
                Err(error) => break Err(error.into()),
            }
            if Link::flush_answers(reader, &mut &mut *link, piles.answers)
                && batch.is_none()
                && let Err(cause) = write_some(link, socket, batch, now)
            {
                break Err(cause);
            }
        };
        Link::end_input(reader, &mut &mut *link, now, buf);
        link.take_tokens(&mut self.ended);
        self.paused = !(all? || (is_greeting && buf.unread().is_empty()));
        Ok(())
    }

    /// Reports calls that ended without a plain reply. Returns whether there were any.
    fn tell_ended(&mut self, handler: &mut impl Handler) -> bool {
        self.link.take_tokens(&mut self.ended);
        let told = !self.ended.is_empty();
        for id in self.ended.drain(..) {
            let call = CallId::from_wire(id);
            if let Some(result) = self.link.poll_reply(call, || id) {
                match result {
                    Ok(reply) => handler.reply(call, &reply),
                    Err(error) => handler.failed(call, error),
                }
            }
        }
        told
    }

    fn end_of_stream(&mut self) -> Disconnect {
        if let Some((_, cause)) = &self.lingering {
            return cause.clone();
        }
        match Link::<F, u64>::handle_eof(&mut self.reader, &self.buf) {
            Ok(()) => Disconnect::PeerClosed,
            Err(error) => error.into(),
        }
    }

    /// The connection is over: reports the end to every call under way.
    #[cold]
    fn end(&mut self, cause: Disconnect, handler: &mut impl Handler) -> Disconnect {
        if self.over.is_none() || self.link.state() != State::Closed {
            let now = clock::now();
            self.hand_over_leftovers(now, &cause, handler);
            self.link.handle_disconnected(now, self.batch.take(), cause.clone());
            self.link.give_up(now, cause.clone());
            self.tell_ended(handler);
        }
        self.over.get_or_insert(cause).clone()
    }

    /// Begins to close: work under way is finished during the next turns, for at most `linger`.
    #[doc(hidden)]
    pub fn begin_close(&mut self, linger: Duration) {
        self.link.close(clock::now(), linger);
    }

    /// The messages that an ended connection could not send.
    #[doc(hidden)]
    pub fn take_undelivered(&mut self) -> Vec<Undelivered> {
        self.link.take_undelivered()
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
