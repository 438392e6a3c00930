//! Refusals: why a peer is not let in, or is disconnected.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::time::millis;

/// The reason as a number, which is sent to the peer; 1000 and above are for applications.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RefusalCode(pub u16);

impl RefusalCode {
    /// No credentials were sent, and they are required.
    pub const MISSING: Self = Self(1);
    /// The credentials are wrong.
    pub const WRONG: Self = Self(2);
    /// The credentials have expired.
    pub const EXPIRED: Self = Self(3);
    /// The peer is known, but may not connect here.
    pub const FORBIDDEN: Self = Self(4);
    /// Too many connections of this identity, or too many pending decisions: try again later.
    pub const BUSY: Self = Self(5);
    /// The verifier could not decide: try again later.
    pub const UNAVAILABLE: Self = Self(6);
    /// The identity was withdrawn while the peer was connected.
    pub const WITHDRAWN: Self = Self(7);
    /// The session that was asked for belongs to another identity.
    pub const OTHER_IDENTITY: Self = Self(8);
    /// The first number for applications.
    pub const APPLICATION: Self = Self(1000);

    /// Whether the same peer may be let in at another time without a change of its credentials or rights.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::BUSY | Self::UNAVAILABLE | Self::WITHDRAWN | Self::OTHER_IDENTITY)
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::MISSING => "credentials are needed",
            Self::WRONG => "the credentials are wrong",
            Self::EXPIRED => "the credentials have expired",
            Self::FORBIDDEN => "the identity may not connect here",
            Self::BUSY => "too many at once",
            Self::UNAVAILABLE => "the credentials could not be checked",
            Self::WITHDRAWN => "the identity was withdrawn",
            Self::OTHER_IDENTITY => "the session belongs to another identity",
            _ => return None,
        })
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "refused with code {}", self.0),
        }
    }
}

/// A refusal: its reason, when to try again, and a text for people.
///
/// ```
/// use bowline_core::auth::{Refusal, RefusalCode};
/// use core::time::Duration;
///
/// let refusal = Refusal::new(RefusalCode::BUSY).retry_after(Duration::from_secs(5));
/// assert!(refusal.is_retryable());
/// assert!(!Refusal::new(RefusalCode::WRONG).is_retryable());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// How long the peer should wait before it tries again. In a refusal that was received, this is a claim
    /// of the peer: the actual wait is limited by
    /// [`ReconnectPolicy::longest_advice`](crate::supervisor::ReconnectPolicy::longest_advice).
    pub retry_after: Option<Duration>,
    /// A text for people. In a refusal that was received, it is arbitrary. At most [`Refusal::MAX_TEXT`]
    /// bytes are sent.
    pub text: String,
}

impl core::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        if !self.text.is_empty() {
            write!(f, ": {:?}", self.text)?;
        }
        Ok(())
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self::new(code)
    }
}

impl Refusal {
    /// The maximum length of the text on the wire, in bytes.
    pub const MAX_TEXT: usize = 1016;

    /// A refusal for this reason.
    #[must_use]
    pub const fn new(code: RefusalCode) -> Self {
        Self { code, retry_after: None, text: String::new() }
    }

    /// Sets the text for people.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Sets how long to wait before the next attempt, which makes the refusal retryable.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether the same peer may be let in at another time: by its code, or because it was told when to try
    /// again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retry_after.is_some() || self.code.is_retryable()
    }

    /// The time to wait in milliseconds, as it is sent.
    pub(crate) fn retry_after_ms(&self) -> Option<u32> {
        self.retry_after.map(millis)
    }

    /// The part of the text that is sent.
    pub(crate) fn short_text(&self) -> &str {
        let mut end = self.text.len().min(Self::MAX_TEXT);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }
}
