//! Authentication: the exchange in the handshake, before any message.
//!
//! The accepting side sends a [`Challenge`]; the dialing side answers with [`Credentials`], which its
//! [`CredentialSource`] makes anew for each connection; the application of the accepting side decides with a
//! [`Grant`], which contains the identity of the peer, or a [`Refusal`]. No message is handed over before
//! that. `docs/protocol.md` describes the bytes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod refusal;

pub use refusal::{Refusal, RefusalCode};

use crate::supervisor::Epoch;

/// The maximum length of credentials, in bytes.
pub const MAX_CREDENTIALS: usize = 4096;
/// The maximum length of a challenge, in bytes.
pub const MAX_CHALLENGE: usize = 64;

/// The identity of a peer, as the accepting side's verifier granted it. Cheap to clone.
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
    /// An identity with this name, without attributes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Who { name: name.into(), attributes: Vec::new() }))
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).attributes.push((key.into(), value.into()));
        self
    }

    /// The name. Sessions belong to a name, and limits per identity count by it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The first attribute with this key.
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

/// The decision to let a peer in, with its limits.
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
    /// The identity of the peer.
    pub identity: Identity,
    /// Maximum number of connections of this identity at once; `None`: the limit of
    /// [`AcceptLimits::per_identity`](crate::config::AcceptLimits::per_identity).
    pub connections: Option<usize>,
    /// Maximum number of requests of this connection that are handled at once, if that is less than
    /// [`max_inbound`](crate::config::ConfigBuilder::max_inbound). The peer receives the limit.
    pub max_inbound: Option<usize>,
}

impl Grant {
    /// Lets the peer in with this identity and the default limits.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self { identity, connections: None, max_inbound: None }
    }

    /// Limits the connections of the identity at once; at least 1.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = Some(most.max(1));
        self
    }

    /// Limits the requests of this connection that are handled at once; at least 1.
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

/// The decision of a verifier.
pub type Decision = Result<Grant, Refusal>;

/// The credentials that a side presents: a token, a signature of the challenge, or anything that both sides
/// agree on. At most [`MAX_CREDENTIALS`] bytes.
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
    /// Empty credentials: for servers that decide by something else, such as a certificate.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Credentials with these bytes.
    ///
    /// # Errors
    /// They are longer than [`MAX_CREDENTIALS`].
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
    /// Does not print the bytes: they are a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// Why there are no credentials to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The credentials are too long.
    #[error("credentials of {len} bytes are over the limit of {max}")]
    TooLong {
        /// Length, bytes.
        len: u64,
        /// The limit, bytes.
        max: u64,
    },
    /// The source of the credentials failed; the text is its error.
    #[error("no credentials: {0}")]
    Unavailable(String),
}

impl CredentialsError {
    /// The source of the credentials failed, for the given reason.
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

/// The challenge that a dialing side has to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    pub(crate) bytes: Vec<u8>,
    pub(crate) session: u64,
    pub(crate) epoch: Epoch,
}

impl Challenge {
    /// A challenge, for tests of a [`CredentialSource`] and of verifiers.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>, session: u64) -> Self {
        Self { bytes: bytes.into(), session, epoch: Epoch::NONE }
    }

    /// The bytes, which the accepting side chooses: servers of this library send 32 random bytes, new for
    /// each connection. At most [`MAX_CHALLENGE`] bytes, possibly none.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The session that this connection asks to resume; 0: none, or a new one.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// The connection that the challenge was received on.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// The credentials that a peer presented, for the accepting side to decide about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub(crate) credentials: Credentials,
    /// The challenge that it was sent, with the session that it asked for.
    pub(crate) challenge: Challenge,
}

impl Shown {
    /// Credentials in answer to a challenge, for tests of a verifier.
    #[must_use]
    pub const fn new(credentials: Credentials, challenge: Challenge) -> Self {
        Self { credentials, challenge }
    }

    /// The credentials of the peer.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The challenge that the peer was sent, and the session that it asks for.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }
}

/// The source of a dialing side's credentials. It is called once for each connection, without a lock held,
/// and must not wait. Functions implement it.
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
    /// The credentials for this connection.
    ///
    /// # Errors
    /// There are no credentials. The connection ends with
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

/// The source in the settings of a link.
#[derive(Clone, Default)]
pub(crate) struct Source(pub(crate) Option<Arc<dyn CredentialSource>>);

// The driver catches a panic of the source, and asks again on the next connection. A panic does not change
// the settings.
impl core::panic::UnwindSafe for Source {}
impl core::panic::RefUnwindSafe for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a source" } else { "none" })
    }
}
