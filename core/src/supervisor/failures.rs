//! What failed while the endpoints were tried.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::DialFailure;

/// The failures of this round and of the last one: usually none.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Option<Box<Rounds>>);

#[derive(Clone, Debug, Default)]
struct Rounds {
    this_round: Vec<DialFailure>,
    last_round: Box<[DialFailure]>,
    /// The shortest time for which an endpoint of this round asked not to be tried.
    advice: Option<Duration>,
}

impl Failures {
    pub(super) fn push(&mut self, failure: DialFailure) {
        self.0.get_or_insert_default().this_round.push(failure);
    }

    /// A round begins.
    pub(super) fn clear(&mut self) {
        if let Some(rounds) = &mut self.0 {
            rounds.this_round.clear();
            rounds.advice = None;
        }
    }

    /// An endpoint asked not to be tried for this time: the shortest such time of all endpoints counts.
    pub(super) fn heed(&mut self, advice: Duration) {
        let rounds = self.0.get_or_insert_default();
        rounds.advice = Some(rounds.advice.map_or(advice, |shortest| shortest.min(advice)));
    }

    pub(super) fn advice(&self) -> Duration {
        self.0.as_ref().and_then(|rounds| rounds.advice).unwrap_or_default()
    }

    /// The failures of the last round that failed.
    pub(super) fn last_round(&self) -> &[DialFailure] {
        self.0.as_ref().map_or(&[], |rounds| &rounds.last_round)
    }

    /// The current round becomes the last one.
    pub(super) fn end_round(&mut self) {
        let rounds = self.0.get_or_insert_default();
        rounds.last_round = core::mem::take(&mut rounds.this_round).into();
    }

    /// The length of the longer one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |rounds| rounds.this_round.len().max(rounds.last_round.len()))
    }

    pub(super) fn trim(&mut self) {
        self.0.take_if(|rounds| rounds.this_round.is_empty() && rounds.last_round.is_empty());
        if let Some(rounds) = &mut self.0 {
            rounds.this_round.shrink_to_fit();
        }
    }
}
