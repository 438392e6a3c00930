//! Appends: several messages are under way at a time, and lost ones are sent again.

use std::future::IntoFuture;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bowline_log::{AppendError, Appended, Cause, Record, Refusal};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::error::{cause, is_missing, said};
use crate::jetstream_log::{Pause, Shared};
use crate::message;

/// The server's answer, or a timeout.
type Acknowledged = Result<Result<PublishAck, PublishError>, Elapsed>;

/// A record in transit.
struct Sending {
    body: Bytes,
    headers: HeaderMap,
    /// When it was last sent.
    sent: Option<Instant>,
    /// When the first attempt with an unknown result was sent.
    maybe_since: Option<Instant>,
    /// Its outcome.
    outcome: Option<Result<u64, AppendError>>,
    /// The cause of the last failure.
    failed: Option<Cause>,
}

/// The result of an attempt.
enum Attempt {
    Stored(u64),
    /// The server has not stored it.
    NotStored(Cause),
    /// The result is not known.
    Unknown(Cause),
    Refused(Refusal),
}

impl Shared {
    pub(crate) async fn append(&self, records: Vec<Record>) -> Appended<u64> {
        let until = self.deadline();
        let mut batch: Vec<_> = records.into_iter().map(|record| self.sending(record)).collect();
        let mut pause = Pause::new();
        loop {
            let stored_before = stored(&batch);
            self.round(&mut batch, until).await;
            self.settle(&mut batch);
            if batch.iter().all(|sending| sending.outcome.is_some()) {
                break;
            }
            if self.is_known_missing(&batch, until).await {
                let cause = || Cause::lasting(format!("there is no stream {:?}", self.name));
                give_up(&mut batch, cause);
                break;
            }
            if stored(&batch) > stored_before {
                pause = Pause::new();
            }
            if !pause.before(until).await {
                give_up(&mut batch, || Cause::transient("the deadline is over"));
                break;
            }
        }
        let outcomes = batch.into_iter().map(|sending| sending.outcome.unwrap_or(Err(AppendError::Closed)));
        Appended::new(outcomes.collect())
    }

    fn sending(&self, record: Record) -> Sending {
        let ids = !self.window.is_zero();
        let own_id = (self.may_retry() && record.id.is_none()).then(|| self.own_id());
        let (headers, mut refusal) = match message::headers(&record, own_id) {
            Ok(headers) => (headers, None),
            Err(refusal) => (HeaderMap::new(), Some(refusal)),
        };
        if record.id.is_some() && !ids {
            refusal = Some(Refusal::Id);
        }
        let (size, limit) = (message::size(&record.body, &headers), self.max_message());
        if size > limit {
            refusal = Some(Refusal::TooLarge { size, limit });
        }
        let outcome = refusal.map(|refusal| Err(AppendError::Refused(refusal)));
        Sending { body: record.body, headers, sent: None, maybe_since: None, outcome, failed: None }
    }

    /// Sends the records without an outcome, in order, and waits for their acknowledgements. Nothing more is
    /// sent after the first failure, so that nothing is stored before a failed record.
    async fn round(&self, batch: &mut [Sending], until: Instant) {
        let mut under_way: FuturesOrdered<BoxFuture<'_, (usize, Acknowledged)>> = FuturesOrdered::new();
        let mut failed = false;
        for index in 0..batch.len() {
            if batch[index].outcome.is_some() {
                continue;
            }
            if under_way.len() >= self.config.in_flight.max(1)
                && let Some((index, acknowledged)) = under_way.next().await
            {
                failed |= batch[index].take(attempt(acknowledged));
            }
            if failed || Instant::now() >= until {
                break;
            }
            let sending = &mut batch[index];
            let message =
                PublishMessage::build().payload(sending.body.clone()).headers(sending.headers.clone());
            let sent = timeout_at(until, self.context.send_publish(self.subject.clone(), message)).await;
            match sent {
                Ok(Ok(acknowledgement)) => {
                    let waiting = timeout_at(until, acknowledgement.into_future());
                    sending.sent = Some(Instant::now());
                    under_way.push_back(async move { (index, waiting.await) }.boxed());
                }
                // The client has meanwhile reconnected to a server with a lower limit.
                Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    sending.take(Attempt::Refused(Refusal::Server(Cause::lasting(error))));
                }
                Ok(Err(error)) => {
                    failed = true;
                    sending.failed = Some(cause(error));
                }
                Err(_) => {
                    failed = true;
                    sending.failed = Some(Cause::transient("the deadline is over before it was sent"));
                }
            }
        }
        while let Some((index, acknowledged)) = under_way.next().await {
            batch[index].take(attempt(acknowledged));
        }
    }

    /// Decides about failed records: a record before a stored one is not sent again, because it would be
    /// stored after it. A record that may have been stored is sent again only while the server would
    /// recognize it.
    fn settle(&self, batch: &mut [Sending]) {
        let last_stored = batch.iter().rposition(|sending| matches!(sending.outcome, Some(Ok(_))));
        for (index, sending) in batch.iter_mut().enumerate() {
            if sending.outcome.is_some() {
                continue;
            }
            let overtaken = last_stored.is_some_and(|last| index < last);
            let unknown_for = sending.maybe_since.map(|since| since.elapsed());
            // One second for messages in transit.
            let known =
                unknown_for.is_none_or(|time| time + self.config.attempt < self.window && self.may_retry());
            if overtaken || !known {
                let cause = sending.failed.take();
                let cause = cause.unwrap_or_else(|| Cause::transient("a later record was stored"));
                sending.outcome = Some(Err(sending.error(cause)));
            }
        }
    }

    /// Whether the server knows that the stream does not exist, if no server answers for it.
    async fn is_known_missing(&self, batch: &[Sending], until: Instant) -> bool {
        if batch.iter().all(|sending| sending.failed.is_none()) {
            return false;
        }
        let asked = timeout_at(until, self.stream.get_info()).await;
        asked.is_ok_and(|info| info.is_err_and(|error| is_missing(&error)))
    }
}

impl Sending {
    /// Records the result of an attempt. Returns whether it failed.
    fn take(&mut self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::Stored(sequence) => self.outcome = Some(Ok(sequence)),
            Attempt::Refused(refusal) => self.outcome = Some(Err(AppendError::Refused(refusal))),
            Attempt::Unknown(cause) => {
                self.maybe_since = self.maybe_since.or(self.sent);
                self.failed = Some(cause);
                return true;
            }
            // An earlier attempt may have stored it nevertheless.
            Attempt::NotStored(cause) => {
                self.failed = Some(cause);
                return true;
            }
        }
        false
    }

    fn error(&self, cause: Cause) -> AppendError {
        match self.maybe_since {
            Some(_) => AppendError::MaybeAppended(cause),
            None => AppendError::NotAppended(cause),
        }
    }
}

fn stored(batch: &[Sending]) -> usize {
    batch.iter().filter(|sending| sending.outcome.is_some()).count()
}

fn give_up(batch: &mut [Sending], cause: impl Fn() -> Cause) {
    for sending in batch.iter_mut().filter(|sending| sending.outcome.is_none()) {
        let failed = sending.failed.take().filter(Cause::is_transient);
        let cause = match failed {
            Some(failed) if cause().is_transient() => failed,
            _ => cause(),
        };
        sending.outcome = Some(Err(sending.error(cause)));
    }
}

/// The meaning of the server's answer, or of its absence.
fn attempt(acknowledged: Acknowledged) -> Attempt {
    let error = match acknowledged {
        Ok(Ok(ack)) => return Attempt::Stored(ack.sequence),
        Ok(Err(error)) => error,
        Err(elapsed) => return Attempt::Unknown(Cause::transient(elapsed)),
    };
    match (error.kind(), said(&error)) {
        // No server accepted it: a leader is being elected, servers restart, or there is no such stream.
        (PublishErrorKind::StreamNotFound, _) => Attempt::NotStored(Cause::transient(error)),
        (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM)) => {
            Attempt::Refused(Refusal::Server(Cause::lasting(error)))
        }
        (_, Some(ErrorCode::STREAM_SEALED)) => Attempt::NotStored(Cause::lasting(error)),
        // The server reports that it was not stored.
        (_, Some(_)) => Attempt::NotStored(Cause::transient(error)),
        (_, None) => Attempt::Unknown(Cause::transient(error)),
    }
}
