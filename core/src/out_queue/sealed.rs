//! Messages that are encoded anew for each connection when they are taken, for example encrypted.
//!
//! Waiting messages stay as they were pushed, so that they can be sent on the next connection, where another
//! key is used. The current batch has the messages as they were encoded for the present connection; beside it
//! the queue keeps the originals.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{OutMessageRef, OutQueue, for_each};
use crate::arena::{Batch, Chunk, Fate, Sent};
use crate::frame::Class;

impl OutQueue {
    /// [`begin_write`](Self::begin_write), where `seal` encodes each message of the batch anew: it appends
    /// the bytes to write, at least one. It is called in the order of writing, once for each connection that
    /// a message is taken for, and not for bytes [pushed for the connection](Self::push_connection).
    ///
    /// The limits of the queue, and its later calls about messages, refer to the messages as they were
    /// pushed.
    ///
    /// ```
    /// use bowline_core::out_queue::OutQueue;
    ///
    /// let mut queue = OutQueue::new();
    /// queue.push_slice(1, b"hi");
    /// let mut key = 7;
    /// let mut lend = |queue: &mut OutQueue| {
    ///     key += 1;
    ///     queue.begin_write_sealed(true, |message, out| {
    ///         message.parts().flatten().for_each(|byte| out.push(byte ^ key));
    ///     })
    /// };
    /// let batch = lend(&mut queue).unwrap();
    /// queue.disconnect(Some(batch), |message| {
    ///     assert_eq!(message.to_vec(), b"hi");
    ///     true // keep it
    /// });
    /// let batch = lend(&mut queue).unwrap();
    /// let mut slices = [&[][..]; 1];
    /// batch.slices(&mut slices);
    /// assert_eq!(slices[0], [b'h' ^ 9, b'i' ^ 9]);
    /// ```
    ///
    /// # Panics
    /// If `seal` appends nothing for a message, or 4 GiB for a batch.
    pub fn begin_write_sealed(
        &mut self,
        messages: bool,
        mut seal: impl FnMut(OutMessageRef<'_>, &mut Vec<u8>),
    ) -> Option<Batch> {
        let again = self.returned.is_some();
        let batch = self.begin_write(messages)?;
        if again || batch.is_control() {
            return Some(batch);
        }
        let generation = batch.generation();
        let plain = batch.into_chunk();
        let (mut sealed, mut scratch) = (self.spare.pop().unwrap_or_default(), Vec::new());
        for_each(&plain, 0, |message| {
            scratch.clear();
            seal(message, &mut scratch);
            assert!(!scratch.is_empty(), "nothing is to be written for a message");
            sealed.reserve(scratch.len());
            sealed.push_encoded(Sent::Cast(message.number()), &scratch, 0);
        });
        self.plain = Some(Box::new(plain));
        Some(Batch::new(sealed, Class::Normal, generation))
    }

    /// The messages of `plain` for which `keep` returns true; how far each was sent is read from `sealed`.
    pub(super) fn sift_unsealed(
        &mut self,
        plain: Chunk,
        sealed: &Chunk,
        written: usize,
        mut keep: impl FnMut(OutMessageRef<'_>) -> bool,
    ) -> Option<Chunk> {
        let mut fates = Vec::with_capacity(plain.messages());
        for_each(sealed, written, |message| fates.push(message.fate()));
        let mut fates = fates.into_iter();
        self.sift(plain, 0, |message| {
            let fate = fates.next().unwrap_or(Fate::Unsent);
            keep(OutMessageRef { fate, ..message })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each message is encoded as the number of the connection and itself.
    fn lend(queue: &mut OutQueue, connection: u8) -> Option<Batch> {
        queue.begin_write_sealed(true, |message, out| {
            out.push(connection);
            message.parts().for_each(|part| out.extend_from_slice(part));
        })
    }

    fn bytes(batch: &Batch) -> Vec<u8> {
        let mut slices = [&[][..]; 1];
        batch.slices(&mut slices);
        slices[0].to_vec()
    }

    fn filled() -> OutQueue {
        let mut queue = OutQueue::new();
        for (number, text) in [(1, b"aa"), (2, b"bb"), (3, b"cc")] {
            queue.push_slice(number, text);
        }
        queue
    }

    #[test]
    fn what_was_not_written_is_sealed_anew_for_the_next_connection() {
        let mut queue = filled();
        let mut batch = lend(&mut queue, 1).unwrap();
        assert_eq!(bytes(&batch), b"\x01aa\x01bb\x01cc");
        batch.wrote(4);
        let mut fates = Vec::new();
        queue.disconnect(Some(batch), |message| {
            fates.push((message.number(), message.fate(), message.to_vec()));
            message.fate() != Fate::Left
        });
        let [one, two, three] = [b"aa", b"bb", b"cc"].map(|text| text.to_vec());
        assert_eq!(fates, [(1, Fate::Left, one), (2, Fate::InPart, two), (3, Fate::Unsent, three)]);
        assert_eq!((queue.messages(), queue.bytes()), (2, 4), "counted as they were pushed");
        let mut batch = lend(&mut queue, 2).unwrap();
        assert_eq!(bytes(&batch), b"\x02bb\x02cc");
        batch.wrote(batch.len());
        let mut left = Vec::new();
        queue.end_write(batch, |message| {
            left.push(message.number());
            false
        });
        assert_eq!(left, [2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_batch_that_comes_back_half_written_is_lent_as_it_is() {
        let mut queue = filled();
        let mut batch = lend(&mut queue, 1).unwrap();
        batch.wrote(4);
        queue.end_write(batch, |_| panic!("not yet"));
        queue.push_connection(b"ping");
        let again = lend(&mut queue, 9).unwrap();
        assert_eq!(bytes(&again), b"bb\x01cc");
        queue.disconnect(Some(again), |message| message.fate() != Fate::Left);
        assert_eq!(queue.messages(), 2);
    }

    #[test]
    fn a_batch_that_comes_back_late_is_unsealed_all_the_same() {
        let mut queue = filled();
        let mut late = lend(&mut queue, 1).unwrap();
        queue.disconnect(None, |_| panic!("it is with its writer"));
        queue.push_connection(b"hello");
        let mut hello = lend(&mut queue, 2).unwrap();
        assert_eq!(bytes(&hello), b"hello");
        hello.wrote(5);
        late.wrote(3);
        queue.end_write(hello, |_| panic!("no message"));
        assert!(lend(&mut queue, 2).is_none(), "nothing overtakes what is missing");
        queue.end_write(late, |message| message.fate() != Fate::Left);
        assert_eq!(bytes(&lend(&mut queue, 2).unwrap()), b"\x02bb\x02cc");
    }

    #[test]
    fn what_is_dropped_leaves_nothing_behind() {
        let mut queue = filled();
        let batch = lend(&mut queue, 1).unwrap();
        queue.disconnect(Some(batch), |_| false);
        assert!(queue.is_empty());
        queue.trim();
        assert_eq!(queue.memory(), 0);
    }
}
