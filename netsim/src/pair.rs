//! The two ends of one connection, both of which take commands.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::auth::{Decision, Shown};
use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, Disconnect};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, CastOptions, Queued, Reply, Role, SessionIdentity};
use bowline_core::machine::{Machine, Reason};
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::conduit::MakeConduit;
use crate::end::End;
use crate::ledger::{Given, Ledger, PairCast, Wants};
use crate::net::{Direction, Net, NetConfig, Random};
use crate::timeline::{self, Timeline};

mod check;

/// A call made in a [`Pair`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PairCall(usize);

#[derive(Debug)]
struct Made {
    side: usize,
    id: CallId,
    began: Instant,
    /// When and how it ended.
    ended: Option<(Instant, Result<Reply, CallError>)>,
    cancelled: bool,
}

/// Two links joined by a network, without reconnecting.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_core::link::CastOptions;
/// use bowline_netsim::{NetConfig, Pair};
/// use core::time::Duration;
///
/// let mut pair = Pair::new(&Config::default(), NetConfig::default(), 42);
/// pair.cast(1, &CastOptions::new(1), b"from the accepting side".as_slice()).unwrap();
/// pair.run_for(Duration::from_secs(1));
/// assert_eq!(pair.ends[0].messages.len(), 1);
/// ```
#[derive(Debug)]
pub struct Pair<F: Framing> {
    now: Instant,
    net: Net,
    /// The dialing and the accepting end.
    pub ends: [End<F>; 2],
    calls: Vec<Made>,
    open: [BTreeMap<u64, usize>; 2],
    /// Why the connection ended, if it did.
    pub over: Option<Disconnect>,
    /// The largest memory that each end has held.
    pub peak: [usize; 2],
    /// Reconnects this long after both ends know that the connection ended.
    reconnect: Option<Duration>,
    redial_at: Option<Instant>,
    net_config: NetConfig,
    config: Config<F>,
    random: Random,
    epoch: Epoch,
    /// Whether a new connection is started before the old one is closed.
    unfenced: bool,
    /// The conduit between each end and the network.
    through: Option<MakeConduit>,
    /// The point at which the next connection is cut.
    cut_next: Option<(Direction, u64)>,
    /// The accepting ends that were replaced.
    pub past: Vec<End<F>>,
    ledger: Option<Ledger>,
}

impl<F: Framing> Pair<F> {
    /// Connects at time zero.
    #[must_use]
    pub fn new(config: &Config<F>, net: NetConfig, seed: u64) -> Self {
        Self::connected(config, net, seed, None)
    }

    /// As [`new`](Self::new), with an accepting end that authenticates its peer with `verify`.
    #[must_use]
    pub fn verifying(config: &Config<F>, net: NetConfig, seed: u64, verify: fn(&Shown) -> Decision) -> Self {
        Self::connected(config, net, seed, Some(verify))
    }

    fn connected(
        config: &Config<F>,
        net: NetConfig,
        seed: u64,
        verifies: Option<fn(&Shown) -> Decision>,
    ) -> Self {
        let mut ends = [End::new(config.clone(), Role::Dialing), End::new(config.clone(), Role::Accepting)];
        let mut random = Random::new(seed ^ 0x5e55_1045);
        ends[1].link.offer_session(identity(&mut random));
        ends[1].verifies = verifies;
        for end in &mut ends {
            end.connect(Instant::ZERO, Epoch::FIRST);
        }
        Self {
            now: Instant::ZERO,
            net: Net::new(net, seed),
            reconnect: None,
            redial_at: None,
            net_config: net,
            config: config.clone(),
            random,
            epoch: Epoch::FIRST,
            unfenced: false,
            through: None,
            cut_next: None,
            past: Vec::new(),
            ledger: None,
            ends,
            calls: Vec::new(),
            open: [BTreeMap::new(), BTreeMap::new()],
            over: None,
            peak: [0; 2],
        }
    }

    /// The dialing end reconnects this long after a connection ended.
    #[must_use]
    pub fn reconnecting(mut self, after: Duration) -> Self {
        self.reconnect = Some(after);
        self
    }

    /// Puts a conduit, such as TLS, between each end and the network; each connection has a new one.
    #[must_use]
    pub fn through(mut self, make: MakeConduit) -> Self {
        self.through = Some(make);
        self.ends.iter_mut().for_each(|end| end.set_through(make));
        self
    }

    /// Records what the links report about every cast made with [`give`](Self::give). Events and errored
    /// messages are taken from the links for this.
    #[must_use]
    pub fn keeping_a_ledger(mut self) -> Self {
        self.ledger = Some(Ledger::default());
        self
    }

    /// The accepting end does not close the old connection before it starts a new one: an error of a driver,
    /// for checkers that have to find it.
    #[must_use]
    pub fn forgetting_the_fence(mut self) -> Self {
        self.unfenced = true;
        self
    }

    /// Number of bytes that the current connection carried in that direction.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> u64 {
        self.net.carried(direction)
    }

    /// Resets the connection.
    pub fn cut(&mut self) {
        self.net.cut();
    }

    /// Resets the current connection after that many bytes were carried in that direction.
    pub fn cut_at(&mut self, direction: Direction, bytes: u64) {
        self.net.cut_at(direction, bytes);
    }

    /// Resets the next connection after that many bytes were carried in that direction.
    pub fn cut_next_at(&mut self, direction: Direction, bytes: u64) {
        self.cut_next = Some((direction, bytes));
    }

    /// The connection falls silent: no more bytes arrive.
    pub fn fall_silent(&mut self) {
        self.net.fall_silent();
    }

    /// Only the dialing end loses its connection and dials again: the accepting end learns of it from the new
    /// connection.
    pub fn redial(&mut self) {
        if self.ends[0].is_connected() {
            let cause = Disconnect::Reopened;
            self.ends[0].disconnect(self.now, cause);
            self.dial();
        }
    }

    /// The accepting process dies and is replaced by another.
    pub fn restart(&mut self) {
        let mut fresh = End::new(self.config.clone(), Role::Accepting);
        fresh.link.offer_session(identity(&mut self.random));
        (fresh.takes, fresh.answers) = (self.ends[1].takes, self.ends[1].answers);
        fresh.verifies = self.ends[1].verifies;
        if let Some(make) = self.through {
            fresh.set_through(make);
        }
        if self.ends[1].link.is_closed() {
            self.ends[1].return_late(self.now);
        }
        self.note_told(1);
        if let Some(ledger) = &mut self.ledger {
            ledger.restarted(1);
        }
        self.past.push(core::mem::replace(&mut self.ends[1], fresh));
        self.open[1].clear();
        self.net.cut();
    }

    fn dial(&mut self) {
        self.redial_at = None;
        self.epoch = self.epoch.next();
        if self.ends[1].is_connected() && !self.unfenced {
            self.ends[1].disconnect(self.now, Disconnect::Superseded);
        }
        let [asked, held] = [0, 1].map(|side| self.ends[side].link.session());
        if held.is_some() && asked != held {
            // Its connection died before the peer noticed: the session is not requested again, and expires.
            self.ends[1].link.expire_session(self.now);
        }
        if self.ends[1].link.is_closed() {
            // Its session is over or replaced: the server creates a new link.
            self.restart();
        }
        self.net = Net::new(self.net_config, self.random.number());
        if let Some((direction, bytes)) = self.cut_next.take() {
            self.net.cut_at(direction, bytes);
        }
        if self.ends[1].link.session().is_none() {
            let identity = identity(&mut self.random);
            self.ends[1].link.offer_session(identity);
        }
        for end in &mut self.ends {
            end.connect(self.now, self.epoch);
        }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sends a cast from an end.
    ///
    /// # Errors
    /// As [`bowline_core::link::Link::cast`].
    pub fn cast<'p>(
        &mut self,
        side: usize,
        options: &CastOptions,
        body: impl Into<Payload<'p>>,
    ) -> Result<Queued, CastError> {
        self.ends[side].link.cast(self.now, options, body.into())
    }

    /// Sends a cast from an end and records it in the [ledger](Self::ledger).
    ///
    /// # Errors
    /// As [`bowline_core::link::Link::cast`].
    ///
    /// # Panics
    /// Without a [ledger](Self::keeping_a_ledger).
    pub fn give(
        &mut self,
        side: usize,
        wants: Wants,
        options: CastOptions,
        method: u32,
        body: Vec<u8>,
    ) -> Result<PairCast, CastError> {
        let link = &mut self.ends[side].link;
        let options = options.notify(wants == Wants::Event);
        let number = link.cast(self.now, &options, body.clone().into())?.number;
        if wants == Wants::Outcome {
            link.watch_outcome(number, 0);
        }
        let life = if side == 0 { 0 } else { self.past.len() };
        let given = Given { side, life, number, method, body, wants, told: Vec::new() };
        Ok(self.ledger.as_mut().expect("a ledger").give(given))
    }

    /// The caller stops waiting for the outcome of a cast.
    ///
    /// # Panics
    /// Without a [ledger](Self::keeping_a_ledger).
    pub fn forget(&mut self, cast: PairCast) {
        let life = self.past.len();
        let given = self.ledger.as_mut().expect("a ledger").forget(cast);
        if let Some(given) = given.filter(|given| given.side == 0 || given.life == life) {
            self.ends[given.side].link.forget_outcome(given.number);
        }
    }

    /// Every cast made with [`give`](Self::give), and the reports about it so far.
    ///
    /// # Panics
    /// Without a [ledger](Self::keeping_a_ledger).
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("a ledger")
    }

    fn note_told(&mut self, side: usize) {
        if let Some(ledger) = &mut self.ledger {
            let life = if side == 0 { 0 } else { self.past.len() };
            ledger.collect(side, life, &mut self.ends[side]);
        }
    }

    /// Starts a call from an end.
    ///
    /// # Errors
    /// As [`bowline_core::link::Link::call`].
    pub fn call<'p>(
        &mut self,
        side: usize,
        options: &CallOptions,
        body: impl Into<Payload<'p>>,
    ) -> Result<PairCall, CallError> {
        let id = self.ends[side].link.call(self.now, options, body.into(), 0)?;
        let call = self.calls.len();
        self.calls.push(Made { side, id, began: self.now, ended: None, cancelled: false });
        self.open[side].insert(id.get(), call);
        Ok(PairCall(call))
    }

    /// Cancels a call, if it has not ended.
    pub fn cancel(&mut self, call: PairCall) {
        let made = &mut self.calls[call.0];
        if made.ended.is_none() && !made.cancelled {
            made.cancelled = true;
            self.open[made.side].remove(&made.id.get());
            self.ends[made.side].link.cancel_call(made.id);
        }
    }

    /// The outcome of a call, if it has ended.
    #[must_use]
    pub fn outcome(&self, call: PairCall) -> Option<&Result<Reply, CallError>> {
        self.calls[call.0].ended.as_ref().map(|(_, result)| result)
    }

    /// The duration of a call, if it has ended.
    #[must_use]
    pub fn took(&self, call: PairCall) -> Option<Duration> {
        let made = &self.calls[call.0];
        made.ended.as_ref().map(|(at, _)| at.saturating_since(made.began))
    }

    /// Whether a call was cancelled.
    #[must_use]
    pub fn was_cancelled(&self, call: PairCall) -> bool {
        self.calls[call.0].cancelled
    }

    /// Advances the clock without any activity of the ends.
    pub fn jump(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Advances the time, handling all events.
    ///
    /// # Panics
    /// If the links never come to rest, or one is due again right after it was handled.
    pub fn run_for(&mut self, duration: Duration) {
        timeline::run_for(self, duration);
    }

    /// Dials when it is due.
    fn look_after_dialing(&mut self) -> bool {
        let Some(after) = self.reconnect else { return false };
        if self.ends[0].link.is_closed() {
            self.redial_at = None;
        }
        if self.ends[0].is_connected() || self.over.is_some() || self.ends[0].link.is_closed() {
            return false;
        }
        match self.redial_at {
            None => {
                self.redial_at = Some(self.now + after);
                true
            }
            Some(at) if at <= self.now => {
                self.dial();
                true
            }
            Some(_) => false,
        }
    }

    fn collect(&mut self, side: usize) {
        let (now, link) = (self.now, &mut self.ends[side].link);
        self.open[side].retain(|&id, &mut call| match link.poll_reply(CallId::from_wire(id), || 0) {
            Some(result) => {
                let made = &mut self.calls[call];
                assert!(made.ended.is_none(), "a second outcome");
                made.ended = Some((now, result));
                false
            }
            None => true,
        });
    }
}

impl<F: Framing> Timeline for Pair<F> {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn deadlines(&mut self) -> Vec<(Instant, Reason)> {
        self.ends.iter_mut().filter_map(|end| end.link.poll_timeout()).collect()
    }

    fn next_change(&mut self) -> Option<Instant> {
        let redial = self.redial_at.filter(|_| self.over.is_none());
        self.net.next_change(self.now).into_iter().chain(redial).min()
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        for side in 0..2 {
            match self.ends[side].step(self.now, &mut self.net) {
                Ok(stepped) => moved |= stepped,
                Err(cause) => {
                    self.net.cut();
                    if self.reconnect.is_none() || is_violation(&cause) {
                        self.over.get_or_insert(cause);
                    }
                    moved = true;
                }
            }
            if !self.ends[side].is_connected() {
                self.ends[side].idle(self.now);
            }
            self.collect(side);
        }
        moved |= self.look_after_dialing();
        if !moved {
            self.note_told(0);
            self.note_told(1);
            for (peak, end) in self.peak.iter_mut().zip(&self.ends) {
                *peak = (*peak).max(end.memory());
            }
        }
        moved
    }
}

fn identity(random: &mut Random) -> SessionIdentity {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&random.number().to_be_bytes());
    token[8..].copy_from_slice(&random.number().to_be_bytes());
    SessionIdentity { id: random.number() | 1, token }
}

/// Whether an end violated the protocol, which none may. A stream that ends within a frame was cut there.
fn is_violation(cause: &Disconnect) -> bool {
    use bowline_core::error::{FrameError, PeerError};
    let cut = matches!(cause, Disconnect::Protocol(PeerError::Frame(FrameError::Truncated { .. })));
    matches!(cause, Disconnect::Protocol(_)) && !cut
}
