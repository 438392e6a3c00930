//! The dialing side of a link.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::task::{Context, Poll, Waker};

use bowline_core::config::Config;
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::layer::Layers;
use bowline_core::link::{Message, Undelivered};
use bowline_core::machine::Machine;
use bowline_core::supervisor::Endpoint;
use bowline_core::time::Instant;
use bowline_driver::app::Application;
use bowline_driver::clock;
use bowline_driver::dial::Dialer;
use bowline_driver::error::ConnectError;
use bowline_driver::place::{Group, Place};
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Stream, Target};
use bowline_driver::style::{Returns, Style, Threads, Wait};
use bowline_driver::sync::{Arc, AtomicBool, Mutex, Ordering};
use bowline_driver::to_address::ToAddress;

use crate::answer::Answer;
use crate::handler::{Handled, MessageRef, ReplyBuf, RequestRef};
use crate::handler_args::{Context as InlineContext, Request};
use crate::handler_methods::handler_methods;
use crate::link_app::LinkApp;
use crate::monitor::Monitor;
use crate::peer::Peer;
use crate::peer_core::PeerCore;
use crate::recipe::{Assembled, ClientParts, First, FirstObserver, Recipe};
use crate::request::Responder;
use crate::writers::writers_left;

/// The dialing side of a link. It connects, and reconnects, until it is closed.
///
/// Cheap to clone; all clones are one link, with one connection at a time. A client derefs to [`Peer`] and
/// has all its methods. When the last clone is dropped, the link finishes the work under way in the
/// background, for at most the configured linger time.
pub struct Client<R: Runtime, F: Framing = Native> {
    peer: Peer<R, F>,
    handle: Arc<Handle<F>>,
}

/// Closes the link when the last clone is dropped.
struct Handle<F: Framing> {
    peer: PeerCore<F>,
    app: Arc<LinkApp<F>>,
    first: Arc<First>,
}

impl<F: Framing> std::fmt::Debug for Handle<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<F: Framing> Drop for Handle<F> {
    fn drop(&mut self) {
        self.peer.begin_close();
    }
}

impl<R: Runtime, F: Framing> Clone for Client<R, F> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), handle: Arc::clone(&self.handle) }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Client<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer.id()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Deref for Client<R, F> {
    type Target = Peer<R, F>;

    fn deref(&self) -> &Peer<R, F> {
        &self.peer
    }
}

impl<R: Runtime> Client<R, Native> {
    /// Connects with the default settings and waits for the first handshake.
    ///
    /// # Errors
    /// [`ConnectError::Failed`] if no endpoint could be connected; the link makes no further attempts then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the link.
    pub fn connect(
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Self, ConnectError>> + Send> {
        Self::builder(address).connect()
    }

    /// As [`connect`](Self::connect), but returns at once. The link connects in the background and keeps
    /// trying as its reconnect policy says. Calls wait for the connection until their deadlines.
    ///
    /// # Errors
    /// The address is invalid, or no runtime is running on this thread.
    pub fn connect_lazy(address: impl ToAddress) -> Result<Self, ConnectError> {
        Self::builder(address).connect_lazy()
    }

    /// A builder for a link over Bowline's own protocol.
    pub fn builder(address: impl ToAddress) -> ClientBuilder<R, Native> {
        ClientBuilder::new(&address.to_address(), crate::defaults::default_config())
    }
}

impl<R: Runtime, F: Framing> Client<R, F> {
    /// A builder for a link with other settings or another framing.
    pub fn with_config(address: impl ToAddress, config: Config<F>) -> ClientBuilder<R, F> {
        let address = &address.to_address();
        ClientBuilder::new(address, config)
    }

    /// Makes a link from a recipe, and connects it in the background.
    ///
    /// # Errors
    /// The address is invalid, or no runtime is running on this thread.
    pub fn open(recipe: &Recipe<F>) -> Result<Self, ConnectError> {
        let Assembled { peer, app, supervisor } = recipe.assemble()?;
        let first = Arc::new(First::default());
        let observer = FirstObserver::new(Arc::clone(&first), recipe);
        let shared = Arc::clone(peer.shared());
        let dialer = Dialer::<R, _, _, _>::new(shared, Arc::clone(&app), observer, supervisor);
        recipe.place().within(|| R::spawn(dialer)).map_err(|error| {
            let error = ConnectError::from(error);
            let place = recipe.config().dialed(recipe.address()).ok();
            match place.and_then(|place| place.parse::<Endpoint>().ok()) {
                Some(place) => error.at(place),
                None => error,
            }
        })?;
        let handle = Arc::new(Handle { peer: peer.clone(), app, first });
        Ok(Self { peer: peer.into(), handle })
    }

    /// Waits for the first handshake; closes the link if it fails.
    pub(crate) async fn first_connected(&self) -> Result<(), ConnectError> {
        let first = Arc::clone(&self.handle.first);
        let connected = std::future::poll_fn(move |cx| first.poll(cx, false)).await;
        if let Err(error) = &connected {
            let cause = error.cause().cloned().unwrap_or(Disconnect::LocalClose);
            self.peer.shared().with(|link| link.give_up(clock::now(), cause));
        }
        connected
    }

    /// Waits until the link's task has ended.
    pub(crate) async fn over(&self) {
        let first = Arc::clone(&self.handle.first);
        std::future::poll_fn(move |cx| first.poll_over(cx)).await;
    }

    /// [`close`](Self::close) as a future.
    pub(crate) async fn closed(self) -> Vec<Undelivered> {
        self.peer.begin_close();
        let until = clock::after(self.peer.linger());
        self.ended(until).await
    }

    /// The messages that could not be sent, once the closing link is over. Waits until the application has
    /// received all callbacks, at most until `until`.
    pub(crate) async fn ended(self, until: Instant) -> Vec<Undelivered> {
        self.over().await;
        self.told(until).await;
        writers_left::<R, F>(&self.peer).await;
        self.peer.shared().with(|link| link.take_undelivered())
    }

    /// Waits until the application has received all callbacks, at most until `until`.
    async fn told(&self, until: Instant) {
        let (told, mut alarm) = (Arc::new(Told::default()), Alarm::new(R::timer()));
        self.handle.app.keep(Box::new(Tells(Arc::clone(&told))));
        std::future::poll_fn(|cx| {
            loop {
                if told.poll(cx).is_ready() || clock::now() >= until {
                    return Poll::Ready(());
                }
                if !alarm.poll(cx, until) {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// [`ready`](Self::ready) as a future.
    pub(crate) fn connected(&self) -> impl Future<Output = Result<(), ConnectError>> + Send + use<R, F> {
        let first = Arc::clone(&self.handle.first);
        std::future::poll_fn(move |cx| first.poll(cx, true))
    }

    /// Waits until the link is connected and its handshake is done.
    ///
    /// # Errors
    /// The link failed and makes no further attempt.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn ready(&self) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, F>> {
        R::Style::wait(self.connected(), || Err(ConnectError::WouldPark))
    }

    /// Closes the link: refuses new messages and calls, finishes those under way for at most the configured
    /// linger time, and returns the messages that could not be sent. All clones are closed with it.
    ///
    /// Closing also waits, within the same time, until [`on_message`](ClientBuilder::on_message) has handled
    /// the messages that were received before. After that time the handler is still called for the rest while
    /// the process runs.
    ///
    /// # Cancel safety
    /// If the future is dropped, the link is still closed in the background; only the list of messages is
    /// lost.
    pub fn close(self) -> Wait<R, impl Future<Output = Vec<Undelivered>> + Send + use<R, F>> {
        let client = self.clone();
        R::Style::wait(self.closed(), || {
            // Closing continues in the background.
            client.begin_close();
            Vec::new()
        })
    }
}

/// Whether the application has received all callbacks.
#[derive(Debug, Default)]
struct Told {
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Told {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.waker.lock() = Some(cx.waker().clone());
        if self.over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Sets the flag when it is dropped.
struct Tells(Arc<Told>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        let waker = self.0.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder<R: Runtime, F: Framing = Native> {
    parts: ClientParts<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for ClientBuilder<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl<R: Runtime<Style: Threads>, F: Framing> ClientBuilder<R, F> {
    /// Runs the link in this I/O group instead of the group that is current where the link is made. The link
    /// ends with the group, unless something else keeps the group in use.
    ///
    /// A group without threads is driven by `connect` while it waits. Afterwards the program has to drive it:
    /// callers that wait for the link must enter the group, or another thread must drive it.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        self.parts.place = Place::of(group);
        self
    }

    /// Sets the maximum number of threads in the pool that calls this link's handlers other than inline ones;
    /// at least 1. Default 16. The pool has threads only while there is something to handle.
    pub fn handler_threads(mut self, threads: usize) -> Self {
        self.parts.handlers.set_threads(threads);
        self
    }
}

impl<R: Runtime, F: Framing> ClientBuilder<R, F> {
    pub(crate) fn new(address: &str, config: Config<F>) -> Self {
        let mut parts = ClientParts::new(address, config);
        parts.handlers.run_by::<R>();
        Self { parts, runtime: PhantomData }
    }

    /// Adds another endpoint. Endpoints are tried in turn.
    pub fn endpoint(mut self, address: impl ToAddress) -> Self {
        let address = &address.to_address();
        self.parts.endpoint(address);
        self
    }

    /// Registers the link with `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.monitor(monitor, label);
        self
    }

    /// Replaces the settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Secures connections by TLS, with a `TlsClient` (feature `tls`). The peer's certificate must be valid
    /// for the host of the address as it was given here, or for the name that the TLS settings contain.
    /// Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.parts.config = self.parts.config.tls(tls);
        self
    }

    /// Connects by a function of the program instead of by the runtime: to a child process, over a serial
    /// line, or through a proxy that [`Proxy`](bowline_core::proxy::Proxy) does not support. (A proxy in the
    /// settings is then ignored; a preamble is not.) The function is called for each connection, with its
    /// [`Target`], and returns a [`Stream`]: a connected socket, or the result of the module's `stream`
    /// function. Names are resolved first; [`Target::endpoint`] has the name. If there is nothing to resolve,
    /// use any `inproc://name` as the address.
    ///
    /// An async function on tokio, smol and async-std; on threads a function that may block and runs on its
    /// own thread. The attempt is abandoned after
    /// [`connect_timeout`](bowline_core::config::ConfigBuilder::connect_timeout).
    pub fn connector<C, T>(mut self, connect: C) -> Self
    where
        C: Fn(Target) -> T + Send + Sync + 'static,
        R::Style: Returns<T, Output = io::Result<Stream>>,
    {
        let connect = Arc::new(connect);
        self.parts.connector(Arc::new(move |target| {
            let connect = Arc::clone(&connect);
            let connecting = R::Style::call(move || connect(target));
            Box::pin(async move { connecting.await? })
        }));
        self
    }

    /// Runs the link over a stream that is already connected. The link ends with this stream: it does not
    /// reconnect.
    pub fn over(mut self, stream: impl Into<Stream>) -> Self {
        self.parts.over(stream.into());
        self
    }

    /// Connects and waits for the first handshake.
    ///
    /// # Errors
    /// See [`Client::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the link.
    pub fn connect(
        self,
    ) -> Wait<R, impl Future<Output = Result<Client<R, F>, ConnectError>> + Send + use<R, F>> {
        let place = self.parts.place.clone();
        let connect = async move {
            let client = self.connect_lazy()?;
            client.first_connected().await?;
            Ok(client)
        };
        place.within(|| R::Style::wait(connect, || Err(ConnectError::WouldPark)))
    }

    /// Returns at once and connects in the background.
    ///
    /// # Errors
    /// See [`Client::connect_lazy`].
    pub fn connect_lazy(self) -> Result<Client<R, F>, ConnectError> {
        Client::open(&self.parts.into_recipe())
    }

    /// The parts of the client.
    pub(crate) fn into_parts(self) -> ClientParts<F> {
        self.parts
    }

    /// A recipe, from which the client can be made more than once.
    pub(crate) fn into_recipe(self) -> Recipe<F> {
        self.parts.into_recipe()
    }
}

handler_methods!(ClientBuilder, without = "wait for [`Peer::receive`]", requests = "the server's requests");
