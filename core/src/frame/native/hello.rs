//! The hello frame: version, limits and features of one side.

use alloc::vec::Vec;
use core::time::Duration;

use super::credit::MIN_WINDOW;
use super::features::Features;
use super::numbers::{get_u16, get_u32, get_u64};
use crate::error::{FrameError, PeerError};

/// The protocol version spoken here.
pub const VERSION: u8 = 1;

/// Feature: sessions, which survive their connections.
pub const SESSION: u64 = 1;
/// Feature: authentication in the handshake. The dialing side offers it if it can answer a challenge; the
/// accepting side offers and requires it if it has a verifier.
pub const AUTHENTICATION: u64 = 1 << 1;
/// Reserved for services: methods with names. Not offered by this version.
pub const SERVICES: u64 = 1 << 2;
/// Reserved for streams: answers of many messages. Not offered by this version.
pub const STREAMS: u64 = 1 << 3;

const MAGIC: [u8; 4] = *b"BWLN";
/// The length of a hello in every version.
const LEN: usize = 56;

/// How much of one class a side accepts before it grants more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The maximum that it keeps, bytes: a sender chooses the size of its frames by it. At least
    /// [`MIN_WINDOW`](super::MIN_WINDOW).
    pub size: u32,
    /// The initial grant, bytes: less than `size` if messages of an earlier connection are still kept.
    pub credit: u32,
}

impl Window {
    /// A window that is completely open.
    #[must_use]
    pub const fn open(size: u32) -> Self {
        Self { size, credit: size }
    }
}

/// The values that one side announces at the beginning of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Hello {
    /// The lowest version that it speaks.
    pub version_min: u8,
    /// The highest version that it speaks.
    pub version_max: u8,
    /// The maximum length of a message that it accepts, in bytes.
    pub max_message: u32,
    /// The maximum number of requests that it accepts at once.
    pub max_in_flight: u32,
    /// It sends a ping after this time without receiving anything. In milliseconds on the wire.
    pub heartbeat: Duration,
    /// It closes the connection after this time without receiving anything. In milliseconds on the wire.
    pub dead_after: Duration,
    /// The features that it offers, one bit each: [`SESSION`], [`AUTHENTICATION`].
    pub features: u64,
    /// The features that it requires; the other side must offer them.
    pub required: u64,
    /// The window of the normal class.
    pub normal: Window,
    /// The window of the bulk class.
    pub bulk: Window,
}

/// The parameters that both sides agreed on, and the limits of the other side.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Agreed {
    /// The version spoken.
    pub version: u8,
    /// The features that both offer.
    pub features: u64,
    /// The maximum length of a message that the peer accepts, in bytes.
    pub max_message: u32,
    /// The maximum number of requests that the peer accepts at once.
    pub max_in_flight: u32,
    /// The peer's window of the normal class.
    pub normal: Window,
    /// The peer's window of the bulk class.
    pub bulk: Window,
}

impl Hello {
    /// A hello of this version with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            version_min: VERSION,
            version_max: VERSION,
            max_message: 8 << 20,
            max_in_flight: 1024,
            heartbeat: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            features: 0,
            required: 0,
            normal: Window::open(4 << 20),
            bulk: Window::open(4 << 20),
        }
    }

    /// Appends the hello's body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.version_min, self.version_max, 0, 0]);
        out.extend_from_slice(&self.max_message.to_be_bytes());
        out.extend_from_slice(&self.max_in_flight.to_be_bytes());
        out.extend_from_slice(&millis(self.heartbeat).to_be_bytes());
        out.extend_from_slice(&millis(self.dead_after).to_be_bytes());
        out.extend_from_slice(&self.features.to_be_bytes());
        out.extend_from_slice(&self.required.to_be_bytes());
        for window in [self.normal, self.bulk] {
            out.extend_from_slice(&window.size.to_be_bytes());
            out.extend_from_slice(&window.credit.to_be_bytes());
        }
    }

    /// Reads a hello's body. Bytes that a later version appended are skipped.
    ///
    /// # Errors
    /// It is not a hello, or too short.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        check_magic(body)?;
        if body.len() < LEN {
            let value = body.len() as u64;
            return Err(FrameError::TooShort { field: "hello", value, limit: LEN as u64 });
        }
        let reserved = get_u16(body, 6);
        if reserved != 0 {
            return Err(FrameError::BadField { field: "reserved", value: u64::from(reserved), limit: 0 });
        }
        Ok(Self {
            version_min: body[4],
            version_max: body[5],
            max_message: get_u32(body, 8),
            max_in_flight: get_u32(body, 12),
            heartbeat: Duration::from_millis(u64::from(get_u32(body, 16))),
            dead_after: Duration::from_millis(u64::from(get_u32(body, 20))),
            features: get_u64(body, 24),
            required: get_u64(body, 32),
            normal: Window { size: get_u32(body, 40), credit: get_u32(body, 44) },
            bulk: Window { size: get_u32(body, 48), credit: get_u32(body, 52) },
        })
    }

    /// The agreement of this side (`self`) with the other: the highest version that both speak, the features
    /// that both offer, and the other's limits.
    ///
    /// # Errors
    /// There is no common version, one side requires a feature that the other does not offer, or a number is
    /// invalid.
    pub fn agree(&self, theirs: &Self) -> Result<Agreed, PeerError> {
        theirs.check()?;
        let version = self.version_max.min(theirs.version_max);
        if version < self.version_min || version < theirs.version_min {
            return Err(PeerError::Version {
                ours_min: self.version_min,
                ours_max: self.version_max,
                theirs_min: theirs.version_min,
                theirs_max: theirs.version_max,
            });
        }
        let unknown = theirs.required & !self.features;
        if unknown != 0 {
            return Err(PeerError::FeatureRequired { features: Features(unknown) });
        }
        let lacking = self.required & !theirs.features;
        if lacking != 0 {
            return Err(PeerError::FeatureLacking { features: Features(lacking) });
        }
        Ok(Agreed {
            version,
            features: self.features & theirs.features,
            max_message: theirs.max_message,
            max_in_flight: theirs.max_in_flight,
            normal: theirs.normal,
            bulk: theirs.bulk,
        })
    }

    /// Whether the numbers make sense by themselves.
    fn check(&self) -> Result<(), PeerError> {
        if self.version_min == 0 {
            return Err(field("version_min", 0, 1));
        }
        if self.version_max < self.version_min {
            return Err(field("version_max", self.version_max.into(), self.version_min.into()));
        }
        if self.max_message == 0 {
            return Err(field("max_message", 0, 1));
        }
        let (heartbeat, dead_after) = (millis(self.heartbeat), millis(self.dead_after));
        if self.heartbeat.is_zero() {
            return Err(field("heartbeat", 0, 1));
        }
        if self.dead_after.is_zero() || dead_after < heartbeat {
            let value = if self.dead_after.is_zero() { 0 } else { dead_after };
            return Err(field("dead_after", value.into(), heartbeat.into()));
        }
        let unoffered = self.required & !self.features;
        if unoffered != 0 {
            return Err(field("required", unoffered, self.features));
        }
        for window in [self.normal, self.bulk] {
            if window.size < MIN_WINDOW {
                return Err(field("window", window.size.into(), MIN_WINDOW.into()));
            }
            if window.credit > window.size {
                return Err(field("credit", window.credit.into(), window.size.into()));
            }
        }
        Ok(())
    }
}

fn field(field: &'static str, value: u64, limit: u64) -> PeerError {
    PeerError::HelloField { field, value, limit }
}

/// Checks as much of the magic as `body` has.
pub(super) fn check_magic(body: &[u8]) -> Result<(), FrameError> {
    let came = &body[..body.len().min(MAGIC.len())];
    if came == &MAGIC[..came.len()] {
        return Ok(());
    }
    let mut found = [0; MAGIC.len()];
    found[..came.len()].copy_from_slice(came);
    let (found, expected) = (u32::from_be_bytes(found).into(), u32::from_be_bytes(MAGIC).into());
    Err(FrameError::BadMagic { found, expected })
}

impl Default for Hello {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
