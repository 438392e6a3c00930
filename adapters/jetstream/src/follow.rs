//! Following through a consumer of one's own, made anew at the cursor whenever something was wrong with it.

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
/// A consumer brings the messages; the server keeps it for this stream alone. When it is gone, or left something out, the
/// next one begins at the cursor. Sequences without a message are gaps, unless the stream begins behind them now: then
/// they were trimmed.
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
    /// A message that came before it was known what had become of those before it.
    held: Option<Entry<u64>>,
    next_check: Instant,
}

struct Consumer {
    messages: pull::Stream,
    /// How many messages it has brought: the server counts as well.
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
                        // Something was left out, or is no message of the stream's.
                        _ => self.consumer = None,
                    }
                }
                // The consumer is gone, its server or the connection: the next one begins at the cursor.
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

    /// Makes a consumer at the cursor, after a look whether the stream still has it. What went wrong, if it may pass.
    async fn open(&mut self, until: Instant) -> Result<Option<Cause>, ReadError<u64>> {
        self.check(Some(until)).await?;
        let shared = &self.shared;
        // The server forgets a consumer that asks for nothing for so long.
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

    /// Looks whether the log was trimmed or cut before the cursor. Without a time it is only a look in passing: that the
    /// server cannot be asked is no error then, but the consumer is made anew.
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
            // In passing, it is not said yet: who makes the next consumer asks again.
            self.consumer = None;
            if until.is_none() {
                return Ok(());
            }
            return Err(ReadError::Truncated { from: self.cursor, end: bounds.end });
        }
        Ok(())
    }

    /// Holds a message that came, to be given next. What lies before it was deleted, or trimmed: the stream says which.
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
