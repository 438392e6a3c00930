//! How many waiting bytes are worth a write.

/// The maximum number of plain bytes in one record of a layer.
pub(super) const RECORD: usize = 16 * 1024;
/// A pile over a layer: four records, without the room for the last message. A write that is a little longer
/// than its full records would need one more for the rest.
const OVER_LAYER: usize = 4 * RECORD - 1024;

/// The number of waiting bytes that are written although more are about to be made, so that both sides work at
/// the same time.
///
/// Over a layer such a pile is larger. Each write ends a record there, and each record, write and wake-up costs
/// both sides time that they could encrypt in: 256 calls of 110 bytes in flight take half of the processor time
/// if they are not written earlier. Nothing waits longer than for the end of what the side is doing.
///
/// ```
/// use bowline_driver::layered::Pile;
///
/// const ANSWERS: Pile = Pile::new(8 * 1024);
/// assert_eq!(ANSWERS.bytes(false), 8 * 1024);
/// assert_eq!(ANSWERS.bytes(true), 63 * 1024);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pile(usize);

impl Pile {
    /// A pile that is `plain` bytes on a socket without a layer.
    #[must_use]
    pub const fn new(plain: usize) -> Self {
        Self(plain)
    }

    /// Its bytes, on a connection with or without a layer.
    #[inline]
    #[must_use]
    pub const fn bytes(self, is_layered: bool) -> usize {
        if is_layered { OVER_LAYER } else { self.0 }
    }
}
