//! The client and the node in memory work together: three nodes, one of which leads.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::time::Instant;
use bowline_forestbus::cluster::{
    Answer, CallId, Cluster, ClusterError, CommandId, Followed, Options, Output, Settings,
};
use bowline_forestbus::node::{Node, NodeSettings, Response, WaitId};
use bytes::Bytes;

struct Pair {
    cluster: Cluster,
    nodes: Vec<Node>,
    now: Instant,
    /// Calls that wait at a node.
    waits: BTreeMap<(usize, WaitId), CallId>,
    done: BTreeMap<CommandId, Result<Answer, ClusterError>>,
    /// Nodes that cannot be connected to.
    down: Vec<usize>,
}

impl Pair {
    fn new() -> Self {
        let names: Vec<String> = (0..3).map(|n| format!("n{n}:3000")).collect();
        let nodes = names.iter().enumerate().map(|(n, name)| {
            let settings = NodeSettings::new(name).cluster_id("test").peers(&names).topic("t");
            let mut node = Node::new(settings.build().expect("sound settings"));
            if n != 2 {
                node.follow("n2:3000");
            }
            node
        });
        let settings = Settings::new((0..3).map(|n| format!("n{n}:4000"))).cluster_id("test");
        Self {
            nodes: nodes.collect(),
            cluster: Cluster::new(settings.build().expect("sound settings"), 1),
            now: Instant::ZERO,
            waits: BTreeMap::new(),
            done: BTreeMap::new(),
            down: Vec::new(),
        }
    }

    fn settle(&mut self) {
        loop {
            for n in 0..self.nodes.len() {
                while let Some((wait, reply)) = self.nodes[n].poll_answer() {
                    if let Some(call) = self.waits.remove(&(n, wait)) {
                        self.cluster.reply(self.now, call, reply);
                    }
                }
            }
            let Some(output) = self.cluster.poll_output() else { return };
            match output {
                Output::Open { node, lane, epoch } if self.down.contains(&node.index()) => {
                    self.cluster.dial_failed(self.now, node, lane, epoch, Disconnect::NotConnected);
                }
                Output::Open { node, lane, epoch } => self.cluster.connected(self.now, node, lane, epoch),
                Output::Call { node, call, request, .. } => match self.nodes[node.index()].request(request) {
                    Response::Now(reply) => self.cluster.reply(self.now, call, reply),
                    Response::Later(wait) => _ = self.waits.insert((node.index(), wait), call),
                },
                Output::Forget { node, call, .. } => {
                    let waits = self.waits.iter().find(|(_, other)| **other == call).map(|(wait, _)| *wait);
                    if let Some((n, wait)) = waits {
                        assert_eq!(n, node.index());
                        self.waits.remove(&(n, wait));
                        assert!(self.nodes[n].give_up(wait));
                    }
                }
                Output::Done { command, result } => {
                    assert!(self.done.insert(command, result).is_none());
                }
                _ => {}
            }
        }
    }

    fn run_for(&mut self, wait: Duration) {
        let end = self.now + wait;
        while let Some(due) = self.cluster.next_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.cluster.handle_timeout(due);
            self.settle();
        }
        self.now = end;
    }

    fn send(&mut self, text: &'static str) -> CommandId {
        let messages = vec![Bytes::from_static(text.as_bytes())];
        let id = self.cluster.send_messages(self.now, "t", messages, Options::new()).expect("room");
        self.settle();
        id
    }

    fn ids(&self, id: CommandId) -> &[i64] {
        match &self.done[&id] {
            Ok(Answer::Sent { ids, .. }) => ids,
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, id: CommandId) -> Option<Followed> {
        let taken = self.cluster.take(self.now, id).transpose().expect("no error");
        self.settle();
        taken
    }
}

#[test]
fn sends_find_the_leader_and_followers_a_node_that_has_the_messages() {
    let mut pair = Pair::new();
    let first = pair.send("1");
    assert_eq!(pair.ids(first), [1]);
    assert_eq!(pair.cluster.leader("t").map(|node| node.index()), Some(2));

    // Nodes do not replicate: the follower waits at one that never gets anything, and leaves it after a while.
    let follower = pair.cluster.follow(pair.now, "t", 1).expect("room");
    pair.settle();
    assert_eq!(pair.take(follower), None);
    pair.run_for(Duration::from_secs(20));
    let Some(Followed::Page(page)) = pair.take(follower) else { panic!("{:#?}", pair.cluster.snapshot()) };
    assert_eq!((page.first, page.messages, page.node.index()), (1, vec![Bytes::from_static(b"1")], 2));
    assert!(pair.cluster.counters().laggards_left >= 1);

    // It waits at the leader now.
    pair.send("2");
    let Some(Followed::Page(page)) = pair.take(follower) else { panic!() };
    assert_eq!(page.first, 2);
}

#[test]
fn a_lost_leadership_is_in_doubt_and_the_index_is_used_again() {
    let mut pair = Pair::new();
    pair.send("1");
    pair.nodes[2].set_lagging(true);
    let lost = pair.send("2");
    assert!(!pair.done.contains_key(&lost), "it waits for its commit");
    pair.nodes[2].follow("n0:3000");
    pair.nodes[0].lead();
    pair.settle();
    assert!(matches!(pair.done[&lost], Err(ClusterError::MaybeAppended { .. })));
    let next = pair.send("3");
    assert_eq!(pair.ids(next), [1], "of a node with a log of its own");
    assert_eq!(pair.cluster.leader("t").map(|node| node.index()), Some(0));
}

#[test]
fn a_stopping_leader_is_left_and_found_again() {
    let mut pair = Pair::new();
    pair.send("1");
    pair.nodes[2].shut_down(true);
    let waits = pair.send("2");
    pair.run_for(Duration::from_millis(1_500));
    assert!(!pair.done.contains_key(&waits));
    pair.nodes[2].shut_down(false);
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.ids(waits), [2]);
    assert_eq!(pair.nodes[2].bounds("t").map(|bounds| bounds.commit), Some(2));
}

#[test]
fn a_cluster_that_cannot_be_reached_is_told() {
    let mut pair = Pair::new();
    pair.down = vec![0, 1, 2];
    let id = pair.send("1");
    pair.run_for(Duration::from_secs(10));
    assert!(matches!(&pair.done[&id], Err(ClusterError::NoNodes { causes }) if causes.len() == 3));
    assert_eq!(pair.nodes.iter().map(|node| node.snapshot().calls).sum::<u64>(), 0);
}
