//! Messages as stored by the stream's leader.
//!
//! `async-nats` parses the headers of such messages into its own map, which keeps one value of each name and
//! refuses values that are not UTF-8: such a stream could not be read on.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_log::{Cause, Entry, ReadError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::cause;
use crate::jetstream_log::Shared;
use crate::message;

#[derive(Serialize)]
struct Get {
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'static str>,
}

#[derive(Deserialize)]
struct Got {
    message: RawMessage,
}

impl Shared {
    /// The message at a sequence, or `None` if the leader has none there.
    pub(crate) async fn stored(&self, seq: u64) -> Result<Option<Entry<u64>>, ReadError<u64>> {
        let Some(message) = self.ask(&Get { seq, next_by_subj: None }).await? else {
            return Ok(None);
        };
        let broken = |error| ReadError::Unavailable(Cause::lasting(error));
        let body = STANDARD.decode(&message.payload).map_err(broken)?;
        let headers = message.headers.map(|headers| STANDARD.decode(headers)).transpose().map_err(broken)?;
        let headers = String::from_utf8_lossy(headers.as_deref().unwrap_or_default()).into_owned();
        Ok(Some(Entry::new(message.sequence, message::record(Bytes::from(body), lines(&headers)))))
    }

    /// The sequence of the first message at or after `seq`, if there is one.
    pub(crate) async fn next_stored(&self, seq: u64) -> Result<Option<u64>, ReadError<u64>> {
        let message = self.ask(&Get { seq, next_by_subj: Some(">") }).await?;
        Ok(message.map(|message| message.sequence))
    }

    async fn ask(&self, get: &Get) -> Result<Option<RawMessage>, ReadError<u64>> {
        let subject = format!("STREAM.MSG.GET.{}", self.name);
        match self.context.request::<_, _, Response<Got>>(subject, get).await {
            Ok(Response::Ok(got)) => Ok(Some(got.message)),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Ok(Response::Err { error }) => Err(ReadError::Unavailable(cause(error))),
            Err(error) => Err(ReadError::Unavailable(cause(error))),
        }
    }
}

/// Names and values: the lines after the first one.
fn lines(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    headers
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_headers() {
        let text = "NATS/1.0\r\nA: one\r\nA:two: words\r\nB: \r\n\r\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), [("A", "one"), ("A", "two: words"), ("B", "")]);
        assert_eq!(lines("").count(), 0);
    }
}
