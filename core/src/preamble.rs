//! What a connection begins with before its framing does: steps of the program's own.
//!
//! A server may want a greeting, credentials, or a choice of database before the messages begin. A [`Preamble`] says
//! which [`Step`]s that takes; the driver runs them on each new connection, and the machine learns of the connection
//! when they are done.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::address::Address;
use crate::error::{ConfigError, PreambleError};
use crate::machine::Epoch;
use crate::recv_buf::RecvBuf;
use crate::step::{Progress, Step, Steps};
use crate::supervisor::Endpoint;

/// A step of a preamble, of whatever type.
pub type PreambleStep = Box<dyn Step<Error = PreambleError>>;

type Make = Arc<dyn Fn(&Opening<'_>) -> PreambleStep + Send + Sync>;

/// The connection that a preamble is for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Opening<'a> {
    /// Where it leads, as it was given; `None` over a stream of the program's own that was connected before.
    pub endpoint: Option<&'a Endpoint>,
    /// What was dialed: what the name stands for, or the proxy. `None` where it is not known.
    pub address: Option<&'a Address>,
    /// Which of the link's connections it is. Connections whose preamble failed are counted, too.
    pub epoch: Epoch,
}

impl<'a> Opening<'a> {
    /// A connection to `endpoint`, which was dialed at `address`.
    #[must_use]
    pub fn new(endpoint: Option<&'a Endpoint>, address: Option<&'a Address>, epoch: Epoch) -> Self {
        Self { endpoint, address, epoch }
    }
}

/// What is done on each connection before its framing begins, on the dialing side.
///
/// The steps run behind those of proxies, one after another, on every connection: the first one and each one after it.
/// Messages that are queued meanwhile wait. When a step fails, or takes too long, the attempt to connect has failed, with
/// that as its cause; nothing of what is queued is lost. What a server sends behind the last step is the framing's.
///
/// Cheap to clone. Steps are made anew for each connection, so they may ask for credentials that change.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_core::preamble::{Exchange, Preamble};
/// use core::time::Duration;
///
/// let preamble = Preamble::new(|_| Exchange::new("AUTH secret\r\n", "+OK\r\n"))
///     .then(|opening| Exchange::new(format!("CLIENT SETNAME c{}\r\n", opening.epoch.get()), "+OK\r\n"))
///     .timeout(Duration::from_secs(3));
/// let config = Config::builder().preamble(preamble).build()?;
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Preamble {
    steps: Arc<[Make]>,
    timeout: Option<Duration>,
}

// What makes a step is called on its own each time: one that panicked leaves nothing behind in the settings.
impl core::panic::UnwindSafe for Preamble {}
impl core::panic::RefUnwindSafe for Preamble {}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.len();
        f.debug_struct("Preamble").field("steps", &steps).field("timeout", &self.timeout).finish()
    }
}

impl Preamble {
    /// The step that `make` makes for each connection.
    #[must_use]
    pub fn new<S>(make: impl Fn(&Opening<'_>) -> S + Send + Sync + 'static) -> Self
    where
        S: Step<Error = PreambleError> + 'static,
    {
        Self { steps: Arc::new([Self::boxed(make)]), timeout: None }
    }

    fn boxed<S>(make: impl Fn(&Opening<'_>) -> S + Send + Sync + 'static) -> Make
    where
        S: Step<Error = PreambleError> + 'static,
    {
        Arc::new(move |opening| Box::new(make(opening)))
    }

    /// Behind them, another one.
    #[must_use]
    pub fn then<S>(mut self, make: impl Fn(&Opening<'_>) -> S + Send + Sync + 'static) -> Self
    where
        S: Step<Error = PreambleError> + 'static,
    {
        self.steps = self.steps.iter().cloned().chain([Self::boxed(make)]).collect();
        self
    }

    /// How long all of its steps together may take. Default: no limit of its own; look-up, dial, preamble and handshake
    /// together have `connect_timeout`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The limit that [`timeout`](Self::timeout) set.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// The steps for a connection of which `buf` was read already. The functions that make them are called here.
    #[must_use]
    pub fn steps(&self, opening: &Opening<'_>, buf: RecvBuf) -> Steps<PreambleStep> {
        Steps::new(self.steps.iter().map(|make| make(opening)), buf)
    }

    /// Whether it can work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self.timeout {
            Some(limit) => crate::config::check_time("preamble timeout", limit),
            None => Ok(()),
        }
    }
}

/// A step that says something fixed, and wants something fixed back.
///
/// ```
/// use bowline_core::preamble::Exchange;
/// use bowline_core::step::{Progress, Step};
///
/// let mut step = Exchange::new("SELECT 3\r\n", "+OK\r\n");
/// let mut out = Vec::new();
/// assert_eq!(step.advance(b"", &mut out)?, Progress::more(0));
/// assert_eq!(step.advance(b"+OK\r\n", &mut out)?, Progress::done(5));
/// # Ok::<(), bowline_core::error::PreambleError>(())
/// ```
pub struct Exchange {
    /// Taken when it is said.
    say: Option<Vec<u8>>,
    expect: Vec<u8>,
    or_refused: bool,
}

impl fmt::Debug for Exchange {
    /// Without what is said, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("said", &self.say.is_none())
            .field("expect", &self.expect.len())
            .finish()
    }
}

impl Exchange {
    /// Says `say`, at most 64 KiB, and wants exactly `expect` back; either may be empty.
    #[must_use]
    pub fn new(say: impl Into<Vec<u8>>, expect: impl Into<Vec<u8>>) -> Self {
        Self { say: Some(say.into()), expect: expect.into(), or_refused: false }
    }

    /// Anything else that comes back means that the peer says no, which ends dialing
    /// ([`ReconnectPolicy::retry_when_denied`](crate::supervisor::ReconnectPolicy::retry_when_denied) goes on). Without
    /// this it is tried again: the peer may have been starting.
    #[must_use]
    pub fn or_refused(mut self) -> Self {
        self.or_refused = true;
        self
    }
}

impl Step for Exchange {
    type Error = PreambleError;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, PreambleError> {
        if let Some(say) = self.say.take() {
            out.extend_from_slice(&say);
        }
        if let Some(at) = received.iter().zip(&self.expect).position(|(found, expected)| found != expected) {
            let error = PreambleError::Unexpected { at, found: received[at], expected: self.expect[at] };
            return Err(if self.or_refused { PreambleError::refused(error) } else { error });
        }
        Ok(match received.len() >= self.expect.len() {
            true => Progress::done(self.expect.len()),
            false => Progress::more(0),
        })
    }

    fn max_pending(&self) -> usize {
        // Never reached: with one byte less it is not whole, with all it is done.
        self.expect.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::step::Interrupted;

    fn opening() -> Opening<'static> {
        Opening::new(None, None, Epoch::FIRST)
    }

    /// Everything that comes of it when `bytes` come in pieces of those lengths.
    fn run(
        preamble: &Preamble,
        bytes: &[u8],
        cuts: &[usize],
    ) -> (Vec<u8>, Result<bool, PreambleError>, usize) {
        let mut steps = preamble.steps(&opening(), RecvBuf::new());
        let (mut left, mut said) = (bytes, Vec::new());
        let mut cuts = cuts.iter().cycle();
        let mut result = steps.begin();
        loop {
            said.extend_from_slice(steps.output());
            let n = steps.output().len();
            steps.wrote(n);
            if result.is_err() || steps.is_done() || left.is_empty() {
                break;
            }
            let spare = steps.spare();
            let n = spare.len().min(left.len()).min(*cuts.next().unwrap_or(&1));
            spare[..n].copy_from_slice(&left[..n]);
            left = &left[n..];
            result = steps.filled(n);
        }
        let result = result.map(|()| steps.is_done());
        (said, result, left.len() + steps.into_rest().unread().len())
    }

    #[test]
    fn exchanges_follow_each_other_and_leave_the_rest() {
        let preamble = Preamble::new(|_| Exchange::new("a", "1"))
            .then(|opening| Exchange::new(format!("b{}", opening.epoch.get()), ""))
            .then(|_| Exchange::new("", "23"));
        assert_eq!(run(&preamble, b"123456", &[1]), (b"ab1".to_vec(), Ok(true), 3));
        assert_eq!(run(&preamble, b"12", &[9]), (b"ab1".to_vec(), Ok(false), 1));
    }

    #[test]
    fn what_is_not_expected_fails_at_its_byte() {
        let preamble = Preamble::new(|_| Exchange::new("AUTH x\r\n", "+OK\r\n"));
        let wrong = PreambleError::Unexpected { at: 0, found: b'-', expected: b'+' };
        let (said, result, _) = run(&preamble, b"-ERR no\r\n", &[4]);
        assert_eq!((said, result), (b"AUTH x\r\n".to_vec(), Err(wrong.clone())));
        assert!(wrong.is_retryable());
        let strict = Preamble::new(|_| Exchange::new("AUTH x\r\n", "+OK\r\n").or_refused());
        let (_, result, _) = run(&strict, b"-ERR no\r\n", &[4]);
        let refused = result.unwrap_err();
        assert!(!refused.is_retryable() && refused.is_denial());
        assert_eq!(refused, PreambleError::refused(wrong));
        let closed = preamble.steps(&opening(), RecvBuf::new()).eof();
        assert_eq!(closed, PreambleError::Interrupted(Interrupted::Closed { pending: 0 }));
        assert!(closed.is_retryable());
    }

    #[test]
    fn a_preamble_prints_no_secret() {
        let preamble = Preamble::new(|_| Exchange::new("secret", "")).timeout(Duration::from_secs(1));
        let printed = format!("{preamble:?} {:?}", Exchange::new("secret", ""));
        assert!(!printed.contains("secret"), "{printed}");
        assert_eq!(preamble.limit(), Some(Duration::from_secs(1)));
        assert!(preamble.timeout(Duration::ZERO).check().is_err());
    }

    proptest! {
        /// However the bytes are cut, the same is said, and the same comes of it.
        #[test]
        fn any_split_of_the_bytes_gives_the_same(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                Just(b"+OK\r\n$2\r\nrest".to_vec()),
                Just(b"+OK\r\n$3\r\nrest".to_vec()),
            ],
            cuts in proptest::collection::vec(1..7_usize, 1..8),
        ) {
            let preamble = Preamble::new(|_| Exchange::new("AUTH\r\n", "+OK\r\n"))
                .then(|_| Exchange::new("SELECT\r\n", "$2\r\n"));
            prop_assert_eq!(run(&preamble, &bytes, &cuts), run(&preamble, &bytes, &[1]));
        }
    }
}
