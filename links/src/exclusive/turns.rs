//! An exclusive connection: the operations that wait for its socket.

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
use bowline_driver::owner::{OwnerSocket, Patience, Spin, Until};
use bowline_driver::runtime::{Runtime, Wire};
use bowline_driver::stream::{Stream, Target};
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;

use super::{Handler, Owned};

/// A connection that one task or thread owns: no lock, no background task or thread, received bytes are not
/// copied.
///
/// This is the fastest way to use a socket, and the most basic one. The owner queues messages and calls, and
/// calls [`turn`](Self::turn), which writes, waits, reads, handles timers (heartbeats, deadlines) and calls
/// the [`Handler`]. Between turns only full batches are written; nothing else happens. An exclusive
/// connection does not reconnect: when the connection is over, every call has been reported, and
/// [`close`](Self::close) returns the messages that were not sent.
///
/// On threads the owner blocks while it waits. On a thread that runs connections (the thread of an inline
/// handler) it must not: there `connect` and `over` fail, and a turn does only the work that can be done at
/// once.
pub struct Exclusive<R: Runtime, F: Framing = Native> {
    owned: Owned<F, Layered<R::OwnerSocket>>,
    spin: Spin,
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

/// Adds the layer of the settings and does its handshake, unless a proxy has to connect further first: see
/// [`Openings::securing`].
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

/// Adds the layer of the settings and does its handshake.
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
    /// The address is invalid, or the connection or the handshake failed.
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

    /// The dialing side over a stream that is already connected, with the handshake done. The stream is a
    /// socket, or the result of the module's `stream` function.
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
            // The destination of the stream is not known here: the TLS name comes from the settings.
            let place = socket.peer_addr().unwrap_or_else(|_| Address::Unix("".into()));
            let socket = over_layer(socket, &place.into(), &config).await.map_err(disconnect)?;
            Self::opened(socket, config, None).await
        })
    }

    /// The dialing side over a connected socket, with every step done that precedes the first message.
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
            // Boxed: few connections have opening steps.
            buf = Box::pin(openings.run(&mut socket, target.as_ref(), Epoch::FIRST, limit)).await?;
        }
        Self::new((socket, buf), config, Role::Dialing).greeted().await
    }

    /// Waits for the handshake. The link itself limits its time.
    async fn greeted(mut self) -> Result<Self, Disconnect> {
        while self.state() != State::Ready {
            poll_fn(|cx| self.poll_turn(cx, &mut (), None)).await?;
        }
        Ok(self)
    }

    /// The accepting side over a stream that was accepted elsewhere. The handshake is done in the first
    /// turns.
    ///
    /// # Errors
    /// The stream cannot be made a socket of this runtime, or the socket options cannot be set.
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
        Self { owned: Owned::new(config, role, arrival), spin: Spin::default(), linger }
    }

    /// The TLS properties of the peer; `None` on a connection in plain text.
    #[must_use]
    pub fn secured(&self) -> Option<Arc<Secured>> {
        self.owned.socket.secured()
    }

    /// Sets how long a turn polls the socket again and again before it waits. Waking an idle processor takes
    /// longer than many a round trip: a spin of 50 µs makes few calls at a time faster, at the price of a
    /// processor that is busy for that time. Default zero. It is most useful with fewer busy threads than
    /// processors.
    ///
    /// A thread looks at its socket without a pause. A task is polled again when the other ready tasks of its
    /// runtime have had their turn, so it delays them, but does not keep them from running; on tokio, the
    /// runtime looks at its sockets each time, on smol and async-std less often. On a runtime with several
    /// threads it keeps one of them busy.
    pub fn set_spin(&mut self, busily: Duration) {
        self.spin = Spin::new(busily);
        self.owned.overlap(busily.is_zero());
    }

    /// Writes waiting bytes; then waits until something is received, a call ends without a reply, or there is
    /// room for a message that was refused before, for at most `timeout` (`None`: without limit); then calls
    /// `handler` for everything received. Returns `false` if nothing of this happened in time.
    ///
    /// # Errors
    /// The connection is over; every call has been reported.
    ///
    /// # Cancel safety
    /// Nothing is lost; callbacks that were made before the drop are not repeated.
    #[inline]
    pub fn turn<'a, H: Handler>(
        &'a mut self,
        handler: &'a mut H,
        timeout: Option<Duration>,
    ) -> Wait<R, impl Future<Output = Result<bool, Disconnect>> + use<'a, R, F, H>> {
        R::Style::wait_alone(async move {
            self.spin.begin();
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
                let patience = Patience { spin: self.spin.limit, may_sleep: attended.written, until: time };
                if self.owned.read(handler, |socket, room| socket.read(room, &patience))? {
                    return Poll::Ready(Ok(true));
                }
                self.owned.nothing_now();
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Poll::Ready(Ok(false));
            }
            let spins = readable && self.spin.goes_on();
            let until = Until { readable, writable: !attended.written, time, spins };
            match self.owned.socket_mut().poll_ready(cx, &until) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(disconnect(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Closes the connection: refuses new messages, finishes the work under way for at most the configured
    /// linger time, and returns the messages that were not sent.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the work under way.
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
