//! In what logs differ.

use std::time::Duration;

/// What a log promises beyond what all promise.
///
/// Every log promises that positions ascend in the order of the log, that the records of one `append` that were stored
/// stand in their order, and that what was read once is read again until it is trimmed. [`new`](Self::new) promises
/// nothing else; implementations set what they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// Each position is the [`next`](crate::Position::next) of the one before: no gaps, except for what was trimmed.
    pub contiguous: bool,
    /// The records of one append are stored all or none, and nothing stands between them.
    pub atomic_batches: bool,
    /// Whether a record's id keeps it from being stored twice.
    pub deduplication: Deduplication,
    /// When an append counts as done, as this handle is set up.
    pub commit: Commit,
    /// What else the log can be set up for, in ascending order.
    pub commits: &'static [Commit],
    /// After a fail-over, a position that was told, or read, may come back with another record.
    pub positions_reused: bool,
    /// Headers are kept.
    pub headers: bool,
    /// The largest record in bytes ([`Record::size`](crate::Record::size)), if there is a limit that is known. What a
    /// log adds of its own counts as well: it may refuse a record that is a little smaller.
    pub max_record: Option<usize>,
}

impl Capabilities {
    /// A log that promises only what all do.
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

/// How a log recognises a record that it already has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Deduplication {
    /// It does not: records with ids are refused.
    None,
    /// By id, for so long after the record was stored.
    For(Duration),
    /// By id, among so many latest records with ids.
    Latest(usize),
}

/// Who has a record when its append is done, from the least to the most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Commit {
    /// The process's memory.
    Memory,
    /// One server, or the leader of several: lost with it.
    Leader,
    /// The majority of the servers.
    Majority,
}
