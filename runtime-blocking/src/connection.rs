//! One connection on two threads: one reads and keeps the time, one writes.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Machine};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_driver::app::Application;
use bowline_driver::error::{disconnect, no_thread};
use bowline_driver::pump::Intake;
use bowline_driver::shared::{MAX_SLICES, Step, WriteNow};
use bowline_driver::sync::Mutex;
use bowline_driver::{Shared, clock};

use crate::park::{Bell, ThreadWaker};
use crate::socket::Socket;

/// For so long after a caller read for itself, the reading thread leaves the socket to callers.
const CALLERS_READ: Duration = Duration::from_millis(1);
/// How long a caller reads for itself before it leaves that to the thread that is there for it.
const CALLER_PATIENCE: Duration = Duration::from_millis(2);
/// Passes over received bytes before timeouts are looked at again.
const PASSES: u32 = 32;
/// A write that cannot go on comes back so often to say so: whoever keeps the time may have gone to
/// sleep before that write began.
const WRITE_SLICE: Duration = Duration::from_millis(100);

/// What the threads of a connection share.
pub(crate) struct Wire<M: Machine<Token = Waker>, A: Application<M>> {
    shared: Arc<Shared<M>>,
    socket: Socket,
    /// Holding it is the right to read. Gone once the connection is over.
    intake: Mutex<Option<Intake<M, A>>>,
    /// The machine takes no input for now.
    paused: AtomicBool,
    /// When a caller read last, in nanoseconds of the clock.
    caller_read: AtomicU64,
    /// Why the connection is over, from whoever saw it first.
    failed: Mutex<Option<Disconnect>>,
    /// What the writing thread had in hand when it ended.
    leftover: Mutex<Option<Batch>>,
    over: AtomicBool,
    keeper: Waker,
}

impl<M: Machine<Token = Waker>, A: Application<M>> WriteNow for Wire<M, A> {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_now(slices)
    }
}

/// Reads for a caller on the caller's own thread.
pub(crate) trait HelpRead: Send + Sync {
    /// Reads until the caller is notified, or its patience is over.
    fn read_for(&self, caller: &ThreadWaker);
}

impl<M: Machine<Token = Waker>, A: Application<M>> HelpRead for Wire<M, A> {
    fn read_for(&self, caller: &ThreadWaker) {
        let Some(mut guard) = self.intake.try_lock() else { return };
        let until = clock::now() + CALLER_PATIENCE;
        let mut ended = false;
        while !caller.is_notified() && !self.paused.load(Ordering::Acquire) {
            let Some(intake) = guard.as_mut() else { return };
            match self.read_once(intake) {
                Ok(Read::Some) => {}
                Ok(Read::Nothing) => {
                    let now = clock::now();
                    self.caller_read.store(now.as_nanos(), Ordering::Release);
                    if now >= until || !self.socket.wait_readable(until.saturating_since(now)) {
                        break;
                    }
                }
                Err(cause) => {
                    self.fail(cause);
                    ended = true;
                    break;
                }
            }
        }
        drop(guard);
        let served = caller.is_notified();
        let now = if served && !ended { clock::now() } else { Instant::ZERO };
        self.caller_read.store(now.as_nanos(), Ordering::Release);
        if !served || ended {
            // The reading thread goes on.
            self.keeper.wake_by_ref();
        }
    }
}

enum Read {
    Some,
    Nothing,
}

impl<M: Machine<Token = Waker>, A: Application<M>> Wire<M, A> {
    fn read_once(&self, intake: &mut Intake<M, A>) -> Result<Read, Disconnect> {
        match self.socket.read_now(intake.spare()) {
            Ok(0) => Err(intake.end_of_stream()),
            Ok(n) => {
                self.take_input(intake, n)?;
                Ok(Read::Some)
            }
            Err(error) if is_for_now(&error) => Ok(Read::Nothing),
            Err(error) => Err(disconnect(error)),
        }
    }

    fn take_input(&self, intake: &mut Intake<M, A>, n: usize) -> Result<(), Disconnect> {
        let all = intake.filled(clock::now(), n)?;
        self.paused.store(!all, Ordering::Release);
        self.shared.write_inline();
        Ok(())
    }

    /// Notes why the connection is over, and wakes whoever is in the middle of a system call.
    fn fail(&self, cause: Disconnect) {
        self.failed.lock().get_or_insert(cause);
        let _ = self.socket.shutdown(Shutdown::Both);
        self.keeper.wake_by_ref();
    }

    /// The writing thread.
    fn write_loop(&self) {
        let waker = ThreadWaker::current();
        let as_waker = Waker::from(Arc::clone(&waker));
        while !self.over.load(Ordering::Acquire) {
            waker.take();
            let Poll::Ready(mut batch) = self.shared.poll_write(clock::now(), &as_waker) else {
                // Whoever ends the connection may have come before this thread had registered, and
                // unparks it by hand.
                while !waker.is_notified() && !self.over.load(Ordering::Acquire) {
                    std::thread::park();
                }
                continue;
            };
            while !batch.is_done() {
                match self.write_some(&mut batch) {
                    Ok(()) => {}
                    Err(error) => {
                        *self.leftover.lock() = Some(batch);
                        self.fail(disconnect(error));
                        return;
                    }
                }
                if self.over.load(Ordering::Acquire) && !batch.is_done() {
                    *self.leftover.lock() = Some(batch);
                    return;
                }
            }
            let _more = self.shared.with(|machine| machine.end_write(clock::now(), batch));
        }
    }

    /// Writes some of the batch; waits for at most [`WRITE_SLICE`] (the socket's timeout).
    fn write_some(&self, batch: &mut Batch) -> io::Result<()> {
        let mut slices = [&[][..]; MAX_SLICES];
        let filled = batch.slices(&mut slices);
        let io_slices = slices.map(IoSlice::new);
        let wrote = match self.socket.write_vectored(&io_slices[..filled], WRITE_SLICE) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(error) if is_for_now(&error) => {
                self.keeper.wake_by_ref();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        batch.wrote(wrote);
        if !batch.is_done() {
            let written = batch.written();
            self.shared.with(|machine| machine.handle_progress(clock::now(), written));
        }
        Ok(())
    }
}

pub(crate) fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// A connection, as the thread that reads it and keeps its time sees it.
pub struct Connection<M: Machine<Token = Waker>, A: Application<M>> {
    wire: Arc<Wire<M, A>>,
    writer: Option<JoinHandle<()>>,
    fresh: bool,
    /// The handshake was seen to be done.
    ready: bool,
}

impl<M: Machine<Token = Waker>, A: Application<M>> std::fmt::Debug for Connection<M, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("socket", &self.wire.socket).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>> Connection<M, A> {
    /// A connection over `socket`, of which `buf` has what was read already; `bell` wakes the calling thread.
    pub(crate) fn new(
        shared: &Arc<Shared<M>>,
        app: &Arc<A>,
        socket: Socket,
        epoch: Epoch,
        buf: RecvBuf,
        bell: &Bell,
    ) -> io::Result<Self> {
        socket.set_write_timeout(WRITE_SLICE)?;
        let ends = [socket.peer_addr().ok(), socket.local_addr().ok()];
        let wire = Arc::new(Wire {
            shared: Arc::clone(shared),
            socket,
            intake: Mutex::new(Some(Intake::connect(shared, app, epoch, ends, buf))),
            paused: AtomicBool::new(false),
            caller_read: AtomicU64::new(0),
            failed: Mutex::new(None),
            leftover: Mutex::new(None),
            over: AtomicBool::new(false),
            keeper: bell.waker(),
        });
        let writing = Arc::clone(&wire);
        let writer = std::thread::Builder::new()
            .name("bowline-write".into())
            .spawn(move || writing.write_loop())
            .map_err(|error| {
                let error = Arc::new(error);
                if let Some(intake) = wire.intake.lock().take() {
                    intake.disconnect(None, &disconnect(no_thread(Arc::clone(&error))));
                }
                no_thread(error)
            })?;
        shared.set_socket(Some(Arc::clone(&wire) as _));
        Ok(Self { wire, writer: Some(writer), fresh: true, ready: false })
    }

    /// What callers read through.
    pub(crate) fn helper(&self) -> Arc<dyn HelpRead> {
        Arc::clone(&self.wire) as _
    }

    /// Works until the bell rings, something is due, or `until`. `Some` when the connection is
    /// over; the machine and the application know it then.
    pub(crate) fn turn(&mut self, bell: &Bell, until: Option<Instant>) -> Option<Disconnect> {
        match self.work(bell, until) {
            Ok(()) => None,
            Err(cause) => {
                self.end(&cause);
                Some(cause)
            }
        }
    }

    fn work(&mut self, bell: &Bell, until: Option<Instant>) -> Result<(), Disconnect> {
        let wire = Arc::clone(&self.wire);
        if let Some(cause) = wire.failed.lock().take() {
            return Err(cause);
        }
        let now = clock::now();
        let (due, ending, paused, wants_pass) = wire.shared.with(|machine| {
            let due = machine.poll_timeout().is_some_and(|(at, _)| at <= now);
            if due {
                machine.handle_timeout(now);
            }
            (due, machine.poll_ending(now), machine.is_paused(), machine.wants_pass())
        });
        if due
            && let Some(mut intake) = wire.intake.try_lock()
            && let Some(intake) = intake.as_mut()
        {
            // Mostly it is the heartbeat of a quiet connection: its buffer can go.
            intake.release_memory();
        }
        match ending {
            None => {}
            Some(Ending::Graceful { wait, cause }) => {
                self.linger(wait);
                return Err(cause);
            }
            Some(Ending::Abort(cause)) => return Err(cause),
            Some(_) => return Err(Disconnect::LocalClose),
        }
        let readable = self.read(paused, wants_pass)?;
        if !self.ready && wire.shared.with(|machine| machine.is_ready()) {
            // Whoever waits for that learns it before this thread sleeps.
            self.ready = true;
            return Ok(());
        }
        let Step::Sleep(at) = wire.shared.sleep_attendant(&bell.waker()) else { return Ok(()) };
        if readable == Readable::More {
            return Ok(());
        }
        let mut at = at.into_iter().chain(until).min();
        let callers = Instant::from_nanos(wire.caller_read.load(Ordering::Acquire)) + CALLERS_READ;
        let mut read = true;
        if readable == Readable::Callers {
            at = Some(at.map_or(callers, |at| at.min(callers)));
            read = false;
        } else if wire.paused.load(Ordering::Acquire) {
            read = false;
        }
        let now = clock::now();
        let timeout = at.map(|at| at.saturating_since(now));
        wire.socket.wait_with(bell, read, timeout).map_err(disconnect)
    }

    /// Reads what is there, unless callers read for themselves.
    fn read(&mut self, paused: bool, wants_pass: bool) -> Result<Readable, Disconnect> {
        let wire = &self.wire;
        let callers = Instant::from_nanos(wire.caller_read.load(Ordering::Acquire)) + CALLERS_READ;
        if !self.fresh && clock::now() < callers {
            return Ok(Readable::Callers);
        }
        let Some(mut guard) = wire.intake.try_lock() else { return Ok(Readable::Callers) };
        let Some(intake) = guard.as_mut() else { return Ok(Readable::Nothing) };
        let resumes = wants_pass || (wire.paused.load(Ordering::Acquire) && !paused);
        if std::mem::take(&mut self.fresh) || resumes {
            wire.take_input(intake, 0)?;
        }
        for _ in 0..PASSES {
            if wire.paused.load(Ordering::Acquire) {
                return Ok(Readable::Nothing);
            }
            if let Read::Nothing = wire.read_once(intake)? {
                intake.nothing_now();
                return Ok(Readable::Nothing);
            }
        }
        Ok(Readable::More)
    }

    /// Our side is done: says so and waits for the peer's end of the stream.
    fn linger(&mut self, wait: Duration) {
        let socket = &self.wire.socket;
        let deadline = clock::now() + wait;
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut scratch = [0; 4096];
        loop {
            let left = deadline.saturating_since(clock::now());
            if left.is_zero() || !socket.wait_readable(left) {
                return;
            }
            match socket.read_now(&mut scratch) {
                Ok(1..) => {}
                Err(error) if is_for_now(&error) => {}
                _ => return,
            }
        }
    }

    /// Ends the connection.
    pub(crate) fn end(&mut self, cause: &Disconnect) {
        let wire = &self.wire;
        wire.over.store(true, Ordering::Release);
        let _ = wire.socket.shutdown(Shutdown::Both);
        wire.shared.wake_writer();
        if let Some(writer) = self.writer.take() {
            writer.thread().unpark();
            let _ = writer.join();
        }
        let lent = wire.leftover.lock().take();
        // A caller that reads lets go soon: its socket is shut down.
        if let Some(intake) = wire.intake.lock().take() {
            intake.disconnect(lent, cause);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readable {
    /// There may be more.
    More,
    /// Nothing now.
    Nothing,
    /// Callers read for themselves just now.
    Callers,
}
