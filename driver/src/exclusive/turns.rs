//! An exclusive connection on an async runtime.

use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{Role, State, Undelivered};
use bowline_core::time::Instant;

use super::{Handler, Owned};
use crate::addresses::Addresses;
use crate::clock;
use crate::error::{ConnectError, disconnect};
use crate::pump::Alarm;
use crate::runtime::{Runtime, Socket, Wire};
use crate::stream::Stream;
use crate::to_address::ToAddress;

/// A connection that one task owns: no lock, no task of its own, nothing copied that comes in.
///
/// The fastest way to use a socket, and the barest: whoever owns it queues messages and calls, and
/// [`turn`](Self::turn)s it, which writes, waits, reads, keeps the time (heartbeats, deadlines)
/// and hands over what came. Without turns nothing moves but full batches. It does not connect
/// again: when the connection is over, every call has been told, and what was not sent comes back
/// from [`close`](Self::close).
pub struct Exclusive<R: Runtime, F: Framing = Native> {
    owned: Owned<F, R::Socket>,
    alarm: Alarm<R::Timer>,
    linger: Duration,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Exclusive<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclusive").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Deref for Exclusive<R, F> {
    type Target = Owned<F, R::Socket>;

    #[inline]
    fn deref(&self) -> &Owned<F, R::Socket> {
        &self.owned
    }
}

impl<R: Runtime, F: Framing> DerefMut for Exclusive<R, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Owned<F, R::Socket> {
        &mut self.owned
    }
}

impl<R: Runtime> Exclusive<R, Native> {
    /// Connects with the default settings and does the handshake.
    ///
    /// # Errors
    /// The address cannot work, or the connection or the handshake failed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect(address: impl ToAddress) -> Result<Self, ConnectError> {
        Self::connect_with(address, crate::defaults::default_config()).await
    }
}

impl<R: Runtime, F: Framing> Exclusive<R, F> {
    /// Connects with other settings or another framing.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_with(address: impl ToAddress, config: Config<F>) -> Result<Self, ConnectError> {
        let address = &address.to_address();
        R::check()?;
        let mut addresses = Addresses::of(address)?;
        if let Some((host, port)) = addresses.name() {
            addresses.resolved(R::resolve(host, port).await);
        }
        while let Some(address) = addresses.next_address() {
            match R::connect(address.clone(), *config.sockets()).await {
                Ok(socket) => {
                    let greeted = Self::new(socket, config, Role::Dialing).greeted().await;
                    return greeted.map_err(|cause| addresses.failed(Some(address), cause));
                }
                Err(error) => addresses.refused(address, error),
            }
        }
        Err(addresses.into_error())
    }

    /// The dialing end over a stream that is connected already, with the handshake done: a socket, or what
    /// the module's `stream` makes.
    ///
    /// # Errors
    /// The handshake failed, or the stream cannot be made a socket of this runtime.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream.
    pub async fn over(stream: impl Into<Stream>, config: Config<F>) -> Result<Self, Disconnect> {
        let socket = R::adopt(stream.into()).map_err(disconnect)?;
        socket.apply(config.sockets()).map_err(disconnect)?;
        Self::new(socket, config, Role::Dialing).greeted().await
    }

    /// With the handshake done. The link itself limits how long that takes.
    async fn greeted(mut self) -> Result<Self, Disconnect> {
        while self.state() != State::Ready {
            self.turn(&mut (), None).await?;
        }
        Ok(self)
    }

    /// The accepting end over a stream that was accepted elsewhere; the handshake is done in the first
    /// turns.
    ///
    /// # Errors
    /// The stream cannot be made a socket of this runtime, or does not take the options.
    pub fn accept(stream: impl Into<Stream>, config: Config<F>) -> io::Result<Self> {
        let socket = R::adopt(stream.into())?;
        socket.apply(config.sockets())?;
        Ok(Self::new(socket, config, Role::Accepting))
    }

    fn new(socket: R::Socket, config: Config<F>, role: Role) -> Self {
        let linger = config.linger();
        Self { owned: Owned::new(config, role, socket), alarm: Alarm::new(R::timer()), linger }
    }

    /// Writes what waits; waits until something comes, a call is over in another way, or there is
    /// room for what was refused before (for at most `timeout`, for ever without); and hands what
    /// came to `handler`. False: there was nothing of that.
    ///
    /// # Errors
    /// The connection is over; every call has been told.
    ///
    /// # Cancel safety
    /// What was handed over was handed over; nothing is lost.
    pub async fn turn(
        &mut self,
        handler: &mut impl Handler,
        timeout: Option<Duration>,
    ) -> Result<bool, Disconnect> {
        let deadline = timeout.map(|timeout| clock::now() + timeout);
        poll_fn(|cx| self.poll_turn(cx, handler, deadline)).await
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut impl Handler,
        deadline: Option<Instant>,
    ) -> Poll<Result<bool, Disconnect>> {
        loop {
            let attended = self.owned.attend(handler)?;
            if attended.told {
                return Poll::Ready(Ok(true));
            }
            if self.owned.wants_read() {
                if self.owned.read(handler, |socket, room| socket.read_now(room))? {
                    return Poll::Ready(Ok(true));
                }
                match self.owned.socket().poll_readable(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(disconnect(error))),
                    Poll::Pending => self.owned.nothing_now(),
                }
            }
            if !attended.written {
                match self.owned.socket().poll_writable(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(disconnect(error))),
                    Poll::Pending => {}
                }
            }
            if let Poll::Ready(Err(error)) = self.owned.socket().poll_flush(cx) {
                return Poll::Ready(Err(disconnect(error)));
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Poll::Ready(Ok(false));
            }
            let until = deadline.into_iter().chain(attended.until).min();
            if !until.is_some_and(|until| self.alarm.poll(cx, until)) {
                return Poll::Pending;
            }
        }
    }

    /// Takes nothing new, finishes what is under way for at most the configured linger, and ends
    /// the connection. The messages that did not leave come back.
    ///
    /// # Cancel safety
    /// Dropping the future cuts off what is under way.
    pub async fn close(mut self, handler: &mut impl Handler) -> Vec<Undelivered> {
        self.owned.begin_close(self.linger);
        while self.turn(handler, None).await.is_ok() {}
        self.owned.take_undelivered()
    }
}
