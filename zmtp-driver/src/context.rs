//! Contexts: sockets that run together, and end together.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::task::{Poll, Waker};
use std::time::Duration;

use bowline_core::config::AcceptLimits;
use bowline_driver::place::{Group, Place};
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Threads, Wait};
use bowline_driver::sync::{Arc, Mutex, Weak};
use bowline_driver::{StartError, clock};
use bowline_zmtp::message::Message;
use bowline_zmtp::socket_type::SocketType;

use crate::builder::SocketBuilder;
use crate::core::SocketCore;
use crate::error::OpenError;
use crate::kind::Kind;
use crate::socket::Socket;

/// How long a connection may take to end after the linger time.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// A group of sockets that run and end together: with a name, limits and, on threads, its own I/O threads.
///
/// Cheap to clone; all clones are one context. Sockets that are made without a context belong to the [default
/// context](Self::default) of their runtime. Dropping a context closes nothing, because its sockets keep it
/// alive.
///
/// ```
/// # use bowline_driver::runtime::Runtime;
/// # fn example<R: Runtime>() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline_zmtp_driver::{Context, kinds};
///
/// let context = Context::<R>::builder().name("orders").max_sockets(100).open()?;
/// let push = context.socket::<kinds::Push>()?;
/// push.bind("tcp://127.0.0.1:*")?;
/// // On tokio, smol and async-std it is awaited.
/// let unsent = context.shutdown();
/// # drop(unsent);
/// # Ok(()) }
/// ```
pub struct Context<R: Runtime> {
    core: Arc<ContextCore>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Clone for Context<R> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.core))
    }
}

impl<R: Runtime> std::fmt::Debug for Context<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("name", &self.core.name).finish_non_exhaustive()
    }
}

impl<R: Runtime> Default for Context<R> {
    /// The context of all sockets of the runtime that are made without one. It has no maximum number of
    /// sockets. After its shutdown a new one takes its place.
    fn default() -> Self {
        Self::of(default_of(TypeId::of::<R>()))
    }
}

impl<R: Runtime> Context<R> {
    fn of(core: Arc<ContextCore>) -> Self {
        Self { core, runtime: PhantomData }
    }

    /// A builder for a new context.
    pub fn builder() -> ContextBuilder<R> {
        ContextBuilder {
            name: String::new(),
            place: Place::default(),
            max_sockets: usize::MAX,
            limits: AcceptLimits::default(),
            linger: None,
            io_threads: None,
            runtime: PhantomData,
        }
    }

    pub(crate) fn core(&self) -> &Arc<ContextCore> {
        &self.core
    }

    /// The name; empty if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Makes a socket of this context, with the default settings. For other settings use
    /// [`SocketBuilder::context`].
    ///
    /// # Errors
    /// The context is shut down, or has its maximum number of sockets.
    pub fn socket<K: Kind>(&self) -> Result<Socket<R, K>, OpenError> {
        SocketBuilder::new().context(self).open()
    }

    /// The number of sockets: open ones, and those that are closing in the background.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.core.state.lock().members.len()
    }

    /// Whether it is shut down, or shutting down: no socket can be made in it.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.core.state.lock().is_shut
    }

    /// Refuses new sockets, closes every socket, and waits until all their connections and tasks have ended,
    /// which takes at most their linger times plus one second. Waiting sends and receives end with an error;
    /// those of sends contain the messages. Returns the messages that were not sent, for each socket that has
    /// some.
    ///
    /// An I/O group that only this context uses ends with the last of its tasks.
    ///
    /// # Cancel safety
    /// If the future is dropped, closing continues in the background, and a later call returns the unsent
    /// messages.
    pub fn shutdown(&self) -> Wait<R, impl Future<Output = Vec<Unsent>> + Send + use<R>> {
        self.shutdown_after(self.core.linger)
    }

    /// [`shutdown`](Self::shutdown) with `linger` for all sockets.
    ///
    /// # Cancel safety
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_within(
        &self,
        linger: Duration,
    ) -> Wait<R, impl Future<Output = Vec<Unsent>> + Send + use<R>> {
        self.shutdown_after(Some(linger))
    }

    fn shutdown_after(
        &self,
        linger: Option<Duration>,
    ) -> Wait<R, impl Future<Output = Vec<Unsent>> + Send + use<R>> {
        let core = Arc::clone(&self.core);
        forget_default(TypeId::of::<R>(), &core);
        let until = clock::after(core.begin_shutdown(linger).saturating_add(GRACE));
        let place = core.place();
        let over = async move {
            let mut alarm = Alarm::new(R::timer());
            poll_fn(|cx| {
                while !core.poll_over(cx.waker()) && clock::now() < until {
                    if !alarm.poll(cx, until) {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(())
            })
            .await;
            core.finish()
        };
        // On a thread that must not wait, it continues in the background.
        place.within(|| R::Style::wait(over, Vec::new))
    }
}

/// The messages that a socket of a context had not sent when it was closed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsent {
    /// The name of the socket; empty if there is none.
    pub socket: String,
    /// Its type.
    pub kind: SocketType,
    /// The messages that no peer got, oldest first, of types that distribute messages over peers (PUSH,
    /// DEALER, REQ, PAIR and similar ones).
    pub messages: Vec<Message>,
    /// The number of messages that were dropped together with their peer since the shutdown began.
    pub dropped: u64,
}

/// Makes a [`Context`].
#[must_use]
pub struct ContextBuilder<R: Runtime> {
    name: String,
    place: Place,
    max_sockets: usize,
    limits: AcceptLimits,
    linger: Option<Duration>,
    io_threads: Option<(usize, MakePlace)>,
    runtime: PhantomData<fn() -> R>,
}

type MakePlace = fn(usize) -> Result<Place, StartError>;

impl<R: Runtime> std::fmt::Debug for ContextBuilder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<R: Runtime<Style: Threads>> ContextBuilder<R> {
    /// Runs the sockets in this I/O group, instead of the group that is current where they connect and bind.
    ///
    /// A group without threads must be driven by the program.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        (self.place, self.io_threads) = (Place::of(group), None);
        self
    }

    /// Runs the sockets in their own I/O group of this many threads (at least one), which start with the
    /// context and end after its shutdown.
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.io_threads = Some((threads.max(1), <R::Style as Threads>::place));
        self
    }
}

impl<R: Runtime> ContextBuilder<R> {
    /// Sets the name of the context in events and counters. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the maximum number of sockets at once. Default: no limit.
    pub fn max_sockets(mut self, limit: usize) -> Self {
        self.max_sockets = limit;
        self
    }

    /// Sets the limits of each bound endpoint, for sockets that set none.
    pub fn accept_limits(mut self, limits: AcceptLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long a shutdown waits for messages to be sent. Default: each socket's own linger time.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Makes the context.
    ///
    /// # Errors
    /// The system has no thread or descriptor for its I/O threads.
    pub fn open(self) -> Result<Context<R>, StartError> {
        let place = match self.io_threads {
            Some((threads, make)) => make(threads)?,
            None => self.place,
        };
        let Self { name, max_sockets, limits, linger, .. } = self;
        Ok(Context::of(Arc::new(ContextCore { name, max_sockets, limits, linger, ..ContextCore::at(place) })))
    }
}

/// The state that all handles of a context share, for any runtime.
///
/// A socket's lock may be held while this one is taken, never the other way round.
pub(crate) struct ContextCore {
    pub(crate) name: String,
    max_sockets: usize,
    pub(crate) limits: AcceptLimits,
    linger: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the sockets' tasks run; after a shutdown, where they are made.
    place: Place,
    is_shut: bool,
    last: u64,
    /// By their numbers.
    members: BTreeMap<u64, Weak<SocketCore>>,
    /// The sockets that the shutdown waits for, and the number of messages that each had dropped before.
    closing: Vec<(Arc<SocketCore>, u64)>,
    /// Names of sockets whose figures a recorder has.
    #[cfg(feature = "metrics")]
    published: std::collections::BTreeSet<String>,
}

impl ContextCore {
    fn at(place: Place) -> Self {
        let (name, limits, linger) = (String::new(), AcceptLimits::default(), None);
        let state = State { place, ..State::default() };
        Self { name, max_sockets: usize::MAX, limits, linger, state: Mutex::new(state) }
    }

    /// Notes that a recorder gets figures of sockets with those names. All names of which it has some.
    #[cfg(feature = "metrics")]
    pub(crate) fn publish(&self, names: impl Iterator<Item = String>) -> Vec<String> {
        let published = &mut self.state.lock().published;
        published.extend(names);
        published.iter().cloned().collect()
    }

    /// Where the sockets' tasks run.
    pub(crate) fn place(&self) -> Place {
        self.state.lock().place.clone()
    }

    /// Its sockets, in the order in which they were made.
    pub(crate) fn members(&self) -> Vec<Arc<SocketCore>> {
        self.state.lock().members.values().filter_map(Weak::upgrade).collect()
    }

    /// Reserves a place for a new socket.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Seat, OpenError> {
        let mut state = self.state.lock();
        if state.is_shut {
            return Err(OpenError::ShutDown { context: self.name.clone() });
        }
        let (value, limit) = (state.members.len() + 1, self.max_sockets);
        if value > limit {
            return Err(OpenError::Sockets { context: self.name.clone(), value, limit });
        }
        state.last += 1;
        let number = state.last;
        state.members.insert(number, Weak::new());
        Ok(Seat { context: Arc::clone(self), number })
    }

    /// Refuses new sockets, and closes every socket. Returns the longest linger time.
    fn begin_shutdown(&self, linger: Option<Duration>) -> Duration {
        let mut state = self.state.lock();
        state.is_shut = true;
        let members: Vec<_> = state.members.values().filter_map(Weak::upgrade).collect();
        for socket in &members {
            // The count of a socket that was there before is recorded already.
            if !state.closing.iter().any(|(known, _)| Arc::ptr_eq(known, socket)) {
                state.closing.push((Arc::clone(socket), 0));
            }
        }
        drop(state);
        let mut longest = Duration::ZERO;
        for socket in members {
            let dropped = socket.stats().dropped;
            if let Some(entry) =
                self.state.lock().closing.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &socket))
            {
                entry.1 = dropped;
            }
            let linger = linger.unwrap_or(socket.linger);
            longest = longest.max(linger);
            socket.close_all(linger);
        }
        longest
    }

    /// Whether nothing of the sockets runs any more. Otherwise the waker is called when that may have
    /// changed.
    fn poll_over(&self, waker: &Waker) -> bool {
        let closing: Vec<_> =
            self.state.lock().closing.iter().map(|(socket, _)| Arc::clone(socket)).collect();
        // Each of them is polled, so that each keeps the waker.
        closing.iter().filter(|socket| !socket.poll_closed(waker)).count() == 0
    }

    /// The shutdown is over, or is not waited for any longer: returns the unsent messages.
    fn finish(&self) -> Vec<Unsent> {
        let mut state = self.state.lock();
        let closing = std::mem::take(&mut state.closing);
        // The threads of its own group end.
        let place = std::mem::take(&mut state.place);
        drop(state);
        drop(place);
        for (socket, _) in &closing {
            socket.leave_context();
        }
        let unsent = closing.iter().map(|(socket, before)| Unsent {
            socket: socket.name.clone(),
            kind: socket.kind,
            messages: socket.take_unsent(),
            dropped: socket.stats().dropped.saturating_sub(*before),
        });
        unsent.filter(|unsent| !unsent.messages.is_empty() || unsent.dropped > 0).collect()
    }
}

/// A socket's place in its context, while any part of the socket exists.
pub(crate) struct Seat {
    context: Arc<ContextCore>,
    number: u64,
}

impl Seat {
    pub(crate) fn context(&self) -> &Arc<ContextCore> {
        &self.context
    }

    /// The socket is made. `false`: the context was shut down meanwhile, and the socket must be closed.
    pub(crate) fn take(&self, socket: &Arc<SocketCore>) -> bool {
        let mut state = self.context.state.lock();
        state.members.insert(self.number, Arc::downgrade(socket));
        !state.is_shut
    }

    /// The socket is closed, and no longer counts.
    pub(crate) fn leave(&self) {
        self.context.state.lock().members.remove(&self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The default context of each runtime.
static DEFAULTS: Mutex<BTreeMap<TypeId, Arc<ContextCore>>> = Mutex::new(BTreeMap::new());

pub(crate) fn default_of(runtime: TypeId) -> Arc<ContextCore> {
    let mut defaults = DEFAULTS.lock();
    Arc::clone(defaults.entry(runtime).or_insert_with(|| Arc::new(ContextCore::at(Place::default()))))
}

fn forget_default(runtime: TypeId, core: &Arc<ContextCore>) {
    let mut defaults = DEFAULTS.lock();
    if defaults.get(&runtime).is_some_and(|current| Arc::ptr_eq(current, core)) {
        defaults.remove(&runtime);
    }
}
