//! Where the frame finds the runtimes: in the facade.

pub(crate) use bowline::async_std::AsyncStd;
pub(crate) use bowline::blocking::{Threads, block_on};
pub(crate) use bowline::driver::runtime::Runtime;
pub(crate) use bowline::driver::style::{Style, Wait};
pub(crate) use bowline::smol::Smol;
pub(crate) use bowline::tokio::Tokio;
