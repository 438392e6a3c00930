//! Properties, which a side sends in READY or INITIATE.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::error::ZmtpError;

/// A peer's properties, in the order in which they were sent.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(Box<[u8]>);

impl Metadata {
    /// Parses properties.
    ///
    /// # Errors
    /// A property extends past the end, or bytes follow the last one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ZmtpError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split(rest)?.2;
        }
        Ok(Self(bytes.into()))
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        core::iter::from_fn(move || {
            let (name, value, behind) = split(rest).ok()?;
            rest = behind;
            Some((name, value))
        })
    }

    /// The value of the property with that name, regardless of case; of several, the last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .last()
            .map(|found| found.1)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed = self.iter().map(|(name, value)| (name.escape_ascii(), value.escape_ascii()));
        f.debug_map().entries(printed.map(|(name, value)| (Plain(name), Plain(value)))).finish()
    }
}

struct Plain<T>(T);

impl<T: fmt::Display> fmt::Debug for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name and value of a property, and the bytes after it.
type Split<'b> = (&'b [u8], &'b [u8], &'b [u8]);

fn split(bytes: &[u8]) -> Result<Split<'_>, ZmtpError> {
    let cut = |field, value: usize, limit: u64| ZmtpError::Truncated { field, value: value as u64, limit };
    let Some((&length, rest)) = bytes.split_first() else { return Err(cut("property", 0, 1)) };
    if length == 0 {
        return Err(ZmtpError::BadField { field: "property name length", value: 0, limit: 1 });
    }
    let Some((name, rest)) = rest.split_at_checked(usize::from(length)) else {
        return Err(cut("property name", rest.len(), u64::from(length)));
    };
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Err(cut("property value length", rest.len(), 4));
    };
    let length = u32::from_be_bytes(*length);
    let value = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((value, rest)) = value else { return Err(cut("property value", rest.len(), u64::from(length))) };
    Ok((name, value, rest))
}

/// Appends a property. Its name must have 1 to 255 bytes, its value less than 4 GiB.
pub fn put_property(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    #[allow(clippy::cast_possible_truncation, reason = "options are checked when they are built")]
    {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    fn two() -> Vec<u8> {
        let mut out = Vec::new();
        put_property(&mut out, "Socket-Type", b"REQ");
        put_property(&mut out, "Identity", b"");
        out
    }

    #[test]
    fn properties_come_back_whatever_their_names_case() {
        let metadata = Metadata::parse(&two()).unwrap();
        assert_eq!(metadata.get("Socket-Type"), Some(&b"REQ"[..]));
        assert_eq!(metadata.get("IDENTITY"), Some(&b""[..]));
        assert_eq!(metadata.get("X"), None);
        assert_eq!(metadata.iter().count(), 2);
        assert_eq!(format!("{metadata:?}"), "{Socket-Type: REQ, Identity: }");
    }

    #[test]
    fn the_last_of_several_counts() {
        let mut bytes = two();
        put_property(&mut bytes, "identity", b"me");
        assert_eq!(Metadata::parse(&bytes).unwrap().get("Identity"), Some(&b"me"[..]));
    }

    #[test]
    fn what_is_cut_off_or_stands_behind_is_refused() {
        let bytes = two();
        let first = 1 + "Socket-Type".len() + 4 + 3;
        for cut in (1..bytes.len()).filter(|cut| *cut != first) {
            let error = Metadata::parse(&bytes[..cut]).unwrap_err();
            assert!(matches!(error, ZmtpError::Truncated { .. }), "{cut}: {error}");
        }
        let mut stray = bytes;
        stray.push(0);
        let error = Metadata::parse(&stray).unwrap_err();
        assert_eq!(error, ZmtpError::BadField { field: "property name length", value: 0, limit: 1 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_properties_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(metadata) = Metadata::parse(&bytes) {
                let length: usize = metadata.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
                prop_assert_eq!(length, bytes.len());
            }
        }
    }
}
