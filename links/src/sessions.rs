//! The sessions of a server: finds the session that a new connection belongs to.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::config::{Config, Delivery};
use bowline_core::frame::Framing;
use bowline_core::link::{Greeting, SessionIdentity};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_driver::accept::{Door, Eviction};
use bowline_driver::clock;
use bowline_driver::gate::{Admission, Handshake};
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::{Socket, Timer};
use bowline_driver::shared::Step;
use bowline_driver::sync::{Arc, Mutex};

use crate::link_service::LinkService;
use crate::peer_core::PeerCore;

/// A connection that was accepted, and what was read from it already.
#[derive(Debug)]
pub(crate) struct Arrival<S, F: Framing> {
    /// The socket.
    pub socket: S,
    /// The frames that were read.
    pub greeting: Greeting<F>,
    /// The bytes that were read after them.
    pub buf: RecvBuf,
    /// When it was accepted: its greeting and the link's handshake share one time limit.
    pub since: Instant,
    /// Dropped when the connection is over.
    pub admission: Admission,
}

impl<S, F: Framing> Arrival<S, F> {
    /// Moves it out of its box, which is freed.
    #[allow(clippy::boxed_local, reason = "a task would keep the empty box")]
    pub(crate) fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

/// The task or thread that serves a session, connected or not.
pub(crate) struct Host<S, F: Framing> {
    identity: SessionIdentity,
    next: Mutex<Next<S, F>>,
    supersede: Box<dyn Fn() + Send + Sync>,
}

struct Next<S, F: Framing> {
    /// Boxed: a session has none most of its time.
    arrival: Option<Box<Arrival<S, F>>>,
    waker: Option<Waker>,
}

impl<S, F: Framing> std::fmt::Debug for Host<S, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl<S, F: Framing> Host<S, F> {
    /// Gives the session a new connection, which takes it over. An earlier one that was not taken up yet is
    /// dropped.
    pub(crate) fn give(&self, arrival: Box<Arrival<S, F>>) {
        let mut next = self.next.lock();
        let older = next.arrival.replace(arrival);
        let waker = next.waker.take();
        drop(next);
        drop(older);
        (self.supersede)();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The link knows the connection that was taken up. If another one arrived meanwhile, when there was
    /// nothing to supersede yet, this one has to end.
    pub(crate) fn connected(&self) {
        if self.next.lock().arrival.is_some() {
            (self.supersede)();
        }
    }

    /// The connection that arrived; otherwise keeps the waker for when one does.
    pub(crate) fn poll_next(&self, waker: &Waker) -> Option<Box<Arrival<S, F>>> {
        let mut next = self.next.lock();
        let arrival = next.arrival.take();
        if arrival.is_none() {
            next.waker = Some(waker.clone());
        }
        arrival
    }
}

/// The sessions of a server, by id.
#[derive(Debug)]
pub(crate) struct Sessions<S, F: Framing> {
    hosts: Mutex<HashMap<u64, Arc<Host<S, F>>>>,
}

impl<S, F: Framing> Default for Sessions<S, F> {
    fn default() -> Self {
        Self { hosts: Mutex::new(HashMap::new()) }
    }
}

impl<S: Send + 'static, F: Framing> Sessions<S, F> {
    /// Prepares the accepting link of `peer` for a session. `None` if the settings do not want one, or if the
    /// system has no randomness for its secret.
    #[must_use]
    pub(crate) fn host(&self, config: &Config<F>, peer: &PeerCore<F>) -> Option<Arc<Host<S, F>>> {
        if config.delivery() != Delivery::Session {
            return None;
        }
        let (mut id, mut token) = ([0; 8], [0; 16]);
        getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut token)).ok()?;
        let identity = SessionIdentity { id: u64::from_ne_bytes(id) | 1, token };
        peer.shared().with(|link| link.offer_session(identity));
        let shared = Arc::clone(peer.shared());
        let supersede = Box::new(move || shared.with(|link| link.supersede()));
        let next = Mutex::new(Next { arrival: None, waker: None });
        let host = Arc::new(Host { identity, next, supersede });
        self.hosts.lock().insert(identity.id, Arc::clone(&host));
        Some(host)
    }

    /// The host of the session that a connection's greeting asks for.
    pub(crate) fn find(&self, greeting: &mut Greeting<F>) -> Option<Arc<Host<S, F>>> {
        let host = self.hosts.lock().get(&greeting.session()?).cloned();
        // A wrong secret is a guess by another peer: it gets a session of its own.
        host.filter(|host| greeting.is_for(&host.identity))
    }

    /// Removes a session that is over.
    pub(crate) fn remove(&self, host: &Host<S, F>) {
        self.hosts.lock().remove(&host.identity.id);
    }
}

/// The next step of a session's task while the session has no connection.
#[derive(Debug)]
pub(crate) enum Detached<S, F: Framing> {
    /// A connection has arrived.
    Next(Box<Arrival<S, F>>),
    /// The link is closed, or has no session that could be resumed.
    Over,
    /// Nothing to do until it is woken or until that time.
    Sleep(Option<Instant>),
}

/// Handles a session without a connection. Call it again when `waker` is woken.
pub(crate) fn attend_detached<S, F: Framing>(
    peer: &PeerCore<F>,
    host: &Host<S, F>,
    waker: &Waker,
) -> Detached<S, F> {
    loop {
        if let Some(arrival) = host.poll_next(waker) {
            return Detached::Next(arrival);
        }
        if peer.shared().tend(clock::now()) || !peer.shared().look(|link| link.is_detached()) {
            return Detached::Over;
        }
        if let Step::Sleep(at) = peer.shared().sleep_attendant(waker) {
            return Detached::Sleep(at);
        }
    }
}

/// The time limit of a greeting.
pub(crate) fn greeting_limit<F: Framing>(config: &Config<F>) -> Duration {
    config.accept_limits().handshake.unwrap_or_else(|| config.connect_timeout())
}

/// Reads a connection's greeting on an async runtime, within the time limit of the handshake. `None`: it
/// failed, or took too long.
pub(crate) struct ReadGreeting<'a, S, T: Timer, F: Framing> {
    sessions: &'a Sessions<S, F>,
    arrival: Option<Box<Arrival<S, F>>>,
    eviction: Arc<Eviction>,
    handshake: Handshake,
    alarm: Alarm<T>,
    deadline: Instant,
}

impl<S, T: Timer, F: Framing> std::fmt::Debug for ReadGreeting<'_, S, T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadGreeting").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<'a, S: Socket, T: Timer, F: Framing> ReadGreeting<'a, S, T, F> {
    /// Reads from `socket`.
    pub(crate) fn new(
        sessions: &'a Sessions<S, F>,
        door: &Door<LinkService<F>>,
        (socket, admission): (S, Admission),
        timer: T,
    ) -> Self {
        let config = door.service().config();
        let since = clock::now();
        let deadline = since + greeting_limit(config);
        let (eviction, handshake) = Eviction::begin(door.gate());
        let (greeting, buf) = (Greeting::new(config.framing().clone()), RecvBuf::new());
        let arrival = Some(Box::new(Arrival { socket, greeting, buf, since, admission }));
        Self { sessions, arrival, eviction, handshake, alarm: Alarm::new(timer), deadline }
    }
}

// Nothing in it is pinned in place.
impl<S, T: Timer, F: Framing> Unpin for ReadGreeting<'_, S, T, F> {}

impl<S: Socket, T: Timer, F: Framing> Future for ReadGreeting<'_, S, T, F> {
    type Output = Option<(Box<Arrival<S, F>>, Option<Arc<Host<S, F>>>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(arrival) = &mut this.arrival else { return Poll::Ready(None) };
        let Arrival { socket, greeting, buf, .. } = &mut **arrival;
        if this.eviction.poll(cx.waker()) {
            return Poll::Ready(None);
        }
        loop {
            if greeting.read(buf) {
                let host = this.sessions.find(greeting);
                let arrival = this.arrival.take();
                return Poll::Ready(arrival.map(|arrival| (arrival, host)));
            }
            match socket.read_now(buf.spare()) {
                Ok(0) => return Poll::Ready(None),
                Ok(n) => buf.filled(n),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    match socket.poll_readable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(None),
                        Poll::Pending => {
                            this.handshake.note_held(socket.held());
                            while clock::now() < this.deadline {
                                if !this.alarm.poll(cx, this.deadline) {
                                    return Poll::Pending;
                                }
                            }
                            return Poll::Ready(None);
                        }
                    }
                }
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_core::address::Address;
    use bowline_core::error::Disconnect;
    use bowline_core::link::{Link, Role};
    use bowline_core::machine::{Ending, Machine};
    use bowline_core::supervisor::Epoch;

    use bowline_driver::gate::Gate;

    #[test]
    fn a_connection_that_comes_while_another_is_taken_up_supersedes_it() {
        let config = Config::builder().delivery(Delivery::Session).build().unwrap();
        let gate = Gate::new(*config.accept_limits(), config.message_timeout());
        let arrival = || {
            let admission = gate.admit(&Address::Inproc("x".into())).unwrap();
            let (greeting, buf) = (Greeting::new(config.framing().clone()), RecvBuf::new());
            Box::new(Arrival { socket: (), greeting, buf, since: clock::now(), admission })
        };
        let peer = PeerCore::new(Link::new(config.clone(), Role::Accepting));
        let host = Sessions::<(), _>::default().host(&config, &peer).unwrap();
        host.give(arrival());
        let first = host.poll_next(Waker::noop()).unwrap();
        // The link does not know the first one yet.
        host.give(arrival());
        peer.shared().with(|link| link.handle_connected(clock::now(), Epoch::FIRST));
        host.connected();
        let ending = peer.shared().with(|link| link.poll_ending(clock::now()));
        assert_eq!(ending, Some(Ending::Abort(Disconnect::Superseded)));
        drop(first);
        assert!(host.poll_next(Waker::noop()).is_some());
        // No connection waits behind the second one.
        host.connected();
        assert_eq!(peer.shared().with(|link| link.poll_ending(clock::now())), None);
    }
}
