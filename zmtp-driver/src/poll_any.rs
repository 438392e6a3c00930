//! Waiting until any of several sockets can receive or send.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;

use crate::core::{Interest, SocketCore, new_poller};
use crate::kind::{Receives, Sends};
use crate::socket::Socket;

/// Why [`poll_any`] found no ready socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// No socket was ready within the time.
    #[error("no socket was ready in time")]
    TimedOut,
    /// No socket is ready, and this thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
    /// There are no sockets: the wait would never end.
    #[error("there is no socket to wait for")]
    Empty,
}

/// A socket, and the condition to wait for: an argument of [`poll_any`].
#[derive(Debug)]
pub struct PollItem<'a> {
    core: &'a Arc<SocketCore>,
    want: Interest,
    there: Interest,
}

impl<'a> PollItem<'a> {
    /// Waits until the socket has a message, or is closed.
    #[must_use]
    pub fn recv<R: Runtime, K: Receives>(socket: &'a Socket<R, K>) -> Self {
        Self::new(&socket.handle.core, Interest::RECV)
    }

    /// Waits until the socket would accept a message, or is closed.
    #[must_use]
    pub fn send<R: Runtime, K: Sends>(socket: &'a Socket<R, K>) -> Self {
        Self::new(&socket.handle.core, Interest::SEND)
    }

    /// Waits for either.
    #[must_use]
    pub fn either<R: Runtime, K: Sends + Receives>(socket: &'a Socket<R, K>) -> Self {
        Self::new(&socket.handle.core, Interest { recv: true, send: true })
    }

    fn new(core: &'a Arc<SocketCore>, want: Interest) -> Self {
        Self { core, want, there: Interest::default() }
    }

    /// Whether the socket could receive when the wait ended: `try_recv` then returns a message, or that the
    /// socket is closed, unless another task was faster or the message is discarded by the socket.
    #[must_use]
    pub fn can_recv(&self) -> bool {
        self.there.recv
    }

    /// Whether the socket could send when the wait ended: `try_send` then succeeds, or returns that the
    /// socket is closed, unless another task was faster.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.there.send
    }
}

/// Waits until any of several sockets is ready for the condition of its item: sockets of any types, on any
/// runtimes. Returns how many are ready; the items say which. `None` waits without limit.
///
/// A closed socket counts as ready: the next operation then reports that. A ROUTER, SERVER, PEER, PUB, XPUB
/// or RADIO can always send. Nothing is taken from a socket, and callers that wait for a socket keep their
/// turns.
///
/// # Errors
/// See [`PollError`].
///
/// # Cancel safety
/// Safe.
///
/// ```
/// # use bowline_driver::runtime::Runtime;
/// # async fn example<R: Runtime<Style = bowline_driver::style::Awaits>>() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline_zmtp_driver::{PollItem, Socket, kinds, poll_any};
///
/// let (jobs, control) = (Socket::<R, kinds::Pull>::new(), Socket::<R, kinds::Sub>::new());
/// let mut items = [PollItem::recv(&jobs), PollItem::recv(&control)];
/// poll_any::<R>(&mut items, None).await?;
/// if items[1].can_recv() {
///     let order = control.try_recv()?;
///     # drop(order);
/// }
/// # Ok(()) }
/// ```
pub fn poll_any<'a, 'b, R: Runtime>(
    items: &'a mut [PollItem<'b>],
    timeout: Option<Duration>,
) -> Wait<R, PollAny<'a, 'b, R>> {
    let until = timeout.map(|timeout| (clock::after(timeout), Alarm::new(R::timer())));
    R::Style::wait_or(PollAny { items, until, poller: None }, PollAny::at_once)
}

/// The future of [`poll_any`].
#[must_use = "futures do nothing unless awaited"]
pub struct PollAny<'a, 'b, R: Runtime> {
    items: &'a mut [PollItem<'b>],
    until: Option<(Instant, Alarm<R::Timer>)>,
    /// The number of this poller, once the sockets know it.
    poller: Option<u64>,
}

impl<R: Runtime> std::fmt::Debug for PollAny<'_, '_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollAny").field("items", &self.items).finish_non_exhaustive()
    }
}

impl<R: Runtime> PollAny<'_, '_, R> {
    fn look(&mut self) -> usize {
        for item in &mut *self.items {
            item.there = item.core.ready(item.want);
        }
        self.items.iter().filter(|item| item.there.any()).count()
    }

    /// For a thread that must not wait: the sockets that are ready now.
    fn at_once(mut self) -> Result<usize, PollError> {
        match self.look() {
            0 if self.items.is_empty() => Err(PollError::Empty),
            0 => Err(PollError::WouldPark),
            count => Ok(count),
        }
    }
}

impl<R: Runtime> Future for PollAny<'_, '_, R> {
    type Output = Result<usize, PollError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.items.is_empty() && this.until.is_none() {
            return Poll::Ready(Err(PollError::Empty));
        }
        let poller = *this.poller.get_or_insert_with(new_poller);
        let mut count = 0;
        for item in &mut *this.items {
            item.there = item.core.poll_ready(poller, item.want, cx);
            count += usize::from(item.there.any());
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        let Some((until, alarm)) = &mut this.until else { return Poll::Pending };
        loop {
            if clock::now() >= *until {
                return Poll::Ready(Err(PollError::TimedOut));
            }
            if !alarm.poll(cx, *until) {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime> Drop for PollAny<'_, '_, R> {
    fn drop(&mut self) {
        if let Some(poller) = self.poller {
            self.items.iter().for_each(|item| item.core.leave_pollers(poller));
        }
    }
}
