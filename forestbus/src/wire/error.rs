//! What is wrong with a body, or with what it says.

/// A body that says something else than its method's arguments or results. Offsets count from the body's
/// first byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value of another type.
    #[error("{field} at offset {at} is {found}, not {expected}")]
    Type {
        /// The field's name.
        field: &'static str,
        /// Where the value begins.
        at: u64,
        /// What it is.
        found: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A number that the field has no room for.
    #[error("{field} at offset {at} is {value}, must be {least} to {limit}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// Where the number begins.
        at: u64,
        /// The number.
        value: i128,
        /// The least one allowed.
        least: i128,
        /// The largest one allowed.
        limit: i128,
    },
    /// A float where an integer belongs that is none.
    #[error("{field} at offset {at} is {value}, which is no integer in range")]
    Fraction {
        /// The field's name.
        field: &'static str,
        /// Where the number begins.
        at: u64,
        /// The number.
        value: Float,
    },
    /// More items in a list than are read, or than the body has bytes for.
    #[error("{field} at offset {at} has {value} items, limit {limit}")]
    TooMany {
        /// The field's name.
        field: &'static str,
        /// Where the list begins.
        at: u64,
        /// How many it has, or had when it was given up.
        value: u64,
        /// How many it may have.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("{field} at offset {at} is not UTF-8")]
    Utf8 {
        /// The field's name.
        field: &'static str,
        /// Where the text's item begins.
        at: u64,
    },
    /// No item, or one that is cut short.
    #[error("{field} at offset {at} is cut short or no item")]
    Malformed {
        /// The field's name.
        field: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// Bytes behind the body.
    #[error("{value} bytes behind the body, which ends at offset {at}")]
    Trailing {
        /// Where the body ends.
        at: u64,
        /// How many bytes follow.
        value: u64,
    },
}

/// A floating-point number as it was read. It equals what has the same bits.
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

/// A list that is too long to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} has {value} items, limit {limit}")]
#[non_exhaustive]
pub struct TooManyItems {
    /// The field's name.
    pub field: &'static str,
    /// How many items it has.
    pub value: u64,
    /// How many it may have.
    pub limit: u64,
}

/// A reply that does not fit its request: the node is not to be trusted further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Not one number for each message.
    #[error("{value} IDs for {expected} messages")]
    IdCount {
        /// How many numbers came.
        value: u64,
        /// How many messages were sent.
        expected: u64,
    },
    /// The numbers are not ascending, one by one.
    #[error("ID {value} at position {position}, expected {expected}")]
    Id {
        /// Which one, from 0.
        position: u64,
        /// The number.
        value: i64,
        /// What it should be; of the first one, the least that it may be.
        expected: i64,
    },
    /// `NextID` is not the number behind the messages, or goes back.
    #[error("NextID {value} after {messages} messages from ID {id}, expected {expected}")]
    NextId {
        /// What came.
        value: i64,
        /// How many messages came.
        messages: u64,
        /// What was asked for.
        id: i64,
        /// What it should be; without messages, the least that it may be besides 0.
        expected: i64,
    },
    /// More messages than there are numbers.
    #[error("{messages} messages from ID {id}: their numbers end at 2^63 - 1")]
    Overflow {
        /// How many messages came.
        messages: u64,
        /// What was asked for.
        id: i64,
    },
}
