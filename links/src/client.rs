//! The dialing end of a link.

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

/// A link's dialing end: connects, and connects again, until it is closed.
///
/// Cheap to clone; all clones are one link, over one connection at a time. Everything a
/// [`Peer`] can do, a client can (it derefs to one). When the last clone is dropped, the link
/// finishes what is under way in the background, for at most the configured linger.
pub struct Client<R: Runtime, F: Framing = Native> {
    peer: Peer<R, F>,
    handle: Arc<Handle<F>>,
}

/// Closes the link when the last client is dropped.
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
    /// [`ConnectError::Failed`] if no endpoint could be connected; nothing goes on then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the link.
    pub fn connect(
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Self, ConnectError>> + Send> {
        Self::builder(address).connect()
    }

    /// As [`connect`](Self::connect), but returns at once: the link connects in the background,
    /// and goes on trying as its policy says. Calls wait for it under their own deadlines.
    ///
    /// # Errors
    /// The address cannot work, or there is no runtime here.
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

    /// Makes a link after a recipe, and connects it in the background.
    ///
    /// # Errors
    /// The address cannot work, or there is no runtime here.
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

    /// Waits for the first handshake; the link is given up if it does not come about.
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

    /// [`close`](Self::close), to be awaited.
    pub(crate) async fn closed(self) -> Vec<Undelivered> {
        self.peer.begin_close();
        let until = clock::after(self.peer.linger());
        self.ended(until).await
    }

    /// What could not be sent, once the link that is being closed is over. What its application is still to be
    /// told is waited for until then.
    pub(crate) async fn ended(self, until: Instant) -> Vec<Undelivered> {
        self.over().await;
        self.told(until).await;
        writers_left::<R, F>(&self.peer).await;
        self.peer.shared().with(|link| link.take_undelivered())
    }

    /// Waits until the application was told everything, or until then.
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

    /// [`ready`](Self::ready), to be awaited.
    pub(crate) fn connected(&self) -> impl Future<Output = Result<(), ConnectError>> + Send + use<R, F> {
        let first = Arc::clone(&self.handle.first);
        std::future::poll_fn(move |cx| first.poll(cx, true))
    }

    /// Waits until the link is connected and past its handshake.
    ///
    /// # Errors
    /// There will be no further attempt.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn ready(&self) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, F>> {
        R::Style::wait(self.connected(), || Err(ConnectError::WouldPark))
    }

    /// Closes the link: takes nothing new, finishes what is under way for at most the configured
    /// linger, and hands back what could not be sent. All clones are closed with it.
    ///
    /// Messages that wait for their handler are waited for as well, for at most so long: see
    /// [`on_message`](ClientBuilder::on_message). The handler is called for each of them while the process runs.
    ///
    /// # Cancel safety
    /// Closing goes on in the background; only the list is lost.
    pub fn close(self) -> Wait<R, impl Future<Output = Vec<Undelivered>> + Send + use<R, F>> {
        let client = self.clone();
        R::Style::wait(self.closed(), || {
            // Closing goes on in the background.
            client.begin_close();
            Vec::new()
        })
    }
}

/// Whether everything was told.
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

/// Says so when it is dropped.
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
    /// The link runs in that I/O group, and not in the one that is current where it is made. The group
    /// ends with it, unless something else uses it as well.
    ///
    /// A group without threads is turned while `connect` waits. After that, who waits for something of it has to
    /// enter the group, or something else has to turn it.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        self.parts.place = Place::of(group);
        self
    }

    /// Most threads of the pool that calls this link's handlers, inline ones apart; at least one. Default 16.
    /// The pool has threads only while there is something to handle.
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

    /// Another place to connect to, tried in turn.
    pub fn endpoint(mut self, address: impl ToAddress) -> Self {
        let address = &address.to_address();
        self.parts.endpoint(address);
        self
    }

    /// The link is seen by `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.monitor(monitor, label);
        self
    }

    /// Other settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Connections are secured by TLS, with a `TlsClient` (feature `tls`). The peer's certificate has to be for the host as
    /// it was given here, or for the name that the settings say. Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.parts.config = self.parts.config.tls(tls);
        self
    }

    /// Connects in the program's own way, in place of the runtime: to a child process, over a serial line, through
    /// something that a [`Proxy`](bowline_core::proxy::Proxy) cannot be (one in the settings has no effect then; a
    /// preamble has). The function is called for each connection that the link wants, with where it leads,
    /// and returns a [`Stream`]: a connected socket, or what the module's `stream`
    /// makes. Names are looked up first; [`Target::endpoint`] has the name. Where there is nothing to look
    /// up, any `inproc://name` will do as an address.
    ///
    /// An async function on tokio, smol and async-std; on threads a function, which runs on a thread of its
    /// own and may wait. It is given up after
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

    /// The link runs over a stream that is connected already, and ends with it: there is no other
    /// connection after it.
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

    /// What it is made of.
    pub(crate) fn into_parts(self) -> ClientParts<F> {
        self.parts
    }

    /// What it would connect, to be connected more than once.
    pub(crate) fn into_recipe(self) -> Recipe<F> {
        self.parts.into_recipe()
    }
}

handler_methods!(ClientBuilder, without = "wait for [`Peer::receive`]", requests = "the server's requests");
