//! Steps on a connected socket before its machine gets it: proxies, then the layer, then the preamble.
//!
//! Used by tasks and by the threads of owners: it waits as an [`OwnerSocket`] does.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::layer::DialLayer;
use bowline_core::preamble::{Opening, Preamble};
use bowline_core::proxy::Proxy;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::step::{Interrupted, Step, Steps};
use bowline_core::supervisor::{Endpoint, Epoch};
use bowline_core::time::Instant;

use crate::clock;
use crate::error::disconnect;
use crate::layered::Layered;
use crate::owner::{OwnerSocket, Until};
use crate::stream::Target;
use crate::sync::Arc;

/// Reads and writes before other tasks get their turn.
const ROUNDS: usize = 32;

/// A time limit: its end, and its length.
#[derive(Clone, Copy, Debug)]
struct Limit {
    until: Instant,
    after: Duration,
}

impl Limit {
    fn from_now(after: Duration) -> Self {
        Self { until: clock::after(after), after }
    }
}

/// The steps on a connection before its machine gets it.
#[derive(Clone, Default)]
pub struct Openings {
    /// The proxies that have to connect further, and the target.
    proxy: Option<(Proxy, Endpoint)>,
    /// The layer of a connection through proxies.
    layer: Option<Arc<dyn DialLayer>>,
    /// The preamble of the connection.
    preamble: Option<Preamble>,
}

impl std::fmt::Debug for Openings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { proxy, layer, preamble } = self;
        let mut shown = f.debug_struct("Openings");
        shown.field("proxy", proxy).field("has_layer", &layer.is_some()).field("preamble", preamble).finish()
    }
}

impl Openings {
    /// The steps for a connection to `target`.
    #[must_use]
    pub fn new(proxy: Option<&Proxy>, preamble: Option<&Preamble>, target: Option<&Endpoint>) -> Self {
        let proxy = proxy.zip(target).filter(|(proxy, target)| proxy.entrance(target).is_some());
        Self {
            proxy: proxy.map(|(proxy, target)| (proxy.clone(), target.clone())),
            layer: None,
            preamble: preamble.cloned(),
        }
    }

    /// Sets the layer of a connection through proxies, which is added once they have connected further.
    /// Without proxies, the dialing code adds the layer: its handshake is then a part of the dial, and its
    /// failure one of the address.
    #[must_use]
    pub fn securing(mut self, layer: Option<Arc<dyn DialLayer>>) -> Self {
        self.layer = layer.filter(|_| self.proxy.is_some());
        self
    }

    /// Whether there are no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxy.is_none() && self.preamble.is_none()
    }

    /// Runs the steps over a connected socket: first the proxies, then the layer's handshake, then the
    /// preamble. Returns the bytes that were read and belong to the machine. `limit` bounds all steps
    /// together, unless the caller has another time limit.
    ///
    /// # Errors
    /// The socket failed; or a proxy or the peer refused, broke its protocol, or took too long.
    ///
    /// # Cancel safety
    /// Not cancel safe: the connection cannot be used if the future was dropped.
    pub async fn run<S: OwnerSocket>(
        &self,
        socket: &mut Layered<S>,
        target: Option<&Target>,
        epoch: Epoch,
        limit: Option<Duration>,
    ) -> Result<RecvBuf, Disconnect> {
        let overall = limit.map(Limit::from_now);
        let mut buf = self.through_proxies(socket, overall).await?;
        if let (Some(layer), Some((_, endpoint))) = (&self.layer, &self.proxy) {
            let layer = layer.dial(endpoint).map_err(|error| disconnect(io::Error::other(error)))?;
            // Bytes after the proxies' answers belong to the layer.
            socket.put_over(layer, buf.unread());
            buf = RecvBuf::new();
            let until = overall.map_or(Instant::FAR_FUTURE, |limit| limit.until);
            socket.secure(until).await.map_err(disconnect)?;
        }
        self.begin(socket, buf, (target, epoch), overall).await
    }

    /// Runs the proxy steps on the raw bytes of the socket.
    async fn through_proxies<S: OwnerSocket>(
        &self,
        socket: &mut S,
        overall: Option<Limit>,
    ) -> Result<RecvBuf, Disconnect> {
        let Some((proxy, endpoint)) = &self.proxy else { return Ok(RecvBuf::new()) };
        let mut steps = Steps::new(proxy.steps(endpoint), RecvBuf::new());
        let own = proxy.limit().map(Limit::from_now);
        let failure = match run_steps(socket, &mut steps, own, overall).await {
            Ok(()) => return Ok(steps.into_rest()),
            Err(failure) => failure,
        };
        Err(match (failure, steps.current()) {
            (Failure::Connection(cause), _) => cause,
            (Failure::Step(fault), Some(step)) => Disconnect::Proxy(Box::new(step.failed(fault))),
            (Failure::Step(fault), None) => Disconnect::foreign(fault),
        })
    }

    /// Runs the preamble on the connection's bytes; `buf` contains those that were read already.
    async fn begin<S: OwnerSocket>(
        &self,
        socket: &mut S,
        buf: RecvBuf,
        (target, epoch): (Option<&Target>, Epoch),
        overall: Option<Limit>,
    ) -> Result<RecvBuf, Disconnect> {
        let Some(preamble) = &self.preamble else { return Ok(buf) };
        let (endpoint, address) = target.map(|target| (&target.endpoint, &target.address)).unzip();
        let mut steps = preamble.steps(&Opening::new(endpoint, address, epoch), buf);
        let own = preamble.limit().map(Limit::from_now);
        match run_steps(socket, &mut steps, own, overall).await {
            Ok(()) => Ok(steps.into_rest()),
            Err(Failure::Connection(cause)) => Err(cause),
            Err(Failure::Step(error)) => Err(Disconnect::Preamble(error)),
        }
    }
}

/// Why steps failed.
enum Failure<E> {
    /// The socket failed, or the time for the whole connection is over.
    Connection(Disconnect),
    Step(E),
}

async fn run_steps<S: OwnerSocket, T: Step>(
    socket: &mut S,
    steps: &mut Steps<T>,
    own: Option<Limit>,
    overall: Option<Limit>,
) -> Result<(), Failure<T::Error>> {
    steps.begin().map_err(Failure::Step)?;
    poll_fn(|cx| poll_steps(cx, socket, steps, own, overall)).await
}

fn poll_steps<S: OwnerSocket, T: Step>(
    cx: &mut Context<'_>,
    socket: &mut S,
    steps: &mut Steps<T>,
    own: Option<Limit>,
    overall: Option<Limit>,
) -> Poll<Result<(), Failure<T::Error>>> {
    let failed = |error| Poll::Ready(Err(Failure::Connection(disconnect(error))));
    for _ in 0..ROUNDS {
        let moved = match move_bytes(socket, steps) {
            Ok(moved) => moved,
            Err(failure) => return Poll::Ready(Err(failure)),
        };
        if steps.is_done() {
            return Poll::Ready(Ok(()));
        }
        let now = clock::now();
        if let Some(limit) = overall.filter(|limit| now >= limit.until) {
            let cause = Disconnect::ConnectTimeout { limit: limit.after };
            return Poll::Ready(Err(Failure::Connection(cause)));
        }
        if let Some(limit) = own.filter(|limit| now >= limit.until) {
            return Poll::Ready(Err(Failure::Step(Interrupted::TimedOut { limit: limit.after }.into())));
        }
        if moved {
            continue;
        }
        let writable = !steps.output().is_empty();
        let time = own.into_iter().chain(overall).map(|limit| limit.until).min();
        match socket.poll_ready(cx, &Until { readable: !writable, writable, time, spins: false }) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return failed(error),
            Poll::Pending => return Poll::Pending,
        }
    }
    // Lets other tasks run.
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Writes what there is to write, or reads once. `false`: the socket has to be waited for.
fn move_bytes<S: OwnerSocket, T: Step>(socket: &S, steps: &mut Steps<T>) -> Result<bool, Failure<T::Error>> {
    let failed = |error| Failure::Connection(disconnect(error));
    if !steps.output().is_empty() {
        return match socket.write_now(&[IoSlice::new(steps.output())]) {
            Ok(0) => Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(n) => {
                steps.wrote(n);
                Ok(true)
            }
            Err(error) => try_again(error).map_err(failed),
        };
    }
    if steps.is_done() {
        return Ok(true);
    }
    match socket.read_now(steps.spare()) {
        Ok(0) => Err(Failure::Step(steps.eof())),
        Ok(n) => steps.filled(n).map(|()| true).map_err(Failure::Step),
        Err(error) => try_again(error).map_err(failed),
    }
}

/// Whether a system call may be repeated at once; `false`: when the socket is ready.
fn try_again(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(true),
        io::ErrorKind::WouldBlock => Ok(false),
        _ => Err(error),
    }
}
