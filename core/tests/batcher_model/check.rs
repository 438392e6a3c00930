//! The invariants after each step and at the end.

use std::collections::VecDeque;

use super::{At, Kind, MS, RECEIVERS, Run, Token};

impl Run<'_> {
    pub(super) fn check(&mut self) {
        let batcher = &self.batcher;
        assert_eq!(batcher.waiting(), self.waiting.len());
        assert_eq!(batcher.waiting_bytes(), self.bytes(self.waiting.clone()));
        assert_eq!(batcher.under_way(), self.batch.len());
        let blocked = self.no_room.len() + self.no_place.iter().map(VecDeque::len).sum::<usize>();
        assert_eq!(batcher.blocked(), blocked);
        assert!(batcher.waiting() <= self.buffer);
        assert!(batcher.waiting() <= 1 || batcher.waiting_bytes() <= self.buffer_bytes);
        for (receiver, order) in self.order.iter().enumerate() {
            assert_eq!(batcher.outstanding(self.receivers[receiver]), order.len());
            assert!(order.len() <= self.places);
        }
        assert_eq!(batcher.last_cause(), self.last_cause.as_ref());
        assert_eq!(batcher.is_closed(), self.is_over());
        let kept = self.messages.values().filter(|info| info.at != At::Gone).count();
        assert_eq!(batcher.kept(), kept, "nothing is kept that is over");
        self.check_wakes();
    }

    /// Each caller that waits and could go on was woken.
    pub(super) fn check_wakes(&mut self) {
        let mut woken = Vec::new();
        self.batcher.take_tokens(&mut woken);
        for token in woken {
            self.parked.remove(&token);
        }
        for token in &self.parked {
            let ready = match *token {
                Token::Sender(message) => {
                    let info = &self.messages[&message];
                    match info.kind {
                        Kind::Send => matches!(info.at, At::Over | At::Refused),
                        _ => !matches!(info.at, At::NoPlace | At::NoRoom),
                    }
                }
                Token::Receiver(receiver) => match self.order[receiver].front() {
                    Some(message) => self.messages[message].at == At::Over,
                    None => self.is_over(),
                },
                Token::Driver => {
                    let next = self.batcher.next_timeout();
                    let late = next.is_some_and(|next| self.driver_until.is_none_or(|until| next < until));
                    self.driver_until.is_none_or(|until| until > self.now)
                        && (late || self.is_over() || self.lent.is_none() && self.batch_due())
                }
                Token::Closer => self.is_over(),
            };
            assert!(!ready, "{token:?} was not woken");
        }
    }

    /// It is closed, and everything ends.
    pub(super) fn end(&mut self) {
        self.close(MS * 2_000);
        self.check();
        for _ in 0..=2 * self.next {
            self.answer();
            self.poll_batch();
            self.check();
        }
        self.now += MS * 2_000;
        self.answer();
        self.poll_batch();
        self.check();
        assert!(self.batcher.is_closed() && !self.parked.contains(&Token::Closer));
        for message in self.messages.keys().copied().collect::<Vec<_>>() {
            if self.messages[&message].id.is_some() {
                self.fetch(message);
            }
        }
        for receiver in 0..RECEIVERS {
            while !self.order[receiver].is_empty() {
                self.take_result(receiver);
            }
            self.take_result(receiver);
        }
        self.check();
        assert_eq!(self.batcher.kept(), 0);
        let stats = self.batcher.stats();
        let ended = stats.appended + stats.failed + stats.maybe_appended + stats.expired + stats.closed;
        assert_eq!(stats.accepted, ended + stats.withdrawn, "every message has one outcome: {stats:?}");
        assert_eq!(stats.forgotten_failures, self.forgotten);
        assert_eq!(self.batcher.take_failures().map_or(0, |failures| failures.count), self.forgotten);
    }
}
