//! The libraries that Bowline is measured beside, each tuned as those who know it well would.

mod capnp;
mod common;
mod framed;
mod libzmq;
mod monocoque;
#[cfg(feature = "nng")]
mod nng;
#[allow(warnings, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
mod peer_capnp;
mod rzmq;
mod tarpc;
mod tonic;
mod tonic_service;
mod zeromq;

use crate::contender::Contender;

/// Every peer that was built and runs here.
pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(framed::Framed),
        Box::new(tarpc::Tarpc),
        Box::new(tonic::Tonic),
        Box::new(capnp::Capnp),
        Box::new(zeromq::ZmqRs),
        Box::new(monocoque::Monocoque),
        Box::new(rzmq::Rzmq { io_uring: false }),
        Box::new(rzmq::Rzmq { io_uring: true }),
        Box::new(libzmq::LibZmq),
        #[cfg(feature = "nng")]
        Box::new(nng::Nng),
    ]
}

/// Those that are left out, each with the reason.
pub fn left_out() -> Vec<(&'static str, &'static str)> {
    vec![
        #[cfg(not(feature = "nng"))]
        ("nng", "its build needs cmake; build with --features nng where there is one"),
    ]
}
