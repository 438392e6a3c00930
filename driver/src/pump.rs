//! One connection: reads, writes and handles timers until it ends.

use std::task::{Context, Poll, Waker};

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Machine};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::app::Application;
use crate::connection::{CALLERS_READ, Connection};
use crate::error::disconnect;
use crate::heavy::Turn;
use crate::intake::Intake;
pub use crate::intake::PILE_OF_ANSWERS;
use crate::runtime::{Socket, Timer};
use crate::shared::{Step, write_batch};
use crate::sync::Arc;
use crate::{Shared, clock};

mod alarm;
mod gathering;

pub use alarm::Alarm;
use gathering::Gathering;

/// Rounds of reading and writing before other tasks get their turn.
const ROUNDS: u32 = 32;
/// Bytes read and written before other tasks get their turn: with hundreds of busy connections, a short
/// request waits for a turn of each.
const MOVED: usize = 512 * 1024;
/// The same while other tasks are known to wait.
const MOVED_BESIDE_OTHERS: usize = 64 * 1024;
/// Bytes discarded per turn while the peer's end of the stream is waited for.
const DISCARD: usize = 16 * 1024;

/// Drives one connection on an async runtime. Poll it from one task only.
pub struct Pump<M: Machine<Token = Waker>, A: Application<M>, S: Socket> {
    connection: Arc<Connection<M, A, S>>,
    batch: Option<Box<Batch>>,
    /// Until when reading is left to callers that wait for their replies.
    callers_read: Option<Instant>,
    lingering: Option<Box<(Instant, Disconnect)>>,
    fresh: bool,
    gathering: Gathering,
    /// Bytes that the socket holds itself, as the machine was last told.
    held_below: u32,
    /// For heavy work; allocated when there is some.
    turn: Option<Box<Turn>>,
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> std::fmt::Debug for Pump<M, A, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("callers_read", &self.callers_read).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Drop for Pump<M, A, S> {
    /// The runtime dropped the task: tells the machine which bytes were written.
    fn drop(&mut self) {
        self.abort(&Disconnect::LocalClose);
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Pump<M, A, S> {
    /// A connection over `socket`.
    pub fn new(shared: &Arc<Shared<M>>, app: &Arc<A>, socket: S, epoch: Epoch) -> Self {
        Self::greeted(shared, app, (socket, RecvBuf::new()), epoch)
    }

    /// A connection over a socket, with the bytes that were read from it already.
    pub fn greeted(shared: &Arc<Shared<M>>, app: &Arc<A>, arrival: (S, RecvBuf), epoch: Epoch) -> Self {
        let (socket, buf) = arrival;
        let ends = [socket.peer_addr().ok(), socket.local_addr().ok()];
        let mut intake = Intake::connect(shared, app, epoch, ends, buf);
        if let Some(secured) = socket.secured() {
            intake.secured(secured);
        }
        intake.set_layered(socket.is_layered());
        let connection = Arc::new(Connection::new(shared, socket, intake));
        shared.set_connection(Some(Arc::clone(&connection) as _));
        let gathering = Gathering::new(connection.socket.runs_woken_first());
        let (batch, callers_read, lingering, turn) = (None, None, None, None);
        let held_below = 0;
        Self { connection, batch, callers_read, lingering, fresh: true, gathering, held_below, turn }
    }

    /// Works until there is nothing to do. Ready, once, when the connection is over and the machine and the
    /// application have been told.
    pub fn poll<T: Timer>(&mut self, cx: &mut Context<'_>, timer: &mut Alarm<T>) -> Poll<Disconnect> {
        let connection = Arc::clone(&self.connection);
        let Some(mut guard) = connection.intake.try_lock() else { return self.beside_a_caller(cx, timer) };
        let Some(intake) = guard.as_mut() else { return Poll::Ready(Disconnect::LocalClose) };
        let worked = match connection.failed() {
            Some(cause) => Poll::Ready(cause),
            None if self.lingering.is_some() => self.linger(cx, timer, intake),
            None => self.work(cx, timer, intake),
        };
        let Poll::Ready(cause) = worked else { return Poll::Pending };
        let intake = guard.take();
        drop(guard);
        self.disconnect(intake, &cause);
        Poll::Ready(cause)
    }

    /// Ends the connection from outside. A caller that reads for itself stops soon, because its call ends.
    pub fn abort(&mut self, cause: &Disconnect) {
        let intake = self.connection.intake.lock().take();
        self.disconnect(intake, cause);
    }

    fn disconnect(&mut self, intake: Option<Intake<M, A>>, cause: &Disconnect) {
        if let Some(intake) = intake {
            self.end_turn();
            intake.disconnect(self.batch.take().map(|batch| *batch), cause);
        }
    }

    /// A caller reads for itself: only writes, and checks again when the caller may have finished.
    fn beside_a_caller<T: Timer>(&mut self, cx: &mut Context<'_>, timer: &mut Alarm<T>) -> Poll<Disconnect> {
        self.connection.shared.awake();
        let now = clock::now();
        self.leave_to_callers(now + CALLERS_READ);
        self.connection.shared.with(|machine| {
            if machine.is_due(now) {
                machine.handle_timeout(now);
            }
        });
        match self.write(cx, now, &mut 0) {
            // The caller that reads detects the end of the connection as well.
            Err(cause) => self.connection.fail(cause),
            Ok(Written::More) => cx.waker().wake_by_ref(),
            Ok(Written::Sleep(_)) => {}
        }
        self.note_held_below();
        if sleep(cx, timer, self.callers_read) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Leaves reading to callers until then.
    fn leave_to_callers(&mut self, until: Instant) {
        if self.callers_read.is_none() {
            self.connection.socket.watch_reads(false);
        }
        self.callers_read = Some(until);
    }

    /// Whether callers read for themselves, or did a moment ago.
    fn callers_read(&mut self, now: Instant) -> bool {
        let until = self.connection.callers_read_until();
        if until > now {
            self.leave_to_callers(until);
            return true;
        }
        if self.callers_read.take().is_some() {
            self.connection.socket.watch_reads(true);
        }
        false
    }

    fn work<T: Timer>(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Alarm<T>,
        intake: &mut Intake<M, A>,
    ) -> Poll<Disconnect> {
        let mut moved = 0;
        self.connection.shared.awake();
        if self.gathering.lets_others_first() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if std::mem::take(&mut self.fresh)
            && let Err(cause) = intake.filled(clock::now(), 0)
        {
            return Poll::Ready(cause);
        }
        for _ in 0..ROUNDS {
            if self.is_turn_over(moved) {
                break;
            }
            let now = clock::now();
            let (due, ending, paused, wants_pass, is_heavy) = self.connection.shared.with(|machine| {
                let due = machine.is_due(now);
                if due {
                    machine.handle_timeout(now);
                }
                (due, machine.poll_ending(now), machine.is_paused(), machine.wants_pass(), machine.is_heavy())
            });
            if due {
                // Usually this is the heartbeat of a quiet connection: its buffer can be freed.
                intake.release_memory();
            }
            match ending {
                None => {}
                Some(Ending::Graceful { wait, cause }) if self.batch.is_none() => {
                    if self.connection.socket.shutdown_write().is_err() {
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
            let resumes = (intake.is_paused() && !paused) || wants_pass;
            let may_read = self.may_read(cx, is_heavy && (resumes || !intake.is_paused()));
            if resumes && may_read {
                intake.resume();
                if let Err(cause) = intake.filled(now, 0) {
                    return Poll::Ready(cause);
                }
            }
            let read = if may_read { self.read(cx, now, intake, &mut moved) } else { Ok(false) };
            let read = match read {
                Ok(read) => read,
                Err(cause) => return Poll::Ready(cause),
            };
            if may_read {
                self.end_turn();
            }
            let written = self.write(cx, now, &mut moved);
            self.note_held_below();
            match written {
                Err(cause) => return Poll::Ready(cause),
                Ok(Written::More) => continue,
                Ok(Written::Sleep(_)) if read => continue,
                Ok(Written::Sleep(at)) => {
                    if let Poll::Ready(Err(error)) = self.connection.socket.poll_flush(cx) {
                        return Poll::Ready(disconnect(error));
                    }
                    if !sleep(cx, timer, at.into_iter().chain(self.callers_read).min()) {
                        return Poll::Pending;
                    }
                }
            }
        }
        // Lets other tasks run.
        self.gathering.waits();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the machine how much a layer over the socket holds, if that has changed. The machine may have to
    /// pause then, which wakes this task.
    #[inline]
    fn note_held_below(&mut self) {
        let held = self.connection.socket.held();
        let short = u32::try_from(held).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.held_below, short) != short {
            self.connection.shared.with(|machine| machine.note_held_below(held));
        }
    }

    /// Whether so many bytes were moved that other tasks get their turn.
    fn is_turn_over(&self, moved: usize) -> bool {
        moved >= MOVED || (moved >= MOVED_BESIDE_OTHERS && self.connection.socket.others_wait())
    }

    /// Whether it may read now: heavy input only after all ready tasks were served. The task is woken when it
    /// may.
    fn may_read(&mut self, cx: &mut Context<'_>, is_heavy: bool) -> bool {
        if !is_heavy {
            return true;
        }
        if self.turn.is_none() {
            self.turn = self.connection.shared.turn().map(Box::new);
        }
        self.turn.as_mut().is_none_or(|turn| turn.poll(cx).is_ready())
    }

    /// It has read, or has no reason to: others may.
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
        moved: &mut usize,
    ) -> Result<bool, Disconnect> {
        if intake.is_paused() || self.callers_read(now) {
            return Ok(false);
        }
        loop {
            let room = intake.spare();
            let len = room.len();
            match self.connection.socket.read_now(room) {
                Ok(0) => return Err(intake.end_of_stream()),
                Ok(n) => {
                    *moved += n;
                    intake.filled(now, n)?;
                    // A read that leaves room has emptied the socket: no second read is needed.
                    if n < len && !intake.is_paused() {
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

    /// Whether the socket has something to read; otherwise it will wake the task.
    fn is_readable(&self, cx: &mut Context<'_>, intake: &mut Intake<M, A>) -> Result<bool, Disconnect> {
        match self.connection.socket.poll_readable(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(disconnect(error)),
            Poll::Pending => {
                intake.nothing_now();
                Ok(false)
            }
        }
    }

    /// Writes until there is nothing to write or the socket takes no more. `moved` counts the bytes read and
    /// written since other tasks had their turn.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        moved: &mut usize,
    ) -> Result<Written, Disconnect> {
        loop {
            let mut batch = match self.batch.take() {
                Some(batch) => *batch,
                None => match self.connection.shared.begin_write_or_sleep(now, cx.waker()) {
                    Step::Write(batch) => batch,
                    Step::Again => return Ok(Written::More),
                    Step::Sleep(at) => return Ok(Written::Sleep(at)),
                },
            };
            let before = batch.written();
            match write_batch(&*self.connection, &mut batch) {
                Ok(true) => {
                    *moved += batch.written() - before;
                    let more = self.connection.shared.end_write(now, batch);
                    // Reading gets its turn even if writers never stop.
                    if more && self.is_turn_over(*moved) {
                        return Ok(Written::More);
                    }
                }
                Ok(false) => {
                    let written = batch.written();
                    *moved += written - before;
                    self.batch = Some(Box::new(batch));
                    if written > before {
                        self.connection.shared.with(|machine| machine.handle_progress(now, written));
                    }
                    match self.connection.socket.poll_writable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Err(disconnect(error)),
                        Poll::Pending => {
                            return Ok(match self.connection.shared.sleep_attendant(cx.waker()) {
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

    /// This side has finished and told the peer: waits for the peer's end of the stream. Meanwhile the
    /// machine's own deadlines continue (calls wait for the next connection), and the remaining time may
    /// become shorter.
    fn linger<T: Timer>(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Alarm<T>,
        intake: &mut Intake<M, A>,
    ) -> Poll<Disconnect> {
        let Some((mut deadline, cause)) = self.lingering.as_deref().cloned() else { return Poll::Pending };
        let now = clock::now();
        let ending = self.connection.shared.with(|machine| {
            if machine.is_due(now) {
                machine.handle_timeout(now);
            }
            machine.poll_ending(now)
        });
        if let Some(ending) = ending {
            deadline = deadline.min(now + ending.patience());
            self.lingering = Some(Box::new((deadline, cause.clone())));
        }
        if let Poll::Ready(Err(_)) = self.connection.socket.poll_flush(cx) {
            return Poll::Ready(cause);
        }
        let mut discarded = 0;
        loop {
            let room = intake.spare();
            match self.connection.socket.read_now(room) {
                Ok(0) => return Poll::Ready(cause),
                Ok(n) => {
                    discarded += n;
                    if discarded >= DISCARD {
                        // However much the peer continues to send.
                        if clock::now() >= deadline {
                            return Poll::Ready(cause);
                        }
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    match self.connection.socket.poll_readable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(cause),
                        Poll::Pending => break,
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(cause),
            }
        }
        self.note_held_below();
        if clock::now() >= deadline {
            return Poll::Ready(cause);
        }
        let is_due = match self.connection.shared.sleep_attendant(cx.waker()) {
            Step::Sleep(at) => sleep(cx, timer, at.into_iter().chain([deadline]).min()),
            _ => true,
        };
        if is_due {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

enum Written {
    /// Check everything again.
    More,
    /// Nothing to do until woken, or until this time.
    Sleep(Option<Instant>),
}

/// Sets the timer. `true`: the time has come already.
fn sleep<T: Timer>(cx: &mut Context<'_>, timer: &mut Alarm<T>, at: Option<Instant>) -> bool {
    at.is_some_and(|at| timer.poll(cx, at))
}

#[cfg(all(test, not(bowline_loom)))]
mod tests;
