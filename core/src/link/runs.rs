//! Received messages of one run, kept in the memory that they were read into.

use alloc::vec::Vec;

use super::classes::cost;
use super::received::Message;
use crate::body::{Body, INLINE_BODY};
use crate::frame::Meta;
use crate::link::reader::Rest;
use crate::recv_buf::{Block, Place};

/// Fewer messages than this are kept one by one.
const FEW: usize = 8;

/// Messages of the normal class without extensions, one after the other.
#[derive(Debug, Default)]
pub(super) struct Run {
    block: Block,
    /// Where the run begins in the block.
    base: usize,
    places: Vec<Place>,
    /// The next message.
    next: usize,
    /// Its position, counted from `base`.
    at: usize,
}

/// The size of kept messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Size {
    pub(super) messages: usize,
    /// The bytes of their bodies.
    pub(super) bytes: usize,
    pub(super) cost: u64,
}

impl Run {
    /// Whether it is worth keeping them together.
    pub(super) fn is_worth(rest: &Rest<'_>) -> bool {
        rest.places.len() >= FEW
    }

    /// Keeps them: by reference if they make up most of their block, otherwise with one copy.
    pub(super) fn fill(&mut self, rest: &Rest<'_>) -> Size {
        let Rest { bytes, places, at, source } = rest;
        let Some(last) = places.last() else { return Size::default() };
        let own = &bytes[*at..last.end];
        match source.as_ref().and_then(|source| source.of_most(own.len())) {
            Some(block) => {
                self.base = (own.as_ptr() as usize).wrapping_sub(block.as_ptr() as usize);
                self.block = Block::clone(block);
            }
            None => (self.base, self.block) = (0, Block::new(own.to_vec())),
        }
        self.places.clear();
        self.places.extend(places.iter().map(|place| Place {
            method: place.method,
            body: place.body - at,
            end: place.end - at,
        }));
        (self.next, self.at) = (0, 0);
        let bodies = places.iter().map(|place| place.end - place.body).sum();
        let wire = own.len();
        Size { messages: places.len(), bytes: bodies, cost: cost(wire) + cost(0) * (places.len() as u64 - 1) }
    }

    /// Moves the next message to `into`; returns its cost in the window.
    #[inline]
    pub(super) fn take_into(&mut self, into: &mut Message) -> Option<u64> {
        let &Place { method, body, end } = self.places.get(self.next)?;
        let bytes = &self.block[self.base + body..self.base + end];
        let cost = cost(end - self.at);
        (self.next, self.at) = (self.next + 1, end);
        into.meta = Meta { method, ..Meta::default() };
        into.extensions = None;
        if bytes.len() <= INLINE_BODY {
            into.body.assign(bytes);
        } else {
            into.body = Body::of_block(&self.block, bytes);
        }
        Some(cost)
    }

    /// What is left of it gets memory of its own, unless it is at least half of its block.
    pub(super) fn detach(&mut self) {
        let end = self.places.last().map_or(self.at, |last| last.end);
        if end - self.at < self.block.len() / 2 {
            self.block = Block::new(self.block[self.base + self.at..self.base + end].to_vec());
            self.places.drain(..self.next);
            for place in &mut self.places {
                (place.body, place.end) = (place.body - self.at, place.end - self.at);
            }
            (self.base, self.next, self.at) = (0, 0, 0);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next == self.places.len()
    }

    /// Releases the block.
    pub(super) fn clear(&mut self) {
        self.block = Block::default();
        self.places.clear();
        self.next = 0;
    }
}
