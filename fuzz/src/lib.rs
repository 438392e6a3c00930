//! Fuzz targets as plain functions: fuzzed by libFuzzer (`fuzz/libfuzzer`), and replayed over their corpora
//! by `cargo test`.
//!
//! A target panics if a check fails, and returns otherwise.
#![forbid(unsafe_code)]

mod batcher;
mod credentials;
mod decode;
mod forestbus;
mod forestbus_cluster;
mod live;
mod machines;
mod ops;
mod pair;
mod proxies;
mod sockets;
mod tls;
mod zmtp;

pub use batcher::batcher_ops;
pub use credentials::credentials;
pub use decode::{buffstreams, chunked, length_prefixed, native, raw, tcpstream};
pub use forestbus::{forestbus_reply, forestbus_walker};
pub use forestbus_cluster::forestbus_cluster;
pub use live::live_link;
pub use machines::machine_ops;
pub use ops::{link_ops, supervisor_ops};
pub use pair::{pair_ops, tls_pair_ops};
pub use proxies::proxy_steps;
pub use sockets::zmtp_socket_ops;
pub use tls::tls_ops;
pub use zmtp::{zmtp_ops, zmtp_wire};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by name; the name is also its corpus's folder.
pub const TARGETS: &[(&str, Target)] = &[
    ("raw", raw),
    ("length_prefixed", length_prefixed),
    ("buffstreams", buffstreams),
    ("tcpstream", tcpstream),
    ("native", native),
    ("chunked", chunked),
    ("link_ops", link_ops),
    ("pair_ops", pair_ops),
    ("live_link", live_link),
    ("credentials", credentials),
    ("machine_ops", machine_ops),
    ("supervisor_ops", supervisor_ops),
    ("batcher_ops", batcher_ops),
    ("proxy_steps", proxy_steps),
    ("zmtp_wire", zmtp_wire),
    ("zmtp_ops", zmtp_ops),
    ("zmtp_socket_ops", zmtp_socket_ops),
    ("tls_ops", tls_ops),
    ("tls_pair_ops", tls_pair_ops),
    ("forestbus_walker", forestbus_walker),
    ("forestbus_reply", forestbus_reply),
    ("forestbus_cluster", forestbus_cluster),
];

/// Takes numbers off the front of the input; zeros when it is used up.
#[derive(Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}
