//! An exclusive connection: what waits for its socket.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::layer::Secured;
use bowline_core::link::{Role, State, Undelivered};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::{Endpoint, Epoch};
use bowline_core::time::Instant;
use bowline_driver::addresses::Addresses;
use bowline_driver::clock;
use bowline_driver::error::{ConnectError, disconnect};
use bowline_driver::layered::Layered;
use bowline_driver::opening::Openings;
use bowline_driver::owner::{OwnerSocket, Patience, Until};
use bowline_driver::runtime::{Runtime, Wire};
use bowline_driver::stream::{Stream, Target};
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;

use super::{Handler, Owned};

/// A connection that one task or thread owns: no lock, no task or thread of its own, nothing copied that comes
/// in.
///
/// The fastest way to use a socket, and the barest: its owner queues messages and calls, and
/// [`turn`](Self::turn)s it, which writes, waits, reads, keeps the time (heartbeats, deadlines)
/// and hands over what came. Without turns nothing moves but full batches. It does not connect
/// again: when the connection is over, every call has been told, and what was not sent comes back
/// from [`close`](Self::close).
///
/// On threads the owner waits with its whole thread. On a thread that runs connections (an inline handler's)
/// it does not: `connect` and `over` fail there, and turns do what can be done at once.
pub struct Exclusive<R: Runtime, F: Framing = Native> {
    owned: Owned<F, Layered<R::OwnerSocket>>,
    spin: Duration,
    linger: Duration,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Exclusive<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclusive").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Deref for Exclusive<R, F> {
    type Target = Owned<F, Layered<R::OwnerSocket>>;

    #[inline]
    fn deref(&self) -> &Owned<F, Layered<R::OwnerSocket>> {
        &self.owned
    }
}

impl<R: Runtime, F: Framing> DerefMut for Exclusive<R, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Owned<F, Layered<R::OwnerSocket>> {
        &mut self.owned
    }
}

/// With the layer that the settings say, and its handshake done; without it where a proxy has to connect further before:
/// see [`Openings::securing`].
async fn secured<S: OwnerSocket, F: Framing>(
    socket: S,
    to: &Endpoint,
    config: &Config<F>,
) -> io::Result<Layered<S>> {
    match Openings::new(config.proxy(), None, Some(to)).is_empty() {
        true => over_layer(socket, to, config).await,
        false => Ok(Layered::plain(socket)),
    }
}

/// With the layer that the settings say, and its handshake done.
async fn over_layer<S: OwnerSocket, F: Framing>(
    socket: S,
    to: &Endpoint,
    config: &Config<F>,
) -> io::Result<Layered<S>> {
    let Some(layer) = &config.layers().dial else { return Ok(Layered::plain(socket)) };
    let mut socket = Layered::with(socket, layer.dial(to).map_err(io::Error::other)?);
    socket.secure(clock::after(config.connect_timeout())).await?;
    Ok(socket)
}

impl<R: Runtime> Exclusive<R, Native> {
    /// Connects with the default settings and does the handshake.
    ///
    /// # Errors
    /// The address cannot work, or the connection or the handshake failed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub fn connect(
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Self, ConnectError>> + Send> {
        Self::connect_with(address, crate::defaults::default_config())
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
    pub fn connect_with(
        address: impl ToAddress,
        config: Config<F>,
    ) -> Wait<R, impl Future<Output = Result<Self, ConnectError>> + Send> {
        let address = address.to_address();
        R::Style::wait_alone(async move {
            if !R::Style::may_wait() {
                return Err(ConnectError::WouldPark);
            }
            R::check()?;
            let mut addresses = Addresses::through(config.dialed(&address)?, config.proxy())?;
            let limit = config.connect_timeout();
            if let Some((host, port)) = addresses.name() {
                addresses.resolved(R::OwnerSocket::resolve(host, port, limit).await);
            }
            while let Some(address) = addresses.next_address() {
                match R::OwnerSocket::connect(address.clone(), *config.sockets(), limit).await {
                    Ok(socket) => match secured(socket, addresses.endpoint(), &config).await {
                        Ok(socket) => {
                            let target = Target::new(addresses.endpoint().clone(), address.clone());
                            let greeted = Self::opened(socket, config, Some(target)).await;
                            return greeted.map_err(|cause| addresses.failed(Some(address), cause));
                        }
                        Err(error) => addresses.refused(address, error),
                    },
                    Err(error) => addresses.refused(address, error),
                }
            }
            Err(addresses.into_error())
        })
    }

    /// The dialing end over a stream that is connected already, with the handshake done: a socket, or what
    /// the module's `stream` makes.
    ///
    /// # Errors
    /// The handshake failed, or the stream cannot be made a socket of this runtime.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream.
    pub fn over(
        stream: impl Into<Stream>,
        config: Config<F>,
    ) -> Wait<R, impl Future<Output = Result<Self, Disconnect>> + Send> {
        let stream = stream.into();
        R::Style::wait_alone(async move {
            if !R::Style::may_wait() {
                let error = io::Error::new(io::ErrorKind::WouldBlock, "an I/O thread must not wait");
                return Err(disconnect(error));
            }
            let socket = R::OwnerSocket::adopt(stream).map_err(disconnect)?;
            socket.apply(config.sockets()).map_err(disconnect)?;
            config.dialed("").map_err(|error| disconnect(io::Error::other(error)))?;
            // Where it leads is its own to know: a name for TLS comes from the settings.
            let place = socket.peer_addr().unwrap_or_else(|_| Address::Unix("".into()));
            let socket = over_layer(socket, &place.into(), &config).await.map_err(disconnect)?;
            Self::opened(socket, config, None).await
        })
    }

    /// The dialing end over a socket that is connected, with everything done that comes before the first message.
    async fn opened(
        mut socket: Layered<R::OwnerSocket>,
        config: Config<F>,
        target: Option<Target>,
    ) -> Result<Self, Disconnect> {
        let endpoint = target.as_ref().map(|target| &target.endpoint);
        let layer = config.layers().dial.clone();
        let openings = Openings::new(config.proxy(), config.preamble(), endpoint).securing(layer);
        let mut buf = RecvBuf::new();
        if !openings.is_empty() {
            let limit = Some(config.connect_timeout());
            // Few connections have any: the others need no room for it.
            buf = Box::pin(openings.run(&mut socket, target.as_ref(), Epoch::FIRST, limit)).await?;
        }
        Self::new((socket, buf), config, Role::Dialing).greeted().await
    }

    /// With the handshake done. The link itself limits how long that takes.
    async fn greeted(mut self) -> Result<Self, Disconnect> {
        while self.state() != State::Ready {
            poll_fn(|cx| self.poll_turn(cx, &mut (), None)).await?;
        }
        Ok(self)
    }

    /// The accepting end over a stream that was accepted elsewhere; the handshake is done in the first
    /// turns.
    ///
    /// # Errors
    /// The stream cannot be made a socket of this runtime, or does not take the options.
    pub fn accept(stream: impl Into<Stream>, config: Config<F>) -> io::Result<Self> {
        let socket = R::OwnerSocket::adopt(stream.into())?;
        socket.apply(config.sockets())?;
        config.listened("").map_err(io::Error::other)?;
        let socket = match &config.layers().accept {
            Some(layer) => Layered::with(socket, layer.accept().map_err(io::Error::other)?),
            None => Layered::plain(socket),
        };
        Ok(Self::new((socket, RecvBuf::new()), config, Role::Accepting))
    }

    fn new(arrival: (Layered<R::OwnerSocket>, RecvBuf), config: Config<F>, role: Role) -> Self {
        let linger = config.linger();
        Self { owned: Owned::new(config, role, arrival), spin: Duration::ZERO, linger }
    }

    /// What TLS knows of the peer; `None` on a connection in plain text.
    #[must_use]
    pub fn secured(&self) -> Option<Arc<Secured>> {
        self.owned.socket.secured()
    }

    /// On threads, a turn asks the socket again and again for so long before the thread sleeps; no other handle
    /// spins. Waking an idle processor takes longer than many a round trip: 50 µs of this make one call at a time
    /// several times faster, for a processor that is busy meanwhile. Default zero; most sensible with fewer busy
    /// threads than processors. On tokio, smol and async-std tasks do not spin: there it only makes what is written
    /// at once larger.
    pub fn set_spin(&mut self, busily: Duration) {
        self.spin = busily;
        self.owned.overlap(busily.is_zero());
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
    #[inline]
    pub fn turn<'a, H: Handler>(
        &'a mut self,
        handler: &'a mut H,
        timeout: Option<Duration>,
    ) -> Wait<R, impl Future<Output = Result<bool, Disconnect>> + use<'a, R, F, H>> {
        R::Style::wait_alone(async move {
            let timeout = if R::Style::may_wait() { timeout } else { Some(Duration::ZERO) };
            let deadline = timeout.map(|timeout| clock::now() + timeout);
            poll_fn(|cx| self.poll_turn(cx, handler, deadline)).await
        })
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
            let time = deadline.into_iter().chain(attended.until).min();
            let readable = self.owned.wants_read();
            if readable {
                let patience = Patience { spin: self.spin, may_sleep: attended.written, until: time };
                if self.owned.read(handler, |socket, room| socket.read(room, &patience))? {
                    return Poll::Ready(Ok(true));
                }
                self.owned.nothing_now();
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Poll::Ready(Ok(false));
            }
            let until = Until { readable, writable: !attended.written, time };
            match self.owned.socket_mut().poll_ready(cx, &until) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(disconnect(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes nothing new, finishes what is under way for at most the configured linger, and ends
    /// the connection. The messages that did not leave come back.
    ///
    /// # Cancel safety
    /// Dropping the future cuts off what is under way.
    pub fn close<'a, H: Handler>(
        mut self,
        handler: &'a mut H,
    ) -> Wait<R, impl Future<Output = Vec<Undelivered>> + use<'a, R, F, H>> {
        self.owned.begin_close(self.linger);
        R::Style::wait_alone(async move {
            if R::Style::may_wait() {
                while poll_fn(|cx| self.poll_turn(cx, handler, None)).await.is_ok() {}
            }
            self.owned.take_undelivered()
        })
    }
}
