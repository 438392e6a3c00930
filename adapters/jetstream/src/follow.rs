//! Following through an own consumer, which is created again at the cursor after every error.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use bowline_log::{Cause, Entry, Following, ReadError};
use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use tokio::time::{Instant, timeout_at};

use crate::error::cause;
use crate::jetstream_log::{Pause, Shared};
use crate::message;
use crate::read::consumer;

type Item = Result<Entry<u64>, ReadError<u64>>;

/// A log's records as a stream: [`Log::follow`](bowline_log::Log::follow).
///
/// A consumer delivers the messages; the server keeps it for this stream alone. When it is gone or has
/// skipped a message, the next one begins at the cursor. Sequences without a message are gaps, unless the
/// stream now begins after them: then they were trimmed.
pub struct JetStreamFollow {
    shared: Arc<Shared>,
    cursor: u64,
    feed: BoxStream<'static, Item>,
    truncated: Option<ReadError<u64>>,
}

impl JetStreamFollow {
    pub(crate) fn new(shared: Arc<Shared>, from: u64) -> Self {
        let cursor = from.max(1);
        let feed = feed(shared.clone(), cursor);
        Self { shared, cursor, feed, truncated: None }
    }
}

fn feed(shared: Arc<Shared>, cursor: u64) -> BoxStream<'static, Item> {
    let feed = Feed { next_check: Instant::now(), shared, cursor, consumer: None, held: None };
    unfold(feed, |mut feed| async move {
        let item = feed.next().await;
        Some((item, feed))
    })
    .boxed()
}

impl Stream for JetStreamFollow {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = self.get_mut();
        if let Some(error) = &this.truncated {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let polled = this.feed.poll_next_unpin(cx);
        match &polled {
            Poll::Ready(Some(Ok(entry))) => this.cursor = entry.position + 1,
            Poll::Ready(Some(Err(ReadError::Trimmed { to, .. }))) => this.cursor = *to,
            Poll::Ready(Some(Err(error @ ReadError::Truncated { .. }))) => {
                this.truncated = Some(error.clone())
            }
            _ => {}
        }
        polled
    }
}

impl Following<u64> for JetStreamFollow {
    fn cursor(&self) -> u64 {
        self.cursor
    }

    fn seek(&mut self, to: u64) {
        self.cursor = to.max(1);
        self.truncated = None;
        self.feed = feed(self.shared.clone(), self.cursor);
    }
}

impl fmt::Debug for JetStreamFollow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamFollow").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

struct Feed {
    shared: Arc<Shared>,
    cursor: u64,
    consumer: Option<Consumer>,
    /// A message that arrived before the fate of the ones before it was known.
    held: Option<Entry<u64>>,
    next_check: Instant,
}

struct Consumer {
    messages: pull::Stream,
    /// Number of messages that it has delivered: the server counts them as well.
    brought: u64,
}

impl Feed {
    async fn next(&mut self) -> Item {
        let until = self.shared.deadline();
        let mut pause = Pause::new();
        loop {
            if let Some(entry) = self.held.take() {
                self.cursor = entry.position + 1;
                return Ok(entry);
            }
            if self.consumer.is_none()
                && let Some(cause) = self.open(until).await?
                && !pause.before(until).await
            {
                return Err(ReadError::Unavailable(cause));
            }
            let Some(consumer) = &mut self.consumer else {
                continue;
            };
            let Ok(came) = timeout_at(self.next_check, consumer.messages.next()).await else {
                self.check(None).await?;
                continue;
            };
            match came {
                Some(Ok(message)) => {
                    let place =
                        message.info().ok().map(|info| (info.stream_sequence, info.consumer_sequence));
                    consumer.brought += 1;
                    match place {
                        Some((sequence, number)) if number == consumer.brought => {
                            let entry = Entry::new(sequence, message::of_message(&message));
                            self.judge(entry).await?;
                        }
                        // A message was skipped, or it is not a message of the stream.
                        _ => self.consumer = None,
                    }
                }
                // The consumer, its server or the connection is gone: the next consumer begins at the cursor.
                ended => {
                    self.consumer = None;
                    if !pause.before(until).await {
                        let cause = match ended {
                            Some(Err(error)) => cause(error),
                            _ => Cause::transient("the consumer ended"),
                        };
                        return Err(ReadError::Unavailable(cause));
                    }
                }
            }
        }
    }

    /// Creates a consumer at the cursor, after a check that the stream still has it. Returns the cause of a
    /// transient failure.
    async fn open(&mut self, until: Instant) -> Result<Option<Cause>, ReadError<u64>> {
        self.check(Some(until)).await?;
        let shared = &self.shared;
        // The server deletes a consumer after this time without requests.
        let config = consumer(self.cursor, Duration::from_secs(60));
        let made = match timeout_at(until, shared.stream.create_consumer(config)).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return Ok(Some(cause(error))),
            Err(elapsed) => return Ok(Some(Cause::transient(elapsed))),
        };
        let messages = made
            .stream()
            .max_messages_per_batch(shared.config.follow_batch.max(1))
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(2))
            .messages();
        match messages.await {
            Ok(messages) => {
                self.consumer = Some(Consumer { messages, brought: 0 });
                Ok(None)
            }
            Err(error) => Ok(Some(cause(error))),
        }
    }

    /// Checks whether the log was trimmed or truncated before the cursor. Without a time limit the check is
    /// optional: an unreachable server is not an error then, but the consumer is created again.
    async fn check(&mut self, until: Option<Instant>) -> Result<(), ReadError<u64>> {
        self.next_check = Instant::now() + self.shared.config.check;
        let asked = match until {
            Some(until) => self.shared.bounds_at(self.cursor, until).await,
            None => self.shared.bounds_until(Instant::now()).await,
        };
        let bounds = match asked {
            Ok(bounds) => bounds,
            Err(error) if until.is_some() => return Err(error),
            Err(_) => {
                self.consumer = None;
                return Ok(());
            }
        };
        if bounds.first > self.cursor {
            let from = std::mem::replace(&mut self.cursor, bounds.first);
            return Err(ReadError::Trimmed { from, to: bounds.first });
        }
        if bounds.end < self.cursor {
            // Not reported yet: the creation of the next consumer checks again.
            self.consumer = None;
            if until.is_none() {
                return Ok(());
            }
            return Err(ReadError::Truncated { from: self.cursor, end: bounds.end });
        }
        Ok(())
    }

    /// Holds a received message as the next result. The stream tells whether the ones before it were deleted
    /// or trimmed.
    async fn judge(&mut self, entry: Entry<u64>) -> Result<(), ReadError<u64>> {
        if entry.position < self.cursor {
            return Ok(());
        }
        if entry.position > self.cursor {
            let Ok(bounds) = self.shared.bounds_until(self.shared.deadline()).await else {
                self.consumer = None;
                return Ok(());
            };
            if bounds.first > self.cursor {
                let to = bounds.first.min(entry.position);
                let from = std::mem::replace(&mut self.cursor, to);
                self.held = Some(entry);
                return Err(ReadError::Trimmed { from, to });
            }
        }
        self.held = Some(entry);
        Ok(())
    }
}
