//! A topic as a log.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_forestbus::cluster::{ClusterError, Commit, Followed, Page as Pages};
use bowline_forestbus::protocol::Index;
use bowline_log::{
    AppendError, Appended, Bounds, Capabilities, Cause, Entry, Following, Limit, Log, Page, ReadError,
    Record, Refusal,
};
use bytes::Bytes;

use crate::error::ClientError;
use crate::follower::Reading;
use crate::topic::{Topic, cause_of};

type ReadFailure = ReadError<Index>;

impl<R: Runtime> Log for Topic<R> {
    type Position = Index;
    type Follow = FollowTopic<R>;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(match self.options.commits() {
            Commit::Majority => bowline_log::Commit::Majority,
            Commit::Leader => bowline_log::Commit::Leader,
        });
        capabilities.contiguous = true;
        capabilities.commits = &[bowline_log::Commit::Leader, bowline_log::Commit::Majority];
        // Readers get committed messages only: a position is reused only if a send was confirmed before its
        // commit.
        capabilities.positions_reused = self.options.commits() == Commit::Leader;
        capabilities.max_record = Some(self.client.core().limits.max_record(&self.name));
        capabilities
    }

    fn append(&self, records: Vec<Record>) -> impl Future<Output = Appended<Index>> + Send {
        let topic = self.clone();
        async move { topic.append_in_order(records).await }
    }

    fn read(
        &self,
        from: Index,
        limit: Limit,
        wait: Duration,
    ) -> impl Future<Output = Result<Page<Index>, ReadFailure>> + Send {
        let topic = self.clone();
        async move { topic.read_page(from, limit, wait).await }
    }

    fn bounds(&self) -> impl Future<Output = Result<Bounds<Index>, ReadFailure>> + Send {
        let looking = self.client.looking(&self.name, self.options);
        async move {
            let bounds = looking.await.map_err(|error| read_error(0, error))?;
            if bounds.commit == 0 && bounds.last > 0 {
                return Err(ReadError::Unavailable(Cause::transient(CommitUnknown)));
            }
            Ok(Bounds::new(bounds.first, bounds.first.max(bounds.commit.saturating_add(1))))
        }
    }

    fn follow(&self, from: Index) -> FollowTopic<R> {
        FollowTopic {
            topic: self.clone(),
            cursor: from,
            page: Vec::new().into_iter(),
            reading: None,
            truncated: None,
            ended: false,
        }
    }
}

/// A node does not know its commit index: it was started a moment ago.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the node does not know its commit index yet")]
pub(crate) struct CommitUnknown;

/// No node returned a message within its time limit, and most of them did not say that their logs end before
/// it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("index {index} was not read within {limit:?}; a node's commit index is {commit}")]
pub(crate) struct NotRead {
    pub(crate) index: Index,
    pub(crate) commit: Index,
    pub(crate) limit: Duration,
}

impl<R: Runtime> Topic<R> {
    /// The outcomes of records if one of them is refused: none of them is sent.
    fn refuse(&self, records: &[Record]) -> Option<Appended<Index>> {
        let limit = self.client.core().limits.max_record(&self.name);
        let refusal = |record: &Record| {
            let size = record.size();
            match record {
                Record { id: Some(_), .. } => Some(Refusal::Id),
                Record { headers, .. } if !headers.is_empty() => Some(Refusal::Headers),
                _ => (size > limit).then_some(Refusal::TooLarge { size, limit }),
            }
        };
        let refusals: Vec<_> = records.iter().map(refusal).collect();
        refusals.iter().any(Option::is_some).then(|| {
            let beside =
                || AppendError::NotAppended(Cause::lasting("another record of the batch was refused"));
            let outcome = |refused: Option<Refusal>| Err(refused.map_or_else(beside, AppendError::Refused));
            Appended::new(refusals.into_iter().map(outcome).collect())
        })
    }

    /// As many sends as the records need, one after another. After one that failed the rest is not sent.
    async fn append_in_order(&self, records: Vec<Record>) -> Appended<Index> {
        if let Some(refused) = self.refuse(&records) {
            return refused;
        }
        let limits = self.client.core().limits;
        let mut outcomes = Vec::with_capacity(records.len());
        let mut left: Vec<Bytes> = records.into_iter().map(|record| record.body).collect();
        while !left.is_empty() {
            let rest = left.split_off(limits.fitting(&self.name, &left));
            let messages = std::mem::replace(&mut left, rest);
            let count = messages.len();
            match self.client.sending(&self.name, messages, self.options).await {
                Ok(appended) => outcomes.extend(appended.ids.into_iter().map(Ok)),
                Err(error) => {
                    let failed = append_error(error.clone());
                    let unsent = append_error(cause_of(error));
                    outcomes.extend(std::iter::repeat_n(Err(failed), count));
                    outcomes.extend(std::iter::repeat_n(Err(unsent), left.len()));
                    break;
                }
            }
        }
        Appended::new(outcomes)
    }

    /// A page of committed messages: the first that a follower is given.
    async fn read_page(self, from: Index, limit: Limit, wait: Duration) -> Result<Page<Index>, ReadFailure> {
        let Bounds { first, end, .. } = self.bounds().await?;
        if from < first {
            return Err(ReadError::Trimmed { from, to: first });
        }
        let patience = self.options.limit().unwrap_or_else(|| self.client.core().limits.deadline);
        let limit_of_wait = if from == end { wait } else { wait.max(patience) };
        if limit_of_wait.is_zero() {
            return Ok(Page::new(Vec::new(), from));
        }
        let reading = self.begin(from).map_err(|error| read_error(from, error))?;
        let (until, mut alarm) = (clock::after(limit_of_wait), Alarm::new(R::timer()));
        let next = poll_fn(|cx| match reading.poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => alarm.poll_until(cx, until).map(|()| None),
        });
        match next.await {
            Some(Some(Ok(Followed::Page(page)))) => Ok(clip(page, limit)),
            Some(Some(Ok(Followed::Trimmed { from, to }))) => Err(ReadError::Trimmed { from, to }),
            Some(Some(Ok(_))) | Some(None) => Err(ReadError::Closed),
            Some(Some(Err(error))) => Err(read_error(from, error)),
            None if from == end => Ok(Page::new(Vec::new(), from)),
            None => {
                let late = NotRead { index: from, commit: end.saturating_sub(1), limit: limit_of_wait };
                Err(ReadError::Unavailable(Cause::transient(late)))
            }
        }
    }

    fn begin(&self, from: Index) -> Result<Reading, ClientError> {
        self.client.read_from(&self.name, from)
    }
}

/// As much of the page as the limit allows.
fn clip(page: Pages, limit: Limit) -> Page<Index> {
    let (mut entries, mut bytes, mut next) = (Vec::new(), 0, page.first);
    for body in page.messages {
        let size = body.len();
        if !limit.has_room(entries.len(), bytes, size) {
            break;
        }
        bytes += size;
        entries.push(Entry::new(next, Record::new(body)));
        next = next.saturating_add(1);
    }
    Page::new(entries, next)
}

/// Follows a topic as a log: the stream of [`Log::follow`].
///
/// Where the client has no room for another command or topic
/// ([`max_commands`](bowline_forestbus::cluster::Settings::max_commands),
/// [`max_topics`](bowline_forestbus::cluster::Settings::max_topics)), each poll says [`ReadError::Unavailable`] at once:
/// wait before the next one.
pub struct FollowTopic<R: Runtime> {
    topic: Topic<R>,
    cursor: Index,
    /// Messages that were read and not returned yet; the first one is at the cursor.
    page: vec::IntoIter<Bytes>,
    reading: Option<Reading>,
    /// Returned until the user says where to continue.
    truncated: Option<ReadFailure>,
    ended: bool,
}

impl<R: Runtime> std::fmt::Debug for FollowTopic<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowTopic")
            .field("topic", &self.topic)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime> Unpin for FollowTopic<R> {}

impl<R: Runtime> FollowTopic<R> {
    /// A failed follower is over: the next poll begins a new one.
    fn failed(&mut self, error: ClientError) -> ReadFailure {
        self.reading = None;
        let error = read_error(self.cursor, error);
        match &error {
            ReadError::Truncated { .. } => self.truncated = Some(error.clone()),
            ReadError::Closed => self.ended = true,
            _ => {}
        }
        error
    }
}

impl<R: Runtime> futures_core::Stream for FollowTopic<R> {
    type Item = Result<Entry<Index>, ReadFailure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(body) = this.page.next() {
                let position = this.cursor;
                this.cursor = position.saturating_add(1);
                return Poll::Ready(Some(Ok(Entry::new(position, Record::new(body)))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(error) = &this.truncated {
                return Poll::Ready(Some(Err(error.clone())));
            }
            if this.reading.is_none() {
                match this.topic.begin(this.cursor) {
                    Ok(reading) => this.reading = Some(reading),
                    Err(error) => return Poll::Ready(Some(Err(this.failed(error)))),
                }
            }
            let Some(reading) = &this.reading else { continue };
            match reading.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(Followed::Page(page)))) => {
                    debug_assert_eq!(page.first, this.cursor, "no index twice, none left out");
                    (this.cursor, this.page) = (page.first, page.messages.into_iter());
                }
                Poll::Ready(Some(Ok(Followed::Trimmed { from, to }))) => {
                    this.cursor = to;
                    return Poll::Ready(Some(Err(ReadError::Trimmed { from, to })));
                }
                Poll::Ready(Some(Ok(_)) | None) => {
                    let closed = this.failed(ClusterError::Closed.into());
                    return Poll::Ready(Some(Err(closed)));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(this.failed(error)))),
            }
        }
    }
}

impl<R: Runtime> Following<Index> for FollowTopic<R> {
    fn cursor(&self) -> Index {
        self.cursor
    }

    fn seek(&mut self, to: Index) {
        (self.cursor, self.page) = (to, Vec::new().into_iter());
        (self.reading, self.truncated) = (None, None);
    }
}

/// A cause, with whether a retry may succeed.
fn cause(error: ClientError) -> Cause {
    if error.is_retryable() { Cause::transient(error) } else { Cause::lasting(error) }
}

fn append_error(error: ClientError) -> AppendError {
    match error.cluster() {
        Some(ClusterError::MaybeAppended { .. }) => AppendError::MaybeAppended(Cause::transient(error)),
        Some(&ClusterError::TooLarge { what: "messages", value, limit }) => {
            AppendError::Refused(Refusal::TooMany { records: value, limit })
        }
        Some(&ClusterError::TooLarge { value, limit, .. }) => {
            AppendError::Refused(Refusal::TooLarge { size: value, limit })
        }
        Some(ClusterError::Closed) => AppendError::Closed,
        _ => AppendError::NotAppended(cause(error)),
    }
}

fn read_error(from: Index, error: ClientError) -> ReadFailure {
    match error.cluster() {
        Some(&ClusterError::Truncated { position, last, .. }) => {
            ReadError::Truncated { from: position, end: last.saturating_add(1) }
        }
        // Indexes begin at 1.
        Some(ClusterError::Argument { field: "from", .. }) => ReadError::Trimmed { from, to: 1 },
        Some(ClusterError::Closed) => ReadError::Closed,
        _ => ReadError::Unavailable(cause(error)),
    }
}
