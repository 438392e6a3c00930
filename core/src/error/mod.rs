//! Errors, grouped by cause: the peer broke the protocol, the API was misused, a limit was reached, the
//! transport failed.
//!
//! One rule applies to all: the message of an error describes its own level and names the address that it
//! concerns; [`source`](core::error::Error::source) has the rest. [`Chain`] displays it in one line.

mod chain;
mod connection;
mod deadline;
mod failures;
mod foreign;
mod message;
mod preamble;
mod transport;

pub use chain::Chain;
pub use connection::{Disconnect, FrameError, PeerError};
pub use deadline::LinkWas;
pub use foreign::ForeignError;
pub use message::{
    CallError, CastError, CastRefusal, ConfigError, EncodeError, Failure, Full, Outcome, Status,
    Undeliverable,
};
pub use preamble::PreambleError;
pub use transport::{TransportError, TransportKind};

#[cfg(test)]
mod tests;
