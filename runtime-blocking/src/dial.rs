//! The thread that keeps a dialing machine connected.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Wake, Waker};
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::{Action, AttemptId, Dialed, Epoch, Supervisor};
use bowline_core::time::Instant;
use bowline_driver::app::Application;
use bowline_driver::dial::{DialObserver, tell};
use bowline_driver::error::{disconnect, no_thread, transport, unresolved};
use bowline_driver::shared::Step;
use bowline_driver::sync::Mutex;
use bowline_driver::{Shared, clock};

use crate::connection::{Connection, HelpRead};
use crate::park::{Bell, Ringer};
use crate::socket::Socket;

/// What helper threads found out.
enum Found {
    Resolved(AttemptId, io::Result<Vec<SocketAddr>>),
    Dialed(AttemptId, io::Result<Socket>),
}

/// The present connection, for callers that read for themselves.
#[derive(Clone, Default)]
pub struct KeeperHandle {
    helper: Arc<Mutex<Option<Arc<dyn HelpRead>>>>,
}

impl std::fmt::Debug for KeeperHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeeperHandle")
    }
}

impl KeeperHandle {
    pub(crate) fn helper(&self) -> Option<Arc<dyn HelpRead>> {
        self.helper.lock().clone()
    }
}

/// Keeps a dialing machine connected until it is closed or given up; runs on a thread of its own.
///
/// Names are looked up and addresses dialed on helper threads, which are abandoned at the
/// deadline.
pub struct Keeper<M: Machine<Token = Waker>, A: Application<M>, O> {
    shared: Arc<Shared<M>>,
    app: Arc<A>,
    observer: O,
    supervisor: Supervisor,
    connect_timeout: Duration,
    bell: Bell,
    handle: KeeperHandle,
    found: (Sender<Found>, Receiver<Found>),
    connection: Option<Current<M, A>>,
}

struct Current<M: Machine<Token = Waker>, A: Application<M>> {
    epoch: Epoch,
    connection: Connection<M, A>,
    ready: bool,
}

impl<M: Machine<Token = Waker>, A: Application<M>, O> std::fmt::Debug for Keeper<M, A, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, O: DialObserver> Keeper<M, A, O> {
    /// Not begun yet: [`run`](Self::run) it.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(
        shared: Arc<Shared<M>>,
        app: Arc<A>,
        observer: O,
        supervisor: Supervisor,
        connect_timeout: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            shared,
            app,
            observer,
            supervisor,
            connect_timeout,
            bell: Bell::new()?,
            handle: KeeperHandle::default(),
            found: channel(),
            connection: None,
        })
    }

    /// For callers that read for themselves.
    #[must_use]
    pub fn handle(&self) -> KeeperHandle {
        self.handle.clone()
    }

    /// Keeps the machine connected until it is closed or given up.
    pub fn run(mut self) {
        self.supervisor.start(clock::now());
        loop {
            self.act();
            while let Ok(found) = self.found.1.try_recv() {
                self.take(found);
            }
            self.act();
            let now = clock::now();
            let until = self.supervisor.poll_timeout().map(|(at, _)| at);
            if until.is_some_and(|at| at <= now) {
                self.supervisor.handle_timeout(now);
                continue;
            }
            if self.connection.is_some() {
                self.attend(until);
            } else if self.wait(now, until) {
                return;
            }
        }
    }

    fn attend(&mut self, until: Option<Instant>) {
        let Some(current) = &mut self.connection else { return };
        let ended = current.connection.turn(&self.bell, until);
        if !current.ready && self.shared.with(|machine| machine.is_ready()) {
            current.ready = true;
            self.supervisor.handle_ready(clock::now(), current.epoch);
            self.observer.ready(current.epoch);
        }
        if let Some(cause) = ended {
            self.supervisor.handle_down(clock::now(), current.epoch, &cause);
            *self.handle.helper.lock() = None;
            self.connection = None;
        }
    }

    /// Without a connection: the machine's deadlines and closing. True when it is closed.
    fn wait(&mut self, now: Instant, until: Option<Instant>) -> bool {
        let closed = self.shared.tend(now);
        if self.shared.with(|machine| machine.take_reconnect()) {
            self.supervisor.reconnect_now(now);
            return false;
        }
        if closed {
            self.supervisor.stop();
            self.act();
            self.app.ended(&Disconnect::LocalClose);
            return true;
        }
        if let Step::Sleep(at) = self.shared.sleep_attendant(&self.bell.waker()) {
            let timeout = at.into_iter().chain(until).min().map(|at| at.saturating_since(clock::now()));
            // A bell that cannot be waited for would make this a busy loop.
            if self.bell.wait(None, timeout).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        false
    }

    /// Carries out what the supervisor wants.
    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Resolve { attempt, host, port } => {
                    let found = move |found| Found::Resolved(attempt, found);
                    self.help(found, move || Ok((host, port).to_socket_addrs()?.collect()));
                }
                Action::Dial { attempt, address } => {
                    let nth = self.supervisor.attempt();
                    self.shared.dialing(&address, nth);
                    let (options, timeout) = (self.observer.socket_options(), self.connect_timeout);
                    let found = move |found| Found::Dialed(attempt, found);
                    self.help(found, move || Socket::connect(&address, &options, timeout));
                }
                Action::Close { epoch, cause } => {
                    if let Some(mut current) = self.connection.take_if(|c| c.epoch == epoch) {
                        *self.handle.helper.lock() = None;
                        current.connection.end(&cause);
                    }
                }
                // Its thread ends by itself; its result is ignored.
                Action::Abandon { .. } => {}
                news => tell(news, &self.shared, &self.observer),
            }
        }
    }

    /// Runs something that blocks on a thread of its own.
    fn help<T>(
        &self,
        as_found: impl Fn(io::Result<T>) -> Found + Copy + Send + 'static,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) {
        let (found, ringer): (Sender<Found>, Arc<Ringer>) = (self.found.0.clone(), self.bell.ringer());
        let spawned = std::thread::Builder::new().name("bowline-dial".into()).spawn(move || {
            // Nobody to tell: the link was closed meanwhile.
            let _ = found.send(as_found(work()));
            ringer.wake();
        });
        if let Err(error) = spawned {
            // The receiver is here; it is looked at before this thread waits.
            let _ = self.found.0.send(as_found(Err(no_thread(error))));
            self.bell.ringer().wake();
        }
    }

    fn take(&mut self, found: Found) {
        let now = clock::now();
        match found {
            Found::Resolved(attempt, result) => {
                let result = result.map_err(unresolved);
                self.supervisor.handle_resolved(now, attempt, result.as_deref().map_err(Clone::clone));
            }
            Found::Dialed(attempt, Err(error)) => {
                self.supervisor.handle_dialed(now, attempt, Err(transport(error)));
            }
            Found::Dialed(attempt, Ok(socket)) => {
                let Dialed::Use(epoch) = self.supervisor.handle_dialed(now, attempt, Ok(())) else { return };
                match Connection::new(&self.shared, &self.app, socket, epoch, RecvBuf::new(), &self.bell) {
                    Ok(connection) => {
                        *self.handle.helper.lock() = Some(connection.helper());
                        self.connection = Some(Current { epoch, connection, ready: false });
                    }
                    Err(error) => self.supervisor.handle_down(now, epoch, &disconnect(error)),
                }
            }
        }
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>, O> Drop for Keeper<M, A, O> {
    fn drop(&mut self) {
        if let Some(mut current) = self.connection.take() {
            current.connection.end(&Disconnect::LocalClose);
        }
        self.shared.with(|machine| machine.give_up(clock::now(), Disconnect::LocalClose));
    }
}
