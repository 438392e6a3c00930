//! State of a node and of its two connections.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::time::Duration;

use bowline_core::machine::Epoch;
use bowline_core::time::Instant;

use super::output::{CallId, CommandId, Lane, NodeId};

/// One of a node's connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LaneId {
    pub(super) node: NodeId,
    pub(super) lane: Lane,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum LaneState {
    #[default]
    Down,
    Dialing,
    /// Connected; carries only this call until the cluster's id has been checked.
    Checking(CallId),
    Ready,
}

/// The state of a connection to a node, or its absence.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) state: LaneState,
    /// The epoch of the current or the last connection.
    pub(super) epoch: Epoch,
    /// Commands that wait for it, oldest first.
    pub(super) waiting: BTreeSet<CommandId>,
    /// Calls of commands that have no reply yet.
    pub(super) live: usize,
    /// Long polls that were given up and are still pending at the node.
    pub(super) forgotten: usize,
    /// When the last reply was received.
    pub(super) heard: Instant,
    /// The probe under way.
    pub(super) probe: Option<CallId>,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: String,
    lanes: [Connection; 2],
    /// The node was stopping: it is not asked until then.
    avoid_until: Instant,
    /// Its connection failed: it is asked after others until then.
    failed_until: Instant,
    /// Its commit index lagged behind: it is asked after others until then.
    lagging_until: Instant,
    /// Smoothed.
    pub(super) round_trip: Option<Duration>,
}

/// How long a node whose connection failed is asked after others.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            lanes: Default::default(),
            avoid_until: Instant::ZERO,
            failed_until: Instant::ZERO,
            lagging_until: Instant::ZERO,
            round_trip: None,
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> &Connection {
        &self.lanes[lane as usize]
    }

    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut Connection {
        &mut self.lanes[lane as usize]
    }

    pub(super) fn avoid(&mut self, until: Instant) {
        self.avoid_until = self.avoid_until.max(until);
    }

    pub(super) fn is_avoided(&self, now: Instant) -> bool {
        now < self.avoid_until
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failed_until = now + AFTER_FAILURE;
    }

    pub(super) fn works(&mut self) {
        self.failed_until = Instant::ZERO;
    }

    pub(super) fn has_failed(&self, now: Instant) -> bool {
        now < self.failed_until
    }

    pub(super) fn lags(&mut self, until: Instant) {
        self.lagging_until = until;
    }

    pub(super) fn is_lagging(&self, now: Instant) -> bool {
        now < self.lagging_until
    }

    /// Records the round trip of a details call.
    pub(super) fn measured(&mut self, took: Duration) {
        self.round_trip = Some(self.round_trip.map_or(took, |old| (old * 3 + took) / 4));
    }
}
