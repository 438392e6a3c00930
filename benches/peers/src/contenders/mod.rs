//! The contenders: sockets driven by hand, Bowline, and its peers.

pub mod actor;
pub mod bowline_async;
pub mod bowline_blocking;
pub mod bowline_exclusive;
pub mod bowline_owned;
pub mod bowline_patterns;
pub mod bowline_receiving;
pub mod bowline_zmtp;
pub mod peers;
pub mod raw;
pub mod raw_epoll;
pub mod raw_tokio;
