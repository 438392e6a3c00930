//! Bowline on smol: links run as tasks of its global executor.

pub use bowline_async_std::smol::{Listener, Smol, Socket, Timer, stream};

bowline_links::names!(Smol, "smol");

/// ZeroMQ sockets on smol.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(super::Smol, "smol");
}

/// Forest Bus on smol: see [`bowline::forestbus`](crate::forestbus).
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(super::Smol, "smol");
}
