//! Errors of connecting, listening and receiving; system errors are kept as sources.

use std::io;
use std::sync::Arc;

use bowline_core::error::{Chain, ConfigError, Disconnect, Failure, Status, TransportError, TransportKind};
use bowline_core::layer::LayerError;
use bowline_core::supervisor::{DialFailure, Endpoint};

use crate::accept::is_out_of_resources;

/// No runtime of this kind is running on the calling thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no {0} runtime is running here")]
pub struct RuntimeMissing(pub &'static str);

/// Why background work could not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Called outside of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeMissing),
    /// The system could not start a thread.
    #[error("could not start a thread")]
    Thread(#[source] Arc<io::Error>),
}

/// Why a link could not be connected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address or a setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No endpoint could be connected; contains the last failure.
    #[error(transparent)]
    Failed(Box<DialFailure>),
    /// The link was closed before it was connected.
    #[error("the link was closed before it was connected")]
    Closed,
    /// The thread runs connections: it must not wait for one.
    #[error("an I/O thread must not wait")]
    WouldPark,
    /// The system has no thread or descriptor for a link.
    #[error("this side has no resources for a link")]
    Resources(#[source] TransportError),
    /// Called outside of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeMissing),
}

impl From<StartError> for ConnectError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Runtime(missing) => missing.into(),
            StartError::Thread(error) => Self::Resources(transport(no_thread(error))),
        }
    }
}

impl ConnectError {
    /// The same, with the place that the link was to lead to, where this side has no resources for it and the error
    /// does not name a place yet.
    #[must_use]
    pub fn at(self, place: impl Into<Endpoint>) -> Self {
        match self {
            Self::Resources(error) => Self::Resources(error.at(place)),
            other => other,
        }
    }

    /// Why no connection could be made, if the error contains that.
    #[must_use]
    pub fn cause(&self) -> Option<&Disconnect> {
        match self {
            Self::Failed(failure) => Some(&failure.cause),
            _ => None,
        }
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.cause.is_retryable(),
            Self::Resources(_) => true,
            Self::Config(_) | Self::Closed | Self::WouldPark | Self::Runtime(_) => false,
        }
    }
}

/// Why a server could not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address or a setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system returned an error.
    #[error("could not listen at {address}")]
    Io {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// Called outside of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeMissing),
    /// The system could not start a thread for it.
    #[error("could not start a thread")]
    Thread(#[source] Arc<io::Error>),
}

impl From<StartError> for BindError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Runtime(error) => Self::Runtime(error),
            StartError::Thread(error) => Self::Thread(error),
        }
    }
}

/// Why nothing can be received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The link is closed, and every message received before was taken.
    #[error("the link is closed")]
    Closed,
    /// Nothing is available now, and the thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
}

impl ReceiveError {
    /// Whether a retry may succeed: on a thread other than an I/O thread.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::WouldPark)
    }
}

/// Converts a system error, which becomes the source; for the error of a layer, the layer's error becomes the
/// source.
#[must_use]
pub fn transport(error: io::Error) -> TransportError {
    let layer = error.get_ref().and_then(|inner| inner.downcast_ref::<LayerError>());
    if let Some(layer) = layer {
        return TransportError::of_layer(layer.clone());
    }
    TransportError::new(kind(&error), error)
}

fn kind(error: &io::Error) -> TransportKind {
    if is_out_of_resources(error) {
        return TransportKind::Resources;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => TransportKind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            TransportKind::Reset
        }
        io::ErrorKind::TimedOut => TransportKind::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => TransportKind::Unreachable,
        // Sockets that are not ready are waited for: here this error means that no thread can be started.
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::WouldBlock => TransportKind::Resources,
        io::ErrorKind::NotFound => TransportKind::NotFound,
        io::ErrorKind::PermissionDenied => TransportKind::Denied,
        _ => TransportKind::Other,
    }
}

/// A name could not be resolved.
#[must_use]
pub fn unresolved(error: io::Error) -> TransportError {
    // A failure to start the thread for the name resolution says nothing about the name.
    let kind = if kind(&error) == TransportKind::Resources {
        TransportKind::Resources
    } else {
        TransportKind::Resolve
    };
    TransportError::new(kind, error)
}

/// The error of a thread that could not be started.
#[must_use]
pub fn no_thread(error: impl Into<Arc<io::Error>>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), StartError::Thread(error))
}

/// A system error as the cause of a connection's end.
#[must_use]
pub fn disconnect(error: io::Error) -> Disconnect {
    Disconnect::Transport(transport(error))
}

macro_rules! failed {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::new(Status::FAILED, Chain(&error).to_string())
                }
            }
        )*
    };
}

// For `?` in handlers.
failed!(BindError, ReceiveError, ConnectError, RuntimeMissing, StartError);

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// No level of the chain says what one below it says.
    fn is_said_once(error: &(dyn Error + 'static)) {
        let mut level = Some(error);
        while let Some(error) = level {
            let (message, mut below) = (error.to_string(), error.source());
            assert!(!message.is_empty());
            while let Some(source) = below {
                assert!(!message.contains(&source.to_string()), "{message:?} repeats its source {source}");
                below = source.source();
            }
            level = error.source();
        }
    }

    #[test]
    fn each_level_is_said_once() {
        let system = || io::Error::from_raw_os_error(11);
        let threads = || StartError::Thread(Arc::new(system()));
        let address: bowline_core::address::Address = "127.0.0.1:7001".parse().expect("an address");
        let cause = disconnect(system()).at(address.clone());
        let failed = DialFailure::new(address.clone().into(), Some(address), cause);
        let config = ConfigError::OutOfRange { field: "max_message", value: 0, must: "at least 1" };
        let errors: [Box<dyn Error>; 14] = [
            Box::new(RuntimeMissing("tokio")),
            Box::new(StartError::Runtime(RuntimeMissing("tokio"))),
            Box::new(threads()),
            Box::new(no_thread(system())),
            Box::new(transport(no_thread(system()))),
            Box::new(unresolved(system())),
            Box::new(ConnectError::Config(config.clone())),
            Box::new(ConnectError::Failed(Box::new(failed))),
            Box::new(ConnectError::Closed),
            Box::new(ConnectError::from(threads())),
            Box::new(BindError::Config(config)),
            Box::new(BindError::Io { address: "127.0.0.1:7001".into(), source: system() }),
            Box::new(BindError::from(threads())),
            Box::new(ReceiveError::Closed),
        ];
        errors.iter().for_each(|error| is_said_once(&**error));
    }
}
