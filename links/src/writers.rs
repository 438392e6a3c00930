//! Waiting for callers that are still writing for a link when it ends.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bowline_core::frame::Framing;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;

use crate::peer_core::PeerCore;

/// A writer does not wait for its socket. A batch that is not given back within this time never will be: its
/// socket panicked.
const LIMIT: Duration = Duration::from_secs(1);

/// Waits until no caller writes for a link that is over. Before that, the outcome of the messages being
/// written is not known.
pub(crate) async fn writers_left<R: Runtime, F: Framing>(peer: &PeerCore<F>) {
    let (mut alarm, mut until) = (Alarm::new(R::timer()), None);
    poll_fn(|cx| {
        if peer.shared().with(|link| link.poll_late_writes(|| cx.waker().clone())) {
            return Poll::Ready(());
        }
        let until = *until.get_or_insert_with(|| clock::after(LIMIT));
        while clock::now() < until {
            if !alarm.poll(cx, until) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    })
    .await;
}
