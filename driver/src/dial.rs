//! One connection after another: the supervisor's actions carried out on an async runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::config::SocketOptions;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::supervisor::{Action, AttemptId, DialFailure, Dialed, Epoch, Supervisor};

use crate::app::Application;
use crate::error::{transport, unresolved};
use crate::pump::{Alarm, Pump};
use crate::runtime::{Runtime, Wire};
use crate::shared::{Shared, Step};
use crate::stream::{Connector, Target};
use crate::sync::Arc;
use crate::{clock, observe};

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Dialing<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// Who is told how dialing goes, and says what is dialed with.
pub trait DialObserver: Send + 'static {
    /// What sockets are set to.
    fn socket_options(&self) -> SocketOptions;

    /// What connects in place of the runtime; by default nothing does.
    fn connector(&self) -> Option<&Connector> {
        None
    }

    /// A connection is past its handshake.
    fn ready(&self, epoch: Epoch);
    /// All endpoints were tried in vain; the last one so.
    fn round_failed(&self, failure: &DialFailure);
    /// There will be no further attempt.
    fn gave_up(&self, cause: &Disconnect);
}

/// Passes on what a supervisor says and what nothing is to be done for: to the machine, and to the
/// observer.
pub fn tell<M: Machine<Token = Waker>>(news: Action, shared: &Shared<M>, observer: &impl DialObserver) {
    match news {
        Action::AttemptFailed { attempt, failure } => {
            observe::dial_failed(&failure, attempt);
            shared.with(|machine| machine.handle_dial_failed(attempt, failure));
        }
        Action::RoundFailed { failure } => observer.round_failed(&failure),
        Action::Waiting { attempt, until, cause } => {
            let after = until.saturating_since(clock::now());
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
pub struct Dialer<R: Runtime, M: Machine<Token = Waker>, A: Application<M>, O> {
    shared: Arc<Shared<M>>,
    app: Arc<A>,
    observer: O,
    supervisor: Supervisor,
    resolving: Vec<(AttemptId, Resolving)>,
    dialing: Vec<(AttemptId, Dialing<R::Socket>)>,
    connection: Option<Connection<R, M, A>>,
    /// For the supervisor and for the connection: the one that is due first sets it, and both are looked
    /// after whenever it fires.
    ///
    /// Made when polled first: timers want their runtime around them.
    alarm: Option<Alarm<R::Timer>>,
}

struct Connection<R: Runtime, M: Machine<Token = Waker>, A: Application<M>> {
    epoch: Epoch,
    pump: Pump<M, A, R::Socket>,
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
        Self {
            shared,
            app,
            observer,
            supervisor,
            resolving: Vec::new(),
            dialing: Vec::new(),
            connection: None,
            alarm: None,
        }
    }

    /// Carries out what the supervisor wants. True: something was done.
    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(action) = self.supervisor.poll_action() {
            acted = true;
            match action {
                Action::Resolve { attempt, host, port } => {
                    self.resolving.push((attempt, Box::pin(R::resolve(host, port))));
                }
                Action::Dial { attempt, address, endpoint } => {
                    let nth = self.supervisor.attempt();
                    self.shared.dialing(&address, nth);
                    let options = self.observer.socket_options();
                    let dialing: Dialing<R::Socket> = match self.observer.connector() {
                        None => Box::pin(R::connect(address, options)),
                        Some(connector) => {
                            let connecting = connector(Target::new(endpoint, address));
                            Box::pin(async move {
                                let socket = R::adopt(connecting.await?)?;
                                socket.apply(&options)?;
                                Ok(socket)
                            })
                        }
                    };
                    self.dialing.push((attempt, dialing));
                }
                Action::Abandon { attempt } => {
                    self.resolving.retain(|(other, _)| *other != attempt);
                    self.dialing.retain(|(other, _)| *other != attempt);
                }
                Action::Close { epoch, cause } => {
                    if let Some(mut connection) = self.connection.take_if(|c| c.epoch == epoch) {
                        connection.pump.abort(&cause);
                    }
                }
                news => tell(news, &self.shared, &self.observer),
            }
        }
        acted
    }

    /// Looks after look-ups, dials and the connection. True: something changed.
    fn attend(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        let mut index = 0;
        while index < self.resolving.len() {
            let Poll::Ready(result) = self.resolving[index].1.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            let (attempt, _) = self.resolving.swap_remove(index);
            let result = result.map_err(unresolved);
            self.supervisor.handle_resolved(clock::now(), attempt, result.as_deref().map_err(Clone::clone));
            changed = true;
        }
        index = 0;
        while index < self.dialing.len() {
            let Poll::Ready(result) = self.dialing[index].1.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            let (attempt, _) = self.dialing.swap_remove(index);
            changed = true;
            let (result, socket) = match result {
                Ok(socket) => (Ok(()), Some(socket)),
                Err(error) => (Err(transport(error)), None),
            };
            let dialed = self.supervisor.handle_dialed(clock::now(), attempt, result);
            if let (Dialed::Use(epoch), Some(socket)) = (dialed, socket) {
                let pump = Pump::new(&self.shared, &self.app, socket, epoch);
                self.connection = Some(Connection { epoch, pump, ready: false });
            }
        }
        changed | self.attend_connection(cx)
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
            // Until the next time.
            (self.resolving, self.dialing) = (Vec::new(), Vec::new());
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
            // Without a connection the machine's own deadlines and closing are looked after here.
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
    /// The runtime dropped the task: everything that waits learns it.
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
