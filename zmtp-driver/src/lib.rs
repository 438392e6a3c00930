//! ZeroMQ sockets, written once for all runtimes.
//!
//! The protocol is in the crate `bowline-zmtp`: a `Pipe` for each peer, a `Socket` that decides which pipe a message
//! goes to and comes from. Here they get locks, wakers, and what drives any machine (`bowline-driver`); [`names!`]
//! gives a module the sockets of one runtime. Programs use `bowline::tokio::zmtp` and its sisters.
#![forbid(unsafe_code)]

mod accept;
mod builder;
mod core;
mod dial;
mod endpoint;
mod error;
mod kind;
mod names;
mod outgoing;
mod receive;
mod send;
mod socket;

#[doc(hidden)]
pub use bowline_driver;

pub use builder::SocketBuilder;
pub use error::{ConnectError, ReceiveError, Refusal, SendError};
pub use kind::{Kind, Publishes, Receives, Sends, Subscribes, kinds};
pub use outgoing::Outgoing;
pub use receive::Receive;
pub use send::Send;
pub use socket::Socket;

pub use bowline_zmtp::error::OptionError;
pub use bowline_zmtp::message::Message;
pub use bowline_zmtp::options::{Heartbeat, Options, Overflow};
pub use bowline_zmtp::socket::{PipeId, SocketEvent, SocketStats};
pub use bowline_zmtp::socket_type::SocketType;
