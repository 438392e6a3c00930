//! Errors of connecting, listening and receiving, which keep the system's own.

use std::io;

use bowline_core::error::{ConfigError, Disconnect, Failure, Status, TransportError, TransportKind};

/// There is no runtime of this kind where the call was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no {0} runtime is running here")]
pub struct RuntimeMissing(pub &'static str);

/// A link could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address or a setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No endpoint could be connected; the last cause.
    #[error("could not connect: {0}")]
    Failed(Disconnect),
    /// Called outside of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeMissing),
}

impl ConnectError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed(cause) if cause.is_retryable())
    }
}

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address or a setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system said no.
    #[error("could not listen at {address}: {source}")]
    Io {
        /// Where.
        address: String,
        /// What it said.
        source: io::Error,
    },
    /// Called outside of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeMissing),
}

/// The link is closed, and everything received before was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the link is closed")]
pub struct ClosedError;

/// The core's words for a system error.
#[must_use]
pub fn transport(error: &io::Error) -> TransportError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => TransportKind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            TransportKind::Reset
        }
        io::ErrorKind::TimedOut => TransportKind::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => TransportKind::Unreachable,
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => TransportKind::Resources,
        _ => TransportKind::Other,
    };
    TransportError { kind, message: error.to_string() }
}

/// The same as the cause of a connection's end.
#[must_use]
pub fn disconnect(error: &io::Error) -> Disconnect {
    Disconnect::Transport(transport(error))
}

macro_rules! failed {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::new(Status::FAILED, error.to_string())
                }
            }
        )*
    };
}

// What `?` in a handler makes of the errors of handles.
failed!(BindError, ClosedError, ConnectError, RuntimeMissing, crate::manager::ManagerError);
