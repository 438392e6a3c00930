//! Authentication and authorisation: the decisions that the accepting side asks its program for.

mod asking;
mod bearer;
mod certificate_names;
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
pub use certificate_names::CertificateNames;
pub use shared_secret::{SharedSecret, SharedSecrets};
pub(crate) use verification::Verification;

/// A peer that asks to be let in, as a verifier sees it.
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
    /// An attempt from given parts, for tests of a verifier.
    #[must_use]
    pub const fn new(shown: Shown, connection: ConnectionInfo) -> Self {
        Self { shown, connection }
    }

    /// The credentials of the peer: at most 4 KiB, possibly empty.
    #[must_use]
    pub fn credentials(&self) -> &[u8] {
        self.shown.credentials().as_bytes()
    }

    /// The challenge that was sent to the peer: 32 bytes of the system's randomness, new for each connection.
    #[must_use]
    pub fn challenge(&self) -> &[u8] {
        self.shown.challenge().bytes()
    }

    /// The id of the session that the peer asks to resume; 0 if it asks for none or for a new one.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.shown.challenge().session()
    }

    /// The connection: its addresses, and the certificate of the peer if it showed one.
    #[must_use]
    pub const fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }
}

/// Decides about peers, at once or later.
pub(crate) type Verifier = Box<dyn Fn(Attempt, Deciding) + Send + Sync>;

/// Whether a message or request of this identity, to this method and in this class, may be handled.
type May = dyn Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync;

/// The program's authorisation function.
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

    /// Calls the function; a panic counts as a refusal.
    pub(crate) fn check(&self, who: Option<&Identity>, method: u32, class: Class) -> Result<(), Status> {
        let call = std::panic::AssertUnwindSafe(|| (self.0)(who, method, class));
        std::panic::catch_unwind(call).unwrap_or(Err(Status::PANICKED))
    }
}

/// A verifier that decides at once.
pub(crate) fn at_once(f: impl Fn(&Attempt) -> Decision + Send + Sync + 'static) -> Verifier {
    Box::new(move |attempt, deciding| deciding.decide(f(&attempt)))
}
