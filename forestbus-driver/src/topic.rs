//! A topic of a cluster, as a log and as a sink for batches.

use bowline_core::batcher::{Batch, Failed};
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::{Attempts, ClusterError, Options};
use bowline_forestbus::protocol::Index;
use bowline_links::batcher::Sink;
use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;

/// A topic of a cluster: a [`Log`](bowline_log::Log), and a [`Sink`] for a batcher. Made by
/// [`Client::topic`].
///
/// As a log it returns committed messages only, each once and without gaps; records have neither ids nor
/// headers. As a sink each attempt asks every node at most once: the batcher does the retries. All writers to
/// a topic must share one client: the server stores sends of several clients that arrive within 3 ms with one
/// payload.
///
/// It keeps its client alive.
pub struct Topic<R: Runtime> {
    pub(crate) client: Client<R>,
    pub(crate) name: Arc<str>,
    pub(crate) options: Options,
}

impl<R: Runtime> Clone for Topic<R> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), name: Arc::clone(&self.name), options: self.options }
    }
}

impl<R: Runtime> std::fmt::Debug for Topic<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Topic<R> {
    pub(crate) fn new(client: Client<R>, name: String) -> Self {
        Self { client, name: name.into(), options: Options::new() }
    }

    /// Sets how its commands are run: when a send counts as done, and their deadline.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client of its cluster.
    #[must_use]
    pub fn client(&self) -> &Client<R> {
        &self.client
    }
}

impl<R: Runtime> Sink for Topic<R> {
    type Message = Bytes;
    type Position = Index;
    type Error = ClientError;

    fn size(&self, message: &Bytes) -> usize {
        message.len()
    }

    async fn append(&self, batch: &mut Batch<Bytes, Index, ClientError>) {
        let left = batch.deadline().saturating_since(clock::now());
        let limit = self.options.limit().unwrap_or_else(|| self.client.core().deadline());
        let options = self.options.attempts(Attempts::OneRound).deadline(limit.min(left));
        let sent = self.client.sending(&self.name, batch.messages().to_vec(), options).await;
        let answers = batch.answers();
        match sent {
            Ok(appended) => {
                for (place, index) in appended.ids.into_iter().enumerate() {
                    answers.answer(place, Ok(index));
                }
            }
            Err(error) => answers.fail_rest(failed(error)),
        }
    }
}

fn failed(error: ClientError) -> Failed<ClientError> {
    if let Some(ClusterError::MaybeAppended { .. }) = error.cluster() {
        // Whether it is repeated depends on the batcher's settings: a repetition may well succeed.
        return Failed::maybe_appended(error).retryable(true);
    }
    let retryable = error.is_retryable();
    Failed::not_appended(error).retryable(retryable)
}
