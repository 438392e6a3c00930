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
    /// Whether a retry may succeed. [`WouldPark`](Self::WouldPark) repeats on the same thread: the connections
    /// that could bring something wait for it to return.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed | Self::WouldPark => false,
        }
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
    use bowline_error_rules::{check, walk};

    use super::*;

    #[test]
    fn every_error_follows_the_rules() {
        let system = || io::Error::from_raw_os_error(11);
        let threads = || StartError::Thread(Arc::new(system()));
        let address: bowline_core::address::Address = "127.0.0.1:7001".parse().expect("an address");
        let cause = disconnect(system()).at(address.clone());
        let failed = DialFailure::new(address.clone().into(), Some(address.clone()), cause);
        let config = || ConfigError::OutOfRange { field: "max_message", value: 0, must: "at least 1" };
        let missing = RuntimeMissing("tokio");
        walk!(RuntimeMissing, [missing]);
        walk!(StartError { Runtime, Thread }, [StartError::Runtime(missing), threads()]);
        walk!(
            ConnectError { Config, Failed, Closed, WouldPark, Resources, Runtime },
            [
                ConnectError::Config(config()),
                ConnectError::Failed(Box::new(failed)),
                ConnectError::Closed,
                ConnectError::WouldPark,
                ConnectError::from(threads()),
                ConnectError::from(threads()).at(address),
                ConnectError::from(StartError::Runtime(missing)),
            ]
        );
        walk!(
            BindError { Config, Io, Runtime, Thread },
            [
                BindError::Config(config()),
                BindError::Io { address: "127.0.0.1:7001".into(), source: system() },
                BindError::from(StartError::Runtime(missing)),
                BindError::from(threads()),
            ]
        );
        walk!(ReceiveError { Closed, WouldPark }, [ReceiveError::Closed, ReceiveError::WouldPark]);
        check(&no_thread(system()));
        check(&transport(no_thread(system())));
        check(&unresolved(system()));
    }

    /// The thread that would have to wait is the one that makes progress possible: repeating it there is in vain.
    #[test]
    fn what_would_park_an_io_thread_is_not_retryable() {
        assert!(!ConnectError::WouldPark.is_retryable());
        assert!(!ReceiveError::WouldPark.is_retryable());
    }
}
