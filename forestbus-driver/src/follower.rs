//! Following a topic.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Tasks, Threads, Wait};
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::{CommandId, Followed};
use bowline_forestbus::protocol::Index;

use crate::client::Handle;
use crate::error::ClientError;

/// Reads a topic's committed messages, each once and without gaps: see
/// [`Client::follow`](crate::Client::follow).
///
/// A stream on tokio, smol and async-std, an iterator on threads, with [`next`](Self::next) on each. It ends
/// after an error. After [`Truncated`](bowline_forestbus::cluster::ClusterError::Truncated) it may be
/// [rewound](Self::rewind), and continues then. Dropping it ends it.
pub struct Follower<R: Runtime> {
    reading: Arc<Reading>,
    runtime: PhantomData<fn() -> R>,
}

/// Ends the follower when it is no longer read.
pub(crate) struct Reading {
    handle: Arc<Handle>,
    id: CommandId,
}

impl Reading {
    /// Reads from that command.
    pub(crate) fn new(handle: &Arc<Handle>, id: CommandId) -> Self {
        Self { handle: Arc::clone(handle), id }
    }

    /// The next item; `None` after the end.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Followed, ClientError>>> {
        let Self { handle, id } = self;
        handle.core.poll_followed(*id, cx).map(|next| next.map(|next| next.map_err(Into::into)))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.handle.core.abandon(self.id);
    }
}

impl<R: Runtime> std::fmt::Debug for Follower<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("id", &self.reading.id).finish_non_exhaustive()
    }
}

impl<R: Runtime> Follower<R> {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { reading: Arc::new(reading), runtime: PhantomData }
    }

    /// Waits for the next page of messages, or the notice that some are gone; `None` once it has ended.
    ///
    /// # Errors
    /// See [`ClusterError`](bowline_forestbus::cluster::ClusterError). The follower has ended then.
    ///
    /// # Cancel safety
    /// Nothing is taken before the future is ready: dropping it loses nothing.
    #[allow(clippy::should_implement_trait, reason = "on threads it is an iterator as well, which this is")]
    pub fn next(&mut self) -> Wait<R, Next> {
        let next = Next { reading: Arc::clone(&self.reading) };
        R::Style::wait(next, || Some(Err(ClientError::WouldPark)))
    }

    /// Continues at index `to`. Messages that were read and not taken are dropped. Returns whether it can: it
    /// has not ended, and `to` is at least 1.
    pub fn rewind(&mut self, to: Index) -> bool {
        self.reading.handle.core.rewind(self.reading.id, to)
    }
}

/// The future of a follower's next item.
#[must_use = "futures do nothing unless polled"]
pub struct Next {
    reading: Arc<Reading>,
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").field("id", &self.reading.id).finish_non_exhaustive()
    }
}

impl Future for Next {
    type Output = Option<Result<Followed, ClientError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reading.poll_next(cx)
    }
}

impl<R: Runtime<Style: Tasks>> futures_core::Stream for Follower<R> {
    type Item = Result<Followed, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reading.poll_next(cx)
    }
}

impl<R: Runtime<Style: Threads>> Iterator for Follower<R>
where
    R::Style: Style<Wait<Next> = Option<Result<Followed, ClientError>>>,
{
    type Item = Result<Followed, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}
