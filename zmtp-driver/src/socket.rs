//! A socket's handle.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use bowline_core::config::AcceptLimits;
use bowline_driver::accept::{Acceptor, Door};
use bowline_driver::gate::Gate;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::{Arc, Mutex};
use bowline_driver::{BindError, clock};
use bowline_zmtp::message::Message;
use bowline_zmtp::pipe::Role;
use bowline_zmtp::socket::{PipeId, SocketEvent};

use crate::accept::Bound;
use crate::builder::SocketBuilder;
use crate::context::GRACE;
use crate::core::SocketCore;
use crate::dial::{Dialing, dial};
use crate::endpoint::{inproc_name, shown, to_dial, to_listen};
use crate::error::{ConnectError, ReceiveError, SendError};
use crate::inproc;
use crate::kind::{Kind, Receives, Sends};
use crate::lifetime::{CloseAll, Running};
use crate::outgoing::Outgoing;
use crate::receive::{Receive, ReceiveInto, ReceiveMany, ReceiveWith};
use crate::send::{Send as SendMessage, SendMany};

/// If the memory of an endpoint is used up, and none was returned for this time, the connection that holds
/// the most is closed.
const MEMORY_STALL: Duration = Duration::from_secs(60);

/// A ZeroMQ socket of the type `K`.
///
/// Cheap to clone; all clones are one socket, and several tasks or threads may use it. When the last clone is
/// dropped, waiting messages are sent in the background, for at most the linger time.
pub struct Socket<R: Runtime, K: Kind> {
    pub(crate) handle: Arc<Handle<R>>,
    kind: PhantomData<fn() -> K>,
}

/// Keeps a socket open: it closes when the last one is dropped.
pub(crate) struct Handle<R: Runtime> {
    pub(crate) core: Arc<SocketCore>,
    dialing: Dialing,
    limits: AcceptLimits,
    places: Mutex<Places<R>>,
}

/// The endpoints that a socket is bound and connected to, as its program wrote them.
struct Places<R: Runtime> {
    bound: Vec<(String, Listening<R>)>,
    connected: Vec<(String, PipeId)>,
}

/// The acceptor of an endpoint.
enum Listening<R: Runtime> {
    Acceptor(Acceptor<R, Bound>),
    /// The sockets of this process find it by this name.
    Name(String),
}

impl<R: Runtime> Handle<R> {
    /// Refuses new messages; waiting ones are sent, for at most `linger`. Returns the acceptors, which are
    /// about to stop.
    pub(crate) fn begin_close(&self, linger: Duration) -> Vec<Acceptor<R, Bound>> {
        let mut places = self.places.lock();
        // A bind after this finds the socket closed.
        self.core.begin_close(linger);
        let bound = std::mem::take(&mut places.bound);
        drop(places);
        let mut acceptors = Vec::new();
        for (_, listening) in bound {
            match listening {
                Listening::Acceptor(acceptor) => {
                    acceptor.begin_shutdown(linger);
                    acceptors.push(acceptor);
                }
                Listening::Name(name) => inproc::unbind(&self.core, &name),
            }
        }
        acceptors
    }
}

impl<R: Runtime> CloseAll for Handle<R> {
    fn close_all(&self, linger: Duration) {
        self.begin_close(linger);
    }
}

impl<R: Runtime> Drop for Handle<R> {
    fn drop(&mut self) {
        self.begin_close(self.core.linger);
    }
}

impl<R: Runtime, K: Kind> Clone for Socket<R, K> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), kind: PhantomData }
    }
}

impl<R: Runtime, K: Kind> std::fmt::Debug for Socket<R, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("type", &K::TYPE).finish_non_exhaustive()
    }
}

impl<R: Runtime, K: Kind> Default for Socket<R, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime, K: Kind> Socket<R, K> {
    /// A socket of the [default context](crate::Context) with the default settings, neither bound nor
    /// connected.
    #[must_use]
    pub fn new() -> Self {
        SocketBuilder::new().open().unwrap_or_else(|error| unreachable!("the defaults are sound: {error}"))
    }

    /// A builder for other settings.
    pub fn builder() -> SocketBuilder<R, K> {
        SocketBuilder::new()
    }

    /// The state that all handles of the socket share.
    pub(crate) fn core(&self) -> &Arc<SocketCore> {
        &self.handle.core
    }

    pub(crate) fn of(core: Arc<SocketCore>, dialing: Dialing, limits: AcceptLimits) -> Self {
        let places = Mutex::new(Places { bound: Vec::new(), connected: Vec::new() });
        let handle = Arc::new(Handle { core, dialing, limits, places });
        let closes: Arc<dyn CloseAll> = Arc::clone(&handle) as _;
        handle.core.set_handle(Arc::downgrade(&closes));
        Self { handle, kind: PhantomData }
    }

    /// Accepts peers at an endpoint: `tcp://host:port`, with `*` for all interfaces or any free port,
    /// `ipc://path`, `ipc://@name` (an abstract name, on Linux), `inproc://name`. Returns the endpoint with
    /// its port. A socket may bind several endpoints.
    ///
    /// # Errors
    /// The endpoint is invalid or in use, or the socket is closed.
    pub fn bind(&self, endpoint: &str) -> Result<String, ConnectError> {
        let handle = &self.handle;
        let bind_error = |source| ConnectError::Bind { endpoint: endpoint.to_owned(), source };
        if let Some(name) = inproc_name(endpoint)? {
            let mut places = handle.places.lock();
            if handle.core.is_closing() {
                return Err(ConnectError::Closed);
            }
            if !inproc::bind(&handle.core, &name) {
                let (address, source) = (endpoint.to_owned(), std::io::ErrorKind::AddrInUse.into());
                return Err(bind_error(BindError::Io { address, source }));
            }
            places.bound.push((endpoint.to_owned(), Listening::Name(name)));
            return Ok(endpoint.to_owned());
        }
        let (address, layers) = (to_listen(endpoint)?, &handle.dialing.layers);
        let address = layers.listened(&address)?.to_owned();
        let door = Door::new(
            Gate::new(handle.limits, MEMORY_STALL),
            Bound { core: Running::new(&handle.core), endpoint: OnceLock::new() },
        );
        let place = handle.core.place();
        let bind = || Acceptor::<R, Bound>::bind(door, &address, handle.dialing.sockets);
        let acceptor = place.within(bind).map_err(bind_error)?;
        let acceptor = acceptor.secured(layers.accept.clone(), handle.dialing.timeout);
        let bound = shown(acceptor.local_addr());
        let endpoint: Arc<str> = bound.as_str().into();
        // The first and only time.
        let _ = acceptor.door().service().endpoint.set(Arc::clone(&endpoint));
        let mut places = handle.places.lock();
        if handle.core.is_closing() {
            return Err(ConnectError::Closed);
        }
        places.bound.push((bound.clone(), Listening::Acceptor(acceptor.clone())));
        drop(places);
        // If the socket is closed meanwhile, it accepts nothing.
        handle.core.monitor.tell(SocketEvent::Listening { endpoint });
        if let Err(error) = place.within(|| acceptor.start()) {
            self.unbind(&bound)?;
            return Err(error.into());
        }
        Ok(bound)
    }

    /// Connects to an endpoint, in the background, and reconnects whenever the connection is lost. A socket
    /// may connect to several endpoints.
    ///
    /// `tcp://source:port;host:port` connects from a certain local address: `source` is an address or a name
    /// of this host, resolved for each dial, or `*`; port 0 is any free one.
    ///
    /// # Errors
    /// The endpoint is invalid or cannot be connected to, or the socket is closed.
    pub fn connect(&self, endpoint: &str) -> Result<(), ConnectError> {
        self.connected(endpoint, None).map(drop)
    }

    /// Connects, and waits until the handshake is done.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`ConnectError::Closed`] if there will be no further attempt.
    ///
    /// # Cancel safety
    /// If the future is dropped, connecting continues in the background.
    pub fn connect_ready(
        &self,
        endpoint: &str,
    ) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, K>> {
        let (begun, core) = (self.connected(endpoint, None), Arc::clone(&self.handle.core));
        let ready = async move {
            let id = begun?;
            poll_fn(|cx| {
                core.watch(cx.waker());
                match core.is_ready(id) {
                    Some(true) => Poll::Ready(Ok(())),
                    Some(false) => Poll::Pending,
                    None => Poll::Ready(Err(ConnectError::Closed)),
                }
            })
            .await
        };
        self.handle.core.place().within(|| R::Style::wait(ready, || Err(ConnectError::WouldPark)))
    }

    pub(crate) fn connected(
        &self,
        endpoint: &str,
        routing_id: Option<&[u8]>,
    ) -> Result<PipeId, ConnectError> {
        let handle = &self.handle;
        if let Some(name) = inproc_name(endpoint)? {
            let mut places = handle.places.lock();
            if handle.core.is_closing() {
                return Err(ConnectError::Closed);
            }
            let id = inproc::connect(&handle.core, &name, routing_id)?;
            places.connected.push((endpoint.to_owned(), id));
            return Ok(id);
        }
        let to = to_dial(endpoint, handle.dialing.sockets)?;
        handle.dialing.layers.dialed("")?;
        let mut places = handle.places.lock();
        if handle.core.is_closing() {
            return Err(ConnectError::Closed);
        }
        let pipe = match routing_id {
            Some(routing_id) => handle.core.add_as(routing_id)?,
            None => handle.core.add(Role::Dialing),
        };
        let id = dial::<R>(&handle.core, pipe, endpoint, to, &handle.dialing)?;
        places.connected.push((endpoint.to_owned(), id));
        Ok(id)
    }

    /// Stops accepting peers at an endpoint, which may be bound again at once; accepted ones stay.
    ///
    /// # Errors
    /// The socket is not bound there.
    pub fn unbind(&self, endpoint: &str) -> Result<(), ConnectError> {
        let mut places = self.handle.places.lock();
        let at = places.bound.iter().position(|(bound, _)| bound == endpoint);
        let at = at.ok_or_else(|| ConnectError::Unknown(endpoint.to_owned()))?;
        let (_, listening) = places.bound.swap_remove(at);
        drop(places);
        match listening {
            Listening::Acceptor(acceptor) => acceptor.stop_accepting(),
            Listening::Name(name) => inproc::unbind(&self.handle.core, &name),
        }
        self.handle.core.monitor.tell(SocketEvent::Unbound { endpoint: endpoint.into() });
        Ok(())
    }

    /// Ends the connection to an endpoint, after its waiting messages were sent, or after the linger time.
    ///
    /// # Errors
    /// The socket is not connected there.
    pub fn disconnect(&self, endpoint: &str) -> Result<(), ConnectError> {
        let mut places = self.handle.places.lock();
        let at = places.connected.iter().position(|(connected, _)| connected == endpoint);
        let at = at.ok_or_else(|| ConnectError::Unknown(endpoint.to_owned()))?;
        let (_, id) = places.connected.swap_remove(at);
        drop(places);
        self.handle.core.close_pipe(id);
        Ok(())
    }

    /// Closes the socket: refuses new messages, and sends waiting ones, for at most the linger time. Returns
    /// the messages that no peer got, for types that distribute messages over peers; those of other types are
    /// dropped with their peers, and counted.
    ///
    /// # Cancel safety
    /// If the future is dropped, closing continues in the background; only the list is lost.
    pub fn close(self) -> Wait<R, impl Future<Output = Vec<Message>> + Send + use<R, K>> {
        let handle = Arc::clone(&self.handle);
        let linger = handle.core.linger;
        let (listened, place) = (handle.begin_close(linger), handle.core.place());
        let closed = async move {
            for acceptor in listened {
                acceptor.stopped().await;
            }
            let (mut alarm, until) = (Alarm::new(R::timer()), clock::after(linger.saturating_add(GRACE)));
            poll_fn(|cx| {
                while !handle.core.poll_closed(cx.waker()) && clock::now() < until {
                    if !alarm.poll(cx, until) {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(())
            })
            .await;
            handle.core.leave_context();
            handle.core.take_unsent()
        };
        // On a thread that must not wait, closing continues in the background.
        place.within(|| R::Style::wait(closed, Vec::new))
    }
}

impl<R: Runtime, K: Sends> Socket<R, K> {
    /// Sends a message: all of its parts or none. Waits for a peer with room, if the type does.
    ///
    /// # Errors
    /// Nothing was sent; the error contains the message.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready sends nothing.
    pub fn send<'a>(&'a self, message: impl Into<Outgoing<'a>>) -> Wait<R, SendMessage<'a, R>> {
        let sending = SendMessage::new(&self.handle.core, message.into(), None);
        R::Style::wait_or(sending, SendMessage::at_once)
    }

    /// [`send`](Self::send) for at most `timeout`.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Refusal::TimedOut`](crate::Refusal) after that time.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn send_timeout<'a>(
        &'a self,
        message: impl Into<Outgoing<'a>>,
        timeout: Duration,
    ) -> Wait<R, SendMessage<'a, R>> {
        let sending = SendMessage::new(&self.handle.core, message.into(), Some(clock::after(timeout)));
        R::Style::wait_or(sending, SendMessage::at_once)
    }

    /// [`send`](Self::send) if that needs no waiting.
    ///
    /// # Errors
    /// As [`send`](Self::send); the socket's `WouldBlock` if it would have to wait.
    pub fn try_send<'a>(&self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        let message = message.into();
        let sent = self.handle.core.try_send(|socket, table| socket.send(table, message.parts()));
        sent.map_err(|reason| SendError::new(reason, message.into_message()))
    }

    /// Sends several messages, in order, as [`send`](Self::send) does; the lock is taken once for many.
    ///
    /// # Errors
    /// How many were sent, and why the rest was not.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the [first ones](SendMany::sent) stay sent.
    pub fn send_many<'a, M>(&'a self, messages: &'a [M]) -> Wait<R, SendMany<'a, M>>
    where
        &'a M: Into<Outgoing<'a>>,
    {
        R::Style::wait_or(SendMany::new(&self.handle.core, messages), SendMany::at_once)
    }
}

impl<R: Runtime, K: Receives> Socket<R, K> {
    /// Waits for the next message, from the peers in turn.
    ///
    /// # Errors
    /// The socket is closed, or it is not its turn to receive.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub fn recv(&self) -> Wait<R, Receive<'_, R>> {
        R::Style::wait_or(Receive::new(&self.handle.core, None), Receive::at_once)
    }

    /// [`recv`](Self::recv) for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); [`ReceiveError::TimedOut`] after that time.
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Wait<R, Receive<'_, R>> {
        let receiving = Receive::new(&self.handle.core, Some(clock::after(timeout)));
        R::Style::wait_or(receiving, Receive::at_once)
    }

    /// The next message, if there is one; never waits.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Message>, ReceiveError> {
        self.handle.core.try_take()
    }

    /// Waits for the next message and stores it in an existing one: its parts are replaced, and its memory is
    /// reused.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). The content of `message` is unspecified then.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub fn recv_into<'a>(&'a self, message: &'a mut Message) -> Wait<R, ReceiveInto<'a, R>> {
        R::Style::wait_or(ReceiveInto::new(&self.handle.core, message), ReceiveInto::at_once)
    }

    /// Waits for the next message and calls a function with it, once, without a lock.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); the function is not called then.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    ///
    /// ```
    /// # use bowline_driver::runtime::Runtime;
    /// # use bowline_driver::style::Awaits;
    /// # async fn example<R: Runtime<Style = Awaits>>() -> Result<(), bowline_zmtp_driver::ReceiveError> {
    /// use bowline_zmtp_driver::{Socket, kinds};
    ///
    /// let pull = Socket::<R, kinds::Pull>::new();
    /// let bytes = pull.recv_with(|message| message.bytes()).await?;
    /// # let _ = bytes;
    /// # Ok(()) }
    /// ```
    pub fn recv_with<'a, T, F: FnOnce(&Message) -> T + 'a>(
        &'a self,
        function: F,
    ) -> Wait<R, ReceiveWith<'a, R, F>> {
        R::Style::wait_or(ReceiveWith::new(&self.handle.core, function), ReceiveWith::at_once)
    }

    /// Waits for a message, and appends it to `into` together with those that are available, up to `most`.
    /// Returns their number. The lock is taken once.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); nothing was appended then.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub fn recv_many<'a>(&'a self, into: &'a mut Vec<Message>, most: usize) -> Wait<R, ReceiveMany<'a, R>> {
        R::Style::wait_or(ReceiveMany::new(&self.handle.core, into, most), ReceiveMany::at_once)
    }
}
