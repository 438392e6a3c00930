//! The cluster's requests to one connection, for the task that drives it.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bowline_core::error::{CallError, Disconnect};
use bowline_core::link::{CallOptions, Reply};
use bowline_driver::sync::{Arc, Mutex};
use bowline_forestbus::cluster::CallId;
use bowline_forestbus::protocol::Request;
use bowline_forestbus::wire::{CborRpc, Codec, Method};
use bowline_links::PeerCore;

/// The cluster handles the deadlines of its calls: the link's is far away.
const FAR: Duration = Duration::from_secs(30 * 86_400);

/// The desk of one connection: threads that perform outputs add calls, the connection's task takes them.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Set before the connection is reported.
    peer: OnceLock<PeerCore<CborRpc>>,
    tray: Mutex<Tray>,
}

#[derive(Debug, Default)]
struct Tray {
    new: Vec<InFlight>,
    forgotten: Vec<CallId>,
    /// Calls that were woken.
    ready: Vec<CallId>,
    closed: bool,
    waker: Option<Waker>,
}

/// The contents of a desk.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) new: Vec<InFlight>,
    pub(crate) forgotten: Vec<CallId>,
    pub(crate) ready: Vec<CallId>,
    pub(crate) closed: bool,
}

impl Desk {
    pub(crate) fn set_peer(&self, peer: PeerCore<CborRpc>) {
        // Set once: there is one link for each desk.
        let _ = self.peer.set(peer);
    }

    /// Makes a call. Its request is queued, and written if nothing else is in flight, before this returns. If
    /// the link's queue is full, the connection's task does it.
    ///
    /// # Errors
    /// The request cannot be encoded.
    pub(crate) fn call(&self, codec: &Codec, call: CallId, request: &Request) -> Result<(), Disconnect> {
        let Some(peer) = self.peer.get() else { return Err(Disconnect::NotConnected) };
        let mut body = Vec::new();
        codec.write_request(request, &mut body).map_err(Disconnect::foreign)?;
        let method = request.method();
        // The cluster decides where a call goes that was not sent: not to the next connection.
        let options = CallOptions::new(method.number()).timeout(FAR).fail_fast(true);
        let mut starting = peer.start_call(options, body);
        let state = match Pin::new(&mut starting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(pending)) => CallState::Pending(pending),
            Poll::Ready(Err(error)) => CallState::Failed(Some(error)),
            Poll::Pending => CallState::Starting(starting),
        };
        self.put(|tray| tray.new.push(InFlight { call, method, state }));
        Ok(())
    }

    /// A call is no longer waited for.
    pub(crate) fn forget(&self, call: CallId) {
        self.put(|tray| tray.forgotten.push(call));
    }

    /// The connection must be closed, or not be made.
    pub(crate) fn close(&self) {
        self.put(|tray| tray.closed = true);
    }

    fn put(&self, f: impl FnOnce(&mut Tray)) {
        let mut tray = self.tray.lock();
        f(&mut tray);
        let waker = tray.waker.take();
        drop(tray);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the contents; `waker` is woken when there is more.
    pub(crate) fn take(&self, waker: &Waker) -> Taken {
        let mut tray = self.tray.lock();
        tray.waker = Some(waker.clone());
        let Tray { new, forgotten, ready, closed, .. } = &mut *tray;
        Taken {
            new: std::mem::take(new),
            forgotten: std::mem::take(forgotten),
            ready: std::mem::take(ready),
            closed: *closed,
        }
    }

    /// The waker of a call: it records which call has to be polled.
    pub(crate) fn waker_of(self: &Arc<Self>, call: CallId) -> Waker {
        Arc::new(CallWaker { desk: Arc::clone(self), call }).into()
    }
}

struct CallWaker {
    desk: Arc<Desk>,
    call: CallId,
}

impl Wake for CallWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.desk.put(|tray| tray.ready.push(self.call));
    }
}

/// A call that was made and has not ended.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) call: CallId,
    pub(crate) method: Method,
    state: CallState,
}

#[derive(Debug)]
enum CallState {
    /// There is no room for it yet.
    Starting(bowline_links::Starting<'static, CborRpc>),
    Pending(bowline_links::PendingCall<CborRpc>),
    Failed(Option<CallError>),
}

impl InFlight {
    /// The reply, if it has arrived.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, CallError>> {
        loop {
            match &mut self.state {
                CallState::Starting(starting) => match Pin::new(starting).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(pending)) => self.state = CallState::Pending(pending),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
                CallState::Pending(pending) => return Pin::new(pending).poll(cx),
                CallState::Failed(error) => {
                    return Poll::Ready(Err(error.take().unwrap_or(CallError::Closed)));
                }
            }
        }
    }
}
