//! The operations of senders, of receivers and of closing.

use std::task::Poll;
use std::time::Duration;

use bowline_core::batcher::{SendError, Sent};

use super::{At, Kind, Run, Token};

impl Run<'_> {
    pub(super) fn withdraw(&mut self) {
        let pick = self.byte();
        if self.messages.is_empty() {
            return;
        }
        let message = *self.messages.keys().nth(pick % self.messages.len()).expect("it is there");
        let Some(id) = self.info(message).id else { return };
        let info = &self.messages[&message];
        let (at, kind) = (info.at, info.kind);
        let takes = matches!(at, At::NoPlace | At::NoRoom | At::Refused) || at == At::Waiting && !info.told;
        let withdrawn = self.batcher.withdraw(self.now, id);
        assert_eq!(withdrawn, takes.then_some(message), "{at:?}");
        self.info(message).id = None;
        self.parked.remove(&Token::Sender(message));
        if takes {
            self.info(message).at = At::Gone;
            self.no_room.retain(|other| *other != message);
            self.no_place.iter_mut().for_each(|line| line.retain(|other| *other != message));
            self.waiting.retain(|other| *other != message);
            self.order.iter_mut().for_each(|line| line.retain(|other| *other != message));
            self.messages.remove(&message);
            self.free_place(message);
            self.admit();
        } else if kind == Kind::Send {
            self.info(message).given_up = true;
            if at == At::Over {
                self.info(message).at = At::Gone;
            }
        }
    }

    /// The sender asks.
    pub(super) fn fetch(&mut self, message: u32) {
        let info = &self.messages[&message];
        let Some(id) = info.id else { return };
        let (at, kind) = (info.at, info.kind);
        if kind == Kind::Send {
            match (self.batcher.poll_send(id, || Token::Sender(message)), at) {
                (Poll::Ready(result), At::Over) => {
                    assert_eq!(Some(&result), self.messages[&message].outcome.as_ref(), "{message}");
                }
                (Poll::Ready(result), At::Refused) => {
                    assert_eq!(result, Err(SendError::Closed(self.cause_of_waiting())));
                }
                (Poll::Pending, At::NoRoom | At::Waiting | At::Batch) => {
                    self.parked.insert(Token::Sender(message));
                    return;
                }
                (poll, at) => panic!("{message}: {poll:?} at {at:?}"),
            }
            self.info(message).at = At::Gone;
        } else {
            match (self.batcher.poll_admission(id, || Token::Sender(message)), at) {
                (Poll::Ready(Err(refused)), At::Refused) => {
                    let reference = matches!(kind, Kind::Reference(_)).then_some(message + 1_000);
                    assert_eq!(refused.message, (message, reference));
                    self.info(message).at = At::Gone;
                }
                (Poll::Ready(Ok(())), At::Waiting | At::Batch | At::Over | At::Gone) => {
                    self.info(message).told = true;
                }
                (Poll::Pending, At::NoPlace | At::NoRoom) => {
                    self.parked.insert(Token::Sender(message));
                    return;
                }
                (poll, at) => panic!("{message}: {poll:?} at {at:?}"),
            }
        }
        self.info(message).id = None;
        self.parked.remove(&Token::Sender(message));
    }

    pub(super) fn take_result(&mut self, receiver: usize) {
        let token = || Token::Receiver(receiver);
        let front = self.order[receiver].front().copied();
        match self.batcher.poll_result(self.receivers[receiver], token) {
            Poll::Ready(Some(Sent { reference, message, result })) => {
                assert_eq!(Some(message), front, "in the order of sending");
                assert_eq!(reference, message + 1_000);
                assert_eq!(self.messages[&message].at, At::Over);
                assert_eq!(self.messages[&message].outcome, Some(result));
                self.info(message).at = At::Gone;
                self.order[receiver].pop_front();
                self.free_place(message);
                self.admit();
                self.parked.remove(&Token::Receiver(receiver));
            }
            Poll::Ready(None) => {
                assert!(front.is_none() && self.is_over());
                self.parked.remove(&Token::Receiver(receiver));
            }
            Poll::Pending => {
                assert!(front.is_none_or(|message| self.messages[&message].at != At::Over));
                assert!(front.is_some() || !self.is_over());
                self.parked.insert(Token::Receiver(receiver));
            }
        }
    }

    pub(super) fn replace_receiver(&mut self, receiver: usize) {
        self.batcher.remove_receiver(self.now, self.receivers[receiver]);
        let end = self.batcher.poll_result(self.receivers[receiver], || unreachable!("nothing comes"));
        assert!(matches!(end, Poll::Ready(None)));
        self.parked.remove(&Token::Receiver(receiver));
        self.receivers[receiver] = self.batcher.add_receiver();
        for message in std::mem::take(&mut self.no_place[receiver]) {
            self.info(message).at = At::Refused;
        }
        for message in std::mem::take(&mut self.held[receiver]) {
            match self.messages[&message].at {
                At::NoRoom => {
                    self.no_room.retain(|other| *other != message);
                    self.info(message).at = At::Refused;
                }
                At::Over => self.info(message).at = At::Gone,
                _ => self.info(message).given_up = true,
            }
        }
        self.order[receiver].clear();
        self.admit();
    }

    pub(super) fn close(&mut self, limit: Duration) {
        self.batcher.close(self.now, limit);
        let until = self.now + limit;
        self.closing = Some(self.closing.map_or(until, |before| before.min(until)));
        for message in std::mem::take(&mut self.no_room) {
            self.free_place_of_refused(message);
            self.info(message).at = At::Refused;
        }
        for line in &mut self.no_place {
            for message in std::mem::take(line) {
                self.messages.get_mut(&message).expect("it was sent").at = At::Refused;
            }
        }
        if let Some(at) = &mut self.retry_at {
            *at = self.now;
        }
        if self.batcher.poll_closed(&mut self.closer, || Token::Closer).is_pending() {
            self.parked.insert(Token::Closer);
        }
    }
}
