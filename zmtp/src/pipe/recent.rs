//! Reuse of the memory of large bodies after their receiver has dropped them.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Largest number of remembered bodies.
const BODIES: usize = 16;
/// Limit of their memory, bytes.
const MEMORY: usize = 1 << 20;

/// The most recent bodies, oldest first.
///
/// Returning memory to the system and allocating it again costs more than copying a body into it, because
/// each page is cleared.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bodies: VecDeque<Bytes>,
    memory: usize,
}

impl Recent {
    /// Memory for a body of that length, or an empty buffer, which grows as data arrives.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        // The oldest is the most likely to have been dropped by its receiver.
        let fits = |body: &Bytes| body.len() >= length && body.is_unique();
        let Some(at) = self.bodies.iter().position(fits) else { return BytesMut::new() };
        let Some(body) = self.bodies.remove(at) else { return BytesMut::new() };
        self.memory -= body.len();
        body.try_into_mut().map_or_else(
            |_| BytesMut::new(),
            |mut body| {
                body.clear();
                body
            },
        )
    }

    /// Remembers a received body.
    pub(super) fn note(&mut self, body: &Bytes) {
        if body.len() > MEMORY {
            return;
        }
        while self.bodies.len() >= BODIES || self.memory + body.len() > MEMORY {
            let Some(oldest) = self.bodies.pop_front() else { break };
            self.memory -= oldest.len();
        }
        self.memory += body.len();
        self.bodies.push_back(body.clone());
    }

    /// Upper bound of the memory that only this cache keeps, bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(recent: &mut Recent, length: usize) -> Bytes {
        let mut body = recent.take(length);
        body.resize(length, 7);
        let body = body.freeze();
        recent.note(&body);
        body
    }

    #[test]
    fn memory_is_used_again_when_its_receiver_is_done() {
        let mut recent = Recent::default();
        let first = body(&mut recent, 20_000);
        let at = first.as_ptr();
        let second = body(&mut recent, 20_000);
        assert_ne!(second.as_ptr(), at, "the first is in use");
        drop(first);
        let third = body(&mut recent, 18_000);
        assert_eq!((third.as_ptr(), third.len()), (at, 18_000));
        assert_ne!(body(&mut recent, 19_000).as_ptr(), at, "it is in use again");
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let mut recent = Recent::default();
        for _ in 0..100 {
            body(&mut recent, 300_000);
            assert!(recent.memory() <= MEMORY);
        }
        assert!(recent.bodies.len() <= BODIES);
        let before = recent.memory();
        body(&mut recent, MEMORY + 1);
        assert!(recent.memory() <= before, "too long to be remembered");
    }
}
