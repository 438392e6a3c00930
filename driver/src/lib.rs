//! Drives any machine on any runtime: sockets, tasks, timers, wakers, accepting, dialing.
//!
//! A *protocol* is a [`Machine`](bowline_core::machine::Machine) and knows no runtime; a *runtime* is a
//! [`Runtime`](runtime::Runtime) and knows no protocol. This crate connects them, and names neither: no link,
//! no framing, no tokio. The handles of message links are one user of it (the crate `bowline-links`).
//!
//! For a protocol of your own:
//!
//! | item | purpose |
//! |---|---|
//! | [`Shared`] | a machine behind its lock: all access goes through [`Shared::with`], which wakes its task after unlocking |
//! | [`Application`] | handles the events of a machine |
//! | [`dial::Dialer`] | the dialing side: one connection after another, as a `Supervisor` says |
//! | [`accept::Service`], [`accept::Acceptor`] | the accepting side: limits, the memory of all connections, stop and drain |
//! | [`opening::Openings`] | steps on a connection before its machine gets it: proxies, a preamble |
//! | [`pump::Pump`] | one connection, for other uses |
//! | [`Style`], [`Wait`], [`Returns`] | methods and handlers that are written once for tasks and for threads |
//! | [`workers::Workers`], [`place`] | where functions run that may wait |
//! | [`layered`] | a layer such as TLS between a socket and a machine |
//! | [`error`], [`inproc`], [`stream`], [`socket`] | shared by connecting and listening |
//!
//! `examples/own_protocol.rs` is a complete one: a machine, its server on threads, its clients on tokio and
//! on threads. `docs/architecture.md` has the recipe.
//!
//! For a runtime of your own: [`runtime`], [`owner`], [`style`], and [`soft_socket`] for streams without a descriptor.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod accept;
pub mod addresses;
pub mod app;
pub mod clock;
mod connection;
pub mod connection_info;
pub mod dial;
pub mod error;
mod example;
pub mod gate;
pub mod handler_queue;
pub mod heavy;
mod hold;
pub mod inproc;
mod intake;
#[cfg(feature = "interfaces")]
pub mod interfaces;
pub mod layered;
pub mod memory;
#[doc(hidden)]
pub mod observe;
pub mod opening;
pub mod owner;
mod peer_id;
pub mod place;
pub mod pump;
pub mod runtime;
pub mod shared;
pub mod socket;
pub mod soft_socket;
pub mod stream;
pub mod style;
#[doc(hidden)]
pub mod sync;
pub mod to_address;
pub mod workers;

pub use accept::ServerEvent;
pub use app::{Application, Flow};
pub use error::{BindError, ConnectError, ReceiveError, RuntimeMissing, StartError};
pub use gate::{AcceptCounters, Refused};
pub use peer_id::PeerId;
pub use shared::{LazyGuard, Shared};
pub use style::{Returns, Style, Wait};
pub use to_address::ToAddress;
