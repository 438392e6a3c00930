//! A connection, as its driver and the callers of its machine share it.

use std::io::{self, IoSlice};
use std::task::Waker;
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::layer::Secured;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;

use crate::app::Application;
use crate::error::disconnect;
use crate::intake::Intake;
use crate::runtime::Socket;
use crate::shared::{Connected, WriteNow};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::{Shared, clock};

/// How long a caller reads for itself before it leaves reading to the driver.
const PATIENCE: Duration = Duration::from_millis(2);
/// After a caller has read its reply, the driver leaves reading to callers for this time.
pub(crate) const CALLERS_READ: Duration = Duration::from_millis(1);

/// The socket, and the right to read from it.
pub(crate) struct Connection<M: Machine<Token = Waker>, A: Application<M>, S> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) socket: S,
    /// Its lock is the right to read. Empty once the connection is over.
    pub(crate) intake: Mutex<Option<Intake<M, A>>>,
    /// Until when the driver leaves reading to callers, in nanoseconds of the clock.
    callers_read: AtomicU64,
    /// Why the connection is over, if a caller detected it.
    failed: Mutex<Option<Box<Disconnect>>>,
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Connection<M, A, S> {
    pub(crate) fn new(shared: &Arc<Shared<M>>, socket: S, intake: Intake<M, A>) -> Self {
        let (shared, intake) = (Arc::clone(shared), Mutex::new(Some(intake)));
        Self { shared, socket, intake, callers_read: AtomicU64::new(0), failed: Mutex::default() }
    }

    /// Why the connection is over, if a caller detected it.
    pub(crate) fn failed(&self) -> Option<Disconnect> {
        if self.socket.callers_read() { self.failed.lock().as_deref().cloned() } else { None }
    }

    /// The connection is over: the driver ends it.
    pub(crate) fn fail(&self, cause: Disconnect) {
        self.failed.lock().get_or_insert_with(|| Box::new(cause));
    }

    /// Until when reading is left to callers.
    pub(crate) fn callers_read_until(&self) -> Instant {
        Instant::from_nanos(self.callers_read.load(Ordering::Acquire))
    }

    /// Reads once, and handles what was received.
    fn read(&self, intake: &mut Intake<M, A>) -> Result<(), Disconnect> {
        match self.socket.read_now(intake.spare()) {
            Ok(0) => Err(intake.end_of_stream()),
            Ok(n) => {
                intake.filled(clock::now(), n)?;
                self.shared.write_inline();
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) => Err(disconnect(error)),
        }
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> WriteNow for Connection<M, A, S> {
    #[inline]
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_now(slices)
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, S: Socket> Connected for Connection<M, A, S> {
    fn secured(&self) -> Option<Arc<Secured>> {
        self.socket.secured()
    }

    fn writes_apart(&self) -> bool {
        self.socket.writes_apart()
    }

    fn read_for(&self, served: &dyn Fn() -> bool) {
        if !self.socket.callers_read() {
            return;
        }
        let Some(mut guard) = self.intake.try_lock() else { return };
        let until = clock::now() + PATIENCE;
        let (mut left, mut failed) = (PATIENCE, false);
        while !served() {
            let Some(intake) = guard.as_mut().filter(|intake| !intake.is_paused()) else { break };
            // The reply is not expected yet: the request was sent just now.
            if !self.socket.wait_readable(left) {
                break;
            }
            if let Err(cause) = self.read(intake) {
                self.fail(cause);
                failed = true;
                break;
            }
            left = until.saturating_since(clock::now());
            if left.is_zero() {
                break;
            }
        }
        drop(guard);
        if served() && !failed {
            let until = clock::now() + CALLERS_READ;
            self.callers_read.store(until.as_nanos(), Ordering::Release);
        } else {
            // The driver takes over.
            self.callers_read.store(0, Ordering::Release);
            self.shared.wake_attendant();
        }
    }
}
