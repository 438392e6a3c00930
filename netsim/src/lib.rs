//! A network in memory with a virtual clock and a seed.
//!
//! [`Net`] carries bytes between two ends with latency, in pieces of random size, and can be cut or fall
//! silent (half-open). [`Sim`] connects a dialing link and its supervisor to accepting links over such a
//! network and advances the time to the next event: nothing sleeps, and the same seed gives the same trace.
//! [`Pair`] has two links that both take commands, and keeps a ledger of their casts; a [`Conduit`] can be put
//! between each end and the network. [`World`] runs any number of machines of any protocol.
//!
//! ```
//! use bowline_core::config::Config;
//! use bowline_core::link::CallOptions;
//! use bowline_netsim::{NetConfig, Sim};
//! use core::time::Duration;
//!
//! let mut sim = Sim::new(Config::default(), NetConfig::default(), 42);
//! let call = sim.call(CallOptions::new(1), b"hello").unwrap();
//! sim.run_for(Duration::from_secs(1));
//! assert_eq!(&sim.outcome(call).unwrap().as_ref().unwrap()[..], b"hello");
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod conduit;
mod end;
#[cfg(feature = "layers")]
mod layered;
mod ledger;
mod net;
mod pair;
mod side;
mod sim;
mod timeline;
mod world;

pub use conduit::{Conduit, MakeConduit};
pub use end::{Echo, End};
#[cfg(feature = "layers")]
pub use layered::LayeredConduit;
pub use ledger::{Given, Ledger, PairCast, Told, Wants};
pub use net::{Direction, Net, NetConfig, Random};
pub use pair::{Pair, PairCall};
pub use side::{App, Side, Taken};
pub use sim::{Call, Sim};
pub use world::World;
