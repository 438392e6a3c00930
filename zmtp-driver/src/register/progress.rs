//! The observable state of a socket behind channels.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bowline_driver::sync::{AtomicU64, Mutex, Ordering};
use bowline_zmtp::message::Message;

use crate::error::SendError;

/// Maximum number of refused messages that are kept, and of their bytes.
const REFUSED: usize = 64;
const REFUSED_BYTES: usize = 1024 * 1024;

/// Counters of a socket behind channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RegisterStats {
    /// Messages of `in` that the socket accepted.
    pub sent: u64,
    /// Messages that the socket received for `out`.
    pub received: u64,
    /// Messages of `in` that the socket refused: see [`Registration::take_refused`](super::Registration::take_refused).
    pub refused: u64,
    /// Messages that were received when `out` had no receiver any more.
    pub undelivered: u64,
    /// Whether the socket is closed, and its channels with it.
    pub is_closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    undelivered: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    refused: u64,
    kept: VecDeque<(usize, SendError)>,
    kept_bytes: usize,
    /// It is over, with the messages that no peer got.
    ended: Option<Vec<Message>>,
    waiting: Vec<Waker>,
}

impl Progress {
    pub(super) fn note_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_undelivered(&self) {
        self.undelivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_refused(&self, bytes: usize, error: SendError) {
        let rest = &mut *self.rest.lock();
        rest.refused += 1;
        rest.kept.push_back((bytes, error));
        rest.kept_bytes += bytes;
        // The newest one stays, whatever its size.
        while rest.kept.len() > REFUSED || (rest.kept.len() > 1 && rest.kept_bytes > REFUSED_BYTES) {
            rest.kept_bytes -= rest.kept.pop_front().map_or(0, |(bytes, _)| bytes);
        }
    }

    pub(super) fn take_refused(&self) -> Option<SendError> {
        let rest = &mut *self.rest.lock();
        let (bytes, error) = rest.kept.pop_front()?;
        rest.kept_bytes -= bytes;
        Some(error)
    }

    /// It is over; the first call counts.
    pub(super) fn end(&self, unsent: Vec<Message>) {
        let mut rest = self.rest.lock();
        if rest.ended.is_some() {
            return;
        }
        rest.ended = Some(unsent);
        let waiting = std::mem::take(&mut rest.waiting);
        drop(rest);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Vec<Message>> {
        let mut rest = self.rest.lock();
        if let Some(unsent) = &mut rest.ended {
            return Poll::Ready(std::mem::take(unsent));
        }
        if !rest.waiting.iter().any(|kept| kept.will_wake(cx.waker())) {
            rest.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn stats(&self) -> RegisterStats {
        let rest = self.rest.lock();
        RegisterStats {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            refused: rest.refused,
            undelivered: self.undelivered.load(Ordering::Relaxed),
            is_closed: rest.ended.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;

    #[test]
    fn of_what_was_refused_the_newest_is_kept_within_a_bound() {
        let progress = Progress::default();
        let refuse = |bytes: usize| {
            let message = Message::from_iter([vec![0; bytes]]);
            progress.note_refused(bytes, SendError::new(Refusal::Closed, message));
        };
        let kept =
            || std::iter::from_fn(|| progress.take_refused()).map(|error| error.into_message().bytes());
        (0..REFUSED + 2).for_each(refuse);
        assert!(kept().eq(2..REFUSED + 2));
        for bytes in [REFUSED_BYTES / 2, REFUSED_BYTES / 2, 1] {
            refuse(bytes);
        }
        assert!(kept().eq([REFUSED_BYTES / 2, 1]));
        refuse(2 * REFUSED_BYTES);
        assert!(kept().eq([2 * REFUSED_BYTES]));
        assert_eq!(progress.stats().refused, REFUSED as u64 + 2 + 4);
    }
}
