//! Who connects, and who may: what the accepting side asks its program.

mod asking;
mod bearer;
mod shared_secret;
mod verification;

use std::fmt;

use bowline_core::auth::{Decision, Identity, Shown};
use bowline_core::error::Status;
use bowline_core::frame::Class;
use bowline_driver::connection_info::ConnectionInfo;

pub use asking::Deciding;
pub(crate) use asking::{Asking, Awaited};
pub use bearer::{BearerToken, Tokens};
pub use shared_secret::{SharedSecret, SharedSecrets};
pub(crate) use verification::Verification;

/// A peer that wants to be let in, as a verifier sees it.
///
/// ```
/// use bowline_core::auth::{Challenge, Credentials, Identity, RefusalCode, Shown};
/// use bowline_links::auth::{Attempt, Tokens};
///
/// let tokens = Tokens::new().with("a token", Identity::new("reporting"));
/// let shown = Shown::new(Credentials::new(*b"a token")?, Challenge::new(*b"0123456789abcdef", 0));
/// let attempt = Attempt::new(shown, Default::default());
/// assert_eq!(tokens.verify(&attempt).map(|grant| grant.identity.name().to_owned()), Ok("reporting".into()));
/// # Ok::<(), bowline_core::auth::CredentialsError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    shown: Shown,
    connection: ConnectionInfo,
}

impl Attempt {
    /// What a peer showed on a connection: for tests of a verifier.
    #[must_use]
    pub const fn new(shown: Shown, connection: ConnectionInfo) -> Self {
        Self { shown, connection }
    }

    /// What the peer showed of itself: at most 4 KiB, possibly nothing.
    #[must_use]
    pub fn credentials(&self) -> &[u8] {
        self.shown.credentials().as_bytes()
    }

    /// What the peer was asked: 32 bytes of the system's randomness, new for each connection.
    #[must_use]
    pub fn challenge(&self) -> &[u8] {
        self.shown.challenge().bytes()
    }

    /// The session that the peer asks for; 0: none, or a new one.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.shown.challenge().session()
    }

    /// The connection: addresses, and the certificate that the peer showed, if it did.
    #[must_use]
    pub const fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }
}

/// Decides about peers, now or later.
pub(crate) type Verifier = Box<dyn Fn(Attempt, Deciding) + Send + Sync>;

/// Whether a message or a request of that identity, to that method and in that class, may be handled.
type May = dyn Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync;

/// The program's function that says what peers may do.
pub(crate) struct Authorize(Box<May>);

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}

impl Authorize {
    pub(crate) fn new(
        may: impl Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(may))
    }

    /// Whether it may be handled; a panic is a no.
    pub(crate) fn check(&self, who: Option<&Identity>, method: u32, class: Class) -> Result<(), Status> {
        let call = std::panic::AssertUnwindSafe(|| (self.0)(who, method, class));
        std::panic::catch_unwind(call).unwrap_or(Err(Status::PANICKED))
    }
}

/// A verifier that decides at once.
pub(crate) fn at_once(f: impl Fn(&Attempt) -> Decision + Send + Sync + 'static) -> Verifier {
    Box::new(move |attempt, deciding| deciding.decide(f(&attempt)))
}
