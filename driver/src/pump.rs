//! One connection: reads, writes and keeps the time until it ends.

use std::task::{Context, Poll, Waker};

use bowline_core::Batch;
use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::app::{Application, Flow};
use crate::error::disconnect;
use crate::heavy::Turn;
use crate::runtime::{Socket, Timer};
use crate::shared::{Step, write_batch};
use crate::sync::Arc;
use crate::{Shared, clock};

/// Bytes of a hello, or of some heartbeats.
const LITTLE: usize = 64;
/// Rounds of reading and writing before other tasks get their turn.
const ROUNDS: u32 = 32;
/// Bytes of answers that are written before all requests that came are answered: so that both
/// sides work at the same time.
pub(crate) const PILE_OF_ANSWERS: usize = 8 * 1024;
/// Bytes of the peer's thrown away while its end of the stream is waited for, per turn.
const DISCARD: usize = 16 * 1024;

/// The reading side of a connection, whoever drives it: parser, buffer, application.
///
/// [`Pump`] polls it on async runtimes; a thread owns one on blocking ones.
pub struct Intake<M: Machine<Token = Waker>, A: Application<M>> {
    shared: Arc<Shared<M>>,
    app: Arc<A>,
    session: A::Session,
    reader: M::Reader,
    buf: RecvBuf,
    tokens: Vec<Waker>,
}

impl<M: Machine<Token = Waker>, A: Application<M>> std::fmt::Debug for Intake<M, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("buf", &self.buf.capacity()).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>> Intake<M, A> {
    /// Tells the machine and the application of a new connection, of which the other end and this one
    /// have those addresses. `buf` has what was read of it
    /// already.
    pub fn connect(
        shared: &Arc<Shared<M>>,
        app: &Arc<A>,
        epoch: Epoch,
        [remote, local]: [Option<Address>; 2],
        buf: RecvBuf,
    ) -> Self {
        if let Some(local) = local {
            app.local_addr(local);
        }
        let reader = shared.with(|machine| machine.handle_connected(clock::now(), epoch));
        let session = app.connected(shared, epoch, remote);
        Self { shared: Arc::clone(shared), app: Arc::clone(app), session, reader, buf, tokens: Vec::new() }
    }

    /// Room to read into.
    pub fn spare(&mut self) -> &mut [u8] {
        self.buf.spare()
    }

    /// `n` bytes were read into [`spare`](Self::spare) by `now` (0: only resume after a pause).
    /// Handles all there is. False: the machine takes nothing more for now.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn filled(&mut self, now: Instant, n: usize) -> Result<bool, Disconnect> {
        if n > 0 {
            self.buf.filled(n);
        }
        let Self { shared, app, session, reader, buf, tokens } = self;
        let mut guard = shared.lazy(tokens);
        M::begin_input(reader, &mut guard, now, n);
        let all = loop {
            let event = match M::next_event(reader, &mut guard, now, buf) {
                Ok(Next::Event(event)) => event,
                Ok(Next::NeedData) => break Ok(true),
                Ok(Next::Paused) => break Ok(false),
                Err(error) => break Err(error.into()),
            };
            match app.event(session, reader, &mut guard, event) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Refuse) => {
                    if !M::refuse(reader, buf) {
                        break Ok(false);
                    }
                }
                Err(cause) => break Err(cause),
            }
            if M::flush_answers(reader, &mut guard, PILE_OF_ANSWERS) {
                guard.release();
                shared.write_inline();
            }
        };
        M::end_input(reader, &mut guard, now, buf);
        all
    }

    /// The peer ended its stream: why the connection is over.
    pub fn end_of_stream(&mut self) -> Disconnect {
        match M::handle_eof(&mut self.reader, &self.buf) {
            Ok(()) => Disconnect::PeerClosed,
            Err(error) => error.into(),
        }
    }

    /// The connection is over. `lent` is the batch that was being written.
    pub fn disconnect(self, lent: Option<Batch>, cause: &Disconnect) {
        self.shared.set_socket(None);
        let Self { shared, app, session, reader, .. } = self;
        shared.with(|machine| {
            let now = clock::now();
            machine.retire_reader(now, reader);
            machine.handle_disconnected(now, lent, cause.clone());
        });
        app.disconnected(session, cause);
    }

    /// Gives the receive buffer back while it is empty.
    pub fn release_memory(&mut self) {
        self.buf.release_if_empty();
    }

    /// There is nothing to read now. A connection with little traffic keeps no buffer while it waits.
    pub fn nothing_now(&mut self) {
        self.buf.release_if_small();
    }
}

/// Drives one connection on an async runtime. Poll it from one task only.
pub struct Pump<M: Machine<Token = Waker>, A: Application<M>, S: Socket> {
    shared: Arc<Shared<M>>,
    socket: Arc<S>,
    /// Gone once the connection is over.
    intake: Option<Intake<M, A>>,
    batch: Option<Box<Batch>>,
    /// The machine takes no input for now.
    paused: bool,
    /// Little came last: a hello, a heartbeat.
    quiet: bool,
    lingering: Option<Box<(Instant, Disconnect)>>,
    fresh: bool,
    /// For heavy work; made when there is some.
    turn: Option<Turn>,
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> std::fmt::Debug for Pump<M, A, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("paused", &self.paused).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Drop for Pump<M, A, S> {
    /// The runtime dropped the task: the machine learns what had left, and what had not.
    fn drop(&mut self) {
        self.abort(&Disconnect::LocalClose);
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Pump<M, A, S> {
    /// A connection over `socket`.
    pub fn new(shared: &Arc<Shared<M>>, app: &Arc<A>, socket: S, epoch: Epoch) -> Self {
        Self::greeted(shared, app, (socket, RecvBuf::new()), epoch)
    }

    /// A connection over a socket of which something was read already.
    pub fn greeted(shared: &Arc<Shared<M>>, app: &Arc<A>, arrival: (S, RecvBuf), epoch: Epoch) -> Self {
        let (socket, buf) = arrival;
        let ends = [socket.peer_addr().ok(), socket.local_addr().ok()];
        let socket = Arc::new(socket);
        let intake = Intake::connect(shared, app, epoch, ends, buf);
        shared.set_socket(Some(Arc::clone(&socket) as _));
        Self {
            shared: Arc::clone(shared),
            socket,
            intake: Some(intake),
            batch: None,
            paused: false,
            quiet: true,
            lingering: None,
            fresh: true,
            turn: None,
        }
    }

    /// Works until there is nothing to do. Ready, once, when the connection is over; the machine
    /// and the application know it then.
    pub fn poll<T: Timer>(&mut self, cx: &mut Context<'_>, timer: &mut Alarm<T>) -> Poll<Disconnect> {
        let Some(mut intake) = self.intake.take() else { return Poll::Ready(Disconnect::LocalClose) };
        let worked = if self.lingering.is_some() {
            self.linger(cx, timer, &mut intake)
        } else {
            self.work(cx, timer, &mut intake)
        };
        match worked {
            Poll::Pending => {
                self.intake = Some(intake);
                Poll::Pending
            }
            Poll::Ready(cause) => {
                self.end_turn();
                intake.disconnect(self.batch.take().map(|batch| *batch), &cause);
                Poll::Ready(cause)
            }
        }
    }

    /// Ends the connection from outside.
    pub fn abort(&mut self, cause: &Disconnect) {
        if let Some(intake) = self.intake.take() {
            self.end_turn();
            intake.disconnect(self.batch.take().map(|batch| *batch), cause);
        }
    }

    fn work<T: Timer>(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Alarm<T>,
        intake: &mut Intake<M, A>,
    ) -> Poll<Disconnect> {
        self.shared.awake();
        if std::mem::take(&mut self.fresh)
            && let Err(cause) = self.take_input(intake, clock::now(), 0)
        {
            return Poll::Ready(cause);
        }
        for _ in 0..ROUNDS {
            let now = clock::now();
            let (due, ending, paused, wants_pass, is_heavy) = self.shared.with(|machine| {
                let due = machine.is_due(now);
                if due {
                    machine.handle_timeout(now);
                }
                (due, machine.poll_ending(now), machine.is_paused(), machine.wants_pass(), machine.is_heavy())
            });
            if due {
                // Mostly it is the heartbeat of a quiet connection: its buffer can go.
                intake.release_memory();
            }
            match ending {
                None => {}
                Some(Ending::Graceful { wait, cause }) if self.batch.is_none() => {
                    if self.socket.shutdown_write().is_err() {
                        return Poll::Ready(cause);
                    }
                    self.lingering = Some(Box::new((now + wait, cause)));
                    self.end_turn();
                    return self.linger(cx, timer, intake);
                }
                Some(Ending::Graceful { .. }) => {}
                Some(Ending::Abort(cause)) => return Poll::Ready(cause),
                Some(_) => return Poll::Ready(Disconnect::LocalClose),
            }
            let resumes = (self.paused && !paused) || wants_pass;
            let may_read = self.may_read(cx, is_heavy && (resumes || !self.paused));
            if resumes && may_read {
                self.paused = false;
                if let Err(cause) = self.take_input(intake, now, 0) {
                    return Poll::Ready(cause);
                }
            }
            let read = if may_read { self.read(cx, now, intake) } else { Ok(false) };
            let read = match read {
                Ok(read) => read,
                Err(cause) => return Poll::Ready(cause),
            };
            if may_read {
                self.end_turn();
            }
            match self.write(cx, now) {
                Err(cause) => return Poll::Ready(cause),
                Ok(Written::More) => continue,
                Ok(Written::Sleep(_)) if read => continue,
                Ok(Written::Sleep(at)) => {
                    if !sleep(cx, timer, at) {
                        return Poll::Pending;
                    }
                }
            }
        }
        // Others want to run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_input(&mut self, intake: &mut Intake<M, A>, now: Instant, n: usize) -> Result<(), Disconnect> {
        self.quiet = n <= LITTLE;
        self.paused = !intake.filled(now, n)?;
        Ok(())
    }

    /// Whether it may read now: what is heavy only when all that are ready were served in between. The
    /// task is woken when it may.
    fn may_read(&mut self, cx: &mut Context<'_>, is_heavy: bool) -> bool {
        if !is_heavy {
            return true;
        }
        if self.turn.is_none() {
            self.turn = self.shared.turn();
        }
        self.turn.as_mut().is_none_or(|turn| turn.poll(cx).is_ready())
    }

    /// It read, or has no reason to: others may.
    fn end_turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.end();
        }
    }

    /// Reads once. True: there may be more.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        intake: &mut Intake<M, A>,
    ) -> Result<bool, Disconnect> {
        if self.paused {
            return Ok(false);
        }
        loop {
            let room = intake.spare();
            let len = room.len();
            match self.socket.read_now(room) {
                Ok(0) => return Err(intake.end_of_stream()),
                Ok(n) => {
                    self.take_input(intake, now, n)?;
                    // What leaves room has emptied the socket: who waits for more need not look.
                    if n < len && !self.paused {
                        return self.is_readable(cx, intake);
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !self.is_readable(cx, intake)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(disconnect(error)),
            }
        }
    }

    /// Whether the socket has something to read, or will wake the task when it has.
    fn is_readable(&self, cx: &mut Context<'_>, intake: &mut Intake<M, A>) -> Result<bool, Disconnect> {
        match self.socket.poll_readable(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(disconnect(error)),
            Poll::Pending => {
                // One that is in use keeps its buffer, until a heartbeat is due.
                if self.quiet {
                    intake.nothing_now();
                }
                Ok(false)
            }
        }
    }

    /// Writes until there is nothing to write or the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Written, Disconnect> {
        let mut written = 0;
        loop {
            let mut batch = match self.batch.take() {
                Some(batch) => *batch,
                None => match self.shared.begin_write_or_sleep(now, cx.waker()) {
                    Step::Write(batch) => batch,
                    Step::Again => return Ok(Written::More),
                    Step::Sleep(at) => return Ok(Written::Sleep(at)),
                },
            };
            let before = batch.written();
            match write_batch(&*self.socket, &mut batch) {
                Ok(true) => {
                    written += batch.len();
                    let more = self.shared.with(|machine| machine.end_write(now, batch));
                    // Reading gets its turn even if the writers never stop.
                    if more && written >= 4 * DISCARD * 4 {
                        return Ok(Written::More);
                    }
                }
                Ok(false) => {
                    let written = batch.written();
                    self.batch = Some(Box::new(batch));
                    if written > before {
                        self.shared.with(|machine| machine.handle_progress(now, written));
                    }
                    match self.socket.poll_writable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Err(disconnect(error)),
                        Poll::Pending => {
                            return Ok(match self.shared.sleep_attendant(cx.waker()) {
                                Step::Sleep(at) => Written::Sleep(at),
                                _ => Written::More,
                            });
                        }
                    }
                }
                Err(error) => {
                    self.batch = Some(Box::new(batch));
                    return Err(disconnect(error));
                }
            }
        }
    }

    /// Our side is done and said so: waits for the peer's end of the stream.
    fn linger<T: Timer>(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Alarm<T>,
        intake: &mut Intake<M, A>,
    ) -> Poll<Disconnect> {
        let Some((deadline, cause)) = self.lingering.as_deref().cloned() else { return Poll::Pending };
        let mut discarded = 0;
        loop {
            let room = intake.spare();
            match self.socket.read_now(room) {
                Ok(0) => return Poll::Ready(cause),
                Ok(n) => {
                    discarded += n;
                    if discarded >= DISCARD {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    match self.socket.poll_readable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(cause),
                        Poll::Pending => break,
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(cause),
            }
        }
        if clock::now() >= deadline || sleep(cx, timer, Some(deadline)) {
            return Poll::Ready(cause);
        }
        Poll::Pending
    }
}

enum Written {
    /// Look again at everything.
    More,
    /// Nothing to do until woken, or that time.
    Sleep(Option<Instant>),
}

/// Sets the timer. True: the time has come already.
fn sleep<T: Timer>(cx: &mut Context<'_>, timer: &mut Alarm<T>, at: Option<Instant>) -> bool {
    at.is_some_and(|at| timer.poll(cx, at))
}

/// A timer that is left alone while it fires early enough: setting one costs more than waking
/// once too early.
#[derive(Debug)]
pub struct Alarm<T> {
    timer: T,
    armed: Option<Instant>,
}

impl<T: Timer> Alarm<T> {
    /// An alarm that is not set.
    pub fn new(timer: T) -> Self {
        Self { timer, armed: None }
    }

    /// Wakes the task at `at` or somewhat before. True: it is time to look.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        if self.armed.is_none_or(|armed| armed > at) {
            self.timer.reset(clock::to_std(at));
            self.armed = Some(at);
        }
        let expired = self.timer.poll_expired(cx).is_ready();
        if expired {
            self.armed = None;
        }
        expired
    }
}
