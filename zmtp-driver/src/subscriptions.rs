//! The subscriptions of a socket, and of its peers.

use std::future::{Future, poll_fn};
use std::task::Poll;

use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;

use crate::error::ConnectError;
use crate::kind::{Publishes, Subscribes};
use crate::socket::Socket;

impl<R: Runtime, K: Subscribes> Socket<R, K> {
    /// Subscribes to all messages that begin with `topic`; a DISH joins the group of that name. The
    /// subscription applies to all peers, including later ones.
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) {
        self.handle.core.subscribe(topic.as_ref());
    }

    /// Ends a subscription. It must be ended as often as it was made. `false`: there is none.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) -> bool {
        self.handle.core.unsubscribe(topic.as_ref())
    }
}

impl<R: Runtime, K: Publishes> Socket<R, K> {
    /// The total number of subscriptions (or memberships) of the peers.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.handle.core.subscriptions()
    }

    /// Waits until the peers have at least `count` subscriptions in total.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn wait_for_subscribers(
        &self,
        count: usize,
    ) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send + use<R, K>> {
        let core = Arc::clone(&self.handle.core);
        let there = async move {
            poll_fn(|cx| {
                core.watch(cx.waker());
                match core.subscriptions() >= count {
                    true => Poll::Ready(Ok(())),
                    false if core.is_closing() => Poll::Ready(Err(ConnectError::Closed)),
                    false => Poll::Pending,
                }
            })
            .await
        };
        self.handle.core.place().within(|| R::Style::wait(there, || Err(ConnectError::WouldPark)))
    }
}
