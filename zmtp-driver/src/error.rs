//! Errors of sending, receiving, connecting and binding.

use bowline_core::error::ConfigError;
use bowline_core::supervisor::DialFailure;
use bowline_driver::StartError;
use bowline_zmtp::endpoint::EndpointError;
use bowline_zmtp::error::OptionError;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{RecvError, SendError as SocketSendError};

/// Why a message was not sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The socket's own error: its type, its state, a limit, or that no peer can take the message now.
    #[error(transparent)]
    Socket(SocketSendError),
    /// It could not be sent within the time. Why there is no peer for it is not said here: the socket's events have the
    /// cause of each attempt to connect that failed.
    #[error("the message could not be sent in time")]
    TimedOut,
    /// The socket is closed.
    #[error("the socket is closed")]
    Closed,
    /// It could not be sent at once, and this thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
    /// The channel has no room for it now.
    #[error("the channel is full")]
    ChannelFull,
    /// The channel accepts nothing any more: it was closed, or its socket was.
    #[error("the channel is closed")]
    ChannelClosed,
}

impl Refusal {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Socket(error) => matches!(error, SocketSendError::WouldBlock | SocketSendError::Full),
            Self::TimedOut | Self::ChannelFull => true,
            Self::Closed | Self::WouldPark | Self::ChannelClosed => false,
        }
    }
}

/// A message that was not sent, with the reason. No part of it was sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.reason)]
pub struct SendError(Box<Unsent>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Unsent {
    reason: Refusal,
    message: Message,
}

impl SendError {
    pub(crate) fn new(reason: Refusal, message: Message) -> Self {
        Self(Box::new(Unsent { reason, message }))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.reason
    }

    /// The message, as it was given.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.0.message
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.reason.is_retryable()
    }
}

/// Not all of several messages were sent. The first ones were, in order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}, after {} messages", .0.reason, .0.sent)]
pub struct SendManyError(Box<NotAll>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct NotAll {
    reason: Refusal,
    sent: usize,
}

impl SendManyError {
    pub(crate) fn new(reason: Refusal, sent: usize) -> Self {
        Self(Box::new(NotAll { reason, sent }))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.reason
    }

    /// How many were sent: the first ones.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.0.sent
    }

    /// Whether a retry with the rest may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.reason.is_retryable()
    }
}

/// Why no message was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The socket's own error: its type, its state, or that there is no message now.
    #[error(transparent)]
    Socket(#[from] RecvError),
    /// No message was received within the time limit.
    #[error("no message came in time")]
    TimedOut,
    /// The socket or channel is closed, and all earlier messages were received.
    #[error("the socket or channel is closed")]
    Closed,
    /// There is no message, and this thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
}

/// Why a socket could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is invalid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A connection setting is invalid.
    #[error(transparent)]
    Config(#[from] bowline_core::error::ConfigError),
    /// The context is shut down.
    #[error("the context {context:?} is shut down")]
    ShutDown {
        /// The context's name.
        context: String,
    },
    /// The context has its maximum number of sockets.
    #[error("the context {context:?} would have {value} sockets, limit {limit}")]
    Sockets {
        /// The context's name.
        context: String,
        /// The number with the new socket.
        value: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why a socket could not connect to an endpoint, or bind to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint is invalid.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The endpoint cannot be connected to: its host or port is a wildcard.
    #[error("{0:?} is a wildcard, which cannot be connected to")]
    Open(String),
    /// The endpoint is not supported on this system.
    #[error("{0:?} cannot be used on this system")]
    Unsupported(String),
    /// An option is invalid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A setting of the connection is invalid: TLS for the wrong side.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket is not bound to or connected to that endpoint.
    #[error("the socket has nothing at {0:?}")]
    Unknown(String),
    /// The listener could not be made.
    #[error("could not bind to {endpoint}")]
    Bind {
        /// The endpoint.
        endpoint: String,
        /// The reason.
        source: bowline_driver::BindError,
    },
    /// No connection can be made; contains the last failure.
    #[error(transparent)]
    Failed(Box<DialFailure>),
    /// The socket is closed, or the endpoint was disconnected.
    #[error("the socket is closed")]
    Closed,
    /// This thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
    /// The task could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}
