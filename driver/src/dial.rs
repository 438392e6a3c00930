//! Dialing: performs the supervisor's actions on an async runtime.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::error::Disconnect;
use bowline_core::layer::DialLayer;
use bowline_core::machine::Machine;
use bowline_core::preamble::Preamble;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::{Action, AttemptId, DialFailure, Dialed, Endpoint, Epoch, Supervisor};

use crate::app::Application;
use crate::error::{transport, unresolved};
use crate::layered::Layered;
use crate::opening::Openings;
use crate::owner::TaskSocket;
use crate::pump::{Alarm, Pump};
use crate::runtime::{Runtime, Socket, Wire};
use crate::shared::{Shared, Step};
use crate::stream::{Connector, Target};
use crate::sync::Arc;
use crate::{clock, observe};

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Dialing<S> = Pin<Box<dyn Future<Output = io::Result<Layered<S>>> + Send>>;
/// A socket, and the bytes that were read from it already.
type Preparing<S> = Pin<Box<dyn Future<Output = Result<(Layered<S>, RecvBuf), Disconnect>> + Send>>;

/// Is told about the progress of dialing, and supplies its settings.
pub trait DialObserver: Send + 'static {
    /// The options of sockets.
    fn socket_options(&self) -> SocketOptions;

    /// The local address of connections, if it has to be determined for each dial; TCP only. By default
    /// [`SocketOptions::bind`] is used.
    fn source(&self) -> Option<Source> {
        None
    }

    /// Connects instead of the runtime; by default there is none.
    fn connector(&self) -> Option<&Connector> {
        None
    }

    /// The steps on each connection before the machine gets it; by default there are none.
    fn preamble(&self) -> Option<&Preamble> {
        None
    }

    /// The layer that secures connections; by default there is none. It is added once the stream is
    /// connected, by the runtime or by a connector.
    fn layer(&self) -> Option<Arc<dyn DialLayer>> {
        None
    }

    /// A dial begins. Called without the machine's lock, like the other methods.
    fn dialing(&self, address: &Address, attempt: u32) {
        let _ = (address, attempt);
    }

    /// A dial, a name resolution or a handshake failed.
    fn attempt_failed(&self, attempt: u32, failure: &DialFailure) {
        let _ = (attempt, failure);
    }

    /// A wait before the given attempt begins, because the last attempt failed or the last connection was too
    /// short.
    fn waiting(&self, attempt: u32, after: Duration, cause: &Disconnect) {
        let _ = (attempt, after, cause);
    }

    /// The handshake of a connection is done.
    fn ready(&self, epoch: Epoch);
    /// All endpoints failed; `failure` is that of the last one.
    fn round_failed(&self, failure: &DialFailure);
    /// There will be no further attempt.
    fn gave_up(&self, cause: &Disconnect);
}

/// The local address of connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// A name or an address of this host, resolved for each dial; `None`: any. With the feature `interfaces`, the
    /// name of a network interface comes before a host with the same name.
    pub host: Option<String>,
    /// The port; 0: any free one.
    pub port: u16,
}

/// The addresses of a network interface; none if it is not one.
#[cfg(feature = "interfaces")]
fn of_interface(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = crate::interfaces::addresses(name)?;
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

#[cfg(not(feature = "interfaces"))]
fn of_interface(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(Vec::new())
}

/// Connects from an address of the same family as the one to connect to.
async fn connect_from<R: Runtime>(
    source: Source,
    to: Address,
    mut options: SocketOptions,
) -> io::Result<R::Socket> {
    let is_ipv6 = to.ip().is_some_and(|ip| ip.is_ipv6());
    let bind = match source.host {
        None if is_ipv6 => Some((Ipv6Addr::UNSPECIFIED, source.port).into()),
        None => Some((Ipv4Addr::UNSPECIFIED, source.port).into()),
        Some(host) => {
            let found = match of_interface(&host, source.port)? {
                found if found.is_empty() => R::resolve(host, source.port).await?,
                found => found,
            };
            found.into_iter().find(|address| address.is_ipv6() == is_ipv6)
        }
    };
    let none = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the source has no address of that family");
    options.bind = Some(bind.ok_or_else(none)?);
    R::connect(to, options).await
}

/// Runs the steps before the machine. The supervisor limits their time.
fn prepare<R: Runtime>(
    openings: Openings,
    socket: Layered<R::Socket>,
    target: Target,
    epoch: Epoch,
) -> Preparing<R::Socket> {
    Box::pin(async move {
        let mut socket = socket.map(TaskSocket::<R>::new);
        let buf = openings.run(&mut socket, Some(&target), epoch, None).await?;
        Ok((socket.map(TaskSocket::into_socket), buf))
    })
}

/// Adds the layer to a connected socket, and does its handshake. It is part of the socket's future: the time
/// limit of the dial covers it, and a failure is attributed to that address.
async fn secure<S: Socket>(
    socket: S,
    layer: Option<Arc<dyn DialLayer>>,
    to: &Endpoint,
) -> io::Result<Layered<S>> {
    let Some(layer) = layer else { return Ok(Layered::plain(socket)) };
    let socket = Layered::with(socket, layer.dial(to).map_err(io::Error::other)?);
    std::future::poll_fn(|cx| socket.poll_handshake(cx)).await?;
    Ok(socket)
}

/// Passes on actions of a supervisor that are for information only: to the machine, and to the observer.
pub fn tell<M: Machine<Token = Waker>>(news: Action, shared: &Shared<M>, observer: &impl DialObserver) {
    match news {
        Action::AttemptFailed { attempt, failure } => {
            observe::dial_failed(&failure, attempt);
            observer.attempt_failed(attempt, &failure);
            shared.with(|machine| machine.handle_dial_failed(attempt, failure));
        }
        Action::RoundFailed { failure } => observer.round_failed(&failure),
        Action::Waiting { attempt, until, cause } => {
            let after = until.saturating_since(clock::now());
            observer.waiting(attempt, after, &cause);
            shared.with(|machine| machine.handle_waiting(attempt, after, cause));
        }
        Action::GaveUp { cause } => {
            shared.with(|machine| machine.give_up(clock::now(), cause.clone()));
            observer.gave_up(&cause);
        }
        _ => {}
    }
}

/// The task of a dialing machine: keeps it connected until it is closed or given up.
///
/// ```
/// use std::sync::Arc;
/// use std::task::Waker;
/// use std::time::Duration;
///
/// use bowline_core::address::Address;
/// use bowline_core::machine::Machine;
/// use bowline_core::supervisor::{ReconnectPolicy, Supervisor};
/// use bowline_driver::dial::{DialObserver, Dialer};
/// use bowline_driver::runtime::Runtime;
/// use bowline_driver::{Application, Shared, StartError};
///
/// /// Keeps any machine connected, on any runtime.
/// fn keep_connected<R: Runtime, M: Machine<Token = Waker>>(
///     machine: M,
///     app: impl Application<M>,
///     observer: impl DialObserver,
///     server: Address,
/// ) -> Result<Arc<Shared<M>>, StartError> {
///     let shared = Arc::new(Shared::new(machine));
///     let policy = ReconnectPolicy::default();
///     let supervisor = Supervisor::new(vec![server.into()], policy, Duration::from_secs(5), 1);
///     R::spawn(Dialer::<R, _, _, _>::new(Arc::clone(&shared), Arc::new(app), observer, supervisor))?;
///     Ok(shared)
/// }
/// ```
pub struct Dialer<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O> {
    shared: Arc<Shared<M>>,
    app: Arc<A>,
    observer: O,
    supervisor: Supervisor,
    /// Name resolutions, dials, and steps before the machine. Boxed: a connected link has none.
    attempts: Option<Box<Attempts<R::Socket>>>,
    connection: Option<Connection<R, M, A>>,
    /// For both the supervisor and the connection: the earlier time sets it, and both are handled whenever it
    /// fires.
    ///
    /// Created on the first poll, because timers must be created inside their runtime.
    alarm: Option<Alarm<R::Timer>>,
}

struct Attempts<S> {
    resolving: Vec<(AttemptId, Resolving)>,
    dialing: Vec<(AttemptId, Target, Dialing<S>)>,
    /// The connection in its proxy exchange or preamble: the machine does not know it yet.
    preparing: Option<(Epoch, Preparing<S>)>,
}

impl<S> Default for Attempts<S> {
    fn default() -> Self {
        Self { resolving: Vec::new(), dialing: Vec::new(), preparing: None }
    }
}

struct Connection<R: Runtime, M: Machine<Token = Waker>, A: Application<M>> {
    epoch: Epoch,
    pump: Pump<M, A, Layered<R::Socket>>,
    ready: bool,
}

impl<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O> std::fmt::Debug for Dialer<R, M, A, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}

impl<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O: DialObserver> Dialer<R, M, A, O> {
    /// Begins at once; poll it as a task.
    pub fn new(shared: Arc<Shared<M>>, app: Arc<A>, observer: O, mut supervisor: Supervisor) -> Self {
        supervisor.start(clock::now());
        Self { shared, app, observer, supervisor, attempts: None, connection: None, alarm: None }
    }

    /// Performs the supervisor's actions. `true`: something was done.
    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(action) = self.supervisor.poll_action() {
            acted = true;
            match action {
                Action::Resolve { attempt, host, port } => {
                    let resolving: Resolving = Box::pin(R::resolve(host, port));
                    self.attempts.get_or_insert_default().resolving.push((attempt, resolving));
                }
                Action::Dial { attempt, address, endpoint } => {
                    let nth = self.supervisor.attempt();
                    self.observer.dialing(&address, nth);
                    self.shared.dialing(&address, nth);
                    let (options, layer) = (self.observer.socket_options(), self.observer.layer());
                    // Through proxies the layer is added later: see `Openings::securing`.
                    let is_direct = Openings::new(self.supervisor.proxy(), None, Some(&endpoint)).is_empty();
                    let layer = layer.filter(|_| is_direct);
                    let target = Target::new(endpoint.clone(), address.clone());
                    let dialing: Dialing<R::Socket> = match self.observer.connector() {
                        None => {
                            let source = self.observer.source().filter(|_| address.ip().is_some());
                            Box::pin(async move {
                                let socket = match source {
                                    Some(source) => connect_from::<R>(source, address, options).await?,
                                    None => R::connect(address, options).await?,
                                };
                                secure(socket, layer, &endpoint).await
                            })
                        }
                        Some(connector) => {
                            let connecting = connector(target.clone());
                            Box::pin(async move {
                                let socket = R::adopt(connecting.await?)?;
                                socket.apply(&options)?;
                                secure(socket, layer, &endpoint).await
                            })
                        }
                    };
                    self.attempts.get_or_insert_default().dialing.push((attempt, target, dialing));
                }
                Action::Abandon { attempt } => {
                    if let Some(attempts) = &mut self.attempts {
                        attempts.resolving.retain(|(other, _)| *other != attempt);
                        attempts.dialing.retain(|(other, ..)| *other != attempt);
                    }
                }
                Action::Close { epoch, cause } => {
                    if let Some(attempts) = &mut self.attempts {
                        attempts.preparing.take_if(|(other, _)| *other == epoch);
                    }
                    if let Some(mut connection) = self.connection.take_if(|c| c.epoch == epoch) {
                        connection.pump.abort(&cause);
                    }
                }
                news => tell(news, &self.shared, &self.observer),
            }
        }
        acted
    }

    /// Handles name resolutions, dials and the connection. `true`: something changed.
    fn attend(&mut self, cx: &mut Context<'_>) -> bool {
        // A connection that begins here is polled below.
        self.attend_attempts(cx) | self.attend_connection(cx)
    }

    fn attend_attempts(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(attempts) = &mut self.attempts else { return false };
        let (mut changed, mut index) = (false, 0);
        while index < attempts.resolving.len() {
            let Poll::Ready(result) = attempts.resolving[index].1.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            let (attempt, _) = attempts.resolving.swap_remove(index);
            let result = result.map_err(unresolved);
            self.supervisor.handle_resolved(clock::now(), attempt, result.as_deref().map_err(Clone::clone));
            changed = true;
        }
        index = 0;
        while index < attempts.dialing.len() {
            let Poll::Ready(result) = attempts.dialing[index].2.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            let (attempt, target, _) = attempts.dialing.swap_remove(index);
            changed = true;
            let (result, socket) = match result {
                Ok(socket) => (Ok(()), Some(socket)),
                Err(error) => (Err(transport(error)), None),
            };
            let dialed = self.supervisor.handle_dialed(clock::now(), attempt, result);
            if let (Dialed::Use(epoch), Some(socket)) = (dialed, socket) {
                let (proxy, preamble) = (self.supervisor.proxy(), self.observer.preamble());
                let openings = Openings::new(proxy, preamble, Some(&target.endpoint));
                let openings = openings.securing(self.observer.layer());
                if openings.is_empty() {
                    let pump = Pump::new(&self.shared, &self.app, socket, epoch);
                    self.connection = Some(Connection { epoch, pump, ready: false });
                } else {
                    attempts.preparing = Some((epoch, prepare::<R>(openings, socket, target, epoch)));
                }
            }
        }
        changed | self.attend_preparing(cx)
    }

    /// Handles the connection that the machine does not have yet.
    fn attend_preparing(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(attempts) = &mut self.attempts else { return false };
        let Some((epoch, preparing)) = &mut attempts.preparing else { return false };
        let (epoch, Poll::Ready(prepared)) = (*epoch, preparing.as_mut().poll(cx)) else { return false };
        attempts.preparing = None;
        match prepared {
            Ok(arrival) => {
                let pump = Pump::greeted(&self.shared, &self.app, arrival, epoch);
                self.connection = Some(Connection { epoch, pump, ready: false });
            }
            Err(cause) => self.supervisor.handle_down(clock::now(), epoch, &cause),
        }
        true
    }

    fn attend_connection(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let mut changed = false;
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
        let polled = connection.pump.poll(cx, alarm);
        if !connection.ready && self.shared.with(|machine| machine.is_ready()) {
            connection.ready = true;
            changed = true;
            self.supervisor.handle_ready(clock::now(), connection.epoch);
            // Freed until the next dial.
            self.attempts = None;
            self.observer.ready(connection.epoch);
        }
        if let Poll::Ready(cause) = polled {
            self.supervisor.handle_down(clock::now(), connection.epoch, &cause);
            self.connection = None;
            changed = true;
        }
        changed
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O> Unpin for Dialer<R, M, A, O> {}

impl<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O: DialObserver> Future
    for Dialer<R, M, A, O>
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            while this.act() {}
            if this.attend(cx) {
                continue;
            }
            // Without a connection, the machine's own deadlines and its closing are handled here.
            let at = if this.connection.is_none() {
                let now = clock::now();
                let closed = this.shared.tend(now);
                if this.shared.with(|machine| machine.take_reconnect()) {
                    this.supervisor.reconnect_now(now);
                    if this.act() {
                        continue;
                    }
                }
                if closed {
                    this.supervisor.stop();
                    while this.act() {}
                    this.app.ended(&Disconnect::LocalClose);
                    return Poll::Ready(());
                }
                match this.shared.sleep_attendant(cx.waker()) {
                    Step::Sleep(at) => at,
                    _ => continue,
                }
            } else {
                None
            };
            let supervisor = this.supervisor.poll_timeout().map(|(at, _)| at);
            let Some(at) = at.into_iter().chain(supervisor).min() else { return Poll::Pending };
            let now = clock::now();
            let alarm = this.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
            if at > now && !alarm.poll(cx, at) {
                return Poll::Pending;
            }
            this.supervisor.handle_timeout(clock::now());
        }
    }
}

impl<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O> Drop for Dialer<R, M, A, O> {
    /// The runtime dropped the task: all waiting callers get the error.
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.pump.abort(&Disconnect::LocalClose);
        }
        self.shared.with(|machine| {
            if !machine.is_closed() {
                machine.give_up(clock::now(), Disconnect::LocalClose);
            }
        });
    }
}
