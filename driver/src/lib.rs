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
pub mod app;
pub mod clock;
mod connection;
pub mod dial;
pub mod error;
pub mod gate;
pub mod handler_queue;
pub mod heavy;
pub mod inproc;
mod intake;
pub mod memory;
pub mod observe;
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
