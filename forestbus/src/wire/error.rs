//! Errors of bodies and of their content.

/// Why a body cannot be decoded as the arguments or results of its method. Offsets are relative to the body's
/// first byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value has another type.
    #[error("{field} at offset {at} is {found}, not {expected}")]
    Type {
        /// The field's name.
        field: &'static str,
        /// The offset of the value.
        at: u64,
        /// The type that was found.
        found: &'static str,
        /// The expected types.
        expected: &'static str,
    },
    /// A number is out of the field's range.
    #[error("{field} at offset {at} is {value}, must be {least} to {limit}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The offset of the number.
        at: u64,
        /// The number.
        value: i128,
        /// The smallest permitted number.
        least: i128,
        /// The largest permitted number.
        limit: i128,
    },
    /// A float without an integer value is where an integer is required.
    #[error("{field} at offset {at} is {value}, which is no integer in range")]
    Fraction {
        /// The field's name.
        field: &'static str,
        /// The offset of the number.
        at: u64,
        /// The number.
        value: Float,
    },
    /// A list has more items than are accepted, or than fit into the body.
    #[error("{field} at offset {at} has {value} items, limit {limit}")]
    TooMany {
        /// The field's name.
        field: &'static str,
        /// The offset of the list.
        at: u64,
        /// The number of items, or the number read before it was rejected.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A text is not UTF-8.
    #[error("{field} at offset {at} is not UTF-8")]
    Utf8 {
        /// The field's name.
        field: &'static str,
        /// The offset of the text's item.
        at: u64,
    },
    /// An item is invalid or incomplete.
    #[error("{field} at offset {at} is cut short or no item")]
    Malformed {
        /// The field's name.
        field: &'static str,
        /// Its offset.
        at: u64,
    },
    /// Bytes follow the body.
    #[error("{value} bytes behind the body, which ends at offset {at}")]
    Trailing {
        /// The offset of the body's end.
        at: u64,
        /// The number of bytes after it.
        value: u64,
    },
}

/// A floating-point number as it was read. Equality compares bits.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl core::fmt::Display for Float {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// A list has too many items to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} has {value} items, limit {limit}")]
#[non_exhaustive]
pub struct TooManyItems {
    /// The field's name.
    pub field: &'static str,
    /// The number of items.
    pub value: u64,
    /// The limit.
    pub limit: u64,
}

/// Why a reply does not match its request: the node is not to be trusted further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The number of indexes differs from the number of messages.
    #[error("{value} IDs for {expected} messages")]
    IdCount {
        /// The number of received indexes.
        value: u64,
        /// The number of sent messages.
        expected: u64,
    },
    /// The indexes are not consecutive.
    #[error("ID {value} at position {position}, expected {expected}")]
    Id {
        /// The position of the index in the list, from 0.
        position: u64,
        /// The index.
        value: i64,
        /// The expected index; for the first one, the smallest permitted.
        expected: i64,
    },
    /// `NextID` is not the index after the messages, or is below the requested one.
    #[error("NextID {value} after {messages} messages from ID {id}, expected {expected}")]
    NextId {
        /// The received value.
        value: i64,
        /// The number of received messages.
        messages: u64,
        /// The requested index.
        id: i64,
        /// The expected value; without messages, the smallest permitted besides 0.
        expected: i64,
    },
    /// The messages' indexes would exceed the largest index.
    #[error("{messages} messages from ID {id}: their numbers end at 2^63 - 1")]
    Overflow {
        /// The number of received messages.
        messages: u64,
        /// The requested index.
        id: i64,
    },
}
