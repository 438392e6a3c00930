//! A client of a Forest Bus cluster: commands, connections, replies and time in any order, compared with a
//! model of the permitted results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::config::QueueLimit;
use bowline_core::error::Disconnect;
use bowline_core::machine::Epoch;
use bowline_core::time::Instant;
use bowline_forestbus::cluster::{
    Attempts, CallId, Cluster, ClusterError, CommandId, Commit, Followed, Lane, NodeId, NodeOrder, Options,
    Output, Settings,
};
use bowline_forestbus::protocol::{
    Bounds, ClusterDetails, Code, Received, Reply, Request, Sent, Status, TopicDetails,
};

use crate::Input;

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// The default time limit of an attempt that can be repeated, and of a topic's pause.
const ATTEMPT: Duration = Duration::from_secs(3);
const HOLD: Duration = Duration::from_millis(100);

/// A call that has no reply.
struct Out {
    at: (NodeId, Lane),
    request: Request,
}

/// A topic's last send.
#[derive(Clone, Copy)]
struct Last {
    call: CallId,
    at: (NodeId, Lane),
    /// A send that is repeated is given up then, silently.
    patience: Instant,
    /// Another may follow from then on.
    free: Option<Instant>,
}

impl Last {
    /// No one waits for it, from now on or since earlier.
    fn given_up(&mut self, now: Instant) {
        let free = now.min(self.patience) + HOLD;
        self.free.get_or_insert(free);
    }
}

struct Run {
    cluster: Cluster,
    now: Instant,
    nodes: Vec<NodeId>,
    dialing: BTreeMap<(NodeId, Lane), Epoch>,
    up: BTreeMap<(NodeId, Lane), Epoch>,
    /// Connections whose check was answered.
    checked: BTreeSet<(NodeId, Lane)>,
    calls: BTreeMap<CallId, Out>,
    old_calls: Vec<CallId>,
    open: BTreeMap<CommandId, Option<Instant>>,
    sends: BTreeMap<CommandId, (usize, bool)>,
    /// Followers and their next index.
    followers: BTreeMap<CommandId, i64>,
    last: [Option<Last>; 3],
}

/// Operations against the machine.
pub fn forestbus_cluster(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let order = [NodeOrder::AsGiven, NodeOrder::Shuffled, NodeOrder::Nearest][usize::from(flags % 3)];
    let settings = Settings::new(["x:1", "x:2", "y:1"])
        .order(order)
        .cluster_id(if flags & 4 == 0 { "id" } else { "" })
        .max_commands(40)
        .max_topics(2)
        .topic_queue(QueueLimit { messages: 20, bytes: 200 })
        .queues(300)
        .abandoned_polls(3)
        .build()
        .expect("sound settings");
    let mut run = Run {
        nodes: settings.nodes().map(|(id, _)| id).collect(),
        cluster: Cluster::new(settings, u64::from(flags)),
        now: Instant::ZERO,
        dialing: BTreeMap::new(),
        up: BTreeMap::new(),
        checked: BTreeSet::new(),
        calls: BTreeMap::new(),
        old_calls: Vec::new(),
        open: BTreeMap::new(),
        sends: BTreeMap::new(),
        followers: BTreeMap::new(),
        last: [None; 3],
    };
    while !input.is_empty() {
        run.step(&mut input);
        run.settle();
        run.check();
    }
    run.cluster.close(run.now);
    run.settle();
    run.cluster.close(run.now);
    run.pass(HOLD * 3);
    let snapshot = run.cluster.snapshot();
    assert!(run.open.is_empty() && run.followers.is_empty(), "commands without a result");
    assert_eq!((snapshot.commands, snapshot.calls, snapshot.queued_bytes, snapshot.timers), (0, 0, 0, 0));
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let pick = input.byte();
        match what % 16 {
            0..=2 => self.send(usize::from(pick % 3), input.byte()),
            3 => self.read(pick, input.byte()),
            4 => {
                let from = i64::from(pick % 8) - 1;
                match self.cluster.follow(self.now, TOPICS[usize::from(pick % 3)], from) {
                    Ok(id) => _ = self.followers.insert(id, from),
                    Err(error) => refused(&error),
                }
            }
            5 => {
                // The outcome of a dial.
                let Some((&at, &epoch)) = nth(&self.dialing, pick) else { return };
                self.dialing.remove(&at);
                if input.byte().is_multiple_of(4) {
                    self.cluster.dial_failed(self.now, at.0, at.1, epoch, Disconnect::NotConnected);
                } else {
                    self.up.insert(at, epoch);
                    self.cluster.connected(self.now, at.0, at.1, epoch);
                }
            }
            6..=9 => {
                let Some((&call, _)) = nth(&self.calls, pick) else { return };
                let Some(out) = self.calls.remove(&call) else { return };
                self.replied(call);
                if out.request == Request::ClusterDetails {
                    self.checked.insert(out.at);
                }
                let reply = reply_to(&out.request, input);
                self.old_calls.push(call);
                self.cluster.reply(self.now, call, reply);
            }
            10 => {
                let Some((&at, &epoch)) = nth(&self.up, pick) else { return };
                self.down(at);
                self.cluster.disconnected(self.now, at.0, at.1, epoch, Disconnect::PeerClosed);
            }
            11 => {
                let Some((&call, _)) = nth(&self.calls, pick) else { return };
                let sent = input.byte().is_multiple_of(2);
                self.calls.remove(&call);
                if !sent {
                    self.replied(call);
                }
                for last in self.last.iter_mut().flatten().filter(|last| last.call == call) {
                    last.given_up(self.now);
                }
                self.cluster.call_failed(self.now, call, sent, Disconnect::PeerClosed);
            }
            12 => {
                self.pass(Duration::from_millis(u64::from(pick) * [1, 10, 50, 100][usize::from(what / 64)]))
            }
            13 => {
                let ids: Vec<_> = self.open.keys().chain(self.followers.keys()).copied().collect();
                if let Some(&id) = ids.get(usize::from(pick) % ids.len().max(1)) {
                    assert!(self.cluster.cancel(self.now, id));
                }
            }
            14 => {
                let Some((&id, &position)) = nth(&self.followers, pick) else { return };
                self.take(id, position, input);
            }
            _ => self.odd(pick),
        }
    }

    /// Calls that a correct driver makes never, or rarely.
    fn odd(&mut self, pick: u8) {
        let (node, lane) =
            (self.nodes[usize::from(pick % 3)], if pick & 4 == 0 { Lane::Short } else { Lane::Long });
        match pick / 16 {
            0 => self.cluster.close(self.now),
            1 => self.cluster.connected(self.now, node, lane, Epoch::NONE),
            2 => self.cluster.disconnected(self.now, node, lane, Epoch::NONE, Disconnect::PeerClosed),
            3 => {
                if let Some(&call) = self.old_calls.get(usize::from(pick) % self.old_calls.len().max(1)) {
                    self.cluster.reply(self.now, call, Reply::Error(String::new()));
                }
            }
            _ => self.cluster.handle_timeout(self.now),
        }
    }

    fn options(&self, bits: u8) -> (Options, Instant) {
        let limit = Duration::from_millis(if bits & 1 == 0 { 10_000 } else { u64::from(bits) * 20 });
        let options = Options::new()
            .deadline(limit)
            .at_least_once(bits & 2 != 0)
            .commit(if bits & 4 == 0 { Commit::Majority } else { Commit::Leader })
            .attempts(if bits & 8 == 0 { Attempts::UntilDeadline } else { Attempts::OneRound });
        (options, self.now + limit)
    }

    fn send(&mut self, topic: usize, bits: u8) {
        let messages = vec![vec![b'm'; usize::from(bits % 16)].into(); usize::from(bits / 64)];
        let (options, deadline) = self.options(bits);
        match self.cluster.send_messages(self.now, TOPICS[topic], messages, options) {
            Ok(id) => {
                assert!(self.open.insert(id, Some(deadline)).is_none());
                self.sends.insert(id, (topic, bits & 2 != 0));
            }
            Err(error) => refused(&error),
        }
    }

    fn read(&mut self, pick: u8, bits: u8) {
        let topic = TOPICS[usize::from(pick % 3)];
        let index = i64::from(bits % 8) - 1;
        let (mut options, deadline) = self.options(bits);
        let mut deadline = Some(deadline);
        let now = self.now;
        let command = match pick / 16 % 5 {
            0 => self.cluster.topic_details(now, topic, options),
            1 => self.cluster.cluster_details(now, options),
            2 => self.cluster.topic_max_available_index(now, topic, options),
            3 => self.cluster.get_messages(now, topic, index, 3, false, options),
            _ => {
                if bits & 16 == 0 {
                    (options, deadline) = (Options::new(), None);
                }
                self.cluster.get_messages(now, topic, index, 3, true, options)
            }
        };
        match command {
            Ok(id) => assert!(self.open.insert(id, deadline).is_none()),
            Err(error) => refused(&error),
        }
    }

    fn take(&mut self, id: CommandId, position: i64, input: &mut Input<'_>) {
        match self.cluster.take(self.now, id) {
            Some(Ok(Followed::Page(page))) => {
                assert_eq!(page.first, position, "left out or repeated");
                assert!(!page.messages.is_empty());
                self.followers.insert(id, page.next());
            }
            Some(Ok(Followed::Trimmed { from, to })) => {
                assert_eq!(from, position);
                assert!(to > from);
                self.followers.insert(id, to);
            }
            Some(Err(ClusterError::Truncated { .. })) if input.byte() & 1 == 0 => {
                let to = i64::from(input.byte() % 8);
                if self.cluster.rewind(self.now, id, to) {
                    self.followers.insert(id, to);
                }
            }
            _ => {}
        }
    }

    fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        while let Some(due) = self.cluster.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.cluster.handle_timeout(self.now);
            assert!(self.cluster.next_timeout().is_none_or(|next| next > self.now), "due for ever");
            self.settle();
        }
        self.now = end;
    }

    fn replied(&mut self, call: CallId) {
        for last in self.last.iter_mut().flatten().filter(|last| last.call == call) {
            last.free = Some(self.now);
        }
    }

    fn down(&mut self, at: (NodeId, Lane)) {
        self.up.remove(&at);
        self.checked.remove(&at);
        self.calls.retain(|_, out| out.at != at);
        for last in self.last.iter_mut().flatten().filter(|last| last.at == at) {
            last.given_up(self.now);
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Open { node, lane, epoch } => {
                    assert!(!self.up.contains_key(&(node, lane)), "it opens what is open");
                    assert!(self.dialing.insert((node, lane), epoch).is_none(), "it dials twice");
                }
                Output::Close { node, lane, epoch, .. } => {
                    let known =
                        self.dialing.remove(&(node, lane)).or_else(|| self.up.get(&(node, lane)).copied());
                    assert_eq!(known, Some(epoch), "it closes what is not there");
                    self.down((node, lane));
                }
                Output::Call { node, lane, epoch, call, request, .. } => {
                    self.called((node, lane), epoch, call, request)
                }
                Output::Forget { call, .. } => {
                    self.calls.remove(&call);
                    // Forgotten when the pause is over.
                    self.replied(call);
                }
                Output::Done { command, result } => {
                    if self.followers.remove(&command).is_some() {
                        assert!(result.is_err());
                        continue;
                    }
                    let deadline = self.open.remove(&command).expect("a result for what is over");
                    assert!(deadline.is_none_or(|deadline| self.now <= deadline), "after its deadline");
                    if let Some((topic, _)) = self.sends.remove(&command)
                        && matches!(result, Err(ClusterError::MaybeAppended { .. }))
                        && let Some(last) = &mut self.last[topic]
                    {
                        last.given_up(self.now);
                    }
                }
                _ => {}
            }
        }
    }

    fn called(&mut self, at: (NodeId, Lane), epoch: Epoch, call: CallId, request: Request) {
        assert_eq!(self.up.get(&at), Some(&epoch), "a call without its connection");
        if request != Request::ClusterDetails {
            assert!(self.checked.contains(&at), "before the cluster's id was checked");
        }
        if let Request::Receive(receive) = &request {
            assert!(receive.quantity >= 2);
            assert_eq!(receive.wait, at.1 == Lane::Long);
        }
        if let Request::Send(send) = &request {
            let topic = TOPICS.iter().position(|topic| *topic == send.topic).expect("ours");
            let repeated = self.sends.values().any(|send| *send == (topic, true));
            let patience = if repeated { self.now + ATTEMPT } else { Instant::FAR_FUTURE };
            let last = self.last[topic].replace(Last { call, at, patience, free: None });
            if let Some(last) = last {
                // A repeated send was given up silently; its call is forgotten before the next one.
                assert!(last.free.is_some_and(|free| free <= self.now), "two sends of a topic at once");
            }
        }
        assert!(self.calls.insert(call, Out { at, request }).is_none(), "a number is used twice");
    }

    fn check(&self) {
        let snapshot = self.cluster.snapshot();
        assert_eq!(snapshot.commands, self.open.len() + self.followers.len());
        assert_eq!(snapshot.followers, self.followers.len());
        assert!(
            snapshot.commands <= 40 && snapshot.topics <= 2 && snapshot.queued_bytes <= 300,
            "{snapshot:?}"
        );
        assert!(snapshot.queued_messages <= 40, "{snapshot:?}");
        let calls = snapshot.commands + snapshot.topics + 12 + 3 * 2;
        assert!(snapshot.calls <= calls && snapshot.calls >= self.calls.len(), "{snapshot:?}");
        assert!(snapshot.timers <= 2 * snapshot.commands + 2 * snapshot.topics + 6, "{snapshot:?}");
        let due = self.open.values().flatten().min();
        assert!(due.is_none_or(|due| self.cluster.next_timeout().is_some_and(|next| next <= *due)));
    }
}

fn nth<K: Ord, V>(map: &BTreeMap<K, V>, pick: u8) -> Option<(&K, &V)> {
    map.iter().nth(usize::from(pick) % map.len().max(1))
}

/// Refused at once, because of the caller or of a limit.
fn refused(error: &ClusterError) {
    let fine = matches!(
        error,
        ClusterError::Argument { .. } | ClusterError::TooLarge { .. } | ClusterError::Full { .. }
    );
    assert!(fine, "{error:?}");
}

fn reply_to(request: &Request, input: &mut Input<'_>) -> Reply {
    let kind = input.byte();
    let number = input.byte();
    let code = match kind / 8 % 8 {
        1 => Code::NotLeader,
        2 => Code::Shutdown,
        3 if kind >= 192 => Code::TopicNotFound,
        4 if kind >= 192 => Code::Internal,
        5 if kind >= 192 => Code::ClusterIdMismatch,
        _ => Code::Success,
    };
    let extra = ["", "x:9", "y:9", "x:2"][usize::from(number % 4)].to_owned();
    let status = Status { code, description: String::new(), extra };
    // Occasionally the reply of another method.
    if kind == 255 {
        return Reply::Error(["Topic not found on server.", "other"][usize::from(number % 2)].to_owned());
    }
    let request = match kind {
        254 => &Request::ClusterDetails,
        _ => request,
    };
    match request {
        Request::ClusterDetails => {
            let cluster_id = if number % 16 == 15 { "other" } else { "id" }.to_owned();
            let peers = if number & 16 == 0 { vec!["x:8".to_owned(), "x:9".to_owned()] } else { Vec::new() };
            Reply::ClusterDetails(ClusterDetails { status, cluster_id, peers, topics: Vec::new() })
        }
        Request::TopicDetails { .. } => {
            let (first, last) = (i64::from(kind % 8), i64::from(number % 16));
            let bounds = Bounds { first, last, commit: last - i64::from(number / 64) };
            Reply::TopicDetails(TopicDetails { status, bounds })
        }
        Request::Send(send) => {
            let wrong = i64::from(kind % 8 == 7);
            let count =
                if code == Code::Success || number & 128 != 0 { send.messages.len() as i64 } else { 0 };
            let ids = (0..count).map(|n| i64::from(number) + 1 + n * (1 - wrong)).collect();
            Reply::Sent(Sent { status, ids })
        }
        Request::Receive(receive) => {
            let count = usize::from(number % 4);
            let next_id = match kind % 8 {
                0 => 0,
                1 => receive.id.saturating_add(i64::from(number)),
                _ => receive.id.saturating_add(count as i64),
            };
            Reply::Received(Received { status, messages: vec!["m".into(); count], next_id })
        }
        _ => Reply::Error(String::new()),
    }
}
