//! Bowline on tokio.
//!
//! Links run as tasks of whatever tokio runtime is current where they are made; its IO and time
//! drivers must be enabled.

pub use bowline_tokio::{Listener, Socket, Timer, Tokio, stream};

bowline_links::names!(Tokio, "tokio");

/// ZeroMQ sockets on tokio.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(super::Tokio, "tokio");
}

/// Forest Bus on tokio: see [`bowline::forestbus`](crate::forestbus).
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(super::Tokio, "tokio");
}
