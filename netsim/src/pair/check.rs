//! Checks the links' reports about casts.

use std::collections::BTreeMap;

use bowline_core::config::Delivery;
use bowline_core::error::Outcome;
use bowline_core::frame::Framing;
use bowline_core::machine::Machine;

use super::Pair;
use crate::end::End;
use crate::ledger::Wants;

impl<F: Framing> Pair<F> {
    /// Checks the links' reports about casts against the received messages: each awaited cast has exactly one
    /// outcome, and no cast has two; a cast reported as unsent was not received, and an acknowledged one was.
    /// No message was received twice or, with a delivery that repeats, more often than permitted. Call it
    /// when nothing is under way any more; bodies must be unique.
    ///
    /// # Panics
    /// If a check fails.
    pub fn check_ledger(&self) {
        let mut arrived = [BTreeMap::new(), BTreeMap::new()];
        for (side, ends) in [(0, &self.past[..]), (0, &self.ends[1..]), (1, &self.ends[..1])] {
            for body in ends.iter().flat_map(|end| &end.messages) {
                *arrived[side].entry(&body[..]).or_insert(0) += 1;
            }
        }
        let most = match self.config.delivery() {
            Delivery::AtLeastOnce { retry_limit } => u64::from(retry_limit) + 1,
            _ => 1,
        };
        let closed = [!self.past.is_empty() || self.ends[1].link.is_closed(), self.ends[0].link.is_closed()];
        for given in self.ledger().casts() {
            let times = arrived[given.side].get(&given.body[..]).copied().unwrap_or(0);
            let life = if given.side == 0 { &self.ends[0] } else { self.life(given.life) };
            // A process that died could not report what it was about to do.
            let died = given.side == 1 && given.life < self.past.len() && !life.link.is_closed();
            let right = match given.outcome() {
                None => given.wants == Wants::Failures || died,
                Some(Outcome::NeverSent | Outcome::Expired | Outcome::Dropped) => times == 0,
                // It is delivered while the process lives and its link is open.
                Some(Outcome::Acked) => times == 1 || closed[given.side],
                Some(_) => true,
            };
            let body = given.body.len();
            assert!(
                right && times <= most,
                "arrived {times} times, {body} bytes: {:?}",
                given.without_bodies()
            );
        }
    }

    fn life(&self, life: usize) -> &End<F> {
        self.past.get(life).unwrap_or(&self.ends[1])
    }
}
