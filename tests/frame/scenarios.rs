//! Makes tests of scenarios: async functions that are generic over the runtime that they run on.

use std::future::Future;

/// A module with a test of each scenario, with `$on` as its type; `$run` runs it to its end.
macro_rules! on_runtime {
    ($name:ident, $on:ty, $run:expr, [$($module:ident::$scenario:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    ($run)(crate::$module::$scenario::<$on>());
                }
            )*
        }
    };
}

/// Runs a future on a tokio runtime of its own.
pub(crate) fn block_on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
