//! Errors by blame: the peer broke the protocol, you misused the API, a limit was reached, the
//! transport failed.
//!
//! One rule for all: the message of an error says its own level and names the address it is about;
//! [`source`](core::error::Error::source) has the rest. [`Chain`] prints it in one line.

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
