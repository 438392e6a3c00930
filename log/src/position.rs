//! Positions of records.

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// The position of a record in its log. Later records have greater positions; whether there are gaps is one
/// of the log's [`Capabilities`](crate::Capabilities).
///
/// A log whose position is one number uses that number. Others, such as the two-part ids of Redis Streams,
/// have their own type.
pub trait Position: Copy + Ord + Hash + Debug + Display + Send + Sync + Unpin + 'static {
    /// The least greater position: where to read after a record. The greatest one stays as it is.
    #[must_use]
    fn next(self) -> Self;
}

impl Position for u64 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl Position for i64 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}
