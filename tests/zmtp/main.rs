//! ZeroMQ sockets on every runtime: one source for all of them.

use std::future::Future;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::style::{Style, Wait};

#[path = "../machines/watchdog.rs"]
mod watchdog;

mod pipelines;
mod requests;
mod security;

/// What a method returned that waits, to be awaited: on threads it is there.
pub(crate) fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> impl Future<Output = Fut::Output> {
    R::Style::awaited::<Fut>(waited)
}

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(60);

/// A scenario as a test of each runtime.
macro_rules! on_every_runtime {
    ($($module:ident::$scenario:ident),* $(,)?) => {
        mod tokio {
            $(
                #[test]
                fn $scenario() {
                    let runtime = ::tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
                    let scenario = super::$module::$scenario::<bowline::tokio::Tokio>();
                    runtime.expect("a runtime").block_on(super::watchdog::within(super::LIMIT, scenario));
                }
            )*
        }
        mod smol {
            $(
                #[test]
                fn $scenario() {
                    let scenario = super::$module::$scenario::<bowline::smol::Smol>();
                    ::smol::block_on(super::watchdog::within(super::LIMIT, scenario));
                }
            )*
        }
        mod async_std {
            $(
                #[test]
                fn $scenario() {
                    let scenario = super::$module::$scenario::<bowline::async_std::AsyncStd>();
                    ::async_std::task::block_on(super::watchdog::within(super::LIMIT, scenario));
                }
            )*
        }
        mod blocking {
            $(
                #[test]
                fn $scenario() {
                    let scenario = super::$module::$scenario::<bowline::blocking::Threads>();
                    bowline::blocking::block_on(super::watchdog::within(super::LIMIT, scenario));
                }
            )*
        }
    };
}

on_every_runtime! {
    pipelines::messages_arrive_once_and_in_order,
    pipelines::a_pusher_waits_for_room_and_for_a_peer,
    pipelines::pullers_share_the_work,
    pipelines::what_no_peer_got_comes_back,
    pipelines::the_binder_comes_back,
    pipelines::a_closed_socket_says_so,
    requests::a_question_and_its_answer,
    requests::the_turns_are_kept,
    requests::a_lost_peer_is_told,
    security::names_and_passwords,
    security::keys,
}
