//! Ends the process when a test hangs.

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs the test with a time limit.
pub(crate) fn within(limit: Duration, test: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let (running, watched) = channel::<()>();
    std::thread::spawn(move || {
        if watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("it hangs");
            std::process::exit(1);
        }
    });
    async move {
        test.await;
        drop(running);
    }
}
