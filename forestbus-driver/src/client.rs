//! The handle of a cluster client.

use std::future::Future;
use std::marker::PhantomData;

use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::{
    Answer, Cluster, ClusterError, CommandId, ConnectionString, Counters, NodeId, Options, Settings, Snapshot,
};
use bowline_forestbus::protocol::{Bounds, ClusterDetails, Index};
use bytes::Bytes;

use crate::answers::{Appended, Messages};
use crate::client_builder::ClientBuilder;
use crate::command::Command;
use crate::core::Core;
use crate::error::{ClientError, OpenError};
use crate::follower::{Follower, Reading};
use crate::topic::Topic;

/// A client of one cluster. Cheap to clone; all clones are one client, with one connection for short calls
/// and one for long polls to each node in use.
///
/// **Several processes that write to one topic cannot be protected from each other**: the server stores sends
/// that reach it within about 3 ms with the payloads of the last one. One client sends to a topic one at a
/// time, whatever task or thread calls it; further sends wait in order. So use one client for all writers of
/// a topic.
///
/// Nodes are dialed on demand: making a client connects to nothing. When the last clone, follower and command
/// is dropped, connections are closed. Commands of a client whose runtime has ended return
/// [`ClusterError::Closed`].
///
/// Methods that wait return futures on tokio, smol and async-std, and block on threads. On a thread that runs
/// connections they return [`ClientError::WouldPark`].
pub struct Client<R: Runtime> {
    handle: Arc<Handle>,
    runtime: PhantomData<fn() -> R>,
}

/// Ends the client when its last user is dropped.
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.end();
    }
}

impl<R: Runtime> Clone for Client<R> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), runtime: PhantomData }
    }
}

impl<R: Runtime> std::fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The error for a result that no command of this kind has.
fn other(answer: &Answer) -> ClientError {
    debug_assert!(false, "{answer:?}");
    ClusterError::Closed.into()
}

impl<R: Runtime> Client<R> {
    /// A client of the cluster in a connection string: `cluster#topic@node,node`. The client does not keep
    /// the topic: see [`ConnectionString`].
    ///
    /// # Errors
    /// The string is invalid, or a node's name is not an address; or no runtime is running on this thread.
    pub fn connect_to(connection_string: &str) -> Result<Self, OpenError> {
        let parsed: ConnectionString = connection_string.parse()?;
        Self::builder(Settings::from_connection_string(&parsed)).open()
    }

    /// A builder for a client with settings.
    pub fn builder(settings: Settings) -> ClientBuilder<R> {
        ClientBuilder::new(settings)
    }

    /// Appends messages to a topic, at its leader, and waits until a majority of the nodes has them.
    ///
    /// # Errors
    /// See [`ClusterError`]. [`MaybeAppended`](ClusterError::MaybeAppended) means that it is not known
    /// whether the messages are in the log; every other error means that they are not.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the send. If it was sent already, its messages may be appended, and its
    /// topic stays reserved for [`send_hold`](Settings::send_hold), or until its reply arrives. The place in
    /// the topic's queue is taken when the future is first polled.
    pub fn send_messages<M: IntoIterator<Item: Into<Bytes>>>(
        &self,
        topic: &str,
        messages: M,
    ) -> Wait<R, impl Future<Output = Result<Appended, ClientError>> + Send + use<R, M>> {
        self.send(topic, messages.into_iter().map(Into::into).collect(), Options::new())
    }

    /// [`send_messages`](Self::send_messages) with options.
    ///
    /// # Errors
    /// As [`send_messages`](Self::send_messages).
    ///
    /// # Cancel safety
    /// As [`send_messages`](Self::send_messages).
    pub fn send_messages_with<M: IntoIterator<Item: Into<Bytes>>>(
        &self,
        topic: &str,
        messages: M,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<Appended, ClientError>> + Send + use<R, M>> {
        self.send(topic, messages.into_iter().map(Into::into).collect(), options)
    }

    fn send(
        &self,
        topic: &str,
        messages: Vec<Bytes>,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<Appended, ClientError>> + Send + use<R>> {
        R::Style::wait(self.sending(topic, messages, options), || Err(ClientError::WouldPark))
    }

    /// The future of a send, for any runtime.
    pub(crate) fn sending(
        &self,
        topic: &str,
        messages: Vec<Bytes>,
        options: Options,
    ) -> impl Future<Output = Result<Appended, ClientError>> + Send + use<R> {
        let topic = topic.to_owned();
        let core = Arc::clone(&self.handle.core);
        let command = Command::new(&self.handle, move |cluster, now| {
            core.check_send(&topic, &messages)?;
            cluster.send_messages(now, &topic, messages, options)
        });
        async move {
            match command.await? {
                Answer::Sent { ids, node } => Ok(Appended { ids, node }),
                answer => Err(other(&answer)),
            }
        }
    }

    /// The future of a topic's bounds, for any runtime.
    pub(crate) fn looking(
        &self,
        topic: &str,
        options: Options,
    ) -> impl Future<Output = Result<Bounds, ClientError>> + Send + use<R> {
        let topic = topic.to_owned();
        let command =
            Command::new(&self.handle, move |cluster, now| cluster.topic_details(now, &topic, options));
        async move {
            match command.await? {
                Answer::TopicDetails { bounds, .. } => Ok(bounds),
                answer => Err(other(&answer)),
            }
        }
    }

    /// Reads a topic from an index on, on any runtime.
    pub(crate) fn read_from(&self, topic: &str, from: Index) -> Result<Reading, ClientError> {
        let id = self.handle.core.begin(|cluster, now| cluster.follow(now, topic, from))?;
        Ok(Reading::new(&self.handle, id))
    }

    /// Of a handle that was opened.
    pub(crate) fn of(handle: Arc<Handle>) -> Self {
        Self { handle, runtime: PhantomData }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.handle.core
    }

    /// A topic as a log, and as a sink of a batcher.
    #[must_use]
    pub fn topic(&self, name: impl Into<String>) -> Topic<R> {
        Topic::new(self.clone(), name.into())
    }

    /// Asks any node for about `quantity` messages of a topic from `index` on: it may return more or fewer.
    /// With `wait` the node answers once there is a message, however long that takes, unless the options set
    /// a limit. A node that reads from its files may return messages that are not committed;
    /// [`follow`](Self::follow) returns committed ones only. At least 2 messages are always requested,
    /// because servers damage single messages.
    ///
    /// # Errors
    /// See [`ClusterError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call. A long poll stays with its node until the connection is closed,
    /// which happens when there is no other poll on it, or when too many were cancelled
    /// ([`abandoned_polls`](Settings::abandoned_polls)).
    pub fn get_messages(
        &self,
        topic: &str,
        index: Index,
        quantity: u32,
        wait: bool,
    ) -> Wait<R, impl Future<Output = Result<Messages, ClientError>> + Send + use<R>> {
        self.get_messages_with(topic, index, quantity, wait, Options::new())
    }

    /// [`get_messages`](Self::get_messages) with options.
    ///
    /// # Errors
    /// As [`get_messages`](Self::get_messages).
    ///
    /// # Cancel safety
    /// As [`get_messages`](Self::get_messages).
    pub fn get_messages_with(
        &self,
        topic: &str,
        index: Index,
        quantity: u32,
        wait: bool,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<Messages, ClientError>> + Send + use<R>> {
        let topic = topic.to_owned();
        self.run(
            move |cluster, now| cluster.get_messages(now, &topic, index, quantity, wait, options),
            |answer| match answer {
                Answer::Messages { messages, next_id, node } => Ok(Messages { messages, next_id, node }),
                answer => Err(other(&answer)),
            },
        )
    }

    /// Asks any node for its commit index of a topic: the last index that it gives to readers; 0 if there is
    /// none, or the node does not know it.
    ///
    /// # Errors
    /// See [`ClusterError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub fn topic_max_available_index(
        &self,
        topic: &str,
    ) -> Wait<R, impl Future<Output = Result<Index, ClientError>> + Send + use<R>> {
        self.topic_max_available_index_with(topic, Options::new())
    }

    /// [`topic_max_available_index`](Self::topic_max_available_index) with options.
    ///
    /// # Errors
    /// As [`topic_max_available_index`](Self::topic_max_available_index).
    ///
    /// # Cancel safety
    /// As [`topic_max_available_index`](Self::topic_max_available_index).
    pub fn topic_max_available_index_with(
        &self,
        topic: &str,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<Index, ClientError>> + Send + use<R>> {
        let topic = topic.to_owned();
        self.run(
            move |cluster, now| cluster.topic_max_available_index(now, &topic, options),
            |answer| match answer {
                Answer::MaxAvailable { index, .. } => Ok(index),
                answer => Err(other(&answer)),
            },
        )
    }

    /// Asks any node for a topic's bounds.
    ///
    /// # Errors
    /// See [`ClusterError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub fn topic_details(
        &self,
        topic: &str,
    ) -> Wait<R, impl Future<Output = Result<Bounds, ClientError>> + Send + use<R>> {
        self.topic_details_with(topic, Options::new())
    }

    /// [`topic_details`](Self::topic_details) with options.
    ///
    /// # Errors
    /// As [`topic_details`](Self::topic_details).
    ///
    /// # Cancel safety
    /// As [`topic_details`](Self::topic_details).
    pub fn topic_details_with(
        &self,
        topic: &str,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<Bounds, ClientError>> + Send + use<R>> {
        R::Style::wait(self.looking(topic, options), || Err(ClientError::WouldPark))
    }

    /// Asks any node for its cluster's id, nodes and topics.
    ///
    /// # Errors
    /// See [`ClusterError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub fn cluster_details(
        &self,
    ) -> Wait<R, impl Future<Output = Result<ClusterDetails, ClientError>> + Send + use<R>> {
        self.cluster_details_with(Options::new())
    }

    /// [`cluster_details`](Self::cluster_details) with options.
    ///
    /// # Errors
    /// As [`cluster_details`](Self::cluster_details).
    ///
    /// # Cancel safety
    /// As [`cluster_details`](Self::cluster_details).
    pub fn cluster_details_with(
        &self,
        options: Options,
    ) -> Wait<R, impl Future<Output = Result<ClusterDetails, ClientError>> + Send + use<R>> {
        self.run(
            move |cluster, now| cluster.cluster_details(now, options),
            |answer| match answer {
                Answer::ClusterDetails { details, .. } => Ok(details),
                answer => Err(other(&answer)),
            },
        )
    }

    /// Reads a topic's committed messages from index `from` on, each once and without gaps, while the
    /// follower is kept. It begins at once, and reads at most one page ahead. Nodes that cannot be reached
    /// are tried without limit, or until the [deadline of
    /// followers](bowline_forestbus::cluster::Settings::follow_deadline).
    ///
    /// # Errors
    /// `from` is below 1; the table of commands or of topics is full; the topic's name is too long.
    pub fn follow(&self, topic: &str, from: Index) -> Result<Follower<R>, ClientError> {
        Ok(Follower::new(self.read_from(topic, from)?))
    }

    /// Ends every command with [`Closed`](ClusterError::Closed), or
    /// [`MaybeAppended`](ClusterError::MaybeAppended), and closes every connection. Does not wait. May be
    /// called again; later commands connect anew.
    pub fn close(&self) {
        self.handle.core.with(Cluster::close);
    }

    /// The state and the counters of the client.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.handle.core.snapshot()
    }

    /// The counters of the client.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.snapshot().counters
    }

    /// The address of a node, as it was given.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.handle.core.address(node)
    }

    /// The leader of a topic, if it is known: the node that accepted the last send.
    #[must_use]
    pub fn leader(&self, topic: &str) -> Option<NodeId> {
        self.handle.core.leader(topic)
    }

    /// Runs a command and waits for its answer.
    fn run<B, T, M>(
        &self,
        begin: B,
        make: M,
    ) -> Wait<R, impl Future<Output = Result<T, ClientError>> + Send + use<R, B, T, M>>
    where
        B: FnOnce(&mut Cluster, bowline_core::time::Instant) -> Result<CommandId, ClusterError> + Send,
        M: FnOnce(Answer) -> Result<T, ClientError> + Send,
    {
        let command = Command::new(&self.handle, begin);
        R::Style::wait(async move { make(command.await?) }, || Err(ClientError::WouldPark))
    }
}
