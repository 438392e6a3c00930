//! The end of a link.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Closing, Link, LinkEvent, Phase};
use crate::error::{CallError, Disconnect};
use crate::frame::Framing;
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// There will be no further connection: all waiting callers get the error.
    pub(super) fn end(&mut self, now: Instant, cause: Disconnect) {
        if self.phase == Phase::Closed {
            return;
        }
        self.lose_session(now, &cause);
        self.phase = Phase::Closed;
        self.count_blocks_apart();
        self.conn = self.conn.anew();
        self.end_watched_casts(&cause);
        let Self { calls, wakes, lines, retries, .. } = &mut *self;
        calls.complete_where(
            |id, _| {
                let may_have_run = retries.may_have_run(id);
                let error = if may_have_run { CallError::MaybeDelivered } else { CallError::NeverSent };
                Some(error(cause.clone()))
            },
            |token| wakes.caller(token),
        );
        retries.clear();
        lines.close_sending(|token| wakes.caller(token));
        lines.receive.close(|token| wakes.caller(token));
        self.route.last_cause = Some(Box::new(cause));
        // No reader takes them up any more.
        let casts = self.history.retired.take().map_or(0, |retired| retired.casts());
        for _ in 0..casts {
            self.drop_message();
        }
        self.event(LinkEvent::Closed);
        let Self { lines, wakes, .. } = &mut *self;
        lines.events.close(|token| wakes.caller(token));
        self.wakes.attend();
    }

    /// Whether everything that was begun is finished.
    pub(super) fn is_drained(&self) -> bool {
        self.arena.is_flushed()
            && !self.waits_for_late_batch()
            && self.answers.is_empty()
            && self.arena.unacked() == 0
            && self.calls.in_flight() == 0
            && self.inbound.len() == 0
            && !self.conn.reading.parked
            && !self.conn.due.go_away
    }

    /// Closes the link at once; work under way is cut off.
    pub fn abort(&mut self, now: Instant, cause: Disconnect) {
        if self.phase == Phase::Closed {
            return;
        }
        self.begin_closing(now, Duration::ZERO);
        if self.phase == Phase::Down {
            self.end(now, cause);
        } else if self.phase != Phase::Closed {
            self.conn.abort_for(cause);
            self.wakes.attend();
        }
    }

    /// The ids of the peer's requests that were not answered because the link was closed first.
    pub fn take_cut(&mut self) -> Vec<u64> {
        self.closing.as_mut().map(|closing| core::mem::take(&mut closing.cut)).unwrap_or_default()
    }

    pub(super) fn begin_closing(&mut self, now: Instant, linger: Duration) {
        if self.phase == Phase::Closed {
            return;
        }
        if let Some(closing) = &mut self.closing {
            // Called again with a shorter time.
            if now + linger < closing.deadline {
                closing.deadline = now + linger;
                self.wakes.attend();
            }
            return;
        }
        self.closing = Some(Box::new(Closing { deadline: now + linger, finished: false, cut: Vec::new() }));
        let Self { lines, wakes, .. } = &mut *self;
        lines.close_sending(|token| wakes.caller(token));
        self.wakes.attend();
        match self.phase {
            Phase::Ready => {
                self.conn.due.go_away = self.framing.profile().go_away;
                self.wake_driver();
            }
            Phase::Down if self.is_drained() => self.end(now, Disconnect::LocalClose),
            _ => {}
        }
    }
}
