//! Outcomes of messages at the end of a connection or session.

use alloc::vec;
use alloc::vec::Vec;

use super::classes::{CLASSES, lane};
use super::{Link, Phase};
use crate::arena::{Batch, Fate, FrameRef, Sent};
use crate::config::{Delivery, OnDisconnect};
use crate::error::{CallError, Disconnect, Outcome, Undeliverable};
use crate::frame::{Class, Framing};
use crate::link::undelivered::{Undelivered, decode};

/// The thing that has ended.
pub(super) enum Ended {
    /// A connection without a session, with the batch that was being written.
    Connection(Option<Batch>),
    /// The write of a batch whose connection ended earlier, with at-least-once delivery.
    LateWrite(Batch),
    /// A session, whose sent frames are settled already.
    Session,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Decides about all messages in the queue and the batch: those that were sent are done; the others wait
    /// for the next connection, are sent again, or are given back.
    pub(super) fn settle(&mut self, ended: Ended, cause: &Disconnect) {
        // Messages that were being written when a connection ended are sent again even if the link closes
        // meanwhile.
        let is_closing = self.closing.is_some() || self.phase == Phase::Closed;
        let is_late = matches!(ended, Ended::LateWrite(_));
        let was_closing = is_closing && !is_late;
        let (mut left, mut failed, mut answers, mut calls_back) = (vec![], vec![], vec![], vec![]);
        let mut resent = 0;
        // Repeated messages do not expire.
        let expires = !matches!(self.settings.delivery, Delivery::AtLeastOnce { .. });
        let (late, expired) = (Undeliverable::Expired(self.doing()), self.expired_casts);
        let profile = self.framing.profile();
        let Self { arena, calls, settings, outcomes, framing, fail_fast, counters, .. } = &mut *self;
        // A closing link gives its messages back at its end.
        let waiting = if was_closing { OnDisconnect::Keep } else { settings.on_disconnect };
        let limit = match settings.delivery {
            Delivery::AtLeastOnce { retry_limit } if !was_closing => Some(retry_limit),
            _ => None,
        };
        let reason = Undeliverable::Disconnected(cause.clone());
        let keep = |frame: &mut FrameRef<'_>, fate| match (frame.sent, fate) {
            (Sent::Call(_), Fate::Left) => false,
            (Sent::Call(id), fate)
                if (fate == Fate::Waiting && waiting != OnDisconnect::Keep)
                    || fail_fast.as_ref().is_some_and(|ids| ids.contains(&id)) =>
            {
                calls_back.push(id);
                false
            }
            (Sent::Call(id), _) => calls.get(id).is_some(),
            (Sent::Cast(number), Fate::Left | Fate::InPart | Fate::Unsent) => match limit {
                Some(limit) => {
                    let attempts = outcomes.get_or_insert_default().note_attempt(number);
                    if attempts <= limit {
                        resent += 1;
                        return true;
                    }
                    let reason = Undeliverable::RetriesExhausted { attempts, cause: cause.clone() };
                    let undelivered = decode(framing, frame, Outcome::MaybeDelivered, &reason);
                    failed.extend(undelivered.map(|undelivered| Undelivered { attempts, ..undelivered }));
                    false
                }
                None if fate == Fate::Left => {
                    left.push(number);
                    false
                }
                None if fate == Fate::InPart && !profile.atomic => {
                    // The peer has received its beginning.
                    failed.extend(decode(framing, frame, Outcome::MaybeDelivered, &reason));
                    false
                }
                None => true,
            },
            // It expired while it was being written.
            (Sent::Cast(number), Fate::Waiting) if expires && number <= expired => {
                counters.casts_expired += 1;
                failed.extend(decode(framing, frame, Outcome::Expired, &late));
                false
            }
            (Sent::Cast(_), Fate::Waiting) => {
                let outcome = match waiting {
                    OnDisconnect::Keep => return true,
                    OnDisconnect::Return => Outcome::NeverSent,
                    OnDisconnect::Drop => Outcome::Dropped,
                };
                failed.extend(decode(framing, frame, outcome, &reason));
                false
            }
            (Sent::Answer(id), fate) => {
                if fate != Fate::Left {
                    answers.push(id);
                }
                false
            }
            (Sent::Cancel(_) | Sent::Control | Sent::Part | Sent::Abort, _) => false,
        };
        match ended {
            Ended::Session => arena.begin_anew(keep),
            Ended::Connection(lent) => arena.disconnect(lent, keep),
            Ended::LateWrite(batch) => _ = arena.restore_late(batch, keep),
        }
        if resent > 0 {
            self.counters.casts_resent += resent;
        }
        for number in left {
            self.note_outcome(number, Outcome::Written);
        }
        for undelivered in failed {
            if undelivered.outcome == Outcome::Dropped {
                self.counters.casts_dropped += 1;
            }
            self.fail_cast(undelivered);
        }
        for id in calls_back {
            self.fail_call(id, CallError::NeverSent(cause.clone()));
        }
        for id in answers {
            self.drop_answer(id);
        }
        // Messages queued after the end of the earlier connection are not affected by its late writer.
        if !is_late {
            self.fail_fast = None;
            self.drop_held();
        }
    }

    /// Fails the calls whose request was sent, completely or in part: whether they ran is known to the peer
    /// only. Those in `again` are retried.
    pub(super) fn fail_calls_that_left(&mut self, cause: &Disconnect, again: &[u64]) {
        let first_queued = CLASSES.map(|class| self.arena.first_queued_call(class));
        let Self { calls, wakes, counters, arena, retries, .. } = &mut *self;
        let in_order = retries.is_empty();
        let waits = |id: u64, class: Class| match first_queued[lane(class)] {
            _ if !in_order => {
                arena.holds(class, Sent::Call(id)) || retries.is_waiting(id) || again.contains(&id)
            }
            Some(first) => id >= first,
            None => false,
        };
        let mut over = Vec::new();
        let left = calls.complete_where(
            |id, class| {
                if waits(id, class) {
                    return None;
                }
                over.push(id);
                Some(CallError::MaybeDelivered(cause.clone()))
            },
            |token| wakes.caller(token),
        );
        if left > 0 {
            counters.calls_maybe_delivered += left as u64;
        }
        for id in over {
            self.forget_retries(id, false);
        }
    }
}
