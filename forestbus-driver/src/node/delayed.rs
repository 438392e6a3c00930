//! The task that sends a slow node's answers.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;

use super::desk::NodeDesk;

/// Sleeps while no answer is delayed.
pub(super) struct Delayed<R: Runtime> {
    desk: Arc<NodeDesk>,
    /// Created when it is first needed, because timers must be created inside their runtime.
    alarm: Option<Alarm<R::Timer>>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Delayed<R> {
    pub(super) fn new(desk: Arc<NodeDesk>) -> Self {
        Self { desk, alarm: None, runtime: PhantomData }
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime> Unpin for Delayed<R> {}

impl<R: Runtime> Future for Delayed<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let Ok(next) = this.desk.tick(cx) else { return Poll::Ready(()) };
            let Some(at) = next else { return Poll::Pending };
            let alarm = this.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
            if at > clock::now() && !alarm.poll(cx, at) {
                return Poll::Pending;
            }
        }
    }
}
