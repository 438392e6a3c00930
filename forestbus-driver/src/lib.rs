//! A client of Forest Bus clusters, and an in-memory node, for all runtimes.
//!
//! The protocol is in the crate `bowline-forestbus`: a `Cluster` that decides which node is asked for what,
//! and when; and the wire format as a framing. This crate adds a lock, links to the nodes, and a task for
//! timers; [`names!`] defines the handles of one runtime in a module. Programs use
//! `bowline::tokio::forestbus` and the modules of the other runtimes.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answers;
mod client;
mod client_builder;
mod command;
mod core;
mod desk;
mod error;
#[cfg(test)]
mod error_walk;
mod follower;
mod keeper;
mod lane;
mod limits;
mod link_settings;
mod log;
mod names;
#[cfg(feature = "node")]
mod node;
mod observe;
mod topic;

#[doc(hidden)]
pub use bowline_driver;
pub use bowline_log;

pub use answers::{Appended, Messages};
pub use client::Client;
pub use client_builder::ClientBuilder;
pub use error::{ClientError, OpenError};
pub use follower::{Follower, Next};
pub use log::FollowTopic;
#[cfg(feature = "node")]
pub use node::{Node, NodeBuilder, Stopped};
pub use topic::Topic;

pub use bowline_forestbus::cluster::{
    Attempts, Blame, CheckedSettings, ClusterError, Commit, ConnectionString, ConnectionStringError,
    Counters, Followed, NodeCause, NodeFailure, NodeId, NodeOrder, Options, Page, ReplyError, Settings,
    Snapshot,
};
#[cfg(feature = "node")]
pub use bowline_forestbus::node::{CheckedNodeSettings, NodeError, NodeSettings, NodeSnapshot};
pub use bowline_forestbus::protocol::{Bounds, ClusterDetails, Code, Index, Status};
pub use bowline_forestbus::wire::DecodeError;
