//! The accept loop, on a runtime.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::layer::AcceptLayer;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use super::Service;
use super::door::{Door, Inside, Stopped};
use super::securing::Securing;
use crate::clock;
use crate::error::{BindError, StartError, disconnect};
use crate::gate::Admission;
use crate::layered::Layered;
use crate::pump::{Alarm, Pump};
use crate::runtime::{Listener, Runtime, Wire};
use crate::socket::listen_address;
use crate::sync::{Arc, Mutex};

/// How long accepting pauses when the system has no resources for another connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections accepted before other tasks get their turn.
const AT_ONCE: usize = 16;

/// A custom way to serve a connection: gets the socket, and a value to drop when the connection is over.
type ServeSocket<R> =
    Box<dyn Fn(Layered<<R as Runtime>::Socket>, Admission) -> Result<(), StartError> + Send + Sync>;

/// A listening socket whose connections a [`Service`] serves, each by a task.
///
/// Cheap to clone; all clones are one acceptor. It accepts until it is stopped, whether or not a clone is
/// kept.
///
/// ```
/// use std::time::Duration;
///
/// use bowline_core::config::{AcceptLimits, SocketOptions};
/// use bowline_driver::accept::{Acceptor, Door, Service};
/// use bowline_driver::gate::Gate;
/// use bowline_driver::runtime::Runtime;
///
/// /// Serves any protocol at an address, on any runtime.
/// fn serve<R: Runtime, S: Service>(
///     service: S,
///     address: &str,
/// ) -> Result<Acceptor<R, S>, Box<dyn std::error::Error>> {
///     let gate = Gate::new(AcceptLimits::default(), Duration::from_secs(60));
///     let acceptor = Acceptor::bind(Door::new(gate, service), address, SocketOptions::default())?;
///     acceptor.start()?;
///     Ok(acceptor)
/// }
/// ```
pub struct Acceptor<R: Runtime, S: Service> {
    inner: Arc<Inner<R, S>>,
}

struct Inner<R: Runtime, S: Service> {
    /// The accepting task borrows it for each poll. Setting it to `None` closes the listening socket at once.
    listener: Mutex<Option<R::Listener>>,
    local: Address,
    door: Arc<Door<S>>,
    options: SocketOptions,
    serve: Option<ServeSocket<R>>,
    /// The layer that secures the connections, and the time limit of its handshake.
    layer: Option<(Arc<dyn AcceptLayer>, Duration)>,
}

impl<R: Runtime, S: Service> Clone for Acceptor<R, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Runtime, S: Service> std::fmt::Debug for Acceptor<R, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("local", &self.inner.local).finish_non_exhaustive()
    }
}

impl<R: Runtime, S: Service> Acceptor<R, S> {
    /// Listens at `address` (`host:port`, `tcp://…`, `unix://path`, `inproc://name`). Connections are
    /// accepted after [`serve`](Self::serve) or [`start`](Self::start). Accepted sockets get `options`.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(door: Arc<Door<S>>, address: &str, options: SocketOptions) -> Result<Self, BindError> {
        R::check()?;
        let to_listen = listen_address(address)?;
        let io_error = |source| BindError::Io { address: address.to_owned(), source };
        let listener = R::listen(&to_listen, options).map_err(io_error)?;
        Self::over(door, listener, options).map_err(io_error)
    }

    /// Accepts from a socket that listens already.
    ///
    /// # Errors
    /// The listener's address is unknown.
    pub fn over(door: Arc<Door<S>>, listener: R::Listener, options: SocketOptions) -> io::Result<Self> {
        let local = listener.local_addr()?;
        // Heavy work of all connections takes turns on as many threads as the runtime has.
        door.gate().memory().heavy_work().run_by(R::threads(), R::wake_later);
        let listener = Mutex::new(Some(listener));
        Ok(Self { inner: Arc::new(Inner { listener, local, door, options, serve: None, layer: None }) })
    }

    /// Serves connections by `serve`, instead of by one machine and one task for each: for protocols whose
    /// machine outlives a connection. Call it before anything is accepted; later calls have no effect.
    #[must_use]
    pub fn serving(
        mut self,
        serve: impl Fn(Layered<R::Socket>, Admission) -> Result<(), StartError> + Send + Sync + 'static,
    ) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.serve = Some(Box::new(serve));
        }
        self
    }

    /// Adds this layer to connections. Its handshake must be done within `limit` before a connection is
    /// served. It counts as a handshake of the [gate](crate::gate), and takes turns with other heavy work.
    /// Call it before anything is accepted; later calls have no effect.
    #[must_use]
    pub fn secured(mut self, layer: Option<Arc<dyn AcceptLayer>>, limit: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.layer = layer.map(|layer| (layer, limit));
        }
        self
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> &Address {
        &self.inner.local
    }

    /// The connections being served, and the limits for new ones.
    #[must_use]
    pub fn door(&self) -> &Arc<Door<S>> {
        &self.inner.door
    }

    /// Accepts until it is stopped.
    ///
    /// # Cancel safety
    /// Dropping the future interrupts accepting: existing connections continue, and new ones wait in the listening socket,
    /// which stays open until it is served again or [`stop_accepting`](Self::stop_accepting) closes it.
    pub async fn serve(&self) {
        let accepting = self.inner.door.accepting();
        let mut alarm = Alarm::new(R::timer());
        let mut pause = None;
        std::future::poll_fn(|cx| self.poll_serve(cx, &mut alarm, &mut pause)).await;
        // Closes the listening socket.
        *self.inner.listener.lock() = None;
        drop(accepting);
    }

    fn poll_serve(
        &self,
        cx: &mut Context<'_>,
        alarm: &mut Alarm<R::Timer>,
        pause: &mut Option<Instant>,
    ) -> Poll<()> {
        let door = &self.inner.door;
        if door.poll_deaf(cx.waker()) {
            return Poll::Ready(());
        }
        // The work per turn is bounded: a storm of connections must not starve the tasks that serve them.
        for _ in 0..AT_ONCE {
            let now = clock::now();
            let until = pause.take_if(|until| *until > now).or_else(|| door.gate().poll_rate(now));
            if let Some(until) = until {
                while clock::now() < until {
                    if !alarm.poll(cx, until) {
                        *pause = Some(until);
                        return Poll::Pending;
                    }
                }
            }
            *pause = None;
            // Not locked while a connection is served: the application may stop the acceptor there.
            let accepted = self.inner.listener.lock().as_ref().map(|listener| listener.poll_accept(cx));
            match accepted {
                None => return Poll::Ready(()),
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(Ok((socket, from)))) => self.serve_socket(socket, &from),
                Some(Poll::Ready(Err(error))) => {
                    if is_out_of_resources(&error) {
                        *pause = Some(clock::now() + ACCEPT_PAUSE);
                    }
                    door.accept_failed(error);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Serves a connected socket, within the same limits as one that was accepted here. A socket that is
    /// refused, or cannot be served, is closed, counted, and reported as an event.
    pub fn serve_socket(&self, socket: R::Socket, from: &Address) {
        let door = &self.inner.door;
        let Some(admission) = door.admit(from) else { return };
        if let Err(error) = socket.apply(&self.inner.options) {
            door.accept_failed(error);
            return;
        }
        let Some((layer, limit)) = &self.inner.layer else {
            return self.serve_layered(Layered::plain(socket), admission);
        };
        let layer = match layer.accept() {
            Ok(layer) => layer,
            Err(error) => return door.insecure(from, disconnect(io::Error::other(error))),
        };
        if let Some(securing) = Securing::new(self.clone(), (socket, layer), admission, from, *limit)
            && let Err(error) = R::spawn(securing)
        {
            door.accept_failed(io::Error::other(error));
        }
    }

    /// Serves a connection after the handshake of its layer, if it has one.
    pub(super) fn serve_layered(&self, socket: Layered<R::Socket>, admission: Admission) {
        let spawned = match &self.inner.serve {
            Some(serve) => serve(socket, admission),
            None => self.serve_alone(socket, admission),
        };
        // A connection that no task can serve was closed together with its task, which tells the client.
        if let Err(error) = spawned {
            self.inner.door.accept_failed(io::Error::other(error));
        }
    }

    fn serve_alone(&self, socket: Layered<R::Socket>, admission: Admission) -> Result<(), StartError> {
        let Some((mut inside, app)) = self.inner.door.enter() else { return Ok(()) };
        inside.keep(admission);
        let pump = Pump::new(S::shared(inside.peer()), &app, socket, Epoch::FIRST);
        R::spawn(Served::<R, S> { pump, alarm: None, inside })
    }

    /// Accepts in the background until it is stopped.
    ///
    /// # Errors
    /// No runtime is running on this thread.
    pub fn start(&self) -> Result<(), StartError> {
        let acceptor = self.clone();
        R::spawn(async move { acceptor.serve().await })
    }

    /// Closes the listening socket, at once: another may be bound to its address. Existing connections stay.
    pub fn stop_accepting(&self) {
        *self.inner.listener.lock() = None;
        self.inner.door.stop_accepting();
    }

    /// Begins to shut down: accepts nothing new, and closes every machine, which may finish work under way
    /// for at most `linger`.
    pub fn begin_shutdown(&self, linger: Duration) {
        *self.inner.listener.lock() = None;
        self.inner.door.begin_shutdown(linger);
    }

    /// Waits until a shutdown that has begun is over. Returns how many connections ended during it.
    pub async fn stopped(&self) -> usize {
        let door = &self.inner.door;
        let mut alarm = Alarm::new(R::timer());
        std::future::poll_fn(|cx| {
            loop {
                match door.poll_stopped(clock::now(), cx.waker()) {
                    Stopped::Yes(ended) => return Poll::Ready(ended),
                    Stopped::NotYet(Some(at)) if alarm.poll(cx, at) => {}
                    Stopped::NotYet(_) => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// The task of a connection, written by hand: an `async` block stores captured values twice, and there are
/// many such tasks.
struct Served<R: Runtime, S: Service> {
    pump: Pump<S::Machine, S::App, Layered<R::Socket>>,
    /// Created within the task, because timers must be created inside their runtime.
    alarm: Option<Alarm<R::Timer>>,
    // Dropped in this order, whether the task ends or is dropped by its runtime.
    inside: Inside<S>,
}

// Nothing in it is pinned in place.
impl<R: Runtime, S: Service> Unpin for Served<R, S> {}

impl<R: Runtime, S: Service> Future for Served<R, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { pump, alarm, inside, .. } = self.get_mut();
        let alarm = alarm.get_or_insert_with(|| Alarm::new(R::timer()));
        let ended = pump.poll(cx, alarm).map(drop);
        inside.note_driven();
        ended
    }
}

/// Whether the error concerns the system and not one connection (EMFILE, ENFILE, ENOBUFS, ENOMEM).
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 105 | 12)) || error.kind() == io::ErrorKind::OutOfMemory
}
