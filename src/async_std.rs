//! Bowline on async-std: links run as tasks of its executor.
//!
//! async-std is discontinued (RUSTSEC-2025-0052); use smol where you can choose.

pub use bowline_async_std::async_std::{AsyncStd, Listener, Socket, Timer, stream};

bowline_links::names!(AsyncStd, "async-std");

/// ZeroMQ sockets on async-std.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(super::AsyncStd, "async-std");
}

/// Forest Bus on async-std: see [`bowline::forestbus`](crate::forestbus).
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(super::AsyncStd, "async-std");
}
