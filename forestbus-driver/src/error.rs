//! Errors of the handles.

use bowline_core::error::ConfigError;
use bowline_driver::StartError;
use bowline_forestbus::cluster::{ClusterError, ConnectionStringError};

/// Why a command of a [`Client`](crate::Client) failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The cluster's answer, or why there is none.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The thread runs the connections of its process: it must not wait. Nothing was done.
    #[error("an I/O thread must not wait")]
    WouldPark,
}

impl ClientError {
    /// Whether the same command may succeed later: see [`ClusterError::is_retryable`]. One that would park may be given
    /// elsewhere than on an I/O thread.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retryable(),
            Self::WouldPark => true,
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

/// A [`Client`](crate::Client) could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection string cannot be used.
    #[error(transparent)]
    ConnectionString(#[from] ConnectionStringError),
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no runtime here, or no thread left.
    #[error(transparent)]
    Start(#[from] StartError),
}
