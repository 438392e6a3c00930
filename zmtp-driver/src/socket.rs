//! A socket's handle.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::task::Poll;
use std::time::Duration;

use bowline_core::config::AcceptLimits;
use bowline_driver::accept::{Acceptor, Door};
use bowline_driver::clock;
use bowline_driver::gate::Gate;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::{Arc, Mutex};
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{PipeId, RecvError, SocketEvent, SocketStats};

use crate::accept::Bound;
use crate::builder::SocketBuilder;
use crate::core::SocketCore;
use crate::dial::{Dialing, dial};
use crate::endpoint::{shown, to_dial, to_listen};
use crate::error::{ConnectError, ReceiveError, SendError};
use crate::kind::{Kind, Publishes, Receives, Sends, Subscribes};
use crate::outgoing::Outgoing;
use crate::receive::Receive;
use crate::send::Send as SendMessage;

/// A ZeroMQ socket of the type `K`.
///
/// Cheap to clone; all clones are one socket, and several tasks or threads may use it. When the last is dropped, what
/// waits is sent in the background, for at most the linger time.
pub struct Socket<R: Runtime, K: Kind> {
    handle: Arc<Handle<R>>,
    kind: PhantomData<fn() -> K>,
}

struct Handle<R: Runtime> {
    core: Arc<SocketCore>,
    dialing: Dialing,
    limits: AcceptLimits,
    places: Mutex<Places<R>>,
}

/// Where a socket is bound and connected, as its program says it.
struct Places<R: Runtime> {
    bound: Vec<(String, Acceptor<R, Bound>)>,
    connected: Vec<(String, PipeId)>,
}

impl<R: Runtime> Handle<R> {
    /// Takes nothing new; what waits is sent, for at most so long. What listened, and is about to stop.
    fn begin_close(&self, linger: Duration) -> Vec<Acceptor<R, Bound>> {
        let bound = std::mem::take(&mut self.places.lock().bound);
        bound.iter().for_each(|(_, acceptor)| acceptor.begin_shutdown(linger));
        self.core.begin_close(linger);
        bound.into_iter().map(|(_, acceptor)| acceptor).collect()
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
    /// A socket with the default settings, neither bound nor connected.
    #[must_use]
    pub fn new() -> Self {
        SocketBuilder::new().open().unwrap_or_else(|error| unreachable!("the defaults are sound: {error}"))
    }

    /// Other settings.
    pub fn builder() -> SocketBuilder<R, K> {
        SocketBuilder::new()
    }

    pub(crate) fn of(core: Arc<SocketCore>, dialing: Dialing, limits: AcceptLimits) -> Self {
        let places = Mutex::new(Places { bound: Vec::new(), connected: Vec::new() });
        Self { handle: Arc::new(Handle { core, dialing, limits, places }), kind: PhantomData }
    }

    /// Accepts peers at an endpoint: `tcp://host:port`, with `*` for all interfaces or any free port, `ipc://path`,
    /// `inproc://name`. Returns the endpoint with its port. Many are possible.
    ///
    /// # Errors
    /// It is no endpoint, somebody listens there, or the socket is closed.
    pub fn bind(&self, endpoint: &str) -> Result<String, ConnectError> {
        let handle = &self.handle;
        let address = to_listen(endpoint)?;
        let door = Door::new(
            Gate::new(handle.limits, handle.dialing.timeout),
            Bound { core: Arc::clone(&handle.core) },
        );
        let bind_error = |source| ConnectError::Bind { endpoint: endpoint.to_owned(), source };
        let acceptor =
            Acceptor::<R, Bound>::bind(door, &address, handle.dialing.sockets).map_err(bind_error)?;
        let mut places = handle.places.lock();
        if handle.core.is_closing() {
            return Err(ConnectError::Closed);
        }
        acceptor.start()?;
        let bound = shown(acceptor.local_addr());
        places.bound.push((bound.clone(), acceptor));
        Ok(bound)
    }

    /// Connects to an endpoint, in the background, and again whenever the connection is lost. Many are possible.
    ///
    /// # Errors
    /// It is no endpoint that one can connect to, or the socket is closed.
    pub fn connect(&self, endpoint: &str) -> Result<(), ConnectError> {
        self.connected(endpoint).map(drop)
    }

    /// Connects, and waits until the handshake is done.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`ConnectError::Closed`] if there will be no further attempt.
    ///
    /// # Cancel safety
    /// Connecting goes on in the background.
    pub fn connect_ready(
        &self,
        endpoint: &str,
    ) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, K>> {
        let (begun, core) = (self.connected(endpoint), Arc::clone(&self.handle.core));
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
        R::Style::wait(ready, || Err(ConnectError::WouldPark))
    }

    fn connected(&self, endpoint: &str) -> Result<PipeId, ConnectError> {
        let handle = &self.handle;
        let (to, sockets) = to_dial(endpoint, handle.dialing.sockets)?;
        let dialing = Dialing { sockets, ..handle.dialing };
        let mut places = handle.places.lock();
        if handle.core.is_closing() {
            return Err(ConnectError::Closed);
        }
        let id = dial::<R>(&handle.core, to, &dialing)?;
        places.connected.push((endpoint.to_owned(), id));
        Ok(id)
    }

    /// Accepts no more peers at an endpoint; those that were accepted stay.
    ///
    /// # Errors
    /// The socket is not bound there.
    pub fn unbind(&self, endpoint: &str) -> Result<(), ConnectError> {
        let mut places = self.handle.places.lock();
        let at = places.bound.iter().position(|(bound, _)| bound == endpoint);
        let at = at.ok_or_else(|| ConnectError::Unknown(endpoint.to_owned()))?;
        places.bound.swap_remove(at).1.stop_accepting();
        Ok(())
    }

    /// Ends the connection to an endpoint, after what waits for it was sent, or the linger time.
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

    /// Closes the socket: takes nothing new, and sends what waits, for at most the linger time. The messages that no
    /// peer got come back, of types that balance; others are dropped with their peers, which is counted.
    ///
    /// # Cancel safety
    /// Closing goes on in the background; only the list is lost.
    pub fn close(self) -> Wait<R, impl Future<Output = Vec<Message>> + Send + use<R, K>> {
        let handle = Arc::clone(&self.handle);
        let linger = handle.core.linger;
        let listened = handle.begin_close(linger);
        let closed = async move {
            for acceptor in listened {
                acceptor.stopped().await;
            }
            let (mut alarm, until) = (Alarm::new(R::timer()), clock::after(linger + Duration::from_secs(1)));
            poll_fn(|cx| {
                while !handle.core.poll_closed(cx) && clock::now() < until {
                    if !alarm.poll(cx, until) {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(())
            })
            .await;
            handle.core.take_unsent()
        };
        // On a thread that must not wait closing goes on in the background.
        R::Style::wait(closed, Vec::new)
    }

    /// What the socket has done so far.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        self.handle.core.stats()
    }

    /// The oldest event that was not taken; up to 1,024 wait.
    #[must_use]
    pub fn take_event(&self) -> Option<SocketEvent> {
        self.handle.core.take_event()
    }
}

impl<R: Runtime, K: Sends> Socket<R, K> {
    /// Sends a message: all of its parts or nothing. Waits for a peer with room, where the type does.
    ///
    /// # Errors
    /// Nothing was sent; the message is in the error.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready sends nothing.
    pub fn send<'a>(&'a self, message: impl Into<Outgoing<'a>>) -> Wait<R, SendMessage<'a, R>> {
        let sending = SendMessage::new(&self.handle.core, message.into(), None);
        R::Style::wait_or(sending, SendMessage::at_once)
    }

    /// [`send`](Self::send), for at most so long.
    ///
    /// # Errors
    /// As there; [`Refusal::TimedOut`](crate::Refusal) after that time.
    ///
    /// # Cancel safety
    /// As there.
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
    /// As there; the socket's `WouldBlock` if it would have to wait.
    pub fn try_send<'a>(&self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        let message = message.into();
        let sent = self.handle.core.try_send(message.parts());
        sent.map_err(|reason| SendError::new(reason, message.into_message()))
    }
}

impl<R: Runtime, K: Receives> Socket<R, K> {
    /// The next message, of the peers in turn.
    ///
    /// # Errors
    /// The socket is closed, or it is not its turn to receive.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub fn recv(&self) -> Wait<R, Receive<'_, R>> {
        R::Style::wait_or(Receive::new(&self.handle.core, None), Receive::at_once)
    }

    /// [`recv`](Self::recv), for at most so long.
    ///
    /// # Errors
    /// As there; [`ReceiveError::TimedOut`] after that time.
    ///
    /// # Cancel safety
    /// As there.
    pub fn recv_timeout(&self, timeout: Duration) -> Wait<R, Receive<'_, R>> {
        let receiving = Receive::new(&self.handle.core, Some(clock::after(timeout)));
        R::Style::wait_or(receiving, Receive::at_once)
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Message>, ReceiveError> {
        let mut message = Message::new();
        match self.handle.core.try_receive(&mut message) {
            Ok(_) => Ok(Some(message)),
            Err(ReceiveError::Socket(RecvError::WouldBlock)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<R: Runtime, K: Subscribes> Socket<R, K> {
    /// Subscribes to all messages that begin with `topic`; a DISH joins the group of that name. It holds for all peers,
    /// also those that come later.
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) {
        self.handle.core.subscribe(topic.as_ref());
    }

    /// Ends a subscription, which was made as often as it has to be ended. False: there is none.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) -> bool {
        self.handle.core.unsubscribe(topic.as_ref())
    }
}

impl<R: Runtime, K: Publishes> Socket<R, K> {
    /// Subscriptions (or memberships) of the peers together.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.handle.core.subscriptions()
    }

    /// Waits until the peers have at least so many subscriptions together.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn wait_for_subscribers(
        &self,
        count: usize,
    ) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, K>> {
        let core = Arc::clone(&self.handle.core);
        let there = async move {
            poll_fn(|cx| {
                core.watch(cx.waker());
                match core.subscriptions() >= count {
                    true => Poll::Ready(Ok(())),
                    false if core.is_closing() => Poll::Ready(Err(ConnectError::Closed)),
                    false => Poll::Pending,
                }
            })
            .await
        };
        R::Style::wait(there, || Err(ConnectError::WouldPark))
    }
}
