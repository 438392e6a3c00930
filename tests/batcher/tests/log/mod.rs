//! A log in memory that pauses and fails on request of the test.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::ThreadId;

use bowline_core::batcher::{Batch, Failed};
use bowline_links::batcher::Sink;

/// Why the log failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said(pub(crate) &'static str);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Said {}

#[derive(Default)]
struct State {
    held: bool,
    records: Vec<String>,
    failures: VecDeque<Failed<Said>>,
    waker: Option<Waker>,
    longest: usize,
    given_up: usize,
    panics: bool,
    last_by: Option<ThreadId>,
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<State>>);

impl Log {
    /// Attempts wait until it is released.
    pub(crate) fn hold(&self) {
        self.0.lock().expect("no panic").held = true;
    }

    pub(crate) fn release(&self) {
        let waker = {
            let mut state = self.0.lock().expect("no panic");
            state.held = false;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next attempt fails.
    pub(crate) fn fail(&self, failed: Failed<Said>) {
        self.0.lock().expect("no panic").failures.push_back(failed);
    }

    /// The next attempt panics.
    pub(crate) fn panic(&self) {
        self.0.lock().expect("no panic").panics = true;
    }

    pub(crate) fn records(&self) -> Vec<String> {
        self.0.lock().expect("no panic").records.clone()
    }

    /// The longest batch.
    pub(crate) fn longest(&self) -> usize {
        self.0.lock().expect("no panic").longest
    }

    /// The thread that finished the last attempt.
    pub(crate) fn last_by(&self) -> Option<ThreadId> {
        self.0.lock().expect("no panic").last_by
    }

    /// Attempts that were dropped.
    pub(crate) fn given_up(&self) -> usize {
        self.0.lock().expect("no panic").given_up
    }
}

/// Counts an attempt that does not come to its end.
struct Attempt<'a>(&'a Log, bool);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.0.lock().expect("no panic").given_up += 1;
        }
    }
}

impl Sink for Log {
    type Message = String;
    type Position = usize;
    type Error = Said;

    const SENDERS_MAY_POLL: bool = true;

    fn size(&self, message: &String) -> usize {
        message.len()
    }

    async fn append(&self, batch: &mut Batch<String, usize, Said>) {
        let mut attempt = Attempt(self, false);
        poll_fn(|cx| {
            let mut state = self.0.lock().expect("no panic");
            if !state.held {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let panics = std::mem::take(&mut self.0.lock().expect("no panic").panics);
        assert!(!panics, "as it was told to");
        let mut state = self.0.lock().expect("no panic");
        let (messages, answers) = batch.parts();
        state.longest = state.longest.max(messages.len());
        if let Some(failed) = state.failures.pop_front() {
            answers.fail_rest(failed);
        } else {
            for (index, message) in messages.iter().enumerate() {
                answers.answer(index, Ok(state.records.len()));
                state.records.push(message.clone());
            }
        }
        state.last_by = Some(std::thread::current().id());
        drop(state);
        attempt.1 = true;
    }
}

/// A log whose attempts only the batcher's task polls.
pub(crate) struct ByTask(pub(crate) Log);

impl Sink for ByTask {
    type Message = String;
    type Position = usize;
    type Error = Said;

    fn size(&self, message: &String) -> usize {
        self.0.size(message)
    }

    async fn append(&self, batch: &mut Batch<String, usize, Said>) {
        self.0.append(batch).await;
    }
}
