//! Two ends of one connection, both of which may be commanded.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, Disconnect};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, CastOptions, Queued, Reply, Role};
use bowline_core::machine::Machine;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::end::End;
use crate::net::{Net, NetConfig};

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
}

impl<F: Framing> Pair<F> {
    /// Connects at time zero.
    #[must_use]
    pub fn new(config: &Config<F>, net: NetConfig, seed: u64) -> Self {
        let mut ends = [End::new(config.clone(), Role::Dialing), End::new(config.clone(), Role::Accepting)];
        for end in &mut ends {
            end.connect(Instant::ZERO, Epoch::FIRST);
        }
        Self {
            now: Instant::ZERO,
            net: Net::new(net, seed),
            ends,
            calls: Vec::new(),
            open: [BTreeMap::new(), BTreeMap::new()],
            over: None,
            peak: [0; 2],
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
        timeouts.map(|(at, _)| at).chain(self.net.next_change()).min()
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
                        self.over.get_or_insert(cause);
                    }
                }
                self.collect(side);
            }
            if !moved {
                for (peak, end) in self.peak.iter_mut().zip(&self.ends) {
                    *peak = (*peak).max(end.memory());
                }
                return;
            }
        }
        panic!("it never settles");
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
