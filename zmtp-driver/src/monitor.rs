//! The observable state of a socket: its events, and its pipes.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

use bowline_core::address::Address;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::{Arc, Mutex};
use bowline_zmtp::pipe::{Peer, PipeStats, Role};
use bowline_zmtp::socket::{PipeId, Pipes, SocketEvent, SocketStats};

use crate::core::{SocketCore, State};
use crate::kind::Kind;
use crate::observe::{self, Label};
use crate::socket::Socket;

/// Maximum number of events that wait to be taken.
const EVENTS: usize = 1024;

/// The state of a pipe at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PipeInfo {
    /// The id of the pipe, as in events.
    pub id: PipeId,
    /// Whether it connects, or was accepted.
    pub role: Role,
    /// The endpoint that it connects to, or the bound endpoint that it was accepted at.
    pub endpoint: Arc<str>,
    /// The address of the other side of its latest connection, if it is known.
    pub address: Option<Address>,
    /// The peer, while a connection is past its handshake.
    pub peer: Option<Arc<Peer>>,
    /// Counters of the pipe.
    pub stats: PipeStats,
    /// Messages that wait to be sent, without those being written.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Received messages that wait in the pipe. The receiver takes all of them at once.
    pub unreceived: usize,
    /// Their bytes.
    pub unreceived_bytes: usize,
    /// Bytes that count in the memory of its endpoint: of an incomplete message, in the receive buffer, and in
    /// layers under the pipe (TLS).
    pub unfinished_bytes: usize,
    /// Bytes of memory allocated for waiting messages.
    pub memory: usize,
}

/// The endpoint of a pipe.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) endpoint: Arc<str>,
    pub(crate) address: Option<Address>,
}

/// The events of a socket. Its lock is taken after the socket's.
pub(crate) struct Monitor {
    label: Label,
    state: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    events: VecDeque<SocketEvent>,
    lost: u64,
    origins: BTreeMap<PipeId, Origin>,
    waiting: Vec<Waker>,
}

impl Monitor {
    pub(crate) fn new(label: Label) -> Self {
        Self { label, state: Mutex::default() }
    }

    /// Reports an event. It never waits: events that are not taken are dropped and counted.
    pub(crate) fn tell(&self, event: SocketEvent) {
        observe::event(&self.label, &event);
        let mut state = self.state.lock();
        if state.events.len() < EVENTS {
            state.events.push_back(event);
        } else {
            state.lost += 1;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn take(&self) -> Option<SocketEvent> {
        self.state.lock().events.pop_front()
    }

    /// The oldest event; otherwise the waker is called when there is one.
    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<SocketEvent> {
        let mut state = self.state.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(event);
        }
        if !state.waiting.iter().any(|kept| kept.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    /// The number of events that were dropped because earlier ones were not taken.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    pub(crate) fn set_origin(&self, id: PipeId, endpoint: &Arc<str>, address: Option<Address>) {
        self.state.lock().origins.insert(id, Origin { endpoint: Arc::clone(endpoint), address });
    }

    pub(crate) fn origin(&self, id: PipeId) -> Option<Origin> {
        self.state.lock().origins.get(&id).cloned()
    }

    pub(crate) fn forget(&self, id: PipeId) {
        self.state.lock().origins.remove(&id);
    }
}

impl SocketCore {
    /// The oldest event that was not taken; `None` when there will be no more.
    pub(crate) fn poll_event(&self, waker: &Waker) -> Poll<Option<SocketEvent>> {
        // Checked first: an event that is reported before the end is taken before it.
        let over = self.poll_closed(waker);
        match self.monitor.poll_take(waker) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending if over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Its pipes, in the order in which they were made.
    pub(crate) fn pipes(&self) -> Vec<PipeInfo> {
        self.with(|state| {
            let State { table, .. } = state;
            let ids: Vec<PipeId> = table.pipes.keys().copied().collect();
            let info = |id: PipeId| {
                let inproc = table.pipes.get(&id)?.inproc.as_ref().map(|inproc| Arc::clone(&inproc.endpoint));
                let (endpoint, address) = match (inproc, self.monitor.origin(id)) {
                    (Some(endpoint), _) => (endpoint, None),
                    (None, origin) => origin.map(|origin| (origin.endpoint, origin.address))?,
                };
                table.with(id, |pipe| PipeInfo {
                    id,
                    role: pipe.role(),
                    endpoint,
                    address,
                    peer: pipe.peer().cloned(),
                    stats: pipe.stats(),
                    waiting: pipe.waiting(),
                    waiting_bytes: pipe.waiting_bytes(),
                    unreceived: pipe.inbox().messages(),
                    unreceived_bytes: pipe.inbox().bytes(),
                    unfinished_bytes: pipe.unfinished_bytes(),
                    memory: pipe.memory(),
                })
            };
            ids.into_iter().filter_map(info).collect()
        })
    }
}

impl<R: Runtime, K: Kind> Socket<R, K> {
    /// The counters of the socket.
    #[must_use]
    pub fn stats(&self) -> SocketStats {
        self.core().stats()
    }

    /// The oldest event that was not taken. Up to 1,024 wait; later ones are dropped and
    /// [counted](SocketStats::events_lost). Events never slow the socket down.
    #[must_use]
    pub fn take_event(&self) -> Option<SocketEvent> {
        self.core().monitor.take()
    }

    /// [`take_event`](Self::take_event), and waits for an event; `None` once the socket is closed and all
    /// events were taken. If several callers wait, one gets it. On a thread that must not wait, it returns an
    /// event that is available.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub fn next_event(&self) -> Wait<R, impl Future<Output = Option<SocketEvent>> + Send + use<R, K>> {
        let core = Arc::clone(self.core());
        let there = Arc::clone(&core);
        let next = async move { poll_fn(|cx| core.poll_event(cx.waker())).await };
        self.core().place().within(|| R::Style::wait(next, || there.monitor.take()))
    }

    /// Its pipes: their endpoints, counters, and waiting messages.
    #[must_use]
    pub fn pipes(&self) -> Vec<PipeInfo> {
        self.core().pipes()
    }
}
