//! Two ends of one connection, both of which may be commanded.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, Disconnect};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, CastOptions, Queued, Reply, Role, SessionIdentity};
use bowline_core::machine::Machine;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::end::End;
use crate::net::{Direction, Net, NetConfig, Random};

/// A call made in a [`Pair`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PairCall(usize);

#[derive(Debug)]
struct Made {
    side: usize,
    id: CallId,
    began: Instant,
    /// When it ended, and how.
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
    /// The most memory that each end held so far.
    pub peak: [usize; 2],
    /// Connects again so long after both ends know that the connection is gone.
    reconnect: Option<Duration>,
    redial_at: Option<Instant>,
    net_config: NetConfig,
    config: Config<F>,
    random: Random,
    epoch: Epoch,
    /// A new connection is taken up before the old one is closed.
    unfenced: bool,
    /// Where the next connection is cut.
    cut_next: Option<(Direction, u64)>,
    /// What accepting ends received that were replaced by others.
    pub past: Vec<End<F>>,
}

impl<F: Framing> Pair<F> {
    /// Connects at time zero.
    #[must_use]
    pub fn new(config: &Config<F>, net: NetConfig, seed: u64) -> Self {
        let mut ends = [End::new(config.clone(), Role::Dialing), End::new(config.clone(), Role::Accepting)];
        let mut random = Random::new(seed ^ 0x5e55_1045);
        ends[1].link.offer_session(identity(&mut random));
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
            cut_next: None,
            past: Vec::new(),
            ends,
            calls: Vec::new(),
            open: [BTreeMap::new(), BTreeMap::new()],
            over: None,
            peak: [0; 2],
        }
    }

    /// The dialing end connects again, so long after a connection was gone.
    #[must_use]
    pub fn reconnecting(mut self, after: Duration) -> Self {
        self.reconnect = Some(after);
        self
    }

    /// The accepting end forgets to close the old connection before it takes up a new one: a driver's
    /// mistake, for checkers that have to find it.
    #[must_use]
    pub fn forgetting_the_fence(mut self) -> Self {
        self.unfenced = true;
        self
    }

    /// Bytes that the present connection carried that way.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> u64 {
        self.net.carried(direction)
    }

    /// Resets the connection.
    pub fn cut(&mut self) {
        self.net.cut();
    }

    /// Resets the present connection once so many bytes were carried that way, in all.
    pub fn cut_at(&mut self, direction: Direction, bytes: u64) {
        self.net.cut_at(direction, bytes);
    }

    /// Resets the next connection once so many bytes were carried that way.
    pub fn cut_next_at(&mut self, direction: Direction, bytes: u64) {
        self.cut_next = Some((direction, bytes));
    }

    /// The connection stops carrying anything, in silence.
    pub fn fall_silent(&mut self) {
        self.net.fall_silent();
    }

    /// The dialing end alone loses its connection and makes another: the accepting end learns of it
    /// by the new one.
    pub fn redial(&mut self) {
        if self.ends[0].is_connected() {
            let cause = Disconnect::Reopened;
            self.ends[0].disconnect(self.now, cause);
            self.dial();
        }
    }

    /// The accepting process dies, and another takes its place.
    pub fn restart(&mut self) {
        let mut fresh = End::new(self.config.clone(), Role::Accepting);
        fresh.link.offer_session(identity(&mut self.random));
        (fresh.takes, fresh.answers) = (self.ends[1].takes, self.ends[1].answers);
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
        if self.ends[1].link.is_closed() {
            // Its session expired: the server makes a new link.
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

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Casts from an end.
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

    /// Begins a call from an end.
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

    /// Gives a call up, if it has not ended.
    pub fn cancel(&mut self, call: PairCall) {
        let made = &mut self.calls[call.0];
        if made.ended.is_none() && !made.cancelled {
            made.cancelled = true;
            self.open[made.side].remove(&made.id.get());
            self.ends[made.side].link.cancel_call(made.id);
        }
    }

    /// How a call ended, if it did.
    #[must_use]
    pub fn outcome(&self, call: PairCall) -> Option<&Result<Reply, CallError>> {
        self.calls[call.0].ended.as_ref().map(|(_, result)| result)
    }

    /// How long a call took, if it ended.
    #[must_use]
    pub fn took(&self, call: PairCall) -> Option<Duration> {
        let made = &self.calls[call.0];
        made.ended.as_ref().map(|(at, _)| at.saturating_since(made.began))
    }

    /// Whether a call was given up.
    #[must_use]
    pub fn was_cancelled(&self, call: PairCall) -> bool {
        self.calls[call.0].cancelled
    }

    /// The clock jumps: time passes in which nobody does anything.
    pub fn jump(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.settle();
            match self.next_due() {
                Some(at) if at <= until => self.now = at.max(self.now + Duration::from_nanos(1)),
                _ => break,
            }
        }
        self.now = until;
        self.settle();
    }

    fn next_due(&mut self) -> Option<Instant> {
        let timeouts = self.ends.iter_mut().filter_map(|end| end.link.poll_timeout());
        timeouts
            .map(|(at, _)| at)
            .chain(self.net.next_change().filter(|at| *at > self.now))
            .chain(self.redial_at.filter(|_| self.over.is_none()))
            .min()
    }

    fn settle(&mut self) {
        // Far more than any honest burst needs: a livelock shows as a panic, not as a hang.
        for _ in 0..1_000_000 {
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
                for (peak, end) in self.peak.iter_mut().zip(&self.ends) {
                    *peak = (*peak).max(end.memory());
                }
                return;
            }
        }
        panic!("it never settles");
    }

    /// Dials when it is time to.
    fn look_after_dialing(&mut self) -> bool {
        let Some(after) = self.reconnect else { return false };
        if self.ends[0].is_connected() || self.over.is_some() {
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

fn identity(random: &mut Random) -> SessionIdentity {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&random.number().to_be_bytes());
    token[8..].copy_from_slice(&random.number().to_be_bytes());
    SessionIdentity { id: random.number() | 1, token }
}

/// Whether an end broke the protocol, which none may. A stream that ends in a frame was cut there.
fn is_violation(cause: &Disconnect) -> bool {
    use bowline_core::error::{FrameError, PeerError};
    let cut = matches!(cause, Disconnect::Protocol(PeerError::Frame(FrameError::Truncated { .. })));
    matches!(cause, Disconnect::Protocol(_)) && !cut
}
