//! ZeroMQ sockets for all runtimes.
//!
//! The protocol is in the crate `bowline-zmtp`: a `Pipe` for each peer, and a `Socket` that decides which
//! pipe a message goes to and comes from. This crate adds locks, wakers, and the driver of any machine
//! (`bowline-driver`); [`names!`] defines the sockets of one runtime in a module. Programs use
//! `bowline::tokio::zmtp` and the modules of the other runtimes.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod auth;
mod builder;
mod channel;
mod context;
mod core;
mod dial;
mod endpoint;
mod error;
#[cfg(test)]
mod error_walk;
mod halves;
mod inproc;
#[cfg(feature = "curve")]
mod keys;
mod kind;
mod lifetime;
mod monitor;
mod names;
mod observe;
mod outgoing;
mod parts;
mod peers;
mod poll_any;
mod proxy;
mod receive;
mod register;
mod send;
mod snapshot;
mod socket;
mod subscriptions;

#[doc(hidden)]
pub use bowline_driver;

pub use builder::SocketBuilder;
pub use channel::{Buffer, ChannelReceive, ChannelSend, ChannelStats, Receiver, Sender, channel};
pub use context::{Context, ContextBuilder, Unsent};
pub use error::{ConnectError, OpenError, ReceiveError, Refusal, SendError, SendManyError};
pub use halves::{RecvHalf, SendHalf};
#[cfg(feature = "curve")]
pub use keys::generate_secret_key;
pub use kind::{Kind, Publishes, Receives, Routes, Sends, Subscribes, kinds};
pub use monitor::PipeInfo;
pub use outgoing::Outgoing;
pub use poll_any::{PollAny, PollError, PollItem, poll_any};
pub use proxy::{FlowStats, Proxy, ProxyBuilder, ProxyEnd, ProxyError, ProxyReason, ProxyStats};
pub use receive::{Receive, ReceiveFrom, ReceiveInto, ReceiveMany, ReceiveWith};
pub use register::{RegisterError, RegisterStats, Registration};
pub use send::{Send, SendMany};
pub use snapshot::{ContextSnapshot, PipeSnapshot, SocketSnapshot};
pub use socket::Socket;

pub use bowline_zmtp::error::OptionError;
pub use bowline_zmtp::message::Message;
pub use bowline_zmtp::options::{Heartbeat, Options, Overflow};
pub use bowline_zmtp::socket::{
    AcceptLimit, HandshakeFailure, PeerId, PipeId, SocketEvent, SocketStats, SubscribeError,
};
pub use bowline_zmtp::socket_type::SocketType;
