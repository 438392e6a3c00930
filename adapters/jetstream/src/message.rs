//! Conversion between records and messages.

use std::str::FromStr;

use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, Message};
use bowline_log::{Record, Refusal};
use bytes::Bytes;

/// Prefix of the ids that this crate generates for records without one; such ids are not part of the record.
pub(crate) const OWN_ID: &str = "bowline.";

/// The headers of a record, including an id.
///
/// # Errors
/// The record cannot be stored unchanged: it uses reserved names, or bytes that headers cannot contain.
pub(crate) fn headers(record: &Record, own_id: Option<String>) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in &record.headers {
        let refusal = || Refusal::Header { name: name.clone() };
        if name.is_empty() || is_reserved(name) || value.trim() != value {
            return Err(refusal());
        }
        let value = HeaderValue::from_str(value).map_err(|_| refusal())?;
        headers.append(HeaderName::from_str(name).map_err(|_| refusal())?, value);
    }
    let refusal = || Refusal::Header { name: NATS_MESSAGE_ID.to_string() };
    if let Some(id) = &record.id {
        if id.is_empty() || id.starts_with(OWN_ID) || id.trim() != id {
            return Err(refusal());
        }
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from_str(id).map_err(|_| refusal())?);
    } else if let Some(id) = own_id {
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from_str(&id).map_err(|_| refusal())?);
    }
    Ok(headers)
}

/// Whether a header is part of the protocol between clients and servers. Servers add some, such as a
/// message's place.
fn is_reserved(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("Nats-"))
}

/// The size of a message in the server's count, bytes.
pub(crate) fn size(body: &Bytes, headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return body.len();
    }
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| name.len() + ": \r\n".len() + value.as_str().len())
    });
    body.len() + "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// The record of a stored message.
pub(crate) fn record<'a>(body: Bytes, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Record {
    let mut record = Record::new(body);
    for (name, value) in headers {
        if !is_reserved(name) {
            record.headers.push((name.to_owned(), value.to_owned()));
        } else if name.eq_ignore_ascii_case(NATS_MESSAGE_ID.as_ref()) && !value.starts_with(OWN_ID) {
            record.id = Some(value.to_owned());
        }
    }
    // The map is unordered: sorting makes the same record equal each time it is read.
    record.headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    record
}

/// The names and values of headers.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
}

/// The record of a message that a consumer received.
pub(crate) fn of_message(message: &Message) -> Record {
    record(message.payload.clone(), message.headers.iter().flat_map(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let given = Record::new("body")
            .with_id("7")
            .with_header("B", "x y")
            .with_header("A", "")
            .with_header("B", "z");
        let written = headers(&given, None).expect("all of it can be stored");
        let read = record(given.body.clone(), pairs(&written));
        assert_eq!((&read.body, &read.id), (&given.body, &given.id));
        let of = |name: &str| {
            read.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((of("A"), of("B")), (vec![""], vec!["x y", "z"]));
        // "NATS/1.0", four header lines, and an empty line.
        assert_eq!(size(&given.body, &written), 4 + 10 + 16 + 5 + 8 + 6 + 2);
    }

    #[test]
    fn ids_of_this_crate_are_no_part_of_a_record() {
        let written = headers(&Record::new(""), Some(format!("{OWN_ID}1"))).expect("it can be stored");
        assert_eq!(record(Bytes::new(), pairs(&written)), Record::new(""));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        for (name, value) in
            [("", "x"), ("Nats-Rollup", "all"), ("nats-x", "y"), ("A", " x"), ("A", "x\r\nB: y"), ("A:", "x")]
        {
            let refused = headers(&Record::new("").with_header(name, value), None);
            assert!(matches!(refused, Err(Refusal::Header { .. })), "{name:?}: {value:?}");
        }
        for id in ["", " x", "x\n", "bowline.1"] {
            let refused = headers(&Record::new("").with_id(id), None);
            assert!(matches!(refused, Err(Refusal::Header { .. })), "{id:?}");
        }
    }
}
