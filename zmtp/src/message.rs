//! Messages: parts that arrive together or not at all.

use alloc::vec::Vec;
use core::ops::Index;

use bowline_core::body::{Body, INLINE_BODY};

/// A message that came in, of one part or more.
///
/// The first part lives inside the value, so that to receive a message of one short part allocates
/// nothing; neither does one of several when a message is [received into](crate::inbox::Inbox::pop_into)
/// a value that was used before.
#[derive(Clone, Debug, Default)]
pub struct Message {
    first: Body,
    rest: Vec<Body>,
    /// Parts in use; none: `first` means nothing.
    len: usize,
}

impl Message {
    /// Without parts.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: Body::empty(), rest: Vec::new(), len: 0 }
    }

    /// How many parts it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part at that place.
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

    /// Puts a part behind the others.
    pub fn push(&mut self, part: Body) {
        match self.len {
            0 => self.first = part,
            _ => self.rest.push(part),
        }
        self.len += 1;
    }

    /// Puts a copy of `part` behind the others. The first part is copied in place.
    #[inline]
    pub fn push_copy(&mut self, part: &[u8]) {
        match self.len {
            0 => self.first.assign(part),
            _ => self.rest.push(Body::copy_from(part)),
        }
        self.len += 1;
    }

    /// Takes the parts away; the memory for them stays.
    pub fn clear(&mut self) {
        // A short part is overwritten when the next comes.
        if self.first.len() > INLINE_BODY {
            self.first = Body::empty();
        }
        self.rest.clear();
        self.len = 0;
    }

    /// Takes the first `parts` parts away.
    ///
    /// # Panics
    /// If there are fewer.
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

    /// Puts a part in front of the others.
    pub fn push_front(&mut self, part: Body) {
        if self.len > 0 {
            self.rest.insert(0, core::mem::take(&mut self.first));
        }
        self.first = part;
        self.len += 1;
    }

    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(|part| part.len()).sum()
    }

    /// The parts.
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
    /// If there is no such part.
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
