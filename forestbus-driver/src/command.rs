//! A command, from its first poll to its result.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::time::Instant;
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::{Answer, Cluster, ClusterError, CommandId};

use crate::client::Handle;
use crate::error::ClientError;

/// Begins when it is first polled. If it is dropped before it is ready, the command is cancelled.
pub(crate) struct Command<B> {
    handle: Arc<Handle>,
    begin: Option<B>,
    id: Option<CommandId>,
}

impl<B> Command<B>
where
    B: FnOnce(&mut Cluster, Instant) -> Result<CommandId, ClusterError>,
{
    pub(crate) fn new(handle: &Arc<Handle>, begin: B) -> Self {
        Self { handle: Arc::clone(handle), begin: Some(begin), id: None }
    }
}

impl<B> Unpin for Command<B> {}

impl<B> Future for Command<B>
where
    B: FnOnce(&mut Cluster, Instant) -> Result<CommandId, ClusterError>,
{
    type Output = Result<Answer, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(begin) = this.begin.take() {
            this.id = Some(this.handle.core.begin(begin)?);
        }
        let Some(id) = this.id else { return Poll::Ready(Err(ClusterError::Closed.into())) };
        let polled = this.handle.core.poll_result(id, cx);
        if polled.is_ready() {
            this.id = None;
        }
        polled.map_err(ClientError::from)
    }
}

impl<B> Drop for Command<B> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.handle.core.abandon(id);
        }
    }
}
