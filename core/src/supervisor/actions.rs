//! Actions that the driver has not fetched yet.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::{Action, AttemptId};

/// Maximum number of failed attempts that wait to be fetched.
const MAX_NEWS: usize = 64;

/// A queue of actions. Allocated while there are any: a connected link has none.
#[derive(Clone, Debug, Default)]
#[allow(clippy::box_collection, reason = "one word in place of four")]
pub(super) struct Actions(Option<Box<VecDeque<Action>>>);

impl Actions {
    pub(super) fn push(&mut self, action: Action) {
        self.0.get_or_insert_default().push_back(action);
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.0.as_mut()?.pop_front()
    }

    /// Adds a failed attempt; the oldest ones are dropped if the driver does not fetch them.
    pub(super) fn push_news(&mut self, action: Action) {
        let queue = self.0.get_or_insert_default();
        let is_news = |action: &Action| matches!(action, Action::AttemptFailed { .. });
        if queue.iter().filter(|action| is_news(action)).count() >= MAX_NEWS
            && let Some(oldest) = queue.iter().position(is_news)
        {
            queue.remove(oldest);
        }
        queue.push_back(action);
    }

    /// A round failed: what was said of the one before is of no use now.
    pub(super) fn forget_rounds(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.retain(|action| !matches!(action, Action::RoundFailed { .. } | Action::Waiting { .. }));
        }
    }

    /// Removes the beginning of an attempt. `false`: the driver has fetched it.
    pub(super) fn withdraw(&mut self, attempt: AttemptId) -> bool {
        let Some(queue) = &mut self.0 else { return false };
        let before = queue.len();
        queue.retain(|action| {
            !matches!(action, Action::Resolve { attempt: other, .. } | Action::Dial { attempt: other, .. }
                if *other == attempt)
        });
        queue.len() < before
    }

    /// Frees the memory of an empty queue.
    pub(super) fn trim(&mut self) {
        self.0.take_if(|queue| queue.is_empty());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }
}
