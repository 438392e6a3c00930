//! Append-only logs behind one trait: Forest Bus clusters, NATS JetStream, an in-memory log, and others.
//!
//! [`Log::append`] returns the outcome of each record. [`Log::read`] returns a page and can wait for it.
//! [`Log::follow`] reads a log from a position on and waits at its end for new records: it repeats nothing,
//! leaves nothing out, and reports records that were gone before it read them ([`ReadError::Trimmed`]) and a
//! log that ends before its position ([`ReadError::Truncated`]). Differences between logs are in their
//! [`Capabilities`].
//!
//! The trait's methods are futures and need no particular runtime. Threads use the same logs through
//! [`Blocking`], which waits for each future.
//!
//! ```
//! use std::time::Duration;
//! use bowline_log::memory::MemoryLog;
//! use bowline_log::{Blocking, Limit, Log, Record};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log = Blocking::new(MemoryLog::new());
//! let positions = log.append(vec![Record::new("one"), Record::new("two")]).all()?;
//! let page = log.read(positions[0], Limit::records(10), Duration::ZERO)?;
//! assert_eq!(page.entries[1].record.body, "two");
//!
//! for entry in log.follow(page.entries[1].position).take(1) {
//!     assert_eq!(entry?.record.body, "two");
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod appended;
mod blocking;
mod capabilities;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
#[cfg(test)]
mod error_walk;
mod follow;
mod log;
pub mod memory;
mod position;
mod record;

pub use appended::{Appended, PartlyAppended};
pub use blocking::{Blocking, BlockingFollow, Park, Waiter};
pub use capabilities::{Capabilities, Commit, Deduplication};
pub use error::{AppendError, Cause, ReadError, Refusal};
pub use follow::Follow;
pub use log::{Bounds, Following, Limit, Log, NextEntry, Page};
pub use position::Position;
pub use record::{Entry, Record};
