//! The known leader of each key.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

use super::RouteId;

/// Maximum number of keys; beyond it, the oldest one is dropped.
pub(super) const MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Lead {
    route: RouteId,
    /// It has answered as the leader; otherwise it is a guess, which keeps the messages of a key together.
    proven: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Leaders {
    leads: BTreeMap<String, Lead>,
    by_age: VecDeque<String>,
}

impl Leaders {
    /// The route that messages of the key are tried on first.
    pub(super) fn likely(&self, key: &str) -> Option<RouteId> {
        self.leads.get(key).map(|lead| lead.route)
    }

    pub(super) fn proven(&self, key: &str) -> Option<RouteId> {
        self.leads.get(key).filter(|lead| lead.proven).map(|lead| lead.route)
    }

    pub(super) fn guess(&mut self, key: &str, route: RouteId) {
        self.set(key, Lead { route, proven: false });
    }

    pub(super) fn prove(&mut self, key: &str, route: RouteId) {
        self.set(key, Lead { route, proven: true });
    }

    /// `route` does not lead the key. A known other leader stays.
    pub(super) fn refute(&mut self, key: &str, route: RouteId, hint: Option<RouteId>) {
        if self.likely(key).is_some_and(|likely| likely != route) {
            return;
        }
        match hint.filter(|hint| *hint != route) {
            Some(hint) => self.guess(key, hint),
            None => self.forget(|other, _| other == key),
        }
    }

    pub(super) fn forget_route(&mut self, route: RouteId) {
        self.forget(|_, lead| lead.route == route);
    }

    fn forget(&mut self, goes: impl Fn(&str, &Lead) -> bool) {
        let before = self.leads.len();
        self.leads.retain(|key, lead| !goes(key, lead));
        if self.leads.len() < before {
            let leads = &self.leads;
            self.by_age.retain(|key| leads.contains_key(key));
        }
    }

    fn set(&mut self, key: &str, lead: Lead) {
        if let Some(known) = self.leads.get_mut(key) {
            *known = lead;
            return;
        }
        if self.leads.len() >= MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.leads.remove(&oldest);
        }
        self.leads.insert(key.into(), lead);
        self.by_age.push_back(key.into());
    }

    /// The number of keys in each of the two tables.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.leads.len(), self.by_age.len())
    }
}
