//! The model: capacity, and accepted, due and expired messages.

use bowline_core::batcher::SendError;

use super::{At, Kind, Outcome, RECEIVERS, Run};

impl Run<'_> {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.bytes(self.waiting.clone());
        self.waiting.is_empty() || self.waiting.len() < self.buffer && waiting + bytes <= self.buffer_bytes
    }

    pub(super) fn has_place(&self, receiver: usize, bytes: usize) -> bool {
        let held = self.bytes(self.held[receiver].clone());
        self.held[receiver].is_empty()
            || self.held[receiver].len() < self.places && held + bytes <= 2 * self.buffer_bytes
    }

    pub(super) fn wait_for_room(&mut self, message: u32, room: bool) {
        if room {
            self.accept(message);
        } else {
            self.no_room.push_back(message);
            self.info(message).at = At::NoRoom;
        }
    }

    pub(super) fn accept(&mut self, message: u32) {
        let now = self.now;
        let info = self.info(message);
        (info.at, info.accepted) = (At::Waiting, now);
        if let Kind::Reference(receiver) = info.kind {
            self.order[receiver].push_back(message);
        }
        self.waiting.push_back(message);
    }

    pub(super) fn admit(&mut self) {
        while let Some(&message) = self.no_room.front()
            && self.has_room(self.messages[&message].bytes)
        {
            self.no_room.pop_front();
            self.accept(message);
        }
    }

    pub(super) fn free_place_of_refused(&mut self, message: u32) {
        self.held.iter_mut().for_each(|held| held.retain(|other| *other != message));
    }

    pub(super) fn free_place(&mut self, message: u32) {
        for receiver in 0..RECEIVERS {
            let before = self.held[receiver].len();
            self.held[receiver].retain(|other| *other != message);
            if self.held[receiver].len() == before {
                continue;
            }
            while let Some(&next) = self.no_place[receiver].front()
                && self.has_place(receiver, self.messages[&next].bytes)
            {
                self.no_place[receiver].pop_front();
                self.held[receiver].push_back(next);
                self.no_room.push_back(next);
                self.info(next).at = At::NoRoom;
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.buffer
            || self.bytes(self.waiting.clone()) >= self.buffer_bytes
            || !self.no_room.is_empty()
    }

    pub(super) fn batch_due(&self) -> bool {
        if let Some(at) = self.retry_at {
            return at <= self.now;
        }
        let first = self.waiting.front().map(|message| self.messages[message].accepted);
        let urgent = self.is_full() || self.closing.is_some();
        first.is_some_and(|accepted| urgent || accepted + self.linger <= self.now)
    }

    pub(super) fn pass_time(&mut self) {
        if self.retry_at.is_some() {
            for message in self.batch.clone() {
                let info = &self.messages[&message];
                let (cause, maybe) = (info.cause, info.maybe);
                let closed = self.closing.is_some_and(|at| at <= self.now);
                let error = if info.accepted + self.timeout <= self.now {
                    SendError::Expired(cause)
                } else if closed {
                    SendError::Closed(cause)
                } else {
                    continue;
                };
                let error = if maybe { SendError::MaybeAppended(cause) } else { error };
                self.leaves_batch(message, Err(error));
            }
            if self.batch.is_empty() {
                self.retry_at = None;
            }
        }
        let mut left = false;
        while let Some(&message) = self.waiting.front()
            && self.messages[&message].accepted + self.timeout <= self.now
        {
            self.waiting.pop_front();
            self.ends(message, Err(SendError::Expired(self.cause_of_waiting())));
            left = true;
        }
        if left {
            self.admit();
        }
        if self.closing.is_some_and(|at| at <= self.now) {
            for message in std::mem::take(&mut self.waiting) {
                self.ends(message, Err(SendError::Closed(self.cause_of_waiting())));
            }
        }
    }

    /// Why a message was not appended that no attempt was made with.
    pub(super) fn cause_of_waiting(&self) -> Option<u8> {
        self.last_cause.filter(|_| !self.last_is_maybe)
    }

    pub(super) fn leaves_batch(&mut self, message: u32, outcome: Outcome) {
        self.batch.retain(|other| *other != message);
        self.ends(message, outcome);
    }

    pub(super) fn ends(&mut self, message: u32, outcome: Outcome) {
        let failed = outcome.is_err();
        let info = self.info(message);
        assert_eq!(info.outcome.replace(outcome), None, "{message} has its second outcome");
        info.at = if info.given_up || info.kind == Kind::Forget { At::Gone } else { At::Over };
        if info.kind == Kind::Forget && failed {
            self.forgotten += 1;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.closing.is_some() && self.waiting.is_empty() && self.batch.is_empty()
    }
}
