//! Sockets behind channels: a program sends messages into one channel and receives them from another, without
//! using the socket.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::task::Poll;

use bowline_driver::StartError;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket_type::SocketType;

mod progress;
mod pump;

pub use progress::RegisterStats;

use crate::channel::{Inlet, Outlet, Receiver, Sender};
use crate::error::{ConnectError, SendError};
use crate::kind::Kind;
use crate::socket::Socket;
use progress::Progress;
use pump::Pump;

/// Why a socket could not be put behind channels. The socket and the given ends of channels are dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Neither `in` nor `out` was given.
    #[error("neither `in` nor `out` was given to the {0}")]
    NoChannel(SocketType),
    /// The type does not send.
    #[error("a {0} does not send: it takes no `in`")]
    NoIn(SocketType),
    /// The type does not receive.
    #[error("a {0} does not receive: it takes no `out`")]
    NoOut(SocketType),
    /// The type sends and receives in turn.
    #[error("a {0} sends and receives in turn: it needs both `in` and `out`")]
    NeedsBoth(SocketType),
    /// Binding or connecting the socket failed.
    #[error("the socket could not be set up")]
    Configure(#[from] ConnectError),
    /// The task could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The observable state of a socket behind channels: see [`Socket::register`]. Dropping it has no effect.
pub struct Registration<R: Runtime> {
    progress: Arc<Progress>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for Registration<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<R: Runtime> Registration<R> {
    /// The counters.
    #[must_use]
    pub fn stats(&self) -> RegisterStats {
        self.progress.stats()
    }

    /// The oldest message that the socket refused, with the reason, and that was not taken yet: one over a
    /// limit, one for a peer of a ROUTER that is not connected or has no room, a reply of a REP without a
    /// request. Up to 64 messages and 1 MiB are kept; older ones are only counted.
    #[must_use]
    pub fn take_refused(&self) -> Option<SendError> {
        self.progress.take_refused()
    }

    /// Waits until the socket is closed. Returns the messages of `in` that no peer got, once; further calls
    /// return none.
    ///
    /// # Cancel safety
    /// Safe: the messages stay for the next call.
    pub fn closed(&self) -> Wait<R, impl Future<Output = Vec<Message>> + Send + use<R>> {
        let progress = Arc::clone(&self.progress);
        let closed = async move { poll_fn(|cx| progress.poll_ended(cx)).await };
        // On a thread that must not wait: those available now.
        let at_once = Arc::clone(&self.progress);
        R::Style::wait(closed, move || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            match at_once.poll_ended(&mut cx) {
                Poll::Ready(unsent) => unsent,
                Poll::Pending => Vec::new(),
            }
        })
    }
}

impl<R: Runtime, K: Kind> Socket<R, K> {
    /// Puts the socket behind channels: messages from `in` are sent, received messages go to `out`. The
    /// socket may be bound or connected or neither; one task serves it, on threads one of its I/O group.
    ///
    /// * Closing `in`, or dropping its last sender, closes the socket: messages in `in` and in the socket are
    ///   sent first, for at most the linger time. A sender that waits for room in `in` gets its message back
    ///   at once.
    /// * `out` closes when the socket is closed and every received message was taken. While `out` is full the
    ///   socket receives nothing, and no other socket is blocked. When the last receiver of `out` is dropped,
    ///   a socket without `in`, a REQ and a REP close, as if `in` was closed; others continue to send.
    /// * A REQ sends the next message of `in` when it has the reply to the one before. If its peer is lost
    ///   meanwhile, `out` gets an error in place of the reply
    ///   ([`RecvError::PeerLost`](bowline_zmtp::socket::RecvError)).
    /// * Several sockets may share an `in` (each message goes to one of them) or an `out`.
    ///
    /// # Errors
    /// The type needs other channels, or the task could not be started.
    ///
    /// ```
    /// # use bowline_driver::runtime::Runtime;
    /// # async fn example<R: Runtime<Style = bowline_driver::style::Awaits>>() -> Result<(), Box<dyn std::error::Error>> {
    /// use bowline_zmtp_driver::{Buffer, Socket, channel, kinds};
    ///
    /// let (input, requests) = channel::<R>(Buffer::fixed(64));
    /// let (replies, mut output) = channel::<R>(Buffer::fixed(64));
    /// let socket = Socket::<R, kinds::Req>::new();
    /// socket.connect("tcp://127.0.0.1:5555")?;
    /// socket.register(requests, replies)?;
    /// input.send("ping").await?;
    /// let reply = output.recv().await?;
    /// # drop(reply);
    /// # Ok(()) }
    /// ```
    pub fn register(
        self,
        r#in: impl Into<Option<Receiver<R>>>,
        out: impl Into<Option<Sender<R>>>,
    ) -> Result<Registration<R>, RegisterError> {
        let (input, output) = (r#in.into(), out.into());
        check(K::TYPE, input.is_some(), output.is_some())?;
        let progress = Arc::new(Progress::default());
        let (input, output) = (input.map(Inlet::new), output.map(Outlet::new));
        let place = self.handle.core.place();
        let pump = Pump::new(self.handle, K::TYPE, input, output, Arc::clone(&progress));
        place.within(|| R::spawn(pump))?;
        Ok(Registration { progress, runtime: PhantomData })
    }

    /// Makes a socket with the default settings, calls `configure` to bind, connect or subscribe it, and
    /// [registers](Self::register) it.
    ///
    /// # Errors
    /// As [`register`](Self::register), or the error of `configure`.
    ///
    /// ```
    /// # use bowline_driver::runtime::Runtime;
    /// # fn example<R: Runtime>() -> Result<(), Box<dyn std::error::Error>> {
    /// use bowline_zmtp_driver::{Buffer, Socket, channel, kinds};
    ///
    /// let (ticks, receiver) = channel::<R>(Buffer::sliding(1));
    /// Socket::<R, kinds::Sub>::register_new(
    ///     |socket| {
    ///         socket.subscribe("EURUSD");
    ///         socket.connect("tcp://127.0.0.1:5555")
    ///     },
    ///     None,
    ///     ticks,
    /// )?;
    /// # drop(receiver);
    /// # Ok(()) }
    /// ```
    pub fn register_new(
        configure: impl FnOnce(&Self) -> Result<(), ConnectError>,
        r#in: impl Into<Option<Receiver<R>>>,
        out: impl Into<Option<Sender<R>>>,
    ) -> Result<Registration<R>, RegisterError> {
        let (input, output) = (r#in.into(), out.into());
        check(K::TYPE, input.is_some(), output.is_some())?;
        let socket = Self::new();
        configure(&socket)?;
        socket.register(input, output)
    }
}

fn check(kind: SocketType, has_in: bool, has_out: bool) -> Result<(), RegisterError> {
    match (has_in, has_out) {
        (false, false) => Err(RegisterError::NoChannel(kind)),
        (true, _) if !kind.sends() => Err(RegisterError::NoIn(kind)),
        (_, true) if !kind.receives() => Err(RegisterError::NoOut(kind)),
        (true, true) => Ok(()),
        _ if takes_turns(kind) => Err(RegisterError::NeedsBoth(kind)),
        _ => Ok(()),
    }
}

/// Whether a socket of that type is useless with only one direction.
fn takes_turns(kind: SocketType) -> bool {
    matches!(kind, SocketType::Req | SocketType::Rep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_the_channels_that_it_has_a_use_for() {
        for kind in SocketType::ALL {
            let said = |has_in, has_out| check(kind, has_in, has_out).map_err(|error| error.to_string());
            assert_eq!(said(false, false), Err(format!("neither `in` nor `out` was given to the {kind}")));
            assert_eq!(said(true, true).is_ok(), kind.sends() && kind.receives(), "{kind}");
            assert_eq!(said(true, false).is_ok(), kind.sends() && !takes_turns(kind), "{kind}");
            assert_eq!(said(false, true).is_ok(), kind.receives() && !takes_turns(kind), "{kind}");
        }
        let said = |kind, has_in, has_out| check(kind, has_in, has_out).expect_err("not so").to_string();
        assert_eq!(said(SocketType::Pull, true, true), "a PULL does not send: it takes no `in`");
        assert_eq!(said(SocketType::Push, true, true), "a PUSH does not receive: it takes no `out`");
        assert_eq!(
            said(SocketType::Rep, false, true),
            "a REP sends and receives in turn: it needs both `in` and `out`"
        );
    }
}
