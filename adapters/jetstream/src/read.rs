//! Pages, by requests for single messages, several of which are under way at a time.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bowline_log::{Cause, Entry, Limit, Page, ReadError};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::jetstream_log::{Pause, Shared};
use crate::message;

/// After this many sequences without a message, the server is asked for the next one.
const GAPS: u64 = 16;

/// Longest wait for a message before the stream is checked again.
const SLICE: Duration = Duration::from_secs(10);

impl Shared {
    pub(crate) async fn read(
        &self,
        from: u64,
        limit: Limit,
        wait: Duration,
    ) -> Result<Page<u64>, ReadError<u64>> {
        // A time too far in the future is replaced by one year.
        let now = Instant::now();
        let over = now.checked_add(wait).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        let mut cursor = from.max(1);
        loop {
            let until = self.deadline();
            let bounds = self.bounds_at(cursor, until).await?;
            if cursor < bounds.first {
                return Err(ReadError::Trimmed { from: cursor, to: bounds.first });
            }
            if cursor > bounds.end {
                return Err(ReadError::Truncated { from: cursor, end: bounds.end });
            }
            if cursor < bounds.end {
                let page = self.page_until(cursor, bounds.end, limit, until).await?;
                if !page.entries.is_empty() {
                    return Ok(page);
                }
                cursor = page.next;
            }
            if Instant::now() >= over {
                return Ok(Page::new(Vec::new(), cursor));
            }
            if cursor == bounds.end {
                self.wait_for(cursor, over.min(Instant::now() + SLICE)).await;
            }
        }
    }

    async fn page_until(
        &self,
        from: u64,
        end: u64,
        limit: Limit,
        until: Instant,
    ) -> Result<Page<u64>, ReadError<u64>> {
        let mut pause = Pause::new();
        loop {
            match self.page(from, end, limit, until).await {
                Err(error) if error.is_retryable() && pause.before(until).await => {}
                done => return done,
            }
        }
    }

    /// The messages before `end`, up to the limit.
    async fn page(
        &self,
        from: u64,
        end: u64,
        limit: Limit,
        until: Instant,
    ) -> Result<Page<u64>, ReadError<u64>> {
        let (mut entries, mut bytes, mut next, mut gap) = (Vec::new(), 0, from, None);
        let most = self.config.read_ahead.min(limit.records).max(1);
        'pages: while next < end {
            let mut messages = stream::iter(next..end).map(|sequence| self.get(sequence)).buffered(most);
            let mut missing = 0;
            while let Some(message) = messages.next().await {
                if let Some(entry) = message? {
                    let size = entry.record.size();
                    if !limit.has_room(entries.len(), bytes, size) {
                        break 'pages;
                    }
                    (bytes, missing) = (bytes + size, 0);
                    entries.push(entry);
                    if entries.len() >= limit.records {
                        next += 1;
                        break 'pages;
                    }
                } else {
                    gap.get_or_insert(next);
                    missing += 1;
                }
                next += 1;
                if missing == GAPS {
                    next = self.next_stored(next).await?.unwrap_or(end).clamp(next, end);
                    break;
                }
            }
        }
        match gap {
            Some(gap) => self.judge(gap, from, Page::new(entries, next), until).await,
            None => Ok(Page::new(entries, next)),
        }
    }

    /// Checks whether messages were missing because they were deleted. If the stream was trimmed in the
    /// meantime, the page ends before the gap. If the leader lacks messages of the page, it lags, and the
    /// page is discarded.
    async fn judge(
        &self,
        gap: u64,
        from: u64,
        mut page: Page<u64>,
        until: Instant,
    ) -> Result<Page<u64>, ReadError<u64>> {
        let bounds = self.bounds_until(until).await?;
        if bounds.end < page.next {
            return Err(ReadError::Unavailable(Cause::transient("the stream's leader lags")));
        }
        if bounds.first <= gap {
            return Ok(page);
        }
        page.entries.retain(|entry| entry.position < gap);
        page.next = gap;
        if page.entries.is_empty() {
            return Err(ReadError::Trimmed { from, to: bounds.first });
        }
        Ok(page)
    }

    /// A message, or `None` if the stream's leader has none there.
    async fn get(&self, sequence: u64) -> Result<Option<Entry<u64>>, ReadError<u64>> {
        if self.direct
            && let Ok(message) = self.stream.direct_get(sequence).await
        {
            let record = message::record(message.payload, message::pairs(&message.headers));
            return Ok(Some(Entry::new(message.sequence, record)));
        }
        // Any replica answers a direct request, even one that does not have the message yet: only the
        // leader's answer is authoritative.
        self.stored(sequence).await
    }

    /// Waits until there is a message at a sequence or after it, or the time is over. It may return too
    /// early: the caller checks. A consumer wakes it; the server soon removes that consumer if it is not
    /// deleted.
    async fn wait_for(&self, from: u64, until: Instant) {
        let config = pull::Config { headers_only: true, ..consumer(from, SLICE * 2) };
        let Ok(Ok(consumer)) = timeout_at(until, self.stream.create_consumer(config)).await else {
            // The error will be found when the stream is asked.
            sleep(Duration::from_millis(100).min(until.saturating_duration_since(Instant::now()))).await;
            return;
        };
        let expires = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if let Ok(mut messages) = consumer.batch().max_messages(1).expires(expires).messages().await {
            // Whatever ends it, the stream is asked next.
            let _ = timeout_at(until, messages.next()).await;
        }
        let name = consumer.cached_info().name.clone();
        let _ = self.stream.delete_consumer(&name).await;
    }
}

/// A consumer of all messages from a sequence on, which is not shared, acknowledged or stored.
pub(crate) fn consumer(from: u64, unused: Duration) -> pull::Config {
    pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        ack_policy: AckPolicy::None,
        inactive_threshold: unused,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}
