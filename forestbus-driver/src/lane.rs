//! The task of one connection: its calls, their replies, its end.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::error::{CallError, Disconnect, Outcome};
use bowline_core::link::{LinkEvent, Reply as LinkReply};
use bowline_driver::error::ReceiveError;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::CallId;
use bowline_forestbus::wire::{CborRpc, Codec, Method};
use bowline_links::{Client, NextEvent};

use crate::core::{At, Core};
use crate::desk::{Desk, InFlight};

/// Replies that are read before other tasks get their turn.
const ROUND: usize = 32;

/// Polls a connection's calls, and reports their results and the end of the connection.
pub(crate) struct LaneTask<R: Runtime> {
    core: Arc<Core>,
    at: At,
    client: Client<R, CborRpc>,
    events: NextEvent<CborRpc>,
    desk: Arc<Desk>,
    calls: HashMap<CallId, InFlight>,
    /// Calls to be polled.
    ready: Vec<CallId>,
    connected: bool,
    /// Why the last dial failed, or the connection ended.
    cause: Option<Disconnect>,
    /// Nothing more is to be reported.
    over: bool,
}

impl<R: Runtime> LaneTask<R> {
    pub(crate) fn new(core: Arc<Core>, at: At, client: Client<R, CborRpc>, desk: Arc<Desk>) -> Self {
        desk.set_peer((**client).clone());
        let events = (**client).next_event();
        let (calls, ready) = (HashMap::new(), Vec::new());
        Self { core, at, client, events, desk, calls, ready, connected: false, cause: None, over: false }
    }

    /// Handles the desk. `false`: the connection is no longer needed.
    fn take(&mut self, cx: &Context<'_>) -> bool {
        let taken = self.desk.take(cx.waker());
        for call in taken.new {
            self.ready.push(call.call);
            self.calls.insert(call.call, call);
        }
        for call in taken.forgotten {
            // The link frees its place.
            self.calls.remove(&call);
        }
        self.ready.extend(taken.ready);
        !taken.closed
    }

    /// Polls the calls that were woken.
    fn poll_calls(&mut self) {
        for _ in 0..ROUND {
            let Some(id) = self.ready.pop() else { break };
            let Some(call) = self.calls.get_mut(&id) else { continue };
            let waker = self.desk.waker_of(id);
            if let Poll::Ready(result) = call.poll(&mut Context::from_waker(&waker)) {
                let method = call.method;
                self.calls.remove(&id);
                self.over(id, method, result);
            }
        }
    }

    /// A call ended.
    fn over(&self, call: CallId, method: Method, result: Result<LinkReply, CallError>) {
        let error = match result {
            Ok(reply) => {
                // Not under the lock: it may be long.
                let reply = self.core.codec.read_reply(method, &reply.body.into_bytes());
                return self.core.with(|cluster, now| match reply {
                    Ok(reply) => cluster.reply(now, call, reply),
                    // The cluster closes the connection.
                    Err(error) => cluster.unreadable_reply(now, call, error),
                });
            }
            Err(CallError::Failed(failure)) => {
                let reply = Codec::read_failure(&failure);
                return self.core.with(|cluster, now| cluster.reply(now, call, reply));
            }
            Err(error) => error,
        };
        // Calls that were sent are reported with the end of their connection.
        if let CallError::MaybeDelivered(_) = error {
            return;
        }
        let sent = error.outcome() == Outcome::MaybeDelivered;
        let cause = match error {
            CallError::NeverSent(cause) => cause,
            error => Disconnect::foreign(error),
        };
        self.core.with(|cluster, now| cluster.call_failed(now, call, sent, cause));
    }

    /// Handles events of the link. `false`: it is over.
    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Poll::Ready(event) = Pin::new(&mut self.events).poll(cx) else { return Poll::Pending };
        match event {
            Ok(LinkEvent::Connected { .. }) => {
                self.connected = true;
                self.core.connected(self.at);
            }
            Ok(LinkEvent::ConnectFailed { cause, .. } | LinkEvent::Disconnected { cause, .. }) => {
                self.cause = Some(cause);
            }
            Ok(LinkEvent::Closed) | Err(ReceiveError::Closed | ReceiveError::WouldPark) => {
                return Poll::Ready(false);
            }
            Ok(_) | Err(_) => {}
        }
        Poll::Ready(true)
    }

    /// The connection is over: reports its calls first, then the connection itself.
    fn finish(&mut self, cause: Disconnect) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.client.abort();
        let cx = &mut Context::from_waker(Waker::noop());
        // In the order of their requests: a hash map has none.
        let mut calls: Vec<InFlight> = self.calls.drain().map(|(_, call)| call).collect();
        calls.sort_unstable_by_key(|call| call.call);
        for mut call in calls {
            if let Poll::Ready(result) = call.poll(cx) {
                self.over(call.call, call.method, result);
            }
        }
        if self.connected {
            self.core.disconnected(self.at, cause);
        } else {
            self.core.dial_failed(self.at, cause);
        }
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime> Unpin for LaneTask<R> {}

impl<R: Runtime> Future for LaneTask<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(());
        }
        if !this.take(cx) {
            this.over = true;
            this.client.abort();
            return Poll::Ready(());
        }
        this.poll_calls();
        loop {
            match this.poll_link(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    let cause = this.cause.take().unwrap_or(Disconnect::LocalClose);
                    this.finish(cause);
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        if !this.ready.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> Drop for LaneTask<R> {
    /// The runtime dropped the task, or could not take it.
    fn drop(&mut self) {
        let cause = self.cause.take().unwrap_or(Disconnect::LocalClose);
        self.finish(cause);
    }
}
