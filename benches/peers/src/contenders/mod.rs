//! The contenders: sockets driven by hand, Bowline, and its peers.

pub mod bowline_async;
pub mod bowline_blocking;
pub mod bowline_exclusive;
pub mod bowline_patterns;
pub mod bowline_zmtp;
pub mod peers;
pub mod raw;
pub mod raw_tokio;
