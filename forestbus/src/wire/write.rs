//! Encoding of values, each in its shortest form.

use alloc::vec::Vec;
use core::convert::Infallible;

use cbor4ii::core::enc::{Encode, Write};
use cbor4ii::core::types;

/// Appends items to a buffer; infallible.
#[derive(Debug)]
pub(super) struct Out<'a>(pub(super) &'a mut Vec<u8>);

impl Write for Out<'_> {
    type Error = Infallible;

    #[inline]
    fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(input);
        Ok(())
    }
}

impl Out<'_> {
    #[inline]
    fn value(&mut self, value: impl Encode) -> &mut Self {
        match value.encode(self) {
            Ok(()) => self,
            Err(cbor4ii::core::enc::Error::Write(never)) => match never {},
            Err(_) => self,
        }
    }

    /// The head of a map of that many pairs.
    #[inline]
    pub(super) fn map(&mut self, pairs: usize) -> &mut Self {
        let _ = types::Map::bounded(pairs, self);
        self
    }

    /// The head of an array of that many items.
    #[inline]
    pub(super) fn array(&mut self, items: usize) -> &mut Self {
        let _ = types::Array::bounded(items, self);
        self
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.value(text)
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.value(types::Bytes(bytes))
    }

    #[inline]
    pub(super) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.value(value)
    }

    #[inline]
    pub(super) fn signed(&mut self, value: i64) -> &mut Self {
        self.value(value)
    }

    #[inline]
    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.value(value)
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.value(types::Null)
    }
}
