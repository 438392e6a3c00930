//! The frame of tests that run on every runtime: one source for all of them.
//!
//! A test has this file and a module `runtimes` ([facade.rs](facade.rs), or the same names of other crates) at
//! its root, with `LIMIT`: the time after which a test that hangs ends.

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::runtimes::{Runtime, Style, Wait, block_on};

#[macro_use]
mod scenarios;
#[path = "../machines/watchdog.rs"]
pub(crate) mod watchdog;

pub(crate) use scenarios::block_on_tokio;

/// The result of a waiting method, as a future; on threads it is ready at once.
pub(crate) fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> impl Future<Output = Fut::Output> {
    R::Style::awaited::<Fut>(waited)
}

/// Runs a waiting function in a separate thread, on any runtime, without a timer.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn aside<Fut: Future<Output: Send + 'static>>(
    waits: impl FnOnce() -> Fut + Send + 'static,
) -> JoinHandle<Fut::Output> {
    std::thread::spawn(|| block_on(waits()))
}

/// Waits until the condition holds. The watchdog ends a test in which it never does.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each runs a scenario on its runtime, within the time limit.
pub(crate) mod run {
    use super::{Future, block_on, block_on_tokio, watchdog};
    use crate::LIMIT;

    pub(crate) fn tokio(scenario: impl Future<Output = ()>) {
        block_on_tokio(watchdog::within(LIMIT, scenario));
    }

    pub(crate) fn smol(scenario: impl Future<Output = ()>) {
        smol::block_on(watchdog::within(LIMIT, scenario));
    }

    pub(crate) fn async_std(scenario: impl Future<Output = ()>) {
        async_std::task::block_on(watchdog::within(LIMIT, scenario));
    }

    pub(crate) fn blocking(scenario: impl Future<Output = ()>) {
        block_on(watchdog::within(LIMIT, scenario));
    }
}

/// Each scenario as a test of each runtime.
macro_rules! on_every_runtime {
    ($($scenarios:tt)*) => {
        on_runtime!(tokio, crate::runtimes::Tokio, crate::frame::run::tokio, [$($scenarios)*]);
        on_runtime!(smol, crate::runtimes::Smol, crate::frame::run::smol, [$($scenarios)*]);
        on_runtime!(async_std, crate::runtimes::AsyncStd, crate::frame::run::async_std, [$($scenarios)*]);
        on_runtime!(blocking, crate::runtimes::Threads, crate::frame::run::blocking, [$($scenarios)*]);
    };
}
