//! Errors by blame: the peer broke the protocol, you misused the API, a limit was reached, the
//! transport failed.

mod connection;
mod failures;
mod message;

pub use connection::{Disconnect, FrameError, PeerError, TransportError, TransportKind};
pub use message::{
    CallError, CastError, CastRefusal, ConfigError, EncodeError, Failure, Full, Outcome, Status,
    Undeliverable,
};
