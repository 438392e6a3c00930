//! Why a peer is not let in, or has to go.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::time::millis;

/// Why, as a number that travels on the wire; 1000 and above are the application's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RefusalCode(pub u16);

impl RefusalCode {
    /// No credentials, and they are needed.
    pub const MISSING: Self = Self(1);
    /// The credentials are not right.
    pub const WRONG: Self = Self(2);
    /// They were right once.
    pub const EXPIRED: Self = Self(3);
    /// The peer is known, and may not connect here.
    pub const FORBIDDEN: Self = Self(4);
    /// Too many of this identity, or too many at the door: later.
    pub const BUSY: Self = Self(5);
    /// The verifier could not decide: try again later.
    pub const UNAVAILABLE: Self = Self(6);
    /// The identity was withdrawn while the peer was connected.
    pub const WITHDRAWN: Self = Self(7);
    /// The session that was asked for belongs to another identity.
    pub const OTHER_IDENTITY: Self = Self(8);
    /// The first number that is the application's own.
    pub const APPLICATION: Self = Self(1000);

    /// Whether the same peer may be let in at another time, without anybody doing something about it.
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

/// A peer is not let in, or has to go: why, when to try again, and words for people.
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
    /// Why.
    pub code: RefusalCode,
    /// How long the peer should wait before it tries again. Of the peer's, it is a claim: what is waited because
    /// of it is bounded by [`ReconnectPolicy::longest_advice`](crate::supervisor::ReconnectPolicy::longest_advice).
    pub retry_after: Option<Duration>,
    /// For people; of the peer's, it may hold anything. At most [`Refusal::MAX_TEXT`] bytes travel.
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
    /// The longest text that travels, in bytes.
    pub const MAX_TEXT: usize = 1016;

    /// For that reason.
    #[must_use]
    pub const fn new(code: RefusalCode) -> Self {
        Self { code, retry_after: None, text: String::new() }
    }

    /// With words for people.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// With advice on when to try again, which makes it worth a try.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether the same peer may be let in at another time: its code says so, or it was told when.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retry_after.is_some() || self.code.is_retryable()
    }

    /// The time to wait in milliseconds, as it travels.
    pub(crate) fn retry_after_ms(&self) -> Option<u32> {
        self.retry_after.map(millis)
    }

    /// The text, as much of it as travels.
    pub(crate) fn short_text(&self) -> &str {
        let mut end = self.text.len().min(Self::MAX_TEXT);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }
}
