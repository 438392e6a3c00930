//! The task of a proxy.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;

use super::ProxyReason;
use super::flow::Flow;
use super::steer::Steer;
use crate::core::{SocketCore, new_poller};

/// Messages in each direction before other tasks get their turn.
const AT_ONCE: u32 = 128;

/// The socket that gets copies, and a value that keeps it open.
type Capture = (Arc<SocketCore>, Arc<dyn Any + Send + Sync>);

pub(super) struct Task<R: Runtime> {
    steer: Arc<Steer>,
    /// Front and back.
    ends: [Arc<SocketCore>; 2],
    /// From the front, from the back.
    flows: [Option<Flow>; 2],
    capture: Option<Capture>,
    poller: u64,
    _keep: [Arc<dyn Any + Send + Sync>; 2],
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Task<R> {
    pub(super) fn new(
        steer: Arc<Steer>,
        ends: [Arc<SocketCore>; 2],
        flows: [Option<Flow>; 2],
        capture: Option<Capture>,
        keep: [Arc<dyn Any + Send + Sync>; 2],
    ) -> Self {
        Self { steer, ends, flows, capture, poller: new_poller(), _keep: keep, runtime: PhantomData }
    }

    fn end(&mut self, reason: ProxyReason) {
        let Self { flows, poller, .. } = self;
        let unsent = flows.iter_mut().flatten().filter_map(|flow| flow.end(*poller)).collect();
        self.steer.end(reason, unsent);
    }
}

impl<R: Runtime> Future for Task<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.steer.register(cx.waker());
        // A closing socket wakes its watchers, whatever else is waited for.
        this.ends.iter().for_each(|end| end.watch(cx.waker()));
        let mut is_busy = false;
        if !this.steer.is_stopped() {
            let capture = this.capture.as_ref().map(|(core, _)| &**core);
            for (flow, counters) in this.flows.iter_mut().zip(&this.steer.counters) {
                let Some(flow) = flow else { continue };
                let mut left = AT_ONCE;
                flow.run(cx, this.poller, &this.steer, counters, capture, &mut left);
                is_busy |= left == 0;
            }
        }
        let reason = if this.steer.is_stopped() {
            ProxyReason::Stopped
        } else if is_busy {
            // Lets other tasks run; the messages that a closing socket had received are still passed on.
            R::wake_later(cx.waker().clone());
            return Poll::Pending;
        } else if this.ends[0].is_closing() {
            ProxyReason::FrontClosed
        } else if this.ends[1].is_closing() {
            ProxyReason::BackClosed
        } else {
            return Poll::Pending;
        };
        this.end(reason);
        Poll::Ready(())
    }
}

impl<R: Runtime> Drop for Task<R> {
    /// It is over, or the runtime dropped it.
    fn drop(&mut self) {
        self.end(ProxyReason::RuntimeGone);
    }
}
