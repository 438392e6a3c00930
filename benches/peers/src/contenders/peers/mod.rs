//! The libraries that Bowline is measured beside, each tuned as those who know it well would.

#[cfg(feature = "rpc")]
mod capnp;
pub mod common;
mod framed;
mod libzmq;
mod libzmq_curve;
mod libzmq_patterns;
mod monocoque;
#[cfg(feature = "nng")]
mod nng;
mod omq;
#[cfg(feature = "rpc")]
#[allow(warnings, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
mod peer_capnp;
mod rzmq;
#[cfg(feature = "rpc")]
mod tarpc;
#[cfg(feature = "rpc")]
mod tonic;
#[cfg(feature = "rpc")]
mod tonic_service;
mod zeromq;

use crate::contender::Contender;

/// Every peer that was built and runs here.
pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(framed::Framed),
        #[cfg(feature = "rpc")]
        Box::new(tarpc::Tarpc),
        #[cfg(feature = "rpc")]
        Box::new(tonic::Tonic),
        #[cfg(feature = "rpc")]
        Box::new(capnp::Capnp),
        Box::new(zeromq::ZmqRs),
        Box::new(monocoque::Monocoque),
        Box::new(omq::Omq { name: "omq", defaults: false }),
        Box::new(omq::Omq { name: "omq, defaults", defaults: true }),
        Box::new(rzmq::Rzmq { io_uring: false }),
        Box::new(rzmq::Rzmq { io_uring: true }),
        Box::new(libzmq::LibZmq),
        Box::new(libzmq_patterns::LibZmqPatterns),
        Box::new(libzmq_curve::LibZmqCurve),
        #[cfg(feature = "nng")]
        Box::new(nng::Nng),
    ]
}

/// Those that are left out, each with the reason.
pub fn left_out() -> Vec<(&'static str, &'static str)> {
    vec![
        #[cfg(not(feature = "rpc"))]
        ("tarpc, tonic, capnp", "built without the feature rpc"),
        #[cfg(not(feature = "nng"))]
        ("nng", "its build needs cmake; build with --features nng where there is one"),
    ]
}
