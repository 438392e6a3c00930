//! Commands, their results, and the invariants.

use std::collections::{BTreeMap, BTreeSet};

use bowline_forestbus::cluster::{Answer, CallId, ClusterError, CommandId, Commit, Followed, Snapshot};
use bowline_forestbus::protocol::{Index, Request};
use bytes::Bytes;

use crate::sim::{MS, TOPICS};

/// How long an attempt takes that can be repeated, and a topic's rest: the defaults.
const ATTEMPT: u64 = 3_000 * MS;
const HOLD: u64 = 100 * MS;

/// The promises of a command.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) deadline: Option<u64>,
    pub(crate) at_least_once: bool,
    pub(crate) commit: Commit,
    pub(crate) topic: usize,
    pub(crate) payloads: Vec<Bytes>,
}

#[derive(Clone, Debug)]
struct Follower {
    topic: usize,
    position: Index,
}

/// The last send of a topic that went out.
#[derive(Clone, Copy, Debug)]
struct SendOut {
    call: CallId,
    at: (usize, usize),
    issued: u64,
    /// Nothing hinders the next one.
    over: bool,
    /// When it was given up.
    given_up: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    open: BTreeMap<CommandId, Wanted>,
    pub(crate) done: BTreeMap<CommandId, (Wanted, Result<Answer, ClusterError>)>,
    followers: BTreeMap<CommandId, Follower>,
    ended_followers: BTreeSet<CommandId>,
    out: Vec<Option<SendOut>>,
    /// By topic, the number of the last payload that went out.
    last_payload: Vec<u64>,
    pub(crate) given: u64,
    pub(crate) trimmed: u64,
}

impl Ledger {
    pub(crate) fn new(topics: usize) -> Self {
        Self { out: vec![None; topics], last_payload: vec![0; topics], ..Self::default() }
    }

    pub(crate) fn sends(&mut self, id: CommandId, wanted: Wanted) {
        assert!(self.open.insert(id, wanted).is_none(), "an id is used twice");
    }

    pub(crate) fn reads(&mut self, id: CommandId, deadline: Option<u64>) {
        let wanted =
            Wanted { deadline, at_least_once: false, commit: Commit::Leader, topic: 0, payloads: Vec::new() };
        self.sends(id, wanted);
    }

    pub(crate) fn follows(&mut self, id: CommandId, topic: usize, position: Index) {
        self.followers.insert(id, Follower { topic, position });
    }

    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// A call goes out: of a topic, one send at a time, and none soon after one that was given up.
    pub(crate) fn called(&mut self, call: CallId, at: (usize, usize), request: &Request, now: u64) {
        if let Request::Receive(receive) = request {
            assert!(receive.quantity >= 2, "the server damages single messages");
            assert_eq!(at.1, usize::from(receive.wait), "long polls have a connection of their own");
        }
        let Request::Send(send) = request else { return };
        assert_eq!(at.1, 0, "a send shares its connection with long polls");
        let topic = TOPICS.iter().position(|topic| *topic == send.topic).expect("a topic of ours");
        let number = std::str::from_utf8(&send.messages[0][1..]).expect("text").parse().expect("a number");
        assert!(number >= self.last_payload[topic], "sends overtake each other");
        self.last_payload[topic] = number;
        if let Some(last) = self.out[topic] {
            let rested = last.given_up.is_some_and(|at| now >= at + HOLD);
            assert!(last.over || rested, "two sends of a topic at once: {last:?} at {now}");
        }
        self.out[topic] = Some(SendOut { call, at, issued: now, over: false, given_up: None });
    }

    pub(crate) fn replied(&mut self, call: CallId) {
        for out in self.out.iter_mut().flatten().filter(|out| out.call == call) {
            out.over = true;
        }
    }

    /// The client says so when the rest after a send is over.
    pub(crate) fn forgotten(&mut self, call: CallId, now: u64) {
        for out in self.out.iter_mut().flatten().filter(|out| out.call == call) {
            // If it is repeated, no one is informed that the first attempt was given up.
            if out.given_up.is_none() {
                assert!(now >= out.issued + ATTEMPT + HOLD, "forgotten too early: {out:?} at {now}");
                out.given_up = Some(now - HOLD);
            }
        }
    }

    pub(crate) fn lane_is_down(&mut self, at: (usize, usize), now: u64) {
        for out in self.out.iter_mut().flatten().filter(|out| out.at == at) {
            out.given_up.get_or_insert(now);
        }
    }

    /// A command's only result.
    pub(crate) fn done(&mut self, id: CommandId, result: Result<Answer, ClusterError>, now: u64) {
        if self.followers.contains_key(&id) {
            assert!(self.ended_followers.insert(id), "a follower ended twice");
            return;
        }
        let wanted = self.open.remove(&id).expect("a result for what is over, or never was");
        assert!(
            wanted.deadline.is_none_or(|deadline| now <= deadline),
            "told after its deadline: {wanted:?}"
        );
        let in_doubt = matches!(result, Err(ClusterError::MaybeAppended { .. }));
        if in_doubt && let Some(out) = &mut self.out[wanted.topic] {
            let attempt_over = if wanted.at_least_once { out.issued + ATTEMPT } else { now };
            out.given_up.get_or_insert_with(|| now.min(attempt_over));
        }
        if let (Ok(Answer::Sent { ids, .. }), true) = (&result, !wanted.payloads.is_empty()) {
            assert_eq!(ids.len(), wanted.payloads.len());
        }
        self.done.insert(id, (wanted, result));
    }

    /// Where a follower that ended has to go on.
    pub(crate) fn follower_ended(&mut self, id: CommandId) -> Option<(usize, Index)> {
        let follower = self.followers.get(&id)?;
        Some((follower.topic, follower.position))
    }

    /// The messages of a follower: the committed ones, each once, in order.
    pub(crate) fn taken(
        &mut self,
        id: CommandId,
        taken: Result<Followed, ClusterError>,
        committed: &[Vec<Bytes>],
    ) {
        let follower = self.followers.get_mut(&id).expect("a follower of ours");
        match taken {
            Ok(Followed::Page(page)) => {
                assert_eq!(page.first, follower.position, "left out or repeated");
                assert!(!page.messages.is_empty(), "a page of nothing");
                for message in &page.messages {
                    let at = usize::try_from(follower.position - 1).expect("from 1");
                    let truth = committed[follower.topic].get(at);
                    assert_eq!(truth, Some(message), "index {} was not committed so", follower.position);
                    follower.position += 1;
                    self.given += 1;
                }
            }
            Ok(Followed::Trimmed { from, to }) => {
                assert_eq!(from, follower.position);
                assert!(to > from);
                follower.position = to;
                self.trimmed += 1;
            }
            Ok(other) => panic!("unknown: {other:?}"),
            Err(error) => {
                // The model never loses what was committed.
                panic!("a follower was told {error}");
            }
        }
    }

    /// Positions of the followers that have not ended.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, Index)> {
        let live = self.followers.iter().filter(|(id, _)| !self.ended_followers.contains(id));
        live.map(|(_, follower)| (follower.topic, follower.position))
    }

    pub(crate) fn bounds(&self, snapshot: &Snapshot) {
        // One for each command, one for each topic at rest, two for each of six connections, one for each node and
        // followed topic.
        let calls = snapshot.commands + snapshot.topics + 12 + 3 * TOPICS.len();
        assert!(snapshot.calls <= calls, "{snapshot:?}");
        let timers = 2 * snapshot.commands + 2 * snapshot.topics + 6;
        assert!(snapshot.timers <= timers, "{snapshot:?}");
        assert!(snapshot.queued_messages <= 2 * 300 && snapshot.queued_bytes <= 4_000, "{snapshot:?}");
        assert!(snapshot.topics <= 4, "{snapshot:?}");
    }

    /// At the end: what was told of sends is true of the logs.
    pub(crate) fn audit(&self, committed: &[Vec<Bytes>]) -> Audit {
        let mut audit = Audit::default();
        let mut places: BTreeMap<(usize, &Bytes), Vec<usize>> = BTreeMap::new();
        for (topic, log) in committed.iter().enumerate() {
            for (at, payload) in log.iter().enumerate() {
                places.entry((topic, payload)).or_default().push(at + 1);
            }
        }
        for (wanted, result) in self.done.values() {
            for (n, payload) in wanted.payloads.iter().enumerate() {
                let found = places.get(&(wanted.topic, payload)).map_or(&[][..], Vec::as_slice);
                if !wanted.at_least_once {
                    assert!(found.len() <= 1, "{payload:?} was appended {} times: {result:?}", found.len());
                }
                match result {
                    Ok(Answer::Sent { ids, .. }) => {
                        audit.sent += 1;
                        let index = usize::try_from(ids[n]).expect("from 1");
                        if wanted.commit == Commit::Majority {
                            assert!(found.contains(&index), "{payload:?} at {index} was lost");
                        }
                    }
                    Err(ClusterError::MaybeAppended { .. }) => {
                        audit.in_doubt += 1;
                        audit.in_doubt_appended += u64::from(!found.is_empty());
                    }
                    Err(error) => {
                        audit.failed += 1;
                        assert!(found.is_empty(), "{payload:?} was appended in spite of {error}");
                    }
                    Ok(other) => panic!("a send was answered with {other:?}"),
                }
            }
        }
        audit
    }
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Audit {
    pub(crate) sent: u64,
    pub(crate) in_doubt: u64,
    pub(crate) in_doubt_appended: u64,
    pub(crate) failed: u64,
}
