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
/// As a log it gives committed messages only, each once and none left out; records have neither ids nor headers. As a
/// sink each attempt asks every node once at most: retries are the batcher's. Messages that do not fit one send go out
/// in several, in order; after a send that failed the rest is not sent. Give all who write to a topic the same
/// client: the server stores sends of several clients that come within 3 ms with one payload.
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

    /// How its commands are run: when a send counts as done, how long a command may take, whether an append is repeated
    /// that may have been stored. A batcher has retries and `at_least_once` of its own: as a sink the topic uses the
    /// commit and the deadline only.
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

    const SENDERS_MAY_POLL: bool = true;

    fn size(&self, message: &Bytes) -> usize {
        message.len()
    }

    async fn append(&self, batch: &mut Batch<Bytes, Index, ClientError>) {
        let limits = self.client.core().limits;
        let limit = self.options.limit().unwrap_or(limits.deadline);
        let options = self.options.attempts(Attempts::OneRound).at_least_once(false);
        let deadline = batch.deadline();
        let (messages, answers) = batch.parts();
        let mut begin = 0;
        while begin < messages.len() {
            let end = begin + limits.fitting(&self.name, &messages[begin..]);
            let left = deadline.saturating_since(clock::now());
            let options = options.deadline(limit.min(left));
            match self.client.sending(&self.name, messages[begin..end].to_vec(), options).await {
                Ok(appended) => {
                    for (place, index) in (begin..end).zip(appended.ids) {
                        answers.answer(place, Ok(index));
                    }
                }
                Err(error) => {
                    // A message that is too large for any send does not stop the others.
                    let goes_on = matches!(error.cluster(), Some(ClusterError::TooLarge { .. }));
                    for place in begin..end {
                        answers.answer(place, Err(failed(error.clone())));
                    }
                    if !goes_on {
                        // They would come before those that failed.
                        return answers.fail_rest(failed(cause_of(error)));
                    }
                }
            }
            begin = end;
        }
    }
}

/// Why a send failed. Of one that may have been appended: why that is not known.
pub(crate) fn cause_of(error: ClientError) -> ClientError {
    match error {
        ClientError::Cluster(ClusterError::MaybeAppended { cause, .. }) => (*cause).into(),
        error => error,
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
