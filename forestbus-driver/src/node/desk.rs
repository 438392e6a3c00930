//! A node behind its lock, and the callers that wait for its answers.

use std::collections::{BTreeMap, HashMap};
use std::task::{Context, Wake, Waker};

use bowline_core::error::{Chain, Failure, Status};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::{Arc, Mutex, Weak};
use bowline_forestbus::node::{Node, NodeSettings, Response, WaitId};
use bowline_forestbus::protocol::{Reply, Request};
use bowline_forestbus::wire::{CborRpc, Codec, Method};
use bowline_links::{Request as Asked, Responder};

/// The state that a node's connections, its controls and its timer share. The lock is held while the node
/// decides, and never while something is read or written.
#[derive(Debug)]
pub(super) struct NodeDesk {
    state: Mutex<State>,
    codec: Codec,
}

#[derive(Debug)]
struct State {
    node: Node,
    /// Callers of waiting calls.
    callers: HashMap<WaitId, Responder<CborRpc>>,
    /// Answers that are sent later, by time.
    delayed: BTreeMap<(Instant, u64), Ready>,
    last_delayed: u64,
    timer: Option<Waker>,
    /// It was stopped: nothing is answered any more.
    is_over: bool,
    /// Callers since then. They are dropped when their connections are cut: they get no answer.
    unheard: Vec<Responder<CborRpc>>,
}

/// An answer, and its receiver.
type Ready = (Responder<CborRpc>, Reply);

impl NodeDesk {
    pub(super) fn new(node: Node, codec: Codec) -> Self {
        let state = State {
            node,
            callers: HashMap::new(),
            delayed: BTreeMap::new(),
            last_delayed: 0,
            timer: None,
            is_over: false,
            unheard: Vec::new(),
        };
        Self { state: Mutex::new(state), codec }
    }

    /// Calls `f` with the node, and sends the resulting answers.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Node) -> T) -> T {
        let mut state = self.state.lock();
        let output = f(&mut state.node);
        let (ready, timer) = state.answers(None);
        drop(state);
        self.give_out(ready, timer);
        output
    }

    /// A call. Called where the connection is read.
    pub(super) fn request<R: Runtime>(
        self: &Arc<Self>,
        asked: Asked<R, CborRpc>,
        responder: Responder<CborRpc>,
    ) {
        // The framing reports the error.
        let Some(method) = Method::from_number(asked.method()) else {
            return responder.fail(Failure::new(Status::NO_METHOD, ""));
        };
        match self.codec.read_request(method, &asked.into_body().into_bytes()) {
            Ok(request) => self.ask(request, responder),
            Err(error) => responder.fail(Failure::new(Status::FAILED, Chain(&error).to_string())),
        }
    }

    fn ask(self: &Arc<Self>, request: Request, responder: Responder<CborRpc>) {
        let mut state = self.state.lock();
        if state.is_over {
            state.unheard.push(responder);
            return;
        }
        let now = match state.node.request(request) {
            Response::Now(reply) => Some((responder, reply)),
            Response::Later(wait) => {
                let gone = Arc::new(Gone { desk: Arc::downgrade(self), wait });
                if responder.watch(gone.into()) {
                    state.node.give_up(wait);
                } else {
                    state.callers.insert(wait, responder);
                }
                None
            }
        };
        let (ready, timer) = state.answers(now);
        drop(state);
        self.give_out(ready, timer);
    }

    fn give_out(&self, ready: Vec<Ready>, timer: Option<Waker>) {
        if let Some(timer) = timer {
            timer.wake();
        }
        for (responder, reply) in ready {
            let mut body = Vec::new();
            match self.codec.write_reply(&reply, &mut body) {
                Ok(()) => responder.reply(body),
                Err(failure) => responder.fail(failure),
            }
        }
    }

    /// Sends the answers that are due. Returns when to call again: `Ok(None)` when woken, `Err` never.
    pub(super) fn tick(&self, cx: &Context<'_>) -> Result<Option<Instant>, ()> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(());
        }
        state.timer = Some(cx.waker().clone());
        let later = state.delayed.split_off(&(clock::now(), u64::MAX));
        let due = std::mem::replace(&mut state.delayed, later);
        let next = state.delayed.keys().next().map(|&(at, _)| at);
        drop(state);
        self.give_out(due.into_values().collect(), None);
        Ok(next)
    }

    /// Nothing is answered any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        let timer = state.timer.take();
        drop(state);
        if let Some(timer) = timer {
            timer.wake();
        }
    }

    /// The node, taken out. Waiting calls are dropped.
    pub(super) fn take(&self) -> Node {
        let mut state = self.state.lock();
        let callers = std::mem::take(&mut state.callers);
        let delayed = std::mem::take(&mut state.delayed);
        let unheard = std::mem::take(&mut state.unheard);
        for wait in callers.keys() {
            state.node.give_up(*wait);
        }
        let node = std::mem::replace(&mut state.node, empty());
        drop(state);
        // Their connections are gone: they get no answer.
        drop((callers, delayed, unheard));
        node
    }

    /// The caller of a waiting call may be gone.
    fn look_after(&self, wait: WaitId) {
        let mut state = self.state.lock();
        let State { node, callers, .. } = &mut *state;
        if callers.get(&wait).is_some_and(Responder::is_cancelled) {
            node.give_up(wait);
            let caller = callers.remove(&wait);
            drop(state);
            drop(caller);
        }
    }
}

/// The replacement of a node that was taken out.
fn empty() -> Node {
    // The defaults are valid.
    match NodeSettings::new("").build() {
        Ok(settings) => Node::new(settings),
        Err(error) => unreachable!("{error}"),
    }
}

impl State {
    /// The available answers, `first` before the others: those to send now, and the waker to wake for delayed
    /// ones.
    fn answers(&mut self, first: Option<Ready>) -> (Vec<Ready>, Option<Waker>) {
        let mut ready: Vec<Ready> = first.into_iter().collect();
        while let Some((wait, reply)) = self.node.poll_answer() {
            ready.extend(self.callers.remove(&wait).map(|caller| (caller, reply)));
        }
        let delay = self.node.delay();
        if delay.is_zero() || ready.is_empty() {
            return (ready, None);
        }
        let at = clock::after(delay);
        let most = self.node.max_waiting();
        let mut refused = Vec::new();
        for (responder, reply) in ready {
            if self.delayed.len() >= most {
                refused.push((responder, Reply::Error("Too many answers wait on this node.".to_owned())));
                continue;
            }
            self.last_delayed += 1;
            self.delayed.insert((at, self.last_delayed), (responder, reply));
        }
        (refused, self.timer.take())
    }
}

/// Handles a waiting call when its caller's connection ends.
struct Gone {
    desk: Weak<NodeDesk>,
    wait: WaitId,
}

impl Wake for Gone {
    fn wake(self: Arc<Self>) {
        if let Some(desk) = self.desk.upgrade() {
            desk.look_after(self.wait);
        }
    }
}
