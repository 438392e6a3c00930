//! Messages: parts that are delivered together or not at all.

use alloc::vec::Vec;
use core::ops::Index;

use bowline_core::body::{Body, INLINE_BODY};

/// A received message, of one or more parts.
///
/// The first part is stored inside the value, so that receiving a message of one short part allocates
/// nothing. A message of several parts that is [received into](crate::inbox::Inbox::pop_into) a reused value
/// does not allocate either.
#[derive(Clone, Debug, Default)]
pub struct Message {
    first: Body,
    rest: Vec<Body>,
    /// Number of parts; if 0, `first` is meaningless.
    len: usize,
}

impl Message {
    /// Creates a message without parts.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: Body::empty(), rest: Vec::new(), len: 0 }
    }

    /// Number of parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part at that index.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Body> {
        match at {
            _ if at >= self.len => None,
            0 => Some(&self.first),
            at => self.rest.get(at - 1),
        }
    }

    /// The parts, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Body> {
        (0..self.len).filter_map(|at| self.get(at))
    }

    /// Appends a part.
    pub fn push(&mut self, part: Body) {
        match self.len {
            0 => self.first = part,
            _ => self.rest.push(part),
        }
        self.len += 1;
    }

    /// Appends a copy of `part`. If it is the first part, its bytes are copied in place.
    #[inline]
    pub fn push_copy(&mut self, part: &[u8]) {
        match self.len {
            0 => self.first.assign(part),
            _ => self.rest.push(Body::copy_from(part)),
        }
        self.len += 1;
    }

    /// Removes all parts; their memory is kept for reuse.
    pub fn clear(&mut self) {
        // A short part is overwritten by the next one.
        if self.first.len() > INLINE_BODY {
            self.first = Body::empty();
        }
        self.rest.clear();
        self.len = 0;
    }

    /// Removes the first `parts` parts.
    ///
    /// # Panics
    /// If there are fewer parts.
    pub fn remove_front(&mut self, parts: usize) {
        assert!(parts <= self.len, "{parts} of {} parts", self.len);
        if parts == 0 {
            return;
        }
        self.first =
            if parts < self.len { core::mem::take(&mut self.rest[parts - 1]) } else { Body::empty() };
        self.rest.drain(..parts.min(self.rest.len()));
        self.len -= parts;
    }

    /// Inserts a part at the front.
    pub fn push_front(&mut self, part: Body) {
        if self.len > 0 {
            self.rest.insert(0, core::mem::take(&mut self.first));
        }
        self.first = part;
        self.len += 1;
    }

    /// Total bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(|part| part.len()).sum()
    }

    /// Converts it into its parts.
    #[must_use]
    pub fn into_parts(self) -> Vec<Body> {
        let Self { first, mut rest, len } = self;
        if len > 0 {
            rest.insert(0, first);
        }
        rest
    }
}

impl Index<usize> for Message {
    type Output = Body;

    /// # Panics
    /// If the index is out of bounds.
    fn index(&self, at: usize) -> &Body {
        match self.get(at) {
            Some(part) => part,
            None => panic!("part {at} of {}", self.len),
        }
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Message {}

impl<P: Into<Body>> FromIterator<P> for Message {
    fn from_iter<I: IntoIterator<Item = P>>(parts: I) -> Self {
        let mut message = Self::new();
        parts.into_iter().for_each(|part| message.push(part.into()));
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&str]) -> Message {
        parts.iter().map(|part| part.as_bytes().to_vec()).collect()
    }

    #[test]
    fn parts_come_and_go_in_front() {
        let mut three = message(&["a", "b", "c"]);
        assert_eq!((three.len(), three.bytes()), (3, 3));
        three.remove_front(0);
        three.remove_front(2);
        assert_eq!(three, message(&["c"]));
        three.push_front(Body::copy_from(b"id"));
        assert_eq!(three, message(&["id", "c"]));
        three.remove_front(2);
        assert!(three.is_empty() && three.iter().next().is_none() && three.get(0).is_none());
        three.push_front(Body::copy_from(b"x"));
        assert_eq!(three.into_parts(), [Body::copy_from(b"x")]);
        assert!(Message::new().into_parts().is_empty());
    }

    #[test]
    fn a_message_that_is_cleared_keeps_its_memory() {
        let mut used = message(&["a", "b"]);
        let capacity = used.rest.capacity();
        used.clear();
        assert_eq!((used.len(), used.rest.capacity()), (0, capacity));
        assert_eq!(used, Message::new());
    }

    #[test]
    #[should_panic(expected = "part 1 of 1")]
    fn there_are_no_more_parts_than_there_are() {
        let _ = &message(&["a"])[1];
    }
}
