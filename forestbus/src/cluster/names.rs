//! Resolution of leaders' names to nodes.
//!
//! Nodes refer to each other by their `-name` addresses, which differ from the addresses for clients.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::output::NodeId;

/// The known names and nodes.
#[derive(Debug)]
pub(super) struct Names {
    addresses: Vec<String>,
    configured: BTreeMap<String, NodeId>,
    /// Guesses that proved correct; at most one for each node.
    learned: BTreeMap<String, NodeId>,
    /// The names of all nodes, from the last node that listed them.
    peers: Vec<String>,
}

/// The host of `host:port`, without brackets.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl Names {
    pub(super) fn new(addresses: Vec<String>, configured: BTreeMap<String, NodeId>) -> Self {
        Self { addresses, configured, learned: BTreeMap::new(), peers: Vec::new() }
    }

    /// Stores a node's list of its cluster's nodes.
    pub(super) fn set_peers(&mut self, peers: &[String]) {
        // A cluster has a handful of nodes; a longer list is not stored.
        if !peers.is_empty() && peers.len() <= super::settings::MAX_NODES && self.peers != peers {
            self.peers = peers.to_vec();
        }
    }

    /// The number of nodes of the cluster, if known.
    pub(super) fn cluster_size(&self) -> usize {
        self.peers.len().max(self.addresses.len())
    }

    /// The node with that name.
    pub(super) fn resolve(&self, name: &str) -> Option<NodeId> {
        if name.is_empty() {
            return None;
        }
        self.configured
            .get(name)
            .copied()
            .or_else(|| self.by_address(name))
            .or_else(|| self.by_host(name))
            .or_else(|| self.learned.get(name).copied())
    }

    fn by_address(&self, name: &str) -> Option<NodeId> {
        self.addresses.iter().position(|address| address == name).map(NodeId::new)
    }

    /// Only if exactly one configured node, and one of the cluster, is at that host.
    fn by_host(&self, name: &str) -> Option<NodeId> {
        let same = |other: &String| host(other).eq_ignore_ascii_case(host(name));
        if self.peers.iter().filter(|peer| same(peer)).count() > 1 {
            return None;
        }
        let mut at_host = self.addresses.iter().enumerate().filter(|(_, address)| same(address));
        match (at_host.next(), at_host.next()) {
            (Some((index, _)), None) => Some(NodeId::new(index)),
            _ => None,
        }
    }

    /// Whether a name of the node is known: then an unknown name cannot be its name.
    pub(super) fn has_name(&self, node: NodeId) -> bool {
        self.configured.values().chain(self.learned.values()).any(|&other| other == node)
    }

    /// A node proved to be the leader with that name.
    pub(super) fn learn(&mut self, name: &str, node: NodeId) {
        if name.len() <= super::settings::MAX_NAME && self.resolve(name).is_none() {
            self.learned.retain(|_, other| *other != node);
            self.learned.insert(name.to_string(), node);
        }
    }

    /// The learned node of that name proved wrong.
    pub(super) fn unlearn(&mut self, name: &str) {
        self.learned.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn names(addresses: &[&str]) -> Names {
        Names::new(addresses.iter().map(ToString::to_string).collect(), BTreeMap::new())
    }

    #[test]
    fn by_configuration_before_anything_else() {
        let mut names = names(&["a:1", "b:1"]);
        names.configured.insert("a:9".to_string(), NodeId::new(1));
        assert_eq!(names.resolve("a:9"), Some(NodeId::new(1)));
        assert_eq!(names.resolve("a:8"), Some(NodeId::new(0)), "by host");
        assert_eq!(names.resolve(""), None);
    }

    #[test]
    fn by_host_only_where_it_is_unambiguous() {
        let mut several = names(&["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]);
        assert_eq!(several.resolve("127.0.0.1:9"), None);
        assert_eq!(several.resolve("[::1]:9"), Some(NodeId::new(2)));
        // The cluster has two nodes at that host, and only one of them is configured.
        several.set_peers(&["[::1]:8".to_string(), "[::1]:9".to_string()]);
        assert_eq!(several.resolve("[::1]:9"), None);
    }

    #[test]
    fn learned_names_can_be_unlearned_and_are_one_for_each_node() {
        let mut names = names(&["h:1", "h:2"]);
        names.learn("h:9", NodeId::new(1));
        assert_eq!(names.resolve("h:9"), Some(NodeId::new(1)));
        assert!(names.has_name(NodeId::new(1)) && !names.has_name(NodeId::new(0)));
        names.learn("h:8", NodeId::new(1));
        assert_eq!(names.resolve("h:9"), None, "the later one holds");
        names.unlearn("h:8");
        assert_eq!(names.resolve("h:8"), None);
        let long = vec!["x"; 2000].concat();
        names.learn(&long, NodeId::new(0));
        assert_eq!(names.resolve(&long), None, "memory is bounded");
    }
}
