//! Who a peer is: what is exchanged at the handshake, before any message.
//!
//! The side that accepts sends a [`Challenge`]; the side that dials answers with [`Credentials`], which it
//! asks its [`CredentialSource`] for anew on each connection; the application of the accepting side decides:
//! a [`Grant`], which says who the peer is, or a [`Refusal`]. Nothing is handed over before that.
//! `docs/protocol.md` has the bytes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod refusal;

pub use refusal::{Refusal, RefusalCode};

use crate::supervisor::Epoch;

/// The longest credentials, in bytes.
pub const MAX_CREDENTIALS: usize = 4096;
/// The longest challenge, in bytes.
pub const MAX_CHALLENGE: usize = 64;

/// Who a peer is, as the accepting side's verifier said it. Cheap to clone.
///
/// ```
/// use bowline_core::auth::Identity;
///
/// let identity = Identity::new("reporting").with("role", "reader");
/// assert_eq!((identity.name(), identity.attribute("role")), ("reporting", Some("reader")));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity(Arc<Who>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Who {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Identity {
    /// Somebody of that name, without attributes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Who { name: name.into(), attributes: Vec::new() }))
    }

    /// The same with an attribute more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).attributes.push((key.into(), value.into()));
        self
    }

    /// The name. Sessions belong to it, and limits go by it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The first attribute with that key.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All attributes, in the order in which they were given.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.0.name)
            .field("attributes", &self.0.attributes)
            .finish()
    }
}

/// What an accepting side allows a peer that it lets in.
///
/// ```
/// use bowline_core::auth::{Decision, Grant, Identity, Refusal, RefusalCode};
///
/// fn verify(shown: &[u8]) -> Decision {
///     match shown {
///         b"secret" => Ok(Grant::new(Identity::new("reporting")).connections(2)),
///         _ => Err(Refusal::new(RefusalCode::WRONG)),
///     }
/// }
/// assert_eq!(verify(b"secret").unwrap().identity.name(), "reporting");
/// assert!(verify(b"guess").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// Who the peer is.
    pub identity: Identity,
    /// Connections of that identity at once; `None`: as
    /// [`AcceptLimits::per_identity`](crate::config::AcceptLimits::per_identity) says.
    pub connections: Option<usize>,
    /// Requests of this connection that are handled at once, if that is less than
    /// [`max_inbound`](crate::config::ConfigBuilder::max_inbound). The peer is told.
    pub max_inbound: Option<usize>,
}

impl Grant {
    /// The peer is that, with the limits of everybody.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self { identity, connections: None, max_inbound: None }
    }

    /// So many connections of the identity at once; at least one.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = Some(most.max(1));
        self
    }

    /// So many requests of this connection at once; at least one.
    #[must_use]
    pub fn max_inbound(mut self, most: usize) -> Self {
        self.max_inbound = Some(most.max(1));
        self
    }
}

impl From<Identity> for Grant {
    fn from(identity: Identity) -> Self {
        Self::new(identity)
    }
}

/// What a verifier decides.
pub type Decision = Result<Grant, Refusal>;

/// What a side shows of itself: a token, a signature over the challenge, whatever both sides agree on. At
/// most [`MAX_CREDENTIALS`] bytes.
///
/// ```
/// use bowline_core::auth::{Credentials, MAX_CREDENTIALS};
///
/// let credentials = Credentials::new(*b"a token")?;
/// assert_eq!(credentials.as_bytes(), b"a token");
/// assert!(Credentials::new(vec![0; MAX_CREDENTIALS + 1]).is_err());
/// # Ok::<(), bowline_core::auth::CredentialsError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials(Vec<u8>);

impl Credentials {
    /// Nothing to show: for servers that decide by something else, such as a certificate.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Those bytes.
    ///
    /// # Errors
    /// They are more than [`MAX_CREDENTIALS`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, CredentialsError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_CREDENTIALS {
            return Err(CredentialsError::TooLong { len: bytes.len() as u64, max: MAX_CREDENTIALS as u64 });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    /// Without the bytes: they are a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// There are no credentials to show.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// They are too long.
    #[error("credentials of {len} bytes are over the limit of {max}")]
    TooLong {
        /// Length, bytes.
        len: u64,
        /// The limit, bytes.
        max: u64,
    },
    /// Where they come from failed, in its own words.
    #[error("no credentials: {0}")]
    Unavailable(String),
}

impl CredentialsError {
    /// Where they come from failed, in words.
    #[must_use]
    pub fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable(alloc::format!("{why}"))
    }

    /// Whether there may be credentials for the next connection.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// What a dialing side is asked to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    pub(crate) bytes: Vec<u8>,
    pub(crate) session: u64,
    pub(crate) epoch: Epoch,
}

impl Challenge {
    /// A challenge, for tests of a [`CredentialSource`] and of what verifies its answers.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>, session: u64) -> Self {
        Self { bytes: bytes.into(), session, epoch: Epoch::NONE }
    }

    /// The bytes, of the accepting side's choice: this library's servers send 32 of the system's randomness,
    /// new for each connection. At most [`MAX_CHALLENGE`], possibly none.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The session that this connection asks for; 0: none, or a new one.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// The connection it came on.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// What a peer showed, for the accepting side to decide about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub(crate) credentials: Credentials,
    /// What it was asked, with the session it named.
    pub(crate) challenge: Challenge,
}

impl Shown {
    /// Those credentials, in answer to that challenge: for tests of a verifier.
    #[must_use]
    pub const fn new(credentials: Credentials, challenge: Challenge) -> Self {
        Self { credentials, challenge }
    }

    /// What it showed.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What it was asked, and the session it asks for.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }
}

/// Where a dialing side's credentials come from. Asked anew for each connection, once, and without a lock held;
/// it must not wait. A function will do.
///
/// ```
/// use bowline_core::auth::{Challenge, Credentials, CredentialsError};
/// use bowline_core::config::Config;
///
/// let config = Config::builder()
///     .credentials(|_: &Challenge| Credentials::new(*b"a token of the moment"))
///     .build()?;
/// # let _ = config;
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
pub trait CredentialSource: Send + Sync + 'static {
    /// What is shown on this connection.
    ///
    /// # Errors
    /// There is nothing to show. The connection ends with
    /// [`Disconnect::NoCredentials`](crate::error::Disconnect::NoCredentials).
    fn credentials(&self, challenge: &Challenge) -> Result<Credentials, CredentialsError>;
}

impl<F> CredentialSource for F
where
    F: Fn(&Challenge) -> Result<Credentials, CredentialsError> + Send + Sync + 'static,
{
    fn credentials(&self, challenge: &Challenge) -> Result<Credentials, CredentialsError> {
        self(challenge)
    }
}

/// A source in the settings of a link.
#[derive(Clone, Default)]
pub(crate) struct Source(pub(crate) Option<Arc<dyn CredentialSource>>);

// The link's driver catches a panic of the source, and asks again on the next connection: a panic leaves the settings as they were.
impl core::panic::UnwindSafe for Source {}
impl core::panic::RefUnwindSafe for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a source" } else { "none" })
    }
}
