//! Z85 (RFC 32): keys as printable text, five characters for four bytes.

use alloc::string::String;
use alloc::vec::Vec;

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Why a text is not valid Z85.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Z85Error {
    /// The length is not a multiple of 4 (bytes) or 5 (text).
    #[error("a length of {length} is not a multiple of {of}")]
    Length {
        /// The length.
        length: usize,
        /// The required divisor.
        of: usize,
    },
    /// A character is not in the alphabet.
    #[error("byte {byte:#04x} at {at} is not in the alphabet")]
    Character {
        /// The byte.
        byte: u8,
        /// Its index.
        at: usize,
    },
    /// Five characters encode a number of more than four bytes.
    #[error("the five characters at {at} encode more than 32 bits")]
    Overflow {
        /// The index of the first of them.
        at: usize,
    },
}

/// Encodes bytes as text.
///
/// # Errors
/// The number of bytes is not a multiple of 4.
///
/// ```
/// let text = bowline_zmtp::z85::encode(&[0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b])?;
/// assert_eq!(text, "HelloWorld");
/// # Ok::<(), bowline_zmtp::z85::Z85Error>(())
/// ```
pub fn encode(bytes: &[u8]) -> Result<String, Z85Error> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Z85Error::Length { length: bytes.len(), of: 4 });
    }
    let mut text = String::with_capacity(words.len() * 5);
    for word in words {
        let word = u32::from_be_bytes(*word);
        for power in (0..5).rev() {
            let digit = word / 85_u32.pow(power) % 85;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    Ok(text)
}

/// Decodes text into bytes.
///
/// # Errors
/// The length is not a multiple of 5, a character is not in the alphabet, or a number exceeds four bytes.
pub fn decode(text: &str) -> Result<Vec<u8>, Z85Error> {
    let (words, rest) = text.as_bytes().as_chunks::<5>();
    if !rest.is_empty() {
        return Err(Z85Error::Length { length: text.len(), of: 5 });
    }
    let mut bytes = Vec::with_capacity(words.len() * 4);
    for (word, digits) in words.iter().enumerate() {
        let at = word * 5;
        let mut value = 0_u64;
        for (place, byte) in digits.iter().enumerate() {
            let Some(digit) = ALPHABET.iter().position(|other| other == byte) else {
                return Err(Z85Error::Character { byte: *byte, at: at + place });
            };
            value = value * 85 + digit as u64;
        }
        let value = u32::try_from(value).map_err(|_| Z85Error::Overflow { at })?;
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_z85_says_why() {
        assert_eq!(encode(&[0; 5]), Err(Z85Error::Length { length: 5, of: 4 }));
        assert_eq!(decode("Hello1"), Err(Z85Error::Length { length: 6, of: 5 }));
        assert_eq!(decode("HelloW\"rld"), Err(Z85Error::Character { byte: b'"', at: 6 }));
        assert_eq!(decode("00000#####"), Err(Z85Error::Overflow { at: 5 }));
        assert_eq!(decode("%nSc0").unwrap(), [0xff; 4], "the largest that fits");
        assert_eq!(decode("%nSc1"), Err(Z85Error::Overflow { at: 0 }));
    }

    proptest! {
        #[test]
        fn bytes_come_back(words in proptest::collection::vec(any::<[u8; 4]>(), 0..12)) {
            let bytes = words.concat();
            prop_assert_eq!(decode(&encode(&bytes).unwrap()).unwrap(), bytes);
        }
    }
}
