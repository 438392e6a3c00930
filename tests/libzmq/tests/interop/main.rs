//! Bowline's sockets with libzmq's; either side binds.

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::style::{Style, Wait};

mod lifecycle;
mod matrix;
mod ours;
mod patterns;
mod refusals;
mod security;

/// The result of a waiting method, as a future; on threads it is ready at once.
pub(crate) fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> impl Future<Output = Fut::Output> {
    R::Style::awaited::<Fut>(waited)
}

/// A message that has not arrived after this time never will.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A test that hangs ends after so long.
const TEST_LIMIT: Duration = Duration::from_secs(240);

/// Runs the test with a time limit, after which the process ends.
async fn within(limit: Duration, test: impl Future<Output = ()>) {
    let (running, watched) = channel::<()>();
    std::thread::spawn(move || {
        if watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("it hangs");
            std::process::exit(1);
        }
    });
    test.await;
    drop(running);
}

/// Where sockets are bound: a free port, and a Unix socket of that name.
pub(crate) fn endpoints(name: &str) -> [String; 2] {
    let path = std::env::temp_dir().join(format!("bowline-libzmq-{}-{name}", std::process::id()));
    ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}", path.display())]
}

/// Scenarios as tests of a runtime.
macro_rules! on {
    ($runtime:ident as $type:ty, $run:expr, $($module:ident::$scenario:ident),* $(,)?) => {
        mod $runtime {
            $(
                #[test]
                fn $scenario() {
                    let scenario = super::$module::$scenario::<$type>();
                    ($run)(super::within(super::TEST_LIMIT, scenario));
                }
            )*
        }
    };
}

macro_rules! on_every_runtime {
    ($($scenarios:tt)*) => {
        on! { tokio as bowline::tokio::Tokio, crate::block_on_tokio, $($scenarios)* }
        on! { smol as bowline::smol::Smol, ::smol::block_on, $($scenarios)* }
        on! { async_std as bowline::async_std::AsyncStd, ::async_std::task::block_on, $($scenarios)* }
        on! { threads as bowline::blocking::Threads, bowline::blocking::block_on, $($scenarios)* }
    };
}

fn block_on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = ::tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

on_every_runtime! {
    matrix::every_pair_talks,
    lifecycle::their_binder_goes_under_load,
    lifecycle::our_binder_goes_under_load,
    lifecycle::connecting_sides_go_under_load,
    lifecycle::a_question_is_lost_with_their_answerer,
    lifecycle::a_quiet_connection_stays,
    lifecycle::a_full_receiver_does_not_seem_dead,
    patterns::topics_begin_and_end,
    patterns::many_topics_are_said,
    patterns::publishers_have_their_options,
    patterns::peers_are_numbered_probed_and_named,
    patterns::groups_begin_and_end,
    refusals::their_handler_refuses_us,
    refusals::we_have_the_wrong_server_key,
    refusals::mechanisms_have_to_be_the_same,
    refusals::a_mechanism_takes_a_client_and_a_server,
    refusals::we_refuse_them,
    refusals::their_keys_are_wrong,
    refusals::types_have_to_go_together,
    refusals::who_is_let_in_is_told,
}

on! { once as bowline::tokio::Tokio, crate::block_on_tokio,
    matrix::every_pair_takes_long_messages,
    matrix::every_pair_talks_with_every_mechanism,
}
