//! A dialing link, its supervisor, and the servers that accept its connections.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, Disconnect, TransportError, TransportKind};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, CastOptions, Queued, Reply, Role, State};
use bowline_core::machine::{Machine, Reason};
use bowline_core::supervisor::{Action, AttemptId, Dialed, Epoch, Supervisor};
use bowline_core::time::Instant;

use crate::end::End;
use crate::net::{Net, NetConfig, Random};
use crate::timeline::{self, Timeline};

/// A call made in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Call(usize);

/// A client and a sequence of servers, over a sequence of connections.
#[derive(Debug)]
pub struct Sim<F: Framing> {
    now: Instant,
    random: Random,
    net_config: NetConfig,
    config: Config<F>,
    supervisor: Supervisor,
    /// The dialing end.
    pub client: End<F>,
    /// The accepting end of the current connection, or of the last one.
    pub server: Option<End<F>>,
    net: Option<(Epoch, Net)>,
    dialing: Vec<(Instant, AttemptId)>,
    /// Whether dials succeed.
    reachable: bool,
    ready: bool,
    calls: BTreeMap<u64, usize>,
    outcomes: Vec<Option<Result<Reply, CallError>>>,
    /// Messages that earlier servers received.
    past_messages: Vec<Vec<u8>>,
    past_requests: Vec<Vec<u8>>,
    trace: Vec<String>,
    cut_next: Option<(crate::Direction, u64)>,
}

impl<F: Framing> Sim<F> {
    /// Creates a client that starts to connect at time zero.
    #[must_use]
    pub fn new(config: Config<F>, net_config: NetConfig, seed: u64) -> Self {
        let endpoint = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
        let policy = *config.reconnect();
        let mut supervisor = Supervisor::new(vec![endpoint], policy, config.connect_timeout(), seed);
        supervisor.start(Instant::ZERO);
        Self {
            now: Instant::ZERO,
            random: Random::new(seed),
            net_config,
            client: End::new(config.clone(), Role::Dialing),
            config,
            supervisor,
            server: None,
            net: None,
            dialing: Vec::new(),
            reachable: true,
            ready: false,
            calls: BTreeMap::new(),
            outcomes: Vec::new(),
            past_messages: Vec::new(),
            past_requests: Vec::new(),
            trace: Vec::new(),
            cut_next: None,
        }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The events, one per line. The same seed and commands give the same lines.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.push(format!("{:>12} {what}", self.now.as_nanos()));
    }

    /// Starts a call from the client.
    ///
    /// # Errors
    /// As [`bowline_core::link::Link::call`].
    pub fn call(&mut self, options: CallOptions, body: &[u8]) -> Result<Call, CallError> {
        let id = self.client.link.call(self.now, &options, Payload::Borrowed(body), 0)?;
        let call = Call(self.outcomes.len());
        self.calls.insert(id.get(), call.0);
        self.outcomes.push(None);
        self.note(format_args!("call {} as {}", call.0, id.get()));
        self.collect(id);
        Ok(call)
    }

    /// Sends a cast from the client.
    ///
    /// # Errors
    /// As [`bowline_core::link::Link::cast`].
    pub fn cast(&mut self, options: &CastOptions, body: &[u8]) -> Result<Queued, CastError> {
        self.client.link.cast(self.now, options, Payload::Borrowed(body))
    }

    /// The outcome of a call, if it has ended.
    #[must_use]
    pub fn outcome(&self, call: Call) -> Option<&Result<Reply, CallError>> {
        self.outcomes.get(call.0).and_then(Option::as_ref)
    }

    /// The outcome of every call so far.
    pub fn outcomes(&self) -> impl Iterator<Item = Option<&Result<Reply, CallError>>> {
        self.outcomes.iter().map(Option::as_ref)
    }

    /// Messages that the servers received, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.past_messages.iter().chain(self.server.iter().flat_map(|server| &server.messages))
    }

    /// Requests that the servers received, in order.
    pub fn requests(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.past_requests.iter().chain(self.server.iter().flat_map(|server| &server.requests))
    }

    /// Resets the connection, if there is one.
    pub fn cut(&mut self) {
        if let Some((_, net)) = &mut self.net {
            net.cut();
        }
    }

    /// Resets the next connection after that many bytes were carried in that direction.
    pub fn cut_next_at(&mut self, direction: crate::Direction, bytes: u64) {
        self.cut_next = Some((direction, bytes));
    }

    /// The connection falls silent: no more bytes arrive.
    pub fn fall_silent(&mut self) {
        if let Some((_, net)) = &mut self.net {
            net.fall_silent();
        }
    }

    /// Sets whether dials succeed from now on.
    pub fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
    }

    /// Closes the client with that linger.
    pub fn close(&mut self, linger: Duration) {
        self.client.link.close(self.now, linger);
    }

    /// Advances the time, handling all events.
    ///
    /// # Panics
    /// If the links never come to rest, or one is due again right after it was handled.
    pub fn run_for(&mut self, duration: Duration) {
        timeline::run_for(self, duration);
    }

    /// When the next event occurs.
    pub fn next_due(&mut self) -> Option<Instant> {
        let deadlines = self.deadlines();
        timeline::next_due(self, &deadlines)
    }

    /// The client's connection ended, and so did its server's.
    fn down(&mut self, epoch: Epoch, cause: &Disconnect) {
        self.note(format_args!("down {}: {cause}", epoch.get()));
        self.ready = false;
        self.net = None;
        self.retire();
        self.supervisor.handle_down(self.now, epoch, cause);
    }

    /// Removes the accepting end of the last connection.
    fn retire(&mut self) {
        if let Some(mut server) = self.server.take() {
            if server.is_connected() {
                server.disconnect(self.now, Disconnect::PeerClosed);
            }
            self.past_messages.append(&mut server.messages);
            self.past_requests.append(&mut server.requests);
        }
    }

    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(action) = self.supervisor.poll_action() {
            acted = true;
            match action {
                Action::Dial { attempt, .. } => {
                    let after = Duration::from_micros(self.random.below(2_000));
                    self.dialing.push((self.now + after, attempt));
                }
                Action::Abandon { attempt } => self.dialing.retain(|(_, other)| *other != attempt),
                Action::Close { epoch, cause }
                    if self.net.as_ref().is_some_and(|(current, _)| *current == epoch) =>
                {
                    self.client.disconnect(self.now, cause.clone());
                    self.down(epoch, &cause);
                }
                Action::AttemptFailed { attempt, failure } => {
                    self.client.link.handle_dial_failed(attempt, failure);
                }
                Action::Waiting { attempt, until, cause } => {
                    let after = until.saturating_since(self.now);
                    self.client.link.handle_waiting(attempt, after, cause);
                }
                Action::GaveUp { cause } => self.client.link.give_up(self.now, cause),
                _ => {}
            }
        }
        acted
    }

    fn finish_dials(&mut self) -> bool {
        let Some(index) = self.dialing.iter().position(|(at, _)| *at <= self.now) else { return false };
        let (_, attempt) = self.dialing.swap_remove(index);
        if !self.reachable {
            let error = TransportError::new(TransportKind::Refused, "refused");
            self.supervisor.handle_dialed(self.now, attempt, Err(error));
            return true;
        }
        if let Dialed::Use(epoch) = self.supervisor.handle_dialed(self.now, attempt, Ok(())) {
            self.note(format_args!("connected {}", epoch.get()));
            let mut net = Net::new(self.net_config, self.random.number());
            if let Some((direction, bytes)) = self.cut_next.take() {
                net.cut_at(direction, bytes);
            }
            self.retire();
            let mut server = End::new(self.config.clone(), Role::Accepting);
            server.connect(self.now, Epoch::FIRST);
            self.client.connect(self.now, epoch);
            self.server = Some(server);
            self.net = Some((epoch, net));
        }
        true
    }

    fn collect_all(&mut self) {
        let open: Vec<u64> = self.calls.keys().copied().collect();
        for id in open {
            self.collect_id(id);
        }
    }

    fn collect(&mut self, id: CallId) {
        self.collect_id(id.get());
    }

    fn collect_id(&mut self, id: u64) {
        let Some(&index) = self.calls.get(&id) else { return };
        if let Some(result) = self.client.link.poll_reply(CallId::from_wire(id), || 0) {
            self.calls.remove(&id);
            let outcome =
                result.as_ref().map_or_else(|error| format!("{:?}", error.outcome()), |_| "reply".into());
            self.note(format_args!("call {index} ended: {outcome}"));
            assert!(self.outcomes[index].is_none(), "a second outcome");
            self.outcomes[index] = Some(result);
        }
    }
}

impl<F: Framing> Timeline for Sim<F> {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The deadlines of the client, the server and the supervisor.
    fn deadlines(&mut self) -> Vec<(Instant, Reason)> {
        let server = self.server.as_mut().filter(|server| server.is_connected());
        let server = server.and_then(|server| server.link.poll_timeout());
        let deadlines = [self.client.link.poll_timeout(), server, self.supervisor.poll_timeout()];
        deadlines.into_iter().flatten().collect()
    }

    fn next_change(&mut self) -> Option<Instant> {
        let carried = self.net.as_ref().and_then(|(_, net)| net.next_change(self.now));
        carried.into_iter().chain(self.dialing.iter().map(|(at, _)| *at)).min()
    }

    fn trouble(&self) -> impl std::fmt::Debug {
        self.trace.iter().rev().take(10).collect::<Vec<_>>()
    }

    fn step(&mut self) -> bool {
        self.supervisor.handle_timeout(self.now);
        let mut moved = self.act();
        moved |= self.finish_dials();
        if !self.client.is_connected() {
            self.client.link.handle_timeout(self.now);
        }
        if let Some((epoch, mut net)) = self.net.take() {
            let client = self.client.step(self.now, &mut net);
            let server = self.server.as_mut().map_or(Ok(false), |server| server.step(self.now, &mut net));
            if let Err(cause) = &server {
                self.note(format_args!("server: {cause}"));
                // Its socket is closed: the client reads the end of the stream.
                net.cut();
                moved = true;
            }
            match client {
                Ok(client) => {
                    moved |= client | server.unwrap_or(true);
                    if !self.ready && self.client.link.state() == State::Ready {
                        self.ready = true;
                        self.supervisor.handle_ready(self.now, epoch);
                        self.note(format_args!("ready {}", epoch.get()));
                    }
                    self.net = Some((epoch, net));
                }
                Err(cause) => {
                    self.down(epoch, &cause);
                    moved = true;
                }
            }
        }
        self.collect_all();
        if self.client.link.is_closed() && !self.supervisor.is_stopped() {
            self.supervisor.stop();
            moved = true;
        }
        moved
    }
}
