//! Errors of the handles.

use bowline_core::error::ConfigError;
use bowline_driver::StartError;
use bowline_forestbus::cluster::{ClusterError, ConnectionStringError};

/// Why a command of a [`Client`](crate::Client) failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The error of the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The thread runs connections: it must not wait. Nothing was done.
    #[error("an I/O thread must not wait")]
    WouldPark,
}

impl ClientError {
    /// Whether the same command may succeed later: see [`ClusterError::is_retryable`].
    /// [`WouldPark`](Self::WouldPark) repeats on the same thread.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retryable(),
            Self::WouldPark => false,
        }
    }

    /// The cluster's error, if it is one.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterError> {
        match self {
            Self::Cluster(error) => Some(error),
            Self::WouldPark => None,
        }
    }
}

/// Why a [`Client`](crate::Client) could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection string is invalid.
    #[error(transparent)]
    ConnectionString(#[from] ConnectionStringError),
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No runtime is running on this thread, or no thread could be started.
    #[error(transparent)]
    Start(#[from] StartError),
}
