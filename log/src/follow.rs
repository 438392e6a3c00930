//! Following by reading page after page.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use futures_core::Stream;

use crate::error::ReadError;
use crate::log::{Following, Limit, Log, Page};
use crate::record::Entry;

type Reading<P> = Pin<Box<dyn Future<Output = Result<Page<P>, ReadError<P>>> + Send>>;

/// [`Log::follow`] over [`Log::read`]: reads one page after another, each when the previous one was returned.
/// It holds one page.
pub struct Follow<L: Log> {
    log: L,
    /// The position after the last returned entry.
    cursor: L::Position,
    limit: Limit,
    wait: Duration,
    page: vec::IntoIter<Entry<L::Position>>,
    /// Where to read after the page.
    next: L::Position,
    reading: Option<Reading<L::Position>>,
    /// The log lost the records before the cursor: returned again until the user seeks.
    truncated: Option<ReadError<L::Position>>,
    ended: bool,
}

impl<L: Log> Follow<L> {
    /// Follows a log from a position on, in pages of the default [`Limit`], and waits for up to 30 seconds in each read.
    pub fn new(log: L, from: L::Position) -> Self {
        Self {
            log,
            cursor: from,
            limit: Limit::default(),
            wait: Duration::from_secs(30),
            page: Vec::new().into_iter(),
            next: from,
            reading: None,
            truncated: None,
            ended: false,
        }
    }

    /// Sets the limit of pages, for reads that begin later.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how long a read waits: a log may notice only afterwards that its server is gone. With zero it
    /// polls continuously.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

// Nothing of it is pinned in place: the read is boxed.
impl<L: Log> Unpin for Follow<L> {}

impl<L: Log> Stream for Follow<L> {
    type Item = Result<Entry<L::Position>, ReadError<L::Position>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(entry) = this.page.next() {
                this.cursor = crate::Position::next(entry.position);
                return Poll::Ready(Some(Ok(entry)));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(error) = &this.truncated {
                return Poll::Ready(Some(Err(error.clone())));
            }
            this.cursor = this.cursor.max(this.next);
            let (from, limit, wait) = (this.cursor, this.limit, this.wait);
            let reading = this.reading.get_or_insert_with(|| {
                let log = this.log.clone();
                Box::pin(async move { log.read(from, limit, wait).await })
            });
            let Poll::Ready(read) = reading.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            this.reading = None;
            match read {
                Ok(page) => {
                    let idle = page.entries.is_empty() && page.next <= this.cursor;
                    this.page = page.entries.into_iter();
                    this.next = page.next;
                    if idle {
                        // The wait is over, or zero: lets other tasks run before the next read.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) => {
                    match &error {
                        ReadError::Trimmed { to, .. } => (this.cursor, this.next) = (*to, *to),
                        ReadError::Closed => this.ended = true,
                        ReadError::Truncated { .. } => this.truncated = Some(error.clone()),
                        ReadError::Unavailable(_) => {}
                    }
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<L: Log> Following<L::Position> for Follow<L> {
    fn cursor(&self) -> L::Position {
        if self.page.len() == 0 { self.cursor.max(self.next) } else { self.cursor }
    }

    fn seek(&mut self, to: L::Position) {
        self.page = Vec::new().into_iter();
        self.reading = None;
        self.truncated = None;
        (self.cursor, self.next) = (to, to);
    }
}

impl<L: Log> fmt::Debug for Follow<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("cursor", &self.cursor())
            .field("in_page", &self.page.len())
            .finish_non_exhaustive()
    }
}
