//! The handle of a log.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Info, Stream};
use bowline_log::{
    Appended, Bounds, Capabilities, Commit, Deduplication, Limit, Log, Page, ReadError, Record,
};
use tokio::time::{Instant, sleep};

use crate::config::JetStreamConfig;
use crate::error::{OpenError, cause, is_missing};
use crate::follow::JetStreamFollow;

/// A stream of JetStream as a log. Clones are handles of the same log and may be used concurrently.
///
/// It requires the tokio runtime of its client.
#[derive(Clone)]
pub struct JetStreamLog {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) config: JetStreamConfig,
    /// The stream's setting when it was opened.
    pub(crate) direct: bool,
    pub(crate) window: Duration,
    replicas: usize,
    max_message: Option<usize>,
    /// A prefix for the ids of this handle's records; a number for each record is added.
    writer: u64,
    records: AtomicU64,
}

impl JetStreamLog {
    /// Opens an existing stream with the default settings. Records are appended to `subject`, which must be
    /// one of the stream's subjects.
    ///
    /// # Errors
    /// The stream does not exist, or the server cannot be reached.
    pub async fn open(
        context: Context,
        stream: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<Self, OpenError> {
        Self::open_with(context, stream, subject, JetStreamConfig::default()).await
    }

    /// As [`open`](Self::open), with other settings. The stream's configuration is read once: open the log
    /// again after a change.
    ///
    /// # Errors
    /// The stream does not exist, or the server cannot be reached.
    pub async fn open_with(
        mut context: Context,
        stream: impl Into<String>,
        subject: impl Into<String>,
        config: JetStreamConfig,
    ) -> Result<Self, OpenError> {
        let (name, subject) = (stream.into(), subject.into());
        context.set_timeout(config.attempt);
        let unavailable = |source| OpenError::Unavailable { stream: name.clone(), source };
        let stream = context.get_stream_no_info(&name).await.map_err(|e| unavailable(e.into()))?;
        let until = Instant::now() + config.deadline;
        let mut pause = Pause::new();
        let info = loop {
            match stream.get_info().await {
                Ok(info) => break info,
                Err(error) if is_missing(&error) => {
                    return Err(OpenError::Missing { stream: name, source: error.into() });
                }
                Err(error) if !pause.before(until).await => return Err(unavailable(error.into())),
                Err(_) => {}
            }
        };
        let shared = Shared {
            context,
            stream,
            name,
            subject,
            config,
            direct: info.config.allow_direct,
            window: info.config.duplicate_window,
            replicas: info.config.num_replicas,
            max_message: usize::try_from(info.config.max_message_size).ok().filter(|max| *max > 0),
            writer: getrandom::u64().map_err(OpenError::Random)?,
            records: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.shared.name
    }
}

impl Shared {
    /// Longest message, in the server's count: [`size`](crate::message::size).
    pub(crate) fn max_message(&self) -> usize {
        let of_server = self.context.client().server_info().max_payload;
        self.max_message.unwrap_or(usize::MAX).min(of_server)
    }

    /// A generated id for a record without one.
    pub(crate) fn own_id(&self) -> String {
        let number = self.records.fetch_add(1, Ordering::Relaxed);
        format!("{}{:016x}.{number}", crate::message::OWN_ID, self.writer)
    }

    /// Whether records that may have been appended can be sent again.
    pub(crate) fn may_retry(&self) -> bool {
        self.config.retry && !self.window.is_zero()
    }

    /// The stream's bounds at its leader; retried until `until`.
    pub(crate) async fn bounds_until(&self, until: Instant) -> Result<Bounds<u64>, ReadError<u64>> {
        let mut pause = Pause::new();
        loop {
            let error = match self.stream.get_info().await {
                Ok(info) => return Ok(bounds_of(&info)),
                Err(error) => cause(error),
            };
            if !error.is_transient() || !pause.before(until).await {
                return Err(ReadError::Unavailable(error));
            }
        }
    }

    /// The stream's bounds for a reader at a position: if the stream appears to end before it and the leader
    /// may lag, the leader is asked again for a while.
    pub(crate) async fn bounds_at(
        &self,
        position: u64,
        until: Instant,
    ) -> Result<Bounds<u64>, ReadError<u64>> {
        let lags_until = Instant::now() + self.config.lag;
        let mut pause = Pause::new();
        loop {
            let bounds = self.bounds_until(until).await?;
            if bounds.end >= position || self.replicas <= 1 || !pause.before(lags_until).await {
                return Ok(bounds);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config.deadline
    }
}

/// A stream without messages begins where it ends; sequences count from 1.
fn bounds_of(info: &Info) -> Bounds<u64> {
    let end = info.state.last_sequence + 1;
    let first = if info.state.messages == 0 { end } else { info.state.first_sequence.max(1) };
    Bounds::new(first, end)
}

/// Delays between attempts: 50 ms, doubled each time, up to 1 s.
pub(crate) struct Pause {
    next: Duration,
}

impl Pause {
    pub(crate) fn new() -> Self {
        Self { next: Duration::from_millis(50) }
    }

    /// Waits. Returns false at once if `until` would have passed.
    pub(crate) async fn before(&mut self, until: Instant) -> bool {
        if Instant::now() + self.next >= until {
            return false;
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_secs(1));
        true
    }
}

impl Log for JetStreamLog {
    type Position = u64;
    type Follow = JetStreamFollow;

    fn capabilities(&self) -> Capabilities {
        let shared = &self.shared;
        let commit = if shared.replicas > 1 { Commit::Majority } else { Commit::Leader };
        let mut capabilities = Capabilities::new(commit);
        // The number of replicas is fixed by the stream, so that this is the only commit level.
        capabilities.commits = if shared.replicas > 1 { &[Commit::Majority] } else { &[Commit::Leader] };
        if !shared.window.is_zero() {
            capabilities.deduplication = Deduplication::For(shared.window);
        }
        // A single server may lose messages that were not synced when its machine failed.
        capabilities.positions_reused = shared.replicas <= 1;
        capabilities.headers = true;
        capabilities.max_record = Some(shared.max_message());
        capabilities
    }

    fn append(&self, records: Vec<Record>) -> impl Future<Output = Appended<u64>> + Send {
        self.shared.append(records)
    }

    fn read(
        &self,
        from: u64,
        limit: Limit,
        wait: Duration,
    ) -> impl Future<Output = Result<Page<u64>, ReadError<u64>>> + Send {
        self.shared.read(from, limit, wait)
    }

    fn bounds(&self) -> impl Future<Output = Result<Bounds<u64>, ReadError<u64>>> + Send {
        self.shared.bounds_until(self.shared.deadline())
    }

    fn follow(&self, from: u64) -> JetStreamFollow {
        JetStreamFollow::new(self.shared.clone(), from)
    }
}

impl fmt::Debug for JetStreamLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.shared;
        f.debug_struct("JetStreamLog")
            .field("stream", &shared.name)
            .field("subject", &shared.subject)
            .finish_non_exhaustive()
    }
}
