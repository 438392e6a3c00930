//! Where a record stands.

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// Where a record stands in its log. Later records have greater positions; whether they follow one another without
/// gaps is one of the log's [`Capabilities`](crate::Capabilities).
///
/// A log whose position is one number uses that number. Others, such as the two-part ids of Redis Streams, have a type
/// of their own.
pub trait Position: Copy + Ord + Hash + Debug + Display + Send + Sync + Unpin + 'static {
    /// The least position that is greater: where to read on after a record. The greatest one stays as it is.
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
