//! The half of a Bowline runtime adapter that needs no runtime.
//!
//! [`Shared`] is a machine behind its lock, with whoever has to be woken. [`pump::Pump`] drives
//! one connection over a [`runtime::Socket`]; [`dial`] keeps one connection after another;
//! [`Client`], [`Peer`] and [`Server`] are the handles users hold. A runtime crate supplies
//! sockets, timers and tasks ([`runtime::Runtime`]) and decides nothing about the protocol; a
//! protocol supplies a [`Machine`](bowline_core::machine::Machine) and an
//! [`Application`] and knows nothing of runtimes.
#![forbid(unsafe_code)]

pub mod accept;
pub mod addresses;
pub mod answer;
pub mod app;
pub mod call;
pub mod cast;
pub mod client;
pub mod client_parts;
pub mod clock;
mod connection;
pub mod defaults;
pub mod detached;
pub mod dial;
pub mod error;
pub mod exclusive;
pub mod gate;
pub mod handler;
pub mod handler_args;
pub mod handler_queue;
pub mod heavy;
pub mod hub;
pub mod hub_core;
mod inbox;
pub mod inproc;
mod intake;
pub mod link_app;
pub mod link_service;
pub mod manager;
pub mod manager_core;
pub mod memory;
pub mod monitor;
mod names;
pub mod next;
mod observe;
pub mod owner;
pub mod peer;
pub mod peer_core;
pub mod place;
pub mod pool;
pub mod pool_core;
pub mod pump;
pub mod request;
mod request_handler;
pub mod runtime;
mod serve;
pub mod server;
pub mod sessions;
pub mod shared;
pub mod socket;
pub mod soft_socket;
pub mod stream;
pub mod style;
pub mod sync;
pub mod to_address;
pub mod workers;

pub use accept::ServerEvent;
#[doc(hidden)]
pub use bowline_core;

pub use answer::Answer;
pub use app::{Application, Flow};
pub use client::{Client, ClientBuilder};
pub use error::{BindError, ConnectError, ReceiveError, RuntimeMissing, StartError};
pub use exclusive::Exclusive;
pub use gate::{AcceptCounters, Refused};
pub use handler::{ContextCore, Handled, MessageRef, ReplyBuf, RequestRef};
pub use handler_args::{Context, Request};
pub use hub::Hub;
pub use hub_core::{Broadcast, HubCore, PushError};
pub use link_service::{Cut, Drained};
pub use manager::Manager;
pub use manager_core::{Closed, ManagerError};
pub use monitor::{LinkSnapshot, Monitor, Snapshot};
pub use peer::{Messages, Peer, Pending};
pub use peer_core::{PeerCore, PeerId};
pub use pool::{Pool, PoolBuilder};
pub use request::{RequestCore, Responder};
pub use server::{Server, ServerBuilder};

pub use shared::{LazyGuard, Shared};
pub use style::{Returns, Style, Wait};
pub use to_address::ToAddress;
