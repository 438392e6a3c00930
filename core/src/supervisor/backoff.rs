//! The reconnect policy: how long to wait before the next round of attempts.

use core::time::Duration;

use crate::error::{ConfigError, Disconnect, TransportKind};

/// When and how often to reconnect.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_core::supervisor::ReconnectPolicy;
/// use core::time::Duration;
///
/// // Between nothing and 50 ms at first, up to 5 s later; no more than 20 rounds of attempts in vain.
/// let policy = ReconnectPolicy::backoff(Duration::from_millis(50), Duration::from_secs(5))
///     .healthy_after(Duration::from_secs(30))
///     .max_rounds(20);
/// let config = Config::builder().reconnect(policy).build()?;
/// # drop(config);
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct ReconnectPolicy {
    pub(crate) delay: Delay,
    pub(crate) healthy_after: Duration,
    pub(crate) max_rounds: Option<u32>,
    pub(crate) stop_when_refused: bool,
    pub(crate) stop_when_rejected: bool,
    pub(crate) retry_when_denied: bool,
    pub(crate) longest_advice: Duration,
    pub(crate) retry_insecure: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delay {
    Backoff { base: Duration, cap: Duration },
    Fixed(Duration),
    Never,
}

impl ReconnectPolicy {
    const fn with(delay: Delay) -> Self {
        let healthy_after = Duration::from_secs(10);
        Self {
            delay,
            healthy_after,
            max_rounds: None,
            stop_when_refused: false,
            stop_when_rejected: false,
            retry_when_denied: false,
            retry_insecure: false,
            longest_advice: Duration::from_secs(300),
        }
    }

    /// A random time between zero and a bound that doubles from `base` to `cap` (full jitter). The default,
    /// with 100 ms and 30 s. `base` must be more than zero and at most `cap`.
    pub const fn backoff(base: Duration, cap: Duration) -> Self {
        Self::with(Delay::Backoff { base, cap })
    }

    /// Always the same time (tcpstream: 5 s).
    pub const fn fixed(delay: Duration) -> Self {
        Self::with(Delay::Fixed(delay))
    }

    /// The link ends with its first connection, or with the first round of attempts that fails.
    pub const fn never() -> Self {
        Self::with(Delay::Never)
    }

    /// The wait is reset only after a connection was ready for this time: a connection that is accepted and
    /// closed at once is not a success. Default 10 s.
    pub const fn healthy_after(mut self, spell: Duration) -> Self {
        self.healthy_after = spell;
        self
    }

    /// Gives up after this many rounds (all endpoints tried) without a healthy connection. Default: never.
    pub const fn max_rounds(mut self, rounds: u32) -> Self {
        self.max_rounds = Some(rounds);
        self
    }

    /// Gives up when every endpoint of a round refused the connection (no process listens there), or when the
    /// endpoints that remained did. Default: no, because a server may be about to start.
    pub const fn stop_when_refused(mut self) -> Self {
        self.stop_when_refused = true;
        self
    }

    /// Gives up when every endpoint of a round was connected to but failed in the handshake: it speaks
    /// another protocol, or requires features that this side does not have. Default: no, but incompatible
    /// versions always end dialing.
    pub const fn stop_when_rejected(mut self) -> Self {
        self.stop_when_rejected = true;
        self
    }

    /// Continues when this side was [denied](Disconnect::is_denial): by a proxy, in a preamble, or by a
    /// server that refuses its credentials ([`Refused`](Disconnect::Refused)). Default: a denial that a
    /// further attempt cannot change ends dialing, unless another endpoint of the round may succeed, because
    /// the same credentials are usually denied again. Set this if credentials are made anew for each attempt,
    /// or if a rule may change.
    pub const fn retry_when_denied(mut self) -> Self {
        self.retry_when_denied = true;
        self
    }

    /// The maximum wait that a refusing server can cause. A server may say when to try again: the next round
    /// then begins no earlier, but the wait is not extended beyond this. Default 5 minutes.
    pub const fn longest_advice(mut self, longest: Duration) -> Self {
        self.longest_advice = longest;
        self
    }

    /// Whether another attempt may be made after such a failure.
    pub(crate) fn goes_on_after(&self, cause: &Disconnect) -> bool {
        let is_insecure =
            matches!(cause, Disconnect::Transport(error) if error.kind() == TransportKind::Insecure);
        let may_help = cause.is_retryable()
            || (self.retry_when_denied && cause.is_denial())
            || (self.retry_insecure && is_insecure);
        may_help && !self.stops_at(cause)
    }

    /// The wait that the peer asked for, as far as it is respected.
    pub(crate) fn advice(&self, cause: &Disconnect) -> Duration {
        cause.retry_after().unwrap_or_default().min(self.longest_advice)
    }

    /// Continues when every endpoint of a round failed in its TLS handshake for a lasting reason: an
    /// untrusted certificate, a wrong name, a client certificate that the peer requires. Default: no. Set
    /// this if certificates of peers may be renewed meanwhile.
    pub const fn retry_insecure(mut self) -> Self {
        self.retry_insecure = true;
        self
    }

    /// Whether such a failure ends dialing.
    fn stops_at(&self, cause: &Disconnect) -> bool {
        match cause {
            Disconnect::Transport(error) => self.stop_when_refused && error.kind() == TransportKind::Refused,
            Disconnect::Protocol(_) => self.stop_when_rejected,
            _ => false,
        }
    }

    /// Checks the policy. A configuration does so when it is built.
    ///
    /// # Errors
    /// A back-off has a `base` of zero, or a `cap` below it; the number of rounds is 0.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Delay::Backoff { base, cap } = self.delay
            && (base.is_zero() || cap < base)
        {
            return Err(ConfigError::Conflict {
                field: "reconnect",
                why: "base must be more than nothing and at most cap",
            });
        }
        if self.max_rounds == Some(0) {
            return Err(ConfigError::OutOfRange { field: "max_rounds", value: 0, must: "at least 1" });
        }
        Ok(())
    }

    /// The wait after `rounds` rounds without a healthy connection (from 1). `None`: give up.
    pub(crate) fn wait(&self, rounds: u32, random: &mut SplitMix64) -> Option<Duration> {
        if self.max_rounds.is_some_and(|max| rounds >= max) {
            return None;
        }
        match self.delay {
            Delay::Never => None,
            Delay::Fixed(delay) => Some(delay),
            Delay::Backoff { base, cap } => {
                let bound = base.saturating_mul(1 << rounds.saturating_sub(1).min(30)).min(cap);
                let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
                Some(Duration::from_nanos(random.below(nanos.saturating_add(1))))
            }
        }
    }
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self::backoff(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// A small generator for jitter (Steele, Lea, Flood 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` - 1 (0 if `bound` is 0). The bias of the multiplication is below one in
    /// four billion for waits of seconds.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_jittered_between_nothing_and_a_doubling_bound() {
        let policy = ReconnectPolicy::default();
        let mut random = SplitMix64::new(7);
        for rounds in 1..40 {
            let bound = Duration::from_millis(100 << (rounds - 1).min(20)).min(Duration::from_secs(30));
            let waits: alloc::vec::Vec<_> =
                (0..200).map(|_| policy.wait(rounds, &mut random).unwrap()).collect();
            assert!(waits.iter().all(|wait| *wait <= bound));
            assert!(waits.iter().any(|wait| *wait < bound / 4), "jitter reaches low");
            assert!(waits.iter().any(|wait| *wait > bound / 4 * 3), "jitter reaches high");
        }
    }

    #[test]
    fn policies_that_cannot_work_are_refused() {
        assert!(ReconnectPolicy::backoff(Duration::ZERO, Duration::from_secs(1)).check().is_err());
        assert!(ReconnectPolicy::fixed(Duration::ZERO).check().is_ok());
        assert!(ReconnectPolicy::default().max_rounds(0).check().is_err());
        assert_eq!(ReconnectPolicy::never().wait(1, &mut SplitMix64::new(0)), None);
    }
}
