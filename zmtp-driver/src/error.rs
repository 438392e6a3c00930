//! Why something was not sent, received, connected or bound.

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
    /// What the socket says: its type, its state, a limit, or that it cannot be sent now.
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
    /// The channel takes nothing any more: it was closed, or its socket was.
    #[error("the channel is closed")]
    ChannelClosed,
}

impl Refusal {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Socket(error) => matches!(error, SocketSendError::WouldBlock | SocketSendError::Full),
            Self::TimedOut | Self::ChannelFull => true,
            Self::Closed | Self::WouldPark | Self::ChannelClosed => false,
        }
    }
}

/// A message that was not sent, and why not. Nothing of it was.
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

    /// Why not.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.reason
    }

    /// The message, as it was given.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.0.message
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.reason.is_retryable()
    }
}

/// Why not all of several messages were sent. The others were, in their order.
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

    /// Why not.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.reason
    }

    /// How many were sent: the first ones.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.0.sent
    }

    /// Whether trying again, with the rest, may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.reason.is_retryable()
    }
}

/// Why no message was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// What the socket says: its type, its state, or that there is none now.
    #[error(transparent)]
    Socket(#[from] RecvError),
    /// None came within the time.
    #[error("no message came in time")]
    TimedOut,
    /// The socket or channel is closed, and everything that came before was received.
    #[error("the socket or channel is closed")]
    Closed,
    /// There is none, and this thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
}

/// Why a socket was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting cannot work.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A setting of connecting cannot work.
    #[error(transparent)]
    Config(#[from] bowline_core::error::ConfigError),
    /// The context is shut down.
    #[error("the context {context:?} is shut down")]
    ShutDown {
        /// The context's name.
        context: String,
    },
    /// The context has as many sockets as it may.
    #[error("the context {context:?} would have {value} sockets, limit {limit}")]
    Sockets {
        /// The context's name.
        context: String,
        /// How many there would be.
        value: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// Why a socket could not connect to an endpoint, or bind to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// One cannot connect to it: its host or port is left open.
    #[error("{0:?} leaves open where to connect to")]
    Open(String),
    /// What it asks for is not there on this system.
    #[error("{0:?} cannot be used on this system")]
    Unsupported(String),
    /// A setting cannot work.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A setting of the connection cannot work: TLS for the wrong side.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket is not bound or connected there.
    #[error("the socket has nothing at {0:?}")]
    Unknown(String),
    /// What listens could not be made.
    #[error("could not bind to {endpoint}")]
    Bind {
        /// Where.
        endpoint: String,
        /// Why not.
        source: bowline_driver::BindError,
    },
    /// No connection will come about.
    #[error("could not connect")]
    Failed(#[source] Box<DialFailure>),
    /// The socket is closed, or the endpoint was disconnected.
    #[error("the socket is closed")]
    Closed,
    /// This thread runs connections: it must not wait.
    #[error("an I/O thread must not wait")]
    WouldPark,
    /// There is nothing to run it.
    #[error(transparent)]
    Start(#[from] StartError),
}
