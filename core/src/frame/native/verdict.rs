//! The answer of the accepting side to credentials: accepted or refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::header::{get_time, put_time};
use super::numbers::{get_u16, get_u32};
use crate::auth::{Refusal, RefusalCode};
use crate::error::FrameError;

/// The peer is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// Maximum number of requests in flight, if that is less than in the hello.
    pub max_in_flight: Option<u32>,
}

impl Accepted {
    /// The length in every version.
    pub(super) const LEN: usize = 4;
    /// The value that means: as in the hello.
    const AS_SAID: u32 = u32::MAX;

    /// Accepted, with this maximum of requests in flight if that is less than in the hello.
    #[must_use]
    pub const fn new(max_in_flight: Option<u32>) -> Self {
        Self { max_in_flight }
    }

    /// The frame's body.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 4] {
        self.max_in_flight.unwrap_or(Self::AS_SAID).to_be_bytes()
    }

    /// Reads the frame's body. Bytes that a later version appended are skipped.
    ///
    /// # Errors
    /// The length is invalid.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        check_len("accepted", body, Self::LEN)?;
        let number = get_u32(body, 0);
        Ok(Self { max_in_flight: (number != Self::AS_SAID).then_some(number) })
    }
}

impl Refusal {
    /// Bytes in front of the text.
    pub(super) const LEN: usize = 8;

    /// The body of the refused frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = self.short_text().as_bytes();
        let mut bytes = Vec::with_capacity(Self::LEN + text.len());
        bytes.extend_from_slice(&self.code.0.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&put_time(self.retry_after_ms()));
        bytes.extend_from_slice(text);
        bytes
    }

    /// Reads the frame's body. Invalid UTF-8 in the text is replaced.
    ///
    /// # Errors
    /// The length is invalid, or a reserved field is not 0.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        check_len("refusal", body, Self::LEN)?;
        super::header::check_reserved(get_u16(body, 2))?;
        let mut refusal = Self::new(RefusalCode(get_u16(body, 0)));
        refusal.retry_after = get_time(body, 4).map(|ms| Duration::from_millis(u64::from(ms)));
        Ok(refusal.text(String::from_utf8_lossy(&body[Self::LEN..])))
    }
}

fn check_len(field: &'static str, body: &[u8], limit: usize) -> Result<(), FrameError> {
    if body.len() < limit {
        let (value, limit) = (body.len() as u64, limit as u64);
        return Err(FrameError::TooShort { field, value, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let long = Refusal::new(RefusalCode::WRONG).text("é".repeat(600));
        let bytes = long.to_bytes();
        assert_eq!(bytes.len(), 1024);
        assert_eq!(Refusal::decode(&bytes).unwrap().text, "é".repeat(508));
        let odd = Refusal::new(RefusalCode::WRONG).text("x".to_string() + &"é".repeat(600));
        assert_eq!(odd.to_bytes().len(), 1023);
    }

    proptest! {
        #[test]
        fn what_is_said_is_read(
            code in any::<u16>(),
            ms in prop::option::of(0..u32::MAX),
            text in ".{0,60}",
            in_flight in prop::option::of(0..u32::MAX),
            later in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut refusal = Refusal::new(RefusalCode(code)).text(text);
            refusal.retry_after = ms.map(|ms| Duration::from_millis(u64::from(ms)));
            prop_assert_eq!(Refusal::decode(&refusal.to_bytes()), Ok(refusal));
            let mut bytes = Accepted::new(in_flight).to_bytes().to_vec();
            bytes.extend(later);
            prop_assert_eq!(Accepted::decode(&bytes), Ok(Accepted::new(in_flight)));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Refusal::decode(&bytes).is_ok(), bytes.len() >= 8 && bytes[2..4] == [0, 0]);
            prop_assert_eq!(Accepted::decode(&bytes).is_ok(), bytes.len() >= 4);
        }
    }
}
