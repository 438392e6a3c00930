//! Preambles: steps of the program on a connection before its framing begins.
//!
//! A server may require a greeting, credentials, or the choice of a database before the messages begin. A
//! [`Preamble`] says which [`Step`]s this takes; the driver runs them on each new connection, and the machine
//! gets the connection when they are done.

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

/// A step of a preamble, boxed.
pub type PreambleStep = Box<dyn Step<Error = PreambleError>>;

type Make = Arc<dyn Fn(&Opening<'_>) -> PreambleStep + Send + Sync>;

/// The connection that a preamble is for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Opening<'a> {
    /// The endpoint, as it was given; `None` over a stream of the program that was connected before.
    pub endpoint: Option<&'a Endpoint>,
    /// The address that was dialed: the resolved one, or the proxy's. `None` if it is not known.
    pub address: Option<&'a Address>,
    /// The number of the link's connection. Connections whose preamble failed count, too.
    pub epoch: Epoch,
}

impl<'a> Opening<'a> {
    /// A connection to `endpoint`, which was dialed at `address`.
    #[must_use]
    pub fn new(endpoint: Option<&'a Endpoint>, address: Option<&'a Address>, epoch: Epoch) -> Self {
        Self { endpoint, address, epoch }
    }
}

/// Steps that run on each connection before its framing begins, on the dialing side.
///
/// The steps run after those of proxies, one after another, on every connection, including reconnects.
/// Messages that are queued meanwhile wait. If a step fails, or takes too long, the attempt to connect has
/// failed for that reason; queued messages are not lost. Bytes that the server sends after the last step
/// belong to the framing.
///
/// Cheap to clone. Steps are made anew for each connection, so they may use credentials that change.
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

// Each step is made by a separate call: a panic in it leaves the settings unchanged.
impl core::panic::UnwindSafe for Preamble {}
impl core::panic::RefUnwindSafe for Preamble {}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.len();
        f.debug_struct("Preamble").field("steps", &steps).field("timeout", &self.timeout).finish()
    }
}

impl Preamble {
    /// A preamble of one step, which `make` makes for each connection.
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

    /// Adds a step.
    #[must_use]
    pub fn then<S>(mut self, make: impl Fn(&Opening<'_>) -> S + Send + Sync + 'static) -> Self
    where
        S: Step<Error = PreambleError> + 'static,
    {
        self.steps = self.steps.iter().cloned().chain([Self::boxed(make)]).collect();
        self
    }

    /// Sets a time limit for all of its steps together. Default: none of its own; name resolution, dialing,
    /// preamble and handshake together have `connect_timeout`.
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

    /// The steps for a connection; `buf` contains the bytes that were read from it already. The functions
    /// that make steps are called here.
    #[must_use]
    pub fn steps(&self, opening: &Opening<'_>, buf: RecvBuf) -> Steps<PreambleStep> {
        Steps::new(self.steps.iter().map(|make| make(opening)), buf)
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self.timeout {
            Some(limit) => crate::config::check_time("preamble timeout", limit),
            None => Ok(()),
        }
    }
}

/// A step that sends fixed bytes, and expects a fixed answer.
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
    /// Taken when it is sent.
    say: Option<Vec<u8>>,
    expect: Vec<u8>,
    or_refused: bool,
}

impl fmt::Debug for Exchange {
    /// Does not print the bytes to send, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("said", &self.say.is_none())
            .field("expect", &self.expect.len())
            .finish()
    }
}

impl Exchange {
    /// Sends `say`, at most 64 KiB, and expects exactly `expect`; either may be empty.
    #[must_use]
    pub fn new(say: impl Into<Vec<u8>>, expect: impl Into<Vec<u8>>) -> Self {
        Self { say: Some(say.into()), expect: expect.into(), or_refused: false }
    }

    /// Treats any other answer as a refusal by the peer, which ends dialing (unless
    /// [`ReconnectPolicy::retry_when_denied`](crate::supervisor::ReconnectPolicy::retry_when_denied) is set).
    /// Without this the attempt is repeated, because the peer may have been starting.
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
        // Never reached: with fewer bytes it is incomplete, with all of them it is done.
        self.expect.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::step::Interrupted;
    use crate::step::pieces::arrive;

    fn opening() -> Opening<'static> {
        Opening::new(None, None, Epoch::FIRST)
    }

    /// What a preamble says, and its result, when `bytes` arrive in pieces of these lengths; the number of bytes
    /// that it leaves.
    fn run(
        preamble: &Preamble,
        bytes: &[u8],
        cuts: &[usize],
    ) -> (Vec<u8>, Result<bool, PreambleError>, usize) {
        let came = arrive(preamble.steps(&opening(), RecvBuf::new()), bytes, cuts);
        (came.said, came.result, came.rest.len())
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
        /// However the bytes are split, the same bytes are sent, with the same result.
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
