//! Validation of replies against their requests.

use super::error::Unfit;
use crate::protocol::{Code, Index, Receive, Received, Send, Sent};

impl Sent {
    /// Checks that there is one index for each message, ascending by one, from 1 or more. With a code other
    /// than [`Code::Success`] there may be none.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(&self, request: &Send) -> Result<(), Unfit> {
        self.check_count(request.messages.len())
    }

    /// As `check`, for a request with that number of messages.
    pub(crate) fn check_count(&self, messages: usize) -> Result<(), Unfit> {
        let (value, expected) = (self.ids.len() as u64, messages as u64);
        if self.status.code != Code::Success && value == 0 {
            return Ok(());
        }
        if value != expected {
            return Err(Unfit::IdCount { value, expected });
        }
        let mut before: Option<Index> = None;
        for (position, &value) in (0..).zip(&self.ids) {
            let (fits, expected) = match before {
                None => (value >= 1, 1),
                Some(before) => (before.checked_add(1) == Some(value), before.saturating_add(1)),
            };
            if !fits {
                return Err(Unfit::Id { position, value, expected });
            }
            before = Some(value);
        }
        Ok(())
    }
}

impl Received {
    /// Checks that `NextID` is the index after the messages; without messages, that it is 0 (the node does
    /// not know its commit index yet) or not below the requested index.
    ///
    /// ```
    /// use bowline_forestbus::protocol::{Receive, Received};
    ///
    /// let request = Receive { id: 7, quantity: 100, ..Receive::default() };
    /// let mut reply = Received { messages: vec!["a".into(), "b".into()], next_id: 9, ..Received::default() };
    /// assert!(reply.check(&request).is_ok());
    /// reply.next_id = 8;
    /// let error = reply.check(&request).unwrap_err();
    /// assert_eq!(error.to_string(), "NextID 8 after 2 messages from ID 7, expected 9");
    /// ```
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(&self, request: &Receive) -> Result<(), Unfit> {
        self.check_from(request.id)
    }

    /// As `check`, for a request from that index on.
    pub(crate) fn check_from(&self, id: Index) -> Result<(), Unfit> {
        let (value, messages) = (self.next_id, self.messages.len() as u64);
        let expected = i64::try_from(messages).ok().and_then(|messages| id.checked_add(messages));
        let Some(expected) = expected else { return Err(Unfit::Overflow { messages, id }) };
        let fits = if messages > 0 {
            // A node has no message at 0 or below, and answers with the index of its first one.
            id >= 1 && value == expected
        } else {
            value == 0 || value > 0 && value >= id
        };
        if fits { Ok(()) } else { Err(Unfit::NextId { value, messages, id, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use bytes::Bytes;

    use super::*;
    use crate::protocol::Status;

    #[test]
    fn numbers_of_sent_messages() {
        let request = Send { messages: vec![Bytes::new(); 3], ..Send::default() };
        let check = |code, ids: &[i64]| {
            let status = Status { code, ..Status::default() };
            Sent { status, ids: ids.to_vec() }.check(&request)
        };
        assert_eq!(check(Code::Success, &[5, 6, 7]), Ok(()));
        assert_eq!(check(Code::Success, &[]), Err(Unfit::IdCount { value: 0, expected: 3 }));
        assert_eq!(check(Code::Success, &[1, 2]), Err(Unfit::IdCount { value: 2, expected: 3 }));
        assert_eq!(check(Code::Success, &[0, 1, 2]), Err(Unfit::Id { position: 0, value: 0, expected: 1 }));
        assert_eq!(check(Code::Success, &[5, 7, 8]), Err(Unfit::Id { position: 1, value: 7, expected: 6 }));
        let last = [i64::MAX - 1, i64::MAX, i64::MIN];
        let error = Unfit::Id { position: 2, value: i64::MIN, expected: i64::MAX };
        assert_eq!(check(Code::Success, &last), Err(error));
        assert_eq!(check(Code::NotLeader, &[]), Ok(()));
        assert_eq!(check(Code::NotLeader, &[5, 6, 7]), Ok(()));
        assert_eq!(check(Code::NotLeader, &[5]), Err(Unfit::IdCount { value: 1, expected: 3 }));
    }

    #[test]
    fn where_to_go_on() {
        let check = |id, messages: usize, next_id| {
            let messages: Vec<Bytes> = vec![Bytes::new(); messages];
            Received { messages, next_id, ..Received::default() }.check(&Receive { id, ..Receive::default() })
        };
        let next = |value, messages, id, expected| Err(Unfit::NextId { value, messages, id, expected });
        for (id, messages, next_id) in [(1, 2, 3), (5, 0, 0), (5, 0, 5), (5, 0, 9), (0, 0, 1), (-3, 0, 1)] {
            assert_eq!(check(id, messages, next_id), Ok(()), "{id}");
        }
        assert_eq!(check(1, 2, 4), next(4, 2, 1, 3));
        assert_eq!(check(1, 2, 0), next(0, 2, 1, 3));
        assert_eq!(check(5, 0, 4), next(4, 0, 5, 5));
        assert_eq!(check(-5, 0, -1), next(-1, 0, -5, -5));
        assert_eq!(check(0, 1, 1), next(1, 1, 0, 1));
        assert_eq!(check(i64::MAX, 1, 0), Err(Unfit::Overflow { messages: 1, id: i64::MAX }));
    }
}
