//! Each rule in isolation, with nodes simulated by the test.

mod connections;
mod follow;
mod lifecycle;
mod reads;
mod sends;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::Epoch;
use bowline_core::time::Instant;
use bytes::Bytes;

use super::*;
use crate::protocol::{
    Bounds, ClusterDetails, Code, Receive, Received, Reply, Request, Sent, Status, TopicDetails,
};
use crate::wire::Unfit;

type Result<T> = core::result::Result<T, ClusterError>;

/// A call that a node has.
#[derive(Clone, Debug)]
struct Called {
    node: usize,
    lane: Lane,
    epoch: Epoch,
    call: CallId,
    request: Request,
}

/// A client and what came out of it. Dials and checks are done at once, except where the test says otherwise.
struct Bench {
    cluster: Cluster,
    now: Instant,
    /// Nodes that cannot be dialed.
    down: BTreeSet<usize>,
    /// Nodes that take connections and say nothing.
    silent: BTreeSet<usize>,
    /// Nodes of another cluster.
    foreign: BTreeSet<usize>,
    calls: Vec<Called>,
    opened: Vec<(usize, Lane, Epoch)>,
    closed: Vec<(usize, Lane, NodeCause)>,
    forgotten: Vec<CallId>,
    done: Vec<(CommandId, Result<Answer>)>,
    ready: Vec<CommandId>,
    probes: Vec<Called>,
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn node(index: usize) -> NodeId {
    NodeId::new(index)
}

fn blobs(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

fn sent(ids: &[Index]) -> Reply {
    Reply::Sent(Sent { ids: ids.to_vec(), ..Sent::default() })
}

fn status(code: Code, extra: &str) -> Status {
    Status { code, description: "in words".to_string(), extra: extra.to_string() }
}

fn not_leader(hint: &str, ids: &[Index]) -> Reply {
    Reply::Sent(Sent { status: status(Code::NotLeader, hint), ids: ids.to_vec() })
}

fn received(messages: &[&'static str], next_id: Index) -> Reply {
    Reply::Received(Received { messages: blobs(messages), next_id, ..Received::default() })
}

fn bounds(first: Index, last: Index, commit: Index) -> Reply {
    Reply::TopicDetails(TopicDetails { bounds: Bounds { first, last, commit }, ..TopicDetails::default() })
}

impl Bench {
    /// Three nodes, by host.
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::of(change(Settings::new(["a:1", "b:1", "c:1"]).cluster_id("test")))
    }

    fn of(settings: Settings) -> Self {
        Self {
            cluster: Cluster::new(settings.build().unwrap(), 7),
            now: Instant::ZERO,
            down: BTreeSet::new(),
            silent: BTreeSet::new(),
            foreign: BTreeSet::new(),
            calls: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            forgotten: Vec::new(),
            done: Vec::new(),
            ready: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Open { node, lane, epoch } => {
                    self.opened.push((node.index(), lane, epoch));
                    if self.down.contains(&node.index()) {
                        self.cluster.dial_failed(self.now, node, lane, epoch, Disconnect::NotConnected);
                    } else {
                        self.cluster.connected(self.now, node, lane, epoch);
                    }
                }
                Output::Close { node, lane, cause, .. } => {
                    self.calls.retain(|called| (called.node, called.lane) != (node.index(), lane));
                    self.closed.push((node.index(), lane, cause));
                }
                Output::Call { node, lane, epoch, call, request, .. } => {
                    let called = Called { node: node.index(), lane, epoch, call, request };
                    if called.request != Request::ClusterDetails {
                        self.calls.push(called);
                    } else if self.silent.contains(&called.node) {
                        self.probes.push(called);
                    } else {
                        let id = if self.foreign.contains(&called.node) { "other" } else { "test" };
                        let details = ClusterDetails { cluster_id: id.to_string(), ..Default::default() };
                        self.cluster.reply(self.now, call, Reply::ClusterDetails(details));
                    }
                }
                Output::Forget { call, .. } => {
                    self.calls.retain(|called| called.call != call);
                    self.forgotten.push(call);
                }
                Output::Done { command, result } => self.done.push((command, result)),
                Output::Ready { follower } => self.ready.push(follower),
            }
        }
    }

    /// Advances the time, handling all timeouts on the way.
    fn run_until(&mut self, end: Instant) {
        while let Some(due) = self.cluster.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.cluster.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn run_for(&mut self, millis: u64) {
        self.run_until(self.now + Duration::from_millis(millis));
    }

    fn send_with(&mut self, messages: &[&'static str], options: Options) -> CommandId {
        let id = self.cluster.send_messages(self.now, "t", blobs(messages), options).unwrap();
        self.settle();
        id
    }

    fn send(&mut self, messages: &[&'static str]) -> CommandId {
        self.send_with(messages, Options::new())
    }

    fn get(&mut self, index: Index, quantity: u32, wait: bool) -> CommandId {
        let options = Options::new();
        let id = self.cluster.get_messages(self.now, "t", index, quantity, wait, options).unwrap();
        self.settle();
        id
    }

    fn follow(&mut self, from: Index) -> CommandId {
        let id = self.cluster.follow(self.now, "t", from).unwrap();
        self.settle();
        id
    }

    /// The only call that is out.
    fn only(&self) -> Called {
        assert_eq!(self.calls.len(), 1, "{:?}", self.calls);
        self.calls[0].clone()
    }

    fn reply(&mut self, called: &Called, reply: Reply) {
        self.calls.retain(|other| other.call != called.call);
        self.cluster.reply(self.now, called.call, reply);
        self.settle();
    }

    /// Answers the only call: where it was.
    fn answer(&mut self, reply: Reply) -> usize {
        let called = self.only();
        self.reply(&called, reply);
        called.node
    }

    fn lose(&mut self, called: &Called) {
        let (id, lane) = (node(called.node), called.lane);
        self.calls.retain(|other| (other.node, other.lane) != (called.node, lane));
        self.cluster.disconnected(self.now, id, lane, called.epoch, Disconnect::PeerClosed);
        self.settle();
    }

    /// A command's result; it has to have one, and one only.
    fn result(&self, id: CommandId) -> Result<Answer> {
        let results: Vec<_> = self.done.iter().filter(|(other, _)| *other == id).collect();
        assert_eq!(results.len(), 1, "{id:?}: {results:?}");
        results[0].1.clone()
    }

    fn is_open(&self, id: CommandId) -> bool {
        self.done.iter().all(|(other, _)| *other != id)
    }

    fn error(&self, id: CommandId) -> String {
        let error = self.result(id).unwrap_err();
        bowline_core::error::Chain(&error).to_string()
    }

    fn take(&mut self, id: CommandId) -> Option<Result<Followed>> {
        let taken = self.cluster.take(self.now, id);
        self.settle();
        taken
    }

    fn page(&mut self, id: CommandId) -> (Index, Vec<Bytes>) {
        match self.take(id) {
            Some(Ok(Followed::Page(page))) => (page.first, page.messages),
            other => panic!("{other:?}"),
        }
    }
}

fn receive_of(called: &Called) -> Receive {
    match &called.request {
        Request::Receive(receive) => receive.clone(),
        other => panic!("{other:?}"),
    }
}

fn messages_of(called: &Called) -> Vec<Bytes> {
    match &called.request {
        Request::Send(send) => send.messages.clone(),
        other => panic!("{other:?}"),
    }
}

fn ok(ids: &[Index], index: usize) -> Result<Answer> {
    Ok(Answer::Sent { ids: ids.to_vec(), node: node(index) })
}
