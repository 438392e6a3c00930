//! A link's counters, stored compactly.

use alloc::boxed::Box;
use core::ops::{Deref, DerefMut};

use super::Counters;

/// [`Counters`]: those that every link uses are fields, and the others are allocated when one of them is first incremented. Reading an unallocated
/// counter needs no memory.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) connections: u64,
    pub(super) calls: u64,
    pub(super) calls_replied: u64,
    pub(super) casts: u64,
    pub(super) messages: u64,
    pub(super) requests: u64,
    pub(super) answers: u64,
    pub(super) grants: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    others: Option<Box<Counters>>,
}

static NONE: Counters = Counters::ZERO;

impl Deref for Tally {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        self.others.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Tally {
    fn deref_mut(&mut self) -> &mut Counters {
        self.others.get_or_insert_default()
    }
}

impl Tally {
    /// All counters.
    pub(super) fn counters(&self) -> Counters {
        let Self { connections, calls, calls_replied, casts, messages, requests, answers, grants, .. } =
            *self;
        let Self { bytes_in, bytes_out, .. } = *self;
        Counters {
            connections,
            calls,
            calls_replied,
            casts,
            messages,
            requests,
            answers,
            grants,
            bytes_in,
            bytes_out,
            ..**self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_takes_no_room_until_it_happens() {
        let mut tally = Tally::default();
        (tally.calls, tally.bytes_in) = (3, 7);
        assert_eq!((tally.aborts, tally.others.is_none()), (0, true));
        tally.aborts += 1;
        tally.grants += 2;
        let counters = tally.counters();
        assert_eq!((counters.calls, counters.bytes_in, counters.aborts, counters.grants), (3, 7, 1, 2));
        assert_eq!(Tally::default().counters(), Counters::default());
    }
}
