//! The pages of the book (`docs/`, and the README) as documentation tests: `cargo test -p bowline-book-tests`.
//!
//! The build script finds the pages that have Rust in them, so that a new page needs no entry here. The test
//! `tests/links.rs` checks the table of contents and every link between the pages.

/// The machine that the page on own machines drives.
#[path = "../../machines/shout.rs"]
pub mod shout;

#[cfg(doctest)]
include!(concat!(env!("OUT_DIR"), "/pages.rs"));
