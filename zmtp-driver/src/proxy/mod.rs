//! Proxies: each of two sockets sends what the other receives.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;

use bowline_driver::StartError;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket_type::SocketType;

mod flow;
#[cfg(test)]
mod model;
mod steer;
mod task;

pub use steer::{FlowStats, ProxyStats};

use crate::core::SocketCore;
use crate::kind::{Kind, Sends};
use crate::socket::Socket;
use flow::Flow;
use steer::Steer;
use task::Task;

/// Why a proxy could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Neither socket sends what the other receives.
    #[error("a proxy cannot connect a {0} with a {1}")]
    NoFlow(SocketType, SocketType),
    /// Sockets that send and receive in turn would block each other: use ROUTER and DEALER.
    #[error("a {0} sends and receives in turn: it cannot be an end of a proxy")]
    TakesTurns(SocketType),
    /// The task could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why a proxy ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProxyReason {
    /// [`stop`](Proxy::stop) was called, or its last handle was dropped.
    Stopped,
    /// The front socket is closed.
    FrontClosed,
    /// The back socket is closed.
    BackClosed,
    /// The runtime ended its task.
    RuntimeGone,
    /// It has not ended, and the calling thread runs connections: it must not wait.
    WouldPark,
}

/// The result of a proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ProxyEnd {
    /// The reason.
    pub reason: ProxyReason,
    /// Messages that one socket had received and the other had not accepted: at most one in each direction.
    /// The first caller gets them.
    pub unsent: Vec<Message>,
    /// The counters.
    pub stats: ProxyStats,
}

/// A running proxy, controlled from any task or thread. Clones control the same proxy; when the last one is
/// dropped it stops.
///
/// The back socket sends what the front socket receives, and the other way round, as far as their types
/// allow: ROUTER and DEALER, XSUB and XPUB, PULL and PUSH, or any pair of which one sends what the other
/// receives. Messages are passed on unchanged: parts of 16 KiB or more are not copied. Nothing is received
/// while the other socket has no room, so that back-pressure passes through. A ROUTER, SERVER, PEER or
/// publisher always counts as having room: messages that it refuses (for a peer that is gone or full) are
/// dropped and [counted](FlowStats::refused).
///
/// ```
/// # use bowline_driver::runtime::Runtime;
/// # async fn example<R: Runtime<Style = bowline_driver::style::Awaits>>() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline_zmtp_driver::{Proxy, Socket, kinds};
///
/// let (front, back) = (Socket::<R, kinds::Router>::new(), Socket::<R, kinds::Dealer>::new());
/// front.bind("tcp://127.0.0.1:5555")?;
/// back.bind("tcp://127.0.0.1:5556")?;
/// let proxy = Proxy::<R>::builder(&front, &back).start()?;
/// proxy.pause();
/// proxy.resume();
/// proxy.stop();
/// println!("{:?}", proxy.ended().await.stats);
/// # Ok(()) }
/// ```
pub struct Proxy<R: Runtime> {
    handle: Arc<Handle>,
    runtime: PhantomData<fn() -> R>,
}

/// Stops the proxy when the last handle is dropped.
struct Handle(Arc<Steer>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<R: Runtime> Clone for Proxy<R> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), runtime: PhantomData }
    }
}

impl<R: Runtime> std::fmt::Debug for Proxy<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<R: Runtime> Proxy<R> {
    /// A builder for a proxy between two sockets, which may be on other runtimes. It keeps them open while it
    /// runs.
    pub fn builder<F: Runtime, FK: Kind, B: Runtime, BK: Kind>(
        front: &Socket<F, FK>,
        back: &Socket<B, BK>,
    ) -> ProxyBuilder<R> {
        ProxyBuilder {
            front: End::of(front),
            back: End::of(back),
            capture: None,
            paused: false,
            runtime: PhantomData,
        }
    }

    /// Stops receiving until [`resume`](Self::resume). Messages that were received are still passed on.
    pub fn pause(&self) {
        self.handle.0.set_paused(true);
    }

    /// Continues after a [pause](Self::pause).
    pub fn resume(&self) {
        self.handle.0.set_paused(false);
    }

    /// Ends the proxy. The sockets stay open if they have other handles.
    pub fn stop(&self) {
        self.handle.0.stop();
    }

    /// The counters of the proxy.
    #[must_use]
    pub fn stats(&self) -> ProxyStats {
        self.handle.0.stats()
    }

    /// Waits until the proxy has ended: when it is stopped, or when either socket is closed. Messages that a
    /// closed socket had received are passed on first, as far as the other one accepts them at once.
    ///
    /// On a thread that runs connections it does not wait: it returns [`ProxyReason::WouldPark`] if the proxy
    /// has not ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn ended(&self) -> Wait<R, impl Future<Output = ProxyEnd> + Send + use<R>> {
        let (steer, at_once) = (Arc::clone(&self.handle.0), Arc::clone(&self.handle.0));
        let ended = async move { poll_fn(|cx| steer.poll_ended(cx)).await };
        R::Style::wait(ended, move || {
            let stats = at_once.stats();
            let running = ProxyEnd { reason: ProxyReason::WouldPark, unsent: Vec::new(), stats };
            at_once.take_ended().unwrap_or(running)
        })
    }
}

/// A socket on one side of a proxy.
struct End {
    core: Arc<SocketCore>,
    kind: SocketType,
    /// Keeps it open.
    keep: Arc<dyn Any + Send + Sync>,
}

impl End {
    fn of<R: Runtime, K: Kind>(socket: &Socket<R, K>) -> Self {
        Self {
            core: Arc::clone(&socket.handle.core),
            kind: K::TYPE,
            keep: Arc::clone(&socket.handle) as Arc<dyn Any + Send + Sync>,
        }
    }
}

/// Makes a [`Proxy`].
#[must_use = "it is not started"]
pub struct ProxyBuilder<R: Runtime> {
    front: End,
    back: End,
    capture: Option<End>,
    paused: bool,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for ProxyBuilder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBuilder")
            .field("front", &self.front.kind)
            .field("back", &self.back.kind)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> ProxyBuilder<R> {
    /// Copies each message that is passed on to a third socket, such as a PUB, PUSH or PAIR. It never slows
    /// the proxy down: copies that it cannot accept are [counted](ProxyStats::capture_lost).
    pub fn capture<C: Runtime, K: Sends>(mut self, socket: &Socket<C, K>) -> Self {
        self.capture = Some(End::of(socket));
        self
    }

    /// Starts the proxy [paused](Proxy::pause).
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Starts the proxy as a task; on threads, as one of the I/O group.
    ///
    /// # Errors
    /// The types do not fit, or the task could not be started.
    pub fn start(self) -> Result<Proxy<R>, ProxyError> {
        let Self { front, back, capture, paused, .. } = self;
        for end in [&front, &back] {
            if matches!(end.kind, SocketType::Req | SocketType::Rep) {
                return Err(ProxyError::TakesTurns(end.kind));
            }
        }
        let flow = |from: &End, to: &End| {
            let goes = from.kind.receives() && to.kind.sends();
            goes.then(|| Flow::new(Arc::clone(&from.core), Arc::clone(&to.core)))
        };
        let flows = [flow(&front, &back), flow(&back, &front)];
        if flows.iter().all(Option::is_none) {
            return Err(ProxyError::NoFlow(front.kind, back.kind));
        }
        let steer = Arc::new(Steer::new(paused));
        let capture = capture.map(|end| (end.core, end.keep));
        let keep = [front.keep, back.keep];
        let place = front.core.place();
        let task = Task::<R>::new(Arc::clone(&steer), [front.core, back.core], flows, capture, keep);
        place.within(|| R::spawn(task))?;
        Ok(Proxy { handle: Arc::new(Handle(steer)), runtime: PhantomData })
    }
}
