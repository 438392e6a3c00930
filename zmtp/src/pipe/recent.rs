//! The memory of large bodies, used again when their receiver is done with them.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bodies that are remembered, at the most.
const BODIES: usize = 16;
/// Their memory, at the most, bytes.
const MEMORY: usize = 1 << 20;

/// The bodies that came last, oldest first.
///
/// Memory that is given back to the system and taken again costs more than the copy of a body into it: each page is
/// cleared.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bodies: VecDeque<Bytes>,
    memory: usize,
}

impl Recent {
    /// Memory for a body of that length, or none: what holds it grows with what comes.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        // The oldest is the likeliest that its receiver has dropped.
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

    /// A body has come.
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

    /// Bytes of memory that only it holds on to, at the most.
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
