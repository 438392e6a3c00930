//! What the nodes do among themselves as time passes: elections, replication, commits, and the answers that waited
//! for them.

use bowline_forestbus::protocol::{Reply, Sent, Status};
use bytes::Bytes;

use super::{MS, Model, NODES, Pending, Step};
use crate::random::Random;

impl Model {
    /// Some time passes: elections, replication, commits, answers to what waits.
    pub(crate) fn tick(&mut self, now: u64, random: &mut Random) {
        for topic in 0..self.topics.len() {
            for node in 0..NODES {
                if self.works(node) && self.nodes[node].logs[topic].is_leader {
                    self.lead(node, topic, now, random);
                }
            }
            for node in 0..NODES {
                self.maybe_stand(node, topic, now, random);
            }
        }
        for node in 0..NODES {
            if self.works(node) {
                self.answer_pending(node, random);
            }
        }
    }

    fn lead(&mut self, leader: usize, topic: usize, now: u64, random: &mut Random) {
        for peer in (0..NODES).filter(|&peer| peer != leader) {
            if !self.reach(leader, peer) || !random.chance(70) {
                continue;
            }
            let [mine, its] = self.nodes.get_disjoint_mut([leader, peer]).expect("two nodes");
            let (mine, log) = (&mut mine.logs[topic], &mut its.logs[topic]);
            if log.term > mine.term {
                mine.is_leader = false;
                mine.heard = now;
                return;
            }
            let new = log.copy_entries(mine);
            log.term = mine.term;
            log.is_leader = false;
            log.leader = Some(leader);
            log.heard = now;
            // A follower learns of a commit with the next word from the leader.
            log.commit = log.commit.max(mine.commit.min(log.last()));
            mine.matches[peer] = mine.last();
            if new {
                self.step(Step::Replicated, leader);
                if !self.nodes[leader].up {
                    return;
                }
            }
        }
        let log = &mut self.nodes[leader].logs[topic];
        log.heard = now;
        let mut matches = log.matches;
        matches.sort_unstable();
        let majority = matches[NODES / 2];
        let own_term =
            majority > 0 && log.entries.get(majority as usize - 1).is_some_and(|e| e.term == log.term);
        if majority > log.commit && own_term {
            log.commit = majority;
            let entries: Vec<Bytes> =
                log.entries[..majority as usize].iter().map(|entry| entry.payload.clone()).collect();
            let committed = &mut self.committed[topic];
            let known = committed.len().min(entries.len());
            assert_eq!(committed[..known], entries[..known], "the model lost what was committed");
            if entries.len() > committed.len() {
                *committed = entries;
            }
            self.step(Step::Committed, leader);
        }
    }

    fn maybe_stand(&mut self, node: usize, topic: usize, now: u64, random: &mut Random) {
        let log = &self.nodes[node].logs[topic];
        if !self.works(node) || log.is_leader || now < log.heard + log.patience {
            return;
        }
        let patience = (500 + random.below(200)) * MS;
        let log = &mut self.nodes[node].logs[topic];
        log.heard = now;
        log.patience = patience;
        let group: Vec<usize> = (0..NODES).filter(|&n| n == node || self.reach(node, n)).collect();
        let term = group.iter().map(|&n| self.nodes[n].logs[topic].term).max().unwrap_or(0) + 1;
        let own = (self.nodes[node].logs[topic].last_term(), self.nodes[node].logs[topic].last());
        let votes: Vec<usize> = group
            .into_iter()
            .filter(|&n| {
                let log = &self.nodes[n].logs[topic];
                (log.last_term(), log.last()) <= own
            })
            .collect();
        if votes.len() <= NODES / 2 {
            return;
        }
        for &voter in &votes {
            let log = &mut self.nodes[voter].logs[topic];
            log.term = term;
            log.is_leader = false;
            log.heard = now;
        }
        let log = &mut self.nodes[node].logs[topic];
        log.is_leader = true;
        log.leader = Some(node);
        log.matches = [0; NODES];
        log.matches[node] = log.last();
        self.elections += 1;
    }

    fn answer_pending(&mut self, node: usize, random: &mut Random) {
        for pending in std::mem::take(&mut self.nodes[node].pending) {
            if !self.nodes[node].up {
                return;
            }
            match pending {
                Pending::Poll { from, receive } => {
                    let topic = self.topic(&receive.topic).expect("it was looked up");
                    self.receive(node, topic, from, receive, random);
                }
                Pending::Commit { from, topic, ids, term } => {
                    let log = &self.nodes[node].logs[topic];
                    if log.term != term || !log.is_leader {
                        let reply = self.not_leader(node, topic, ids);
                        self.answer(node, from, reply);
                    } else if ids.last().is_some_and(|&last| last <= log.commit) {
                        self.answer(node, from, Reply::Sent(Sent { status: Status::default(), ids }));
                        self.step(Step::Answered, node);
                    } else {
                        self.nodes[node].pending.push(Pending::Commit { from, topic, ids, term });
                    }
                }
            }
        }
    }
}
