//! The contenders: sockets driven by hand, Bowline, and its peers.

pub mod bowline_async;
pub mod bowline_blocking;
pub mod bowline_exclusive;
pub mod peers;
pub mod raw;
pub mod raw_tokio;
