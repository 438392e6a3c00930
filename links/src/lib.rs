//! The handles of message links, written once for all runtimes: [`Client`], [`Peer`], [`Server`], [`Hub`],
//! [`Pool`], [`Manager`] and [`Exclusive`].
//!
//! They put a [`Link`](bowline_core::link::Link) behind what drives any machine, the crate
//! `bowline-driver`; they know no runtime, and no runtime knows them. [`names!`] gives a module the handles of
//! one runtime. Programs use the modules of the crate `bowline` (`bowline::tokio`, …), which are made so. The names there
//! have the examples, one for each main type and builder, on each runtime.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
pub mod auth;
pub mod batcher;
mod call;
mod cast;
mod client;
mod defaults;
mod detached;
#[cfg(test)]
mod error_walk;
mod exclusive;
mod future_blocks;
mod handler;
mod handler_args;
mod handler_methods;
mod hub;
mod hub_core;
mod inbox;
mod link_app;
mod link_service;
mod manager;
mod manager_core;
mod monitor;
mod names;
mod peer;
mod peer_core;
mod pool;
mod pool_core;
mod receiving;
mod recipe;
mod request;
mod request_handler;
mod server;
mod server_events;
mod session_task;
mod sessions;
mod writers;

#[doc(hidden)]
pub use {bowline_core, bowline_driver};

pub use answer::Answer;
pub use call::{Pending as PendingCall, Starting};
pub use client::{Client, ClientBuilder};
pub use exclusive::{Exclusive, Handler, Owned};
pub use handler::{ContextCore, Handled, MessageRef, ReplyBuf, RequestRef};
pub use handler_args::{Context, Request};
pub use hub::Hub;
pub use hub_core::{Broadcast, HubCore, PushError};
pub use link_service::{Cut, Drained};
pub use manager::Manager;
pub use manager_core::{Closed, ManagerError};
pub use monitor::{LinkSnapshot, Monitor, Snapshot};
pub use peer::{Messages, Peer, Pending};
pub use peer_core::PeerCore;
pub use pool::{Pool, PoolBuilder};
pub use pool_core::Redirect;
pub use receiving::NextEvent;
pub use recipe::random_seed;
pub use request::{RequestCore, Responder};
pub use server::{Server, ServerBuilder};
