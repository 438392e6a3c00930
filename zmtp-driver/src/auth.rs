//! Asks the program about peers: at once, or in a separate task.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_driver::sync::{Arc, Mutex};
use bowline_driver::workers::Workers;
use bowline_zmtp::mechanism::Decision;
use bowline_zmtp::pipe::AuthRequest;
use bowline_zmtp::socket::PipeId;

use crate::core::SocketCore;
use crate::lifetime::Running;

/// RFC 27: an error of the server.
const FAILED: Decision = Decision::Refuse { status: 500 };
/// RFC 27: try again later.
const BUSY: Decision = Decision::Refuse { status: 300 };

/// Decides about a peer at once.
type Decide = Box<dyn Fn(&AuthRequest) -> Decision + Send + Sync>;
/// Decides about a peer asynchronously.
type DecideLater = Box<dyn Fn(AuthRequest) -> Pin<Box<dyn Future<Output = Decision> + Send>> + Send + Sync>;

/// Decides which peers are let in.
pub(crate) enum Authenticator {
    /// Called where the connection is read.
    Now(Decide),
    Later(Later),
}

/// Decides in tasks.
pub(crate) struct Later {
    decide: DecideLater,
    workers: Arc<dyn Workers>,
    /// The maximum number of pending decisions.
    most: usize,
    state: Mutex<Deciding>,
}

#[derive(Default)]
struct Deciding {
    /// The pending decisions.
    pending: BTreeMap<PipeId, Arc<Mutex<Awaited>>>,
    /// The number of tasks, including those whose peer has gone.
    tasks: usize,
}

/// Whether a decision is still needed.
#[derive(Default)]
struct Awaited {
    is_over: bool,
    waker: Option<Waker>,
}

impl Later {
    pub(crate) fn new(decide: DecideLater, workers: Arc<dyn Workers>) -> Self {
        Self { decide, workers, most: 0, state: Mutex::new(Deciding::default()) }
    }

    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Reserves a place for one more task, if there is one.
    fn begin(&self, id: PipeId) -> Option<Arc<Mutex<Awaited>>> {
        let mut state = self.state.lock();
        if state.tasks >= self.most {
            return None;
        }
        state.tasks += 1;
        let awaited = Arc::default();
        state.pending.insert(id, Arc::clone(&awaited));
        Some(awaited)
    }

    /// A task is over.
    fn end(&self, id: PipeId, awaited: &Arc<Mutex<Awaited>>) {
        let mut state = self.state.lock();
        state.tasks -= 1;
        if state.pending.get(&id).is_some_and(|pending| Arc::ptr_eq(pending, awaited)) {
            state.pending.remove(&id);
        }
    }

    /// The connection of the pending decision has ended.
    fn forget(&self, id: PipeId) {
        let awaited = self.state.lock().pending.remove(&id);
        if let Some(awaited) = awaited {
            let mut awaited = awaited.lock();
            awaited.is_over = true;
            let waker = awaited.waker.take();
            drop(awaited);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl SocketCore {
    /// Asks the program, without a lock. A panic of its function counts as a refusal.
    pub(crate) fn authenticate(self: &Arc<Self>, id: PipeId, request: AuthRequest) {
        let connection = request.connection;
        let decision = match &self.authenticator {
            None => FAILED,
            Some(Authenticator::Now(decide)) => {
                catch_unwind(AssertUnwindSafe(|| decide(&request))).unwrap_or(FAILED)
            }
            Some(Authenticator::Later(later)) => match later.begin(id) {
                None => BUSY,
                Some(awaited) => {
                    let core = Running::new(self);
                    let task = Asking {
                        core,
                        id,
                        connection,
                        request: Some(request),
                        future: None,
                        awaited,
                        is_told: false,
                    };
                    // A task that cannot be run is dropped, which refuses the peer.
                    let _ = self.place().within(|| later.workers.spawn(id.number(), Box::pin(task)));
                    return;
                }
            },
        };
        self.decide(id, connection, decision);
    }

    /// The connection of a pipe has ended: no decision about it is needed any more.
    pub(crate) fn forget_decision(&self, id: PipeId) {
        if let Some(Authenticator::Later(later)) = &self.authenticator {
            later.forget(id);
        }
    }
}

/// The task that decides about one peer. It ends with its connection, which is when the time for the
/// handshake is over at the latest.
struct Asking {
    core: Running,
    id: PipeId,
    connection: u64,
    request: Option<AuthRequest>,
    future: Option<Pin<Box<dyn Future<Output = Decision> + Send>>>,
    awaited: Arc<Mutex<Awaited>>,
    is_told: bool,
}

impl Asking {
    fn later(&self) -> Option<&Later> {
        match &self.core.authenticator {
            Some(Authenticator::Later(later)) => Some(later),
            _ => None,
        }
    }

    fn tell(&mut self, decision: Decision) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.core.decide(self.id, self.connection, decision);
        }
    }

    fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<Decision> {
        if let (Some(request), Some(later)) = (self.request.take(), self.later()) {
            self.future = Some((later.decide)(request));
        }
        match &mut self.future {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Ready(FAILED),
        }
    }
}

impl Future for Asking {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        {
            let mut awaited = this.awaited.lock();
            if awaited.is_over {
                // There is no peer to be told.
                this.is_told = true;
                return Poll::Ready(());
            }
            awaited.waker = Some(cx.waker().clone());
        }
        match catch_unwind(AssertUnwindSafe(|| this.poll_decision(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(decision)) => this.tell(decision),
            Err(_) => this.tell(FAILED),
        }
        Poll::Ready(())
    }
}

impl Drop for Asking {
    /// However the task ends, the peer gets a decision.
    fn drop(&mut self) {
        self.tell(FAILED);
        let future = self.future.take();
        // A panic in the destructor of the program's future is ignored.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        if let Some(later) = self.later() {
            later.end(self.id, &self.awaited);
        }
    }
}
