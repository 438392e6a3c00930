//! Messages to send: parts that are sent together or not at all.

use bowline_core::body::{Body, Payload};
use bytes::Bytes;

use bowline_zmtp::message::Message;

/// A message to send, of one part or several.
///
/// Converts from text, bytes, and arrays or vectors of parts. Owned parts of 16 KiB or more are not copied.
///
/// ```
/// use bowline_zmtp_driver::Outgoing;
///
/// assert_eq!(Outgoing::from("one").len(), 1);
/// assert_eq!(Outgoing::from(["id", "", "body"]).len(), 3);
/// assert_eq!(Outgoing::from(vec![b"a".to_vec(), Vec::new()]).len(), 2);
/// ```
#[derive(Debug)]
pub struct Outgoing<'a>(Parts<'a>);

#[derive(Debug)]
enum Parts<'a> {
    One([Payload<'a>; 1]),
    /// The parts, and how many are in use: a message of a few parts allocates nothing.
    Few([Payload<'a>; FEW], usize),
    Many(Vec<Payload<'a>>),
}

/// The number of parts stored in the value itself.
const FEW: usize = 4;

impl<'a> Outgoing<'a> {
    /// A message of these parts.
    pub fn of_parts<P: Into<Payload<'a>>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut few = [const { Payload::Borrowed(&[]) }; FEW];
        let mut used = 0;
        let mut parts = parts.into_iter().map(Into::into);
        for slot in &mut few {
            let Some(part) = parts.next() else { return Self(Parts::Few(few, used)) };
            *slot = part;
            used += 1;
        }
        match parts.next() {
            None => Self(Parts::Few(few, used)),
            Some(next) => Self(Parts::Many(few.into_iter().chain([next]).chain(parts).collect())),
        }
    }

    /// The number of parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts().len()
    }

    /// Whether there are no parts: such a message cannot be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts().is_empty()
    }

    pub(crate) fn parts(&self) -> &[Payload<'a>] {
        match &self.0 {
            Parts::One(one) => one,
            Parts::Few(few, used) => &few[..*used],
            Parts::Many(many) => many,
        }
    }

    /// The message as its receiver would get it.
    #[must_use]
    pub fn into_message(self) -> Message {
        let body = |part: Payload<'_>| match part {
            Payload::Owned(bytes) => Body::from(bytes),
            borrowed => Body::copy_from(borrowed.as_slice()),
        };
        match self.0 {
            Parts::One([one]) => std::iter::once(body(one)).collect(),
            Parts::Few(few, used) => few.into_iter().take(used).map(body).collect(),
            Parts::Many(many) => many.into_iter().map(body).collect(),
        }
    }
}

/// One part.
macro_rules! one_part {
    ($($part:ty),* $(,)?) => {
        $(
            impl<'a> From<$part> for Outgoing<'a> {
                fn from(part: $part) -> Self {
                    Self(Parts::One([part.into()]))
                }
            }
        )*
    };
}

one_part!(&'a str, String, &'a String, &'a [u8], Vec<u8>, &'a Vec<u8>, Bytes, &'a Bytes, Body, &'a Body);

impl<'a, const N: usize> From<&'a [u8; N]> for Outgoing<'a> {
    fn from(part: &'a [u8; N]) -> Self {
        Self(Parts::One([Payload::from(&part[..])]))
    }
}

impl<'a> From<&'a &'a [u8]> for Outgoing<'a> {
    fn from(part: &'a &'a [u8]) -> Self {
        Self(Parts::One([Payload::Borrowed(part)]))
    }
}

impl<'a> From<&'a &'a str> for Outgoing<'a> {
    fn from(part: &'a &'a str) -> Self {
        Self(Parts::One([Payload::Borrowed(part.as_bytes())]))
    }
}

impl<'a, P: Into<Payload<'a>>, const N: usize> From<[P; N]> for Outgoing<'a> {
    fn from(parts: [P; N]) -> Self {
        Self::of_parts(parts)
    }
}

/// Several parts.
macro_rules! many_parts {
    ($($part:ty),* $(,)?) => {
        $(
            impl<'a> From<Vec<$part>> for Outgoing<'a> {
                fn from(parts: Vec<$part>) -> Self {
                    Self::of_parts(parts)
                }
            }
        )*
    };
}

many_parts!(&'a str, String, &'a [u8], Vec<u8>, Bytes, Body);

/// Several borrowed parts; the memory of large [`Bytes`] is shared.
macro_rules! borrowed_parts {
    ($($part:ty),* $(,)?) => {
        $(
            impl<'a> From<&'a Vec<$part>> for Outgoing<'a> {
                fn from(parts: &'a Vec<$part>) -> Self {
                    Self::of_parts(parts)
                }
            }
        )*
    };
}

borrowed_parts!(String, Vec<u8>, Bytes, Body);

impl From<Message> for Outgoing<'_> {
    fn from(message: Message) -> Self {
        Self::of_parts(message.into_parts())
    }
}

impl<'a> From<&'a Message> for Outgoing<'a> {
    fn from(message: &'a Message) -> Self {
        Self::of_parts(message.iter().map(|part| part.as_slice()))
    }
}
