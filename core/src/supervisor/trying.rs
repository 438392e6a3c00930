//! An endpoint being tried: its name resolution, and the race between its addresses.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::endpoints::MAX_ADDRESSES;
use super::{AttemptId, Endpoint};
use crate::address::Address;
use crate::time::Instant;

/// How long a name resolution may take before the last good answer is used in addition (the client response
/// timer of RFC 8767, section 5), unless half the connect timeout is less.
const STALE_AFTER: Duration = Duration::from_millis(1_800);

#[derive(Clone, Debug)]
pub(super) struct Trying {
    /// The endpoint.
    pub(super) endpoint: Endpoint,
    /// The deadline of name resolution, dialing and handshake.
    pub(super) give_up_at: Instant,
    pub(super) resolving: Option<AttemptId>,
    /// When the last good answer is used although the resolver may still give another one.
    stale_at: Option<Instant>,
    pub(super) dialing: Vec<(AttemptId, Address)>,
    /// Addresses not dialed yet.
    addresses: VecDeque<Address>,
    /// Addresses dialed, at most [`MAX_ADDRESSES`].
    dialed: Vec<Address>,
    /// When the next address is dialed although the last one may still succeed.
    next_at: Instant,
}

impl Trying {
    pub(super) fn new(endpoint: Endpoint, now: Instant, limit: Duration) -> Self {
        Self {
            endpoint,
            give_up_at: now + limit,
            resolving: None,
            stale_at: None,
            dialing: Vec::new(),
            addresses: VecDeque::new(),
            dialed: Vec::new(),
            next_at: now,
        }
    }

    /// A name resolution begins. `answered`: there is an earlier answer to fall back on.
    pub(super) fn resolve(&mut self, now: Instant, attempt: AttemptId, limit: Duration, answered: bool) {
        self.resolving = Some(attempt);
        self.stale_at = answered.then(|| now + STALE_AFTER.min(limit / 2));
    }

    /// The name resolution ended. `false`: it was not the current one.
    pub(super) fn resolved(&mut self, attempt: AttemptId) -> bool {
        let expected = self.resolving == Some(attempt);
        if expected {
            self.resolving = None;
            self.stale_at = None;
        }
        expected
    }

    /// Whether to use the last good answer now; returns true once.
    pub(super) fn falls_back(&mut self, now: Instant) -> bool {
        self.stale_at.take_if(|at| now >= *at).is_some()
    }

    /// Replaces the addresses that were not dialed yet.
    pub(super) fn offer(&mut self, addresses: &[Address]) {
        let room = MAX_ADDRESSES.saturating_sub(self.dialed.len());
        let new = addresses.iter().filter(|address| !self.dialed.contains(address));
        self.addresses = new.take(room).cloned().collect();
    }

    /// Dials the next address if it is due.
    pub(super) fn dial_next(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        head_start: Duration,
    ) -> Option<Address> {
        if !self.dialing.is_empty() && now < self.next_at {
            return None;
        }
        let address = self.addresses.pop_front()?;
        self.dialing.push((attempt, address.clone()));
        self.dialed.push(address.clone());
        self.next_at = now + head_start;
        Some(address)
    }

    /// A dial ended: returns its address, if it was one of these. The next one is then due at once.
    pub(super) fn dialed(&mut self, now: Instant, attempt: AttemptId) -> Option<Address> {
        let index = self.dialing.iter().position(|(dialing, _)| *dialing == attempt)?;
        self.next_at = now;
        Some(self.dialing.remove(index).1)
    }

    /// Whether nothing is under way, and nothing is left to try.
    pub(super) fn is_exhausted(&self) -> bool {
        self.resolving.is_none() && self.dialing.is_empty() && self.addresses.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let next = (!self.addresses.is_empty()).then_some(self.next_at);
        [next, self.stale_at].into_iter().flatten().fold(self.give_up_at, Instant::min)
    }

    /// The attempts under way.
    pub(super) fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.resolving.iter().copied().chain(self.dialing.iter().map(|(attempt, _)| *attempt))
    }
}
