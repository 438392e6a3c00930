//! The two lanes of the write queue. That of the bulk class is allocated when it is first needed: most links never use
//! it.

use alloc::boxed::Box;

use super::lane::Lane;
use super::send_credit::SendCredit;
use crate::frame::Class;

/// Read in place of a bulk lane that is not allocated.
static UNUSED: Lane = Lane::new(Class::Bulk);

/// The lanes of a write queue, by class.
#[derive(Debug)]
pub(super) struct Lanes {
    normal: Lane,
    bulk: Option<Box<Lane>>,
    /// While the bulk lane is not allocated: the credit that the peer has granted for it on this connection, and the
    /// maximum of bytes that may be sent before the peer has read them.
    bulk_limit: u64,
    bulk_ahead: u64,
}

impl Lanes {
    pub(super) const fn new() -> Self {
        Self { normal: Lane::new(Class::Normal), bulk: None, bulk_limit: u64::MAX, bulk_ahead: u64::MAX }
    }

    #[inline]
    pub(super) const fn normal(&self) -> &Lane {
        &self.normal
    }

    #[inline]
    pub(super) const fn normal_mut(&mut self) -> &mut Lane {
        &mut self.normal
    }

    /// The lane of a class, to read.
    #[inline]
    pub(super) fn get(&self, class: Class) -> &Lane {
        if class == Class::Bulk { self.bulk.as_deref().unwrap_or(&UNUSED) } else { &self.normal }
    }

    /// The lane of a class, which is allocated if it is not yet. To search or empty a lane, use
    /// [`find_mut`](Self::find_mut), which allocates nothing.
    #[inline]
    pub(super) fn get_mut(&mut self, class: Class) -> &mut Lane {
        if class == Class::Bulk { self.bulk_mut() } else { &mut self.normal }
    }

    #[inline(never)]
    fn bulk_mut(&mut self) -> &mut Lane {
        let flow = SendCredit::granted(self.bulk_limit, self.bulk_ahead);
        self.bulk.get_or_insert_with(|| {
            let mut lane = Box::new(Lane::new(Class::Bulk));
            lane.flow = flow;
            lane
        })
    }

    /// The lane of a class, if it is allocated.
    #[inline]
    pub(super) fn find_mut(&mut self, class: Class) -> Option<&mut Lane> {
        if class == Class::Bulk { self.bulk.as_deref_mut() } else { Some(&mut self.normal) }
    }

    /// The allocated lanes.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        [&self.normal].into_iter().chain(self.bulk.as_deref())
    }

    /// The allocated lanes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        [&mut self.normal].into_iter().chain(self.bulk.as_deref_mut())
    }

    /// A connection begins, with the peer's first grants; at most `bulk_ahead` bytes of bulk may be unseen by it.
    pub(super) fn open(&mut self, [normal, bulk]: [u64; 2], bulk_ahead: u64) {
        self.normal.flow = SendCredit::granted(normal, u64::MAX);
        (self.bulk_limit, self.bulk_ahead) = (bulk, bulk_ahead);
        if let Some(lane) = &mut self.bulk {
            lane.flow = SendCredit::granted(bulk, bulk_ahead);
        }
    }

    /// The connection is over: everything waits for the next one.
    pub(super) fn restore(&mut self) {
        (self.bulk_limit, self.bulk_ahead) = (u64::MAX, u64::MAX);
        self.iter_mut().for_each(|lane| lane.restore(alloc::vec::Vec::new()));
    }

    /// Frees the memory of empty queues, and a bulk lane that was not needed on this connection.
    pub(super) fn trim(&mut self) {
        self.iter_mut().for_each(Lane::trim);
        if let Some(lane) = self.bulk.take_if(|lane| lane.is_unused()) {
            (self.bulk_limit, self.bulk_ahead) = (lane.flow.limit, lane.flow.ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unused_bulk_lane_is_not_allocated_and_keeps_its_grants() {
        let mut lanes = Lanes::new();
        lanes.open([100, 200], 50);
        assert!(lanes.get(Class::Bulk).is_empty() && lanes.find_mut(Class::Bulk).is_none());
        assert_eq!(lanes.iter().count(), 1);
        for limit in [200, 300] {
            // Looked at as if the peer granted more, and freed again.
            let bulk = lanes.get_mut(Class::Bulk);
            assert_eq!((bulk.flow.limit, bulk.flow.ahead), (limit, 50));
            assert!(bulk.flow.update(300, 0));
            lanes.trim();
            assert!(lanes.bulk.is_none());
        }
        lanes.get_mut(Class::Bulk).flow.spend(10, 10);
        lanes.trim();
        assert_eq!(lanes.get(Class::Bulk).flow.credit(), 290, "what was used stays counted");
        lanes.restore();
        lanes.trim();
        assert_eq!(lanes.get_mut(Class::Bulk).flow.credit(), u64::MAX, "until the next connection's grants");
    }

    #[test]
    fn a_bulk_lane_that_is_held_back_stays_so() {
        let mut lanes = Lanes::new();
        lanes.open([100, 200], 50);
        assert_eq!(lanes.get_mut(Class::Bulk).hold_back(), None);
        lanes.trim();
        assert_eq!(lanes.get_mut(Class::Bulk).flow.credit(), 0);
    }
}
