//! Message bodies: received ([`Body`]) and to be sent ([`Payload`]).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

use crate::recv_buf::Block;

/// The maximum length of a body that is stored inside the [`Body`] value, in bytes; a longer one is
/// allocated.
pub const INLINE_BODY: usize = 118;

/// Owned bytes to send of this length or more are kept by reference; shorter ones are copied.
pub const REFERENCED_FROM: usize = 16 * 1024;

/// A part of a block up to this length is copied when it is converted to [`Bytes`], which needs an allocation
/// anyway.
const COPIED: usize = 1024;

/// The bytes of a received message, owned.
///
/// Derefs to `[u8]` and converts to [`Bytes`]. Small bodies are stored inside the value, so that receiving
/// one allocates nothing; the representation is private and may change.
///
/// A longer body may share a block of receive memory with neighbouring messages, up to 64 KiB (a body of more
/// than 32 KiB: up to twice its length), and keeps the whole block alive. To keep a few of many bodies for a
/// long time, [`detach`](Self::detach) them.
///
/// ```
/// use bowline_core::body::Body;
///
/// let body = Body::copy_from(b"hello");
/// assert_eq!(&body[..], b"hello");
/// assert_eq!(body.into_bytes(), bytes::Bytes::from_static(b"hello"));
/// ```
#[derive(Clone)]
pub struct Body(Repr);

#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; INLINE_BODY],
    },
    Shared(Bytes),
    /// A part of a block that was read from a connection.
    Block(Slice),
}

/// A part of a shared block of memory.
#[derive(Clone)]
struct Slice {
    block: Block,
    start: usize,
    len: usize,
    /// A receive buffer counts the memory of the block.
    is_watched: bool,
}

impl AsRef<[u8]> for Slice {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.block[self.start..self.start + self.len]
    }
}

impl Body {
    /// A body without bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Repr::Inline { len: 0, bytes: [0; INLINE_BODY] })
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        if bytes.len() <= INLINE_BODY {
            let mut inline = [0; INLINE_BODY];
            inline[..bytes.len()].copy_from_slice(bytes);
            // The length fits: INLINE_BODY is below 256.
            #[allow(clippy::cast_possible_truncation)]
            Self(Repr::Inline { len: bytes.len() as u8, bytes: inline })
        } else {
            Self(Repr::Shared(Bytes::copy_from_slice(bytes)))
        }
    }

    /// Sets it to a copy of `bytes`, in place if possible: a short body is copied once, and not moved.
    #[inline]
    pub fn assign(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Repr::Inline { len, bytes: inline } if bytes.len() <= INLINE_BODY => {
                inline[..bytes.len()].copy_from_slice(bytes);
                // It fits: INLINE_BODY is below 256.
                #[allow(clippy::cast_possible_truncation)]
                let new = bytes.len() as u8;
                *len = new;
            }
            _ => *self = Self::copy_from(bytes),
        }
    }

    /// A reference to `bytes`, which are part of `block`. If they are not, they are copied.
    #[inline]
    pub(crate) fn of_block(block: &Block, bytes: &[u8]) -> Self {
        Self::of_frame(block, bytes, false)
    }

    /// The same. `is_watched`: the receive buffer counts the memory of the block, and the queue that keeps the body
    /// does not.
    pub(crate) fn of_frame(block: &Block, bytes: &[u8], is_watched: bool) -> Self {
        let start = (bytes.as_ptr() as usize).wrapping_sub(block.as_ptr() as usize);
        let lies_within = start.checked_add(bytes.len()).is_some_and(|end| end <= block.len());
        debug_assert!(lies_within, "not of this block");
        if !lies_within {
            return Self::copy_from(bytes);
        }
        Self(Repr::Block(Slice { block: Block::clone(block), start, len: bytes.len(), is_watched }))
    }

    /// Copies the bytes into memory of their own if the body shares a block. Use it for a small body that is
    /// kept for a long time.
    ///
    /// ```
    /// use bowline_core::body::Body;
    ///
    /// let mut body = Body::copy_from(&[7; 500]);
    /// body.detach();
    /// assert_eq!(body, &[7; 500]);
    /// ```
    pub fn detach(&mut self) {
        if !matches!(self.0, Repr::Inline { .. }) {
            *self = Self::copy_from(self.as_slice());
        }
    }

    /// [Detaches](Self::detach) a body that is less than half of the block that it shares.
    pub(crate) fn detach_from_block(&mut self) {
        if let Repr::Block(slice) = &self.0
            && slice.len < slice.block.len() / 2
        {
            self.detach();
        }
    }

    /// Whether the receive buffer of a connection counts its memory.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        matches!(&self.0, Repr::Block(Slice { is_watched: true, .. }))
    }

    /// From now on its memory is counted where the body is.
    pub(crate) fn count_here(&mut self) {
        if let Repr::Block(slice) = &mut self.0 {
            slice.is_watched = false;
        }
    }

    /// The block that it is a part of.
    #[cfg(test)]
    pub(crate) fn block(&self) -> Option<&Block> {
        match &self.0 {
            Repr::Block(slice) => Some(&slice.block),
            _ => None,
        }
    }

    /// Takes the body out. The value that stays holds no memory, and must not be read.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        match &mut self.0 {
            Repr::Inline { len, bytes } => Self(Repr::Inline { len: *len, bytes: *bytes }),
            Repr::Shared(_) | Repr::Block(_) => core::mem::take(self),
        }
    }

    /// The same bytes as a [`Bytes`]; copies a small body, costs nothing for a large one.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline { len, bytes } => Bytes::copy_from_slice(&bytes[..usize::from(len)]),
            Repr::Shared(bytes) => bytes,
            Repr::Block(slice) if slice.len <= COPIED => Bytes::copy_from_slice(slice.as_ref()),
            Repr::Block(slice) => Bytes::from_owner(slice),
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
            Repr::Block(slice) => slice.as_ref(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Body {}

impl PartialEq<[u8]> for Body {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Body {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Shared(bytes.into()))
    }
}

impl From<Body> for Bytes {
    fn from(body: Body) -> Self {
        body.into_bytes()
    }
}

impl From<Body> for Vec<u8> {
    fn from(body: Body) -> Self {
        body.as_slice().to_vec()
    }
}

/// The bytes of a message to send.
///
/// Every sending method takes `impl Into<Payload>`: a slice or string is copied into the link's buffer; an
/// owned [`Bytes`], `Vec<u8>` or [`Body`] of 16 KiB or more is kept by reference and never copied. If an
/// owned payload is refused, the error contains it.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// Copied when it is queued.
    Borrowed(&'a [u8]),
    /// Kept by reference if it is large.
    Owned(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Borrowed(bytes) => bytes,
            Payload::Owned(bytes) => bytes,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload as shared bytes (copies a borrowed one).
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Payload::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Payload::Owned(bytes) => bytes,
        }
    }

    /// The payload as an owned body (copies a borrowed one).
    #[must_use]
    pub fn into_body(self) -> Body {
        match self {
            Payload::Borrowed(bytes) => Body::copy_from(bytes),
            Payload::Owned(bytes) => Body::from(bytes),
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Payload::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Payload::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Payload::Borrowed(text.as_bytes())
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a Vec<u8>) -> Self {
        Payload::Borrowed(bytes)
    }
}

impl<'a> From<&'a Body> for Payload<'a> {
    #[inline]
    fn from(body: &'a Body) -> Self {
        Payload::Borrowed(body)
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        Payload::Borrowed(text.as_bytes())
    }
}

impl From<&Bytes> for Payload<'_> {
    /// Shared, not copied.
    #[inline]
    fn from(bytes: &Bytes) -> Self {
        Payload::Owned(bytes.clone())
    }
}

impl From<Box<[u8]>> for Payload<'_> {
    #[inline]
    fn from(bytes: Box<[u8]>) -> Self {
        Payload::Owned(bytes.into())
    }
}

impl<'a> From<Cow<'a, [u8]>> for Payload<'a> {
    #[inline]
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Payload<'a> {
    #[inline]
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Vec<u8>> for Payload<'_> {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Owned(bytes.into())
    }
}

impl From<String> for Payload<'_> {
    #[inline]
    fn from(text: String) -> Self {
        Payload::Owned(text.into_bytes().into())
    }
}

impl From<Bytes> for Payload<'_> {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Payload::Owned(bytes)
    }
}

impl From<Body> for Payload<'_> {
    #[inline]
    fn from(body: Body) -> Self {
        match body.0 {
            Repr::Shared(bytes) => Payload::Owned(bytes),
            Repr::Inline { .. } | Repr::Block(_) => Payload::Owned(body.into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_bodies_live_inside_the_value_and_large_ones_are_shared() {
        for len in [0, 1, INLINE_BODY, INLINE_BODY + 1, 5_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let body = Body::copy_from(&bytes);
            assert_eq!(body.as_slice(), &bytes[..]);
            assert_eq!(body.clone().into_bytes(), bytes);
            assert_eq!(matches!(body.0, Repr::Inline { .. }), len <= INLINE_BODY);
        }
    }

    #[test]
    fn payloads_come_from_every_kind_of_bytes() {
        let (text, bytes) = (String::from("abc"), Bytes::from_static(b"abc"));
        let payloads: [Payload<'_>; 9] = [
            (&text).into(),
            text.clone().into(),
            (&bytes).into(),
            bytes.clone().into(),
            Box::<[u8]>::from(&b"abc"[..]).into(),
            Cow::Borrowed(&b"abc"[..]).into(),
            Cow::<[u8]>::Owned(b"abc".to_vec()).into(),
            Cow::Borrowed("abc").into(),
            Cow::<str>::Owned(text.clone()).into(),
        ];
        assert!(payloads.iter().all(|payload| payload.as_slice() == b"abc"));
        // Shared parts are not copied.
        assert_eq!(Payload::from(&bytes).as_slice().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn a_part_of_a_block_is_what_it_was_taken_from() {
        let block = Block::new((0..=255).cycle().take(4_000).collect());
        for range in [0..200, 100..2_000, 3_000..4_000, 500..500] {
            let bytes = &block[range.clone()];
            let body = Body::of_block(&block, bytes);
            assert_eq!(body.as_slice(), bytes);
            assert_eq!(body.as_slice().as_ptr(), bytes.as_ptr(), "not copied");
            assert_eq!(body.clone().into_bytes(), bytes);
            assert_eq!(Payload::from(body.clone()).as_slice(), bytes);
            assert_eq!(body.clone().take(), body);
            let mut own = body.clone();
            own.detach();
            assert_eq!(own, body);
            assert_ne!(own.as_slice().as_ptr(), bytes.as_ptr(), "copied");
        }
        assert_eq!(Block::strong_count(&block), 1);
    }

    #[test]
    fn a_body_is_two_cache_lines() {
        assert!(size_of::<Body>() <= 128, "{}", size_of::<Body>());
    }
}
