//! State that the reader of a session's connection leaves to the next one.

use alloc::boxed::Box;

use super::Reader;
use crate::frame::{Class, Framing};
use crate::link::Link;
use crate::link::assembly::Assembly;
use crate::link::classes::lane;
use crate::link::guard::Guard;
use crate::link::reader::kept_messages::Parked;
use crate::time::Instant;

/// Incomplete messages, and messages that wait to be handed over.
#[derive(Debug)]
pub(in crate::link) struct Retired {
    assemblies: [Option<Box<Assembly>>; 2],
    parked: [Parked; 2],
    guard: Guard,
}

impl Retired {
    /// Bytes of memory they take.
    pub(in crate::link) fn memory(&self) -> usize {
        let parts = self.assemblies.iter().flatten().map(|assembly| assembly.memory()).sum::<usize>();
        let parked = self.parked.iter().map(Parked::cost).sum::<u64>();
        parts + usize::try_from(parked).unwrap_or(usize::MAX)
    }

    /// How many casts wait to be handed over.
    pub(in crate::link) fn casts(&self) -> u64 {
        self.parked.iter().map(Parked::casts).sum()
    }

    /// The cost of the waiting messages of a class.
    pub(in crate::link) fn parked(&self, class: Class) -> u64 {
        self.parked[lane(class)].cost()
    }

    /// The session is lost: requests have no caller any more, and incomplete messages will not be completed.
    /// Casts were acknowledged, and are handed over.
    pub(in crate::link) fn without_session(mut self) -> Self {
        self.assemblies = [None, None];
        for parked in &mut self.parked {
            parked.drop_requests();
        }
        Self { guard: Guard::new(), ..self }
    }
}

impl<F: Framing> Reader<F> {
    /// Ends the reader, and reports to the link what was received.
    pub(in crate::link) fn retire<T: Send + 'static>(
        mut self,
        link: &mut Link<F, T>,
        now: Instant,
    ) -> Retired {
        self.flush(link);
        self.sync(link);
        self.count(link, now);
        Retired { assemblies: self.assemblies, parked: self.parked, guard: self.guard }
    }

    /// Continues where the last reader ended.
    pub(in crate::link) fn take_up(mut self, now: Instant, retired: Retired) -> Self {
        self.assemblies = retired.assemblies;
        for assembly in self.assemblies.iter_mut().flatten() {
            assembly.since = now;
        }
        self.has_parked = retired.parked.iter().any(|parked| !parked.is_empty());
        self.parked = retired.parked;
        self.guard = retired.guard;
        self.guard.begin_connection();
        self
    }

    /// This is not the session that the taken-up messages belong to.
    pub(super) fn forget_session(&mut self) {
        self.assemblies = [None, None];
        for parked in &mut self.parked {
            parked.drop_requests();
        }
        self.guard = Guard::new();
    }
}
