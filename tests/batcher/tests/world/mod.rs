//! The four runtimes, for scenarios that are written once.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use bowline_core::frame::native::Native;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_links::Server;

pub(crate) use bowline_async_std::async_std::AsyncStd;
pub(crate) use bowline_async_std::smol::Smol;
pub(crate) use bowline_blocking::Threads;
pub(crate) use bowline_tokio::Tokio;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A runtime that can be waited in, on any thread.
pub(crate) trait World: Runtime {
    fn run<Fut: Future>(future: Fut) -> Fut::Output;
}

impl World for Tokio {
    fn run<Fut: Future>(future: Fut) -> Fut::Output {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        RUNTIME.get_or_init(|| build().expect("a runtime")).block_on(future)
    }
}

impl World for Smol {
    fn run<Fut: Future>(future: Fut) -> Fut::Output {
        smol::block_on(future)
    }
}

impl World for AsyncStd {
    fn run<Fut: Future>(future: Fut) -> Fut::Output {
        async_std::task::block_on(future)
    }
}

impl World for Threads {
    fn run<Fut: Future>(future: Fut) -> Fut::Output {
        bowline_blocking::block_on(future)
    }
}

/// The result of a handle's method, in every world.
pub(crate) async fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> Fut::Output {
    R::Style::awaited::<Fut>(waited).await
}

/// Waits until something is so, for a minute at the most.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(MS);
    }
}

/// A server's address.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn address<R: Runtime>(server: &Server<R, Native>) -> String {
    server.local_addr().to_string()
}

/// Each scenario on each runtime.
macro_rules! on_all_runtimes {
    ($($scenario:ident)*) => {
        on_all_runtimes! { @ tokio Tokio $($scenario)* }
        on_all_runtimes! { @ smol Smol $($scenario)* }
        on_all_runtimes! { @ async_std AsyncStd $($scenario)* }
        on_all_runtimes! { @ threads Threads $($scenario)* }
    };
    (@ $module:ident $runtime:ident $($scenario:ident)*) => {
        mod $module {
            use crate::world::{$runtime, World};

            $(
                #[test]
                fn $scenario() {
                    <$runtime as World>::run(super::$scenario::<$runtime>());
                }
            )*
        }
    };
}

pub(crate) use on_all_runtimes;
