//! The task that handles a client's timers, and makes its connections.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::error::Disconnect;
use bowline_driver::clock;
use bowline_driver::error::ConnectError;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_links::Client;

use crate::core::{Core, Open};
use crate::lane::LaneTask;
use crate::observe;

/// Runs as long as the client: all other tasks are spawned from here, inside the runtime.
pub(crate) struct Keeper<R: Runtime> {
    core: Arc<Core>,
    /// Created on the first poll, because timers must be created inside their runtime.
    alarm: Option<Alarm<R::Timer>>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Keeper<R> {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, alarm: None, runtime: PhantomData }
    }

    /// Makes a connection, or reports why it could not be made.
    fn open(&self, Open { at, address, desk }: Open) {
        let core = &self.core;
        core.observe(at, observe::dialing);
        let builder = Client::<R, _>::with_config(address.as_str(), core.link.clone());
        let client = match core.place.within(|| builder.connect_lazy()) {
            Ok(client) => client,
            Err(error) => return core.dial_failed(at, cause(error)),
        };
        // If it cannot be spawned it is dropped, and reports that.
        let task = LaneTask::new(Arc::clone(core), at, client, desk);
        let _ = core.place.within(|| R::spawn(task));
    }
}

/// Why no link could be made.
fn cause(error: ConnectError) -> Disconnect {
    match error.cause() {
        Some(cause) => cause.clone(),
        None => Disconnect::foreign(error),
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime> Unpin for Keeper<R> {}

impl<R: Runtime> Future for Keeper<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let Some(opens) = this.core.keep(cx) else { return Poll::Ready(()) };
            opens.into_iter().for_each(|open| this.open(open));
            let Some(at) = this.core.sleep_until() else { return Poll::Pending };
            if at <= clock::now() {
                continue;
            }
            let alarm = this.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
            if !alarm.poll(cx, at) {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime> Drop for Keeper<R> {
    /// The runtime dropped the task: all waiting callers get the error.
    fn drop(&mut self) {
        self.core.end();
    }
}
