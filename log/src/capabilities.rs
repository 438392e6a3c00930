//! The capabilities in which logs differ.

use std::time::Duration;

/// The guarantees of a log beyond those of all logs.
///
/// Every log guarantees that positions ascend in the order of the log, that the stored records of one
/// `append` are in order, and that a record that was read once can be read again until it is trimmed.
/// [`new`](Self::new) promises nothing else; implementations set their further capabilities.
/// nothing else; implementations set what they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// Each position is the [`next`](crate::Position::next) of the one before: there are no gaps, except for
    /// trimmed records.
    pub contiguous: bool,
    /// The records of one append are stored all or none, without other records in between.
    pub atomic_batches: bool,
    /// Whether a record's id prevents it from being stored twice.
    pub deduplication: Deduplication,
    /// When an append counts as done, with the settings of this handle.
    pub commit: Commit,
    /// The other values of `commit` that the log supports, in ascending order.
    pub commits: &'static [Commit],
    /// After a fail-over, a position that was returned, or read, may be used for another record.
    pub positions_reused: bool,
    /// The log supports headers.
    pub headers: bool,
    /// The maximum size of a record in bytes ([`Record::size`](crate::Record::size)), if there is a known
    /// limit. The log's own overhead counts as well: it may refuse a record that is a little smaller.
    pub max_record: Option<usize>,
}

impl Capabilities {
    /// The guarantees of all logs only.
    pub const fn new(commit: Commit) -> Self {
        Self {
            contiguous: false,
            atomic_batches: false,
            deduplication: Deduplication::None,
            commit,
            commits: &[],
            positions_reused: true,
            headers: false,
            max_record: None,
        }
    }
}

/// How a log recognises a record that it has already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Deduplication {
    /// It does not: records with ids are refused.
    None,
    /// By id, for this time after the record was stored.
    For(Duration),
    /// By id, among this many latest records with ids.
    Latest(usize),
}

/// Where a record is stored when its append is done, from the weakest to the strongest guarantee.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Commit {
    /// In the process's memory.
    Memory,
    /// On one server, or on the leader of several: lost with it.
    Leader,
    /// On the majority of the servers.
    Majority,
}
