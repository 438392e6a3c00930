//! Bodies: conversion of requests and replies between values and bytes.

use alloc::string::String;
use alloc::vec::Vec;

use bowline_core::error::{Failure, Status};
use bytes::Bytes;

use super::error::{DecodeError, TooManyItems};
use super::method::{Method, text_of};
use super::read::Cursor;
use super::write::Out;
use crate::protocol::TopicDetails;
use crate::protocol::{self, Bounds, ClusterDetails, Code, Receive, Received, Reply, Request, Send, Sent};

/// Largest number of messages, indexes or names in one list, unless [`Codec::with_max_items`] sets another:
/// 65,536. A server returns at most about 600 messages.
pub const MAX_ITEMS: usize = 65_536;

/// The order in which keys are written. Any order can be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum KeyOrder {
    /// In the order of the fields' declarations, as servers and clients with codec 1.2.8 write.
    #[default]
    Declared,
    /// In alphabetical order, as those with the codec of 2015 write.
    Alphabetical,
}

/// The encoding of a list without items. Both can be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Empty {
    /// `null`, as Go writes a nil slice.
    #[default]
    Null,
    /// An empty array.
    Array,
}

/// Encodes and decodes the bodies of requests and replies: for clients and for nodes.
///
/// # Example
///
/// ```
/// use bowline_forestbus::protocol::{Receive, Request};
/// use bowline_forestbus::wire::Codec;
/// use bytes::Bytes;
///
/// let codec = Codec::new();
/// let request = Request::Receive(Receive { topic: "t".into(), id: 7, quantity: 100, ..Receive::default() });
/// let mut body = Vec::new();
/// codec.write_request(&request, &mut body)?;
/// let read = codec.read_request(request.method(), &Bytes::from(body))?;
/// assert_eq!(read, request);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codec {
    order: KeyOrder,
    empty: Empty,
    max_items: usize,
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

const RESULT: &str = "Result";
const CODE: &str = "Code";
const DESCRIPTION: &str = "Description";
const EXTRA: &str = "Extra1";
const CLUSTER_ID: &str = "ClusterID";
const PEERS: &str = "Peers";
const TOPICS: &str = "Topics";
const TOPIC: &str = "Topic";
const FIRST: &str = "FirstIndex";
const LAST: &str = "LastIndex";
const COMMIT: &str = "CommitIndex";
const SENT: &str = "SentMessages";
const WAIT_FOR_COMMIT: &str = "WaitForCommit";
const IDS: &str = "IDs";
const ID: &str = "ID";
const QUANTITY: &str = "Quantity";
const WAIT: &str = "WaitForMessages";
const RECEIVED: &str = "ReceivedMessages";
const NEXT_ID: &str = "NextID";

impl Codec {
    /// Keys in the order of declaration, `null` for lists without items, lists of up to [`MAX_ITEMS`].
    #[must_use]
    pub const fn new() -> Self {
        Self { order: KeyOrder::Declared, empty: Empty::Null, max_items: MAX_ITEMS }
    }

    /// Sets the order of keys.
    #[must_use]
    pub const fn with_order(mut self, order: KeyOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the encoding of lists without items.
    #[must_use]
    pub const fn with_empty(mut self, empty: Empty) -> Self {
        self.empty = empty;
        self
    }

    /// Sets the limit on the items of a list, when writing and reading. A message takes 32 bytes of memory in
    /// addition to its own.
    #[must_use]
    pub const fn with_max_items(mut self, items: usize) -> Self {
        self.max_items = items;
        self
    }

    /// Appends the body of a request: the arguments of its [method](Request::method).
    ///
    /// # Errors
    /// [`TooManyItems`]: there are more messages than [`with_max_items`](Self::with_max_items) allows; `out` is unchanged.
    pub fn write_request(&self, request: &Request, out: &mut Vec<u8>) -> Result<(), TooManyItems> {
        let is_alphabetical = self.order == KeyOrder::Alphabetical;
        match request {
            Request::ClusterDetails => {
                Out(out).map(0);
            }
            Request::TopicDetails { topic } => {
                Out(out).map(1).text(TOPIC).text(topic);
            }
            Request::Send(Send { cluster_id, topic, messages, wait_for_commit }) => {
                self.check_items(SENT, messages.len())?;
                reserve(out, messages);
                let mut out = Out(out);
                out.map(4).text(CLUSTER_ID).text(cluster_id);
                if is_alphabetical {
                    self.write_messages(out.text(SENT), messages);
                    out.text(TOPIC).text(topic);
                } else {
                    out.text(TOPIC).text(topic);
                    self.write_messages(out.text(SENT), messages);
                }
                out.text(WAIT_FOR_COMMIT).boolean(*wait_for_commit);
            }
            Request::Receive(Receive { cluster_id, topic, id, quantity, wait }) => {
                let mut out = Out(out);
                out.map(5).text(CLUSTER_ID).text(cluster_id);
                if is_alphabetical {
                    out.text(ID).signed(*id).text(QUANTITY).signed(*quantity).text(TOPIC).text(topic);
                } else {
                    out.text(TOPIC).text(topic).text(ID).signed(*id).text(QUANTITY).signed(*quantity);
                }
                out.text(WAIT).boolean(*wait);
            }
        }
        Ok(())
    }

    /// Decodes the body of a request. Messages are slices of it, unless they are encoded in several chunks or
    /// as arrays of numbers.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read_request(&self, method: Method, body: &Bytes) -> Result<Request, DecodeError> {
        let mut cursor = Cursor::new(body);
        let request = match method {
            Method::ClusterDetails => {
                cursor.fields("arguments", &[], |_, _| Ok(()))?;
                Request::ClusterDetails
            }
            Method::TopicDetails => {
                let mut topic = String::new();
                cursor.fields("arguments", &[TOPIC], |cursor, _| {
                    topic = cursor.text(TOPIC)?;
                    Ok(())
                })?;
                Request::TopicDetails { topic }
            }
            Method::Send => {
                let mut send = Send::default();
                let names = [CLUSTER_ID, TOPIC, SENT, WAIT_FOR_COMMIT];
                cursor.fields("arguments", &names, |cursor, field| {
                    match field {
                        0 => send.cluster_id = cursor.text(CLUSTER_ID)?,
                        1 => send.topic = cursor.text(TOPIC)?,
                        2 => send.messages = self.read_messages(cursor, SENT, body)?,
                        _ => send.wait_for_commit = cursor.boolean(WAIT_FOR_COMMIT)?,
                    }
                    Ok(())
                })?;
                Request::Send(send)
            }
            Method::Receive => {
                let mut receive = Receive::default();
                let names = [CLUSTER_ID, TOPIC, ID, QUANTITY, WAIT];
                cursor.fields("arguments", &names, |cursor, field| {
                    match field {
                        0 => receive.cluster_id = cursor.text(CLUSTER_ID)?,
                        1 => receive.topic = cursor.text(TOPIC)?,
                        2 => receive.id = cursor.wrapping(ID)?,
                        3 => receive.quantity = cursor.wrapping(QUANTITY)?,
                        _ => receive.wait = cursor.boolean(WAIT)?,
                    }
                    Ok(())
                })?;
                Request::Receive(receive)
            }
        };
        cursor.finish()?;
        Ok(request)
    }

    /// Appends the body of a reply. It is suitable for `answer_with` of a link's reader: a failure is sent as
    /// the header's `Error`.
    ///
    /// # Errors
    /// A failure with the text of [`Reply::Error`]; one with [`Status::REPLY_TOO_LARGE`] if a list has more
    /// items than [`with_max_items`](Self::with_max_items) allows. `out` is unchanged then.
    pub fn write_reply(&self, reply: &Reply, out: &mut Vec<u8>) -> Result<(), Failure> {
        let is_alphabetical = self.order == KeyOrder::Alphabetical;
        match reply {
            Reply::Error(text) => return Err(Failure::new(Status::FAILED, text)),
            Reply::ClusterDetails(ClusterDetails { status, cluster_id, peers, topics }) => {
                self.check_answer(PEERS, peers.len())?;
                self.check_answer(TOPICS, topics.len())?;
                let mut out = Out(out);
                out.map(4);
                if !is_alphabetical {
                    write_status(&mut out, status);
                }
                out.text(CLUSTER_ID).text(cluster_id);
                self.write_names(out.text(PEERS), peers);
                if is_alphabetical {
                    write_status(&mut out, status);
                }
                self.write_names(out.text(TOPICS), topics);
            }
            Reply::TopicDetails(TopicDetails { status, bounds: Bounds { first, last, commit } }) => {
                let mut out = Out(out);
                out.map(4);
                if is_alphabetical {
                    out.text(COMMIT).signed(*commit).text(FIRST).signed(*first).text(LAST).signed(*last);
                    write_status(&mut out, status);
                } else {
                    write_status(&mut out, status);
                    out.text(FIRST).signed(*first).text(LAST).signed(*last).text(COMMIT).signed(*commit);
                }
            }
            Reply::Sent(Sent { status, ids }) => {
                self.check_answer(IDS, ids.len())?;
                let mut out = Out(out);
                out.map(2);
                if !is_alphabetical {
                    write_status(&mut out, status);
                }
                self.write_list(out.text(IDS), ids.len());
                for id in ids {
                    out.signed(*id);
                }
                if is_alphabetical {
                    write_status(&mut out, status);
                }
            }
            Reply::Received(Received { status, messages, next_id }) => {
                self.check_answer(RECEIVED, messages.len())?;
                reserve(out, messages);
                let mut out = Out(out);
                out.map(3);
                if is_alphabetical {
                    out.text(NEXT_ID).signed(*next_id);
                    self.write_messages(out.text(RECEIVED), messages);
                    write_status(&mut out, status);
                } else {
                    write_status(&mut out, status);
                    self.write_messages(out.text(RECEIVED), messages);
                    out.text(NEXT_ID).signed(*next_id);
                }
            }
        }
        Ok(())
    }

    /// Decodes the body of a reply to that method. Messages are slices of it, as in
    /// [`read_request`](Self::read_request).
    ///
    /// # Errors
    /// [`DecodeError`]. The reply is not compared with the request: [`Sent::check`] and [`Received::check`]
    /// do that.
    pub fn read_reply(&self, method: Method, body: &Bytes) -> Result<Reply, DecodeError> {
        let mut cursor = Cursor::new(body);
        let reply = match method {
            Method::ClusterDetails => {
                let mut details = ClusterDetails::default();
                cursor.fields("results", &[RESULT, CLUSTER_ID, PEERS, TOPICS], |cursor, field| {
                    match field {
                        0 => details.status = read_status(cursor)?,
                        1 => details.cluster_id = cursor.text(CLUSTER_ID)?,
                        2 => details.peers = self.read_names(cursor, PEERS)?,
                        _ => details.topics = self.read_names(cursor, TOPICS)?,
                    }
                    Ok(())
                })?;
                Reply::ClusterDetails(details)
            }
            Method::TopicDetails => {
                let mut details = TopicDetails::default();
                cursor.fields("results", &[RESULT, FIRST, LAST, COMMIT], |cursor, field| {
                    match field {
                        0 => details.status = read_status(cursor)?,
                        1 => details.bounds.first = cursor.signed(FIRST)?,
                        2 => details.bounds.last = cursor.signed(LAST)?,
                        _ => details.bounds.commit = cursor.signed(COMMIT)?,
                    }
                    Ok(())
                })?;
                Reply::TopicDetails(details)
            }
            Method::Send => {
                let mut sent = Sent::default();
                cursor.fields("results", &[RESULT, IDS], |cursor, field| {
                    match field {
                        0 => sent.status = read_status(cursor)?,
                        _ => sent.ids = cursor.list(IDS, self.max_items, |cursor| cursor.signed(IDS))?,
                    }
                    Ok(())
                })?;
                Reply::Sent(sent)
            }
            Method::Receive => {
                let mut received = Received::default();
                cursor.fields("results", &[RESULT, RECEIVED, NEXT_ID], |cursor, field| {
                    match field {
                        0 => received.status = read_status(cursor)?,
                        1 => received.messages = self.read_messages(cursor, RECEIVED, body)?,
                        _ => received.next_id = cursor.signed(NEXT_ID)?,
                    }
                    Ok(())
                })?;
                Reply::Received(received)
            }
        };
        cursor.finish()?;
        Ok(reply)
    }

    /// Converts a link's failure of a call: it is the header's `Error`.
    #[must_use]
    pub fn read_failure(failure: &Failure) -> Reply {
        Reply::Error(text_of(&failure.body).into_owned())
    }

    fn check_items(&self, field: &'static str, items: usize) -> Result<(), TooManyItems> {
        if items > self.max_items {
            return Err(TooManyItems { field, value: items as u64, limit: self.max_items as u64 });
        }
        Ok(())
    }

    fn check_answer(&self, field: &'static str, items: usize) -> Result<(), Failure> {
        self.check_items(field, items)
            .map_err(|error| Failure::new(Status::REPLY_TOO_LARGE, alloc::format!("{error}")))
    }

    /// Writes the head of a list.
    fn write_list(&self, out: &mut Out<'_>, items: usize) {
        match self.empty {
            Empty::Null if items == 0 => out.null(),
            _ => out.array(items),
        };
    }

    fn write_messages(&self, out: &mut Out<'_>, messages: &[Bytes]) {
        self.write_list(out, messages.len());
        for message in messages {
            out.bytes(message);
        }
    }

    fn write_names(&self, out: &mut Out<'_>, names: &[String]) {
        self.write_list(out, names.len());
        for name in names {
            out.text(name);
        }
    }

    fn read_messages(
        &self,
        cursor: &mut Cursor<'_>,
        field: &'static str,
        body: &Bytes,
    ) -> Result<Vec<Bytes>, DecodeError> {
        cursor.list(field, self.max_items, |cursor| cursor.message(field, body))
    }

    fn read_names(&self, cursor: &mut Cursor<'_>, field: &'static str) -> Result<Vec<String>, DecodeError> {
        cursor.list(field, self.max_items, |cursor| cursor.text(field))
    }
}

/// Reserves memory for messages and their envelope, so that the bytes are not moved again.
fn reserve(out: &mut Vec<u8>, messages: &[Bytes]) {
    let heads = messages.len() * 5;
    out.reserve(messages.iter().map(Bytes::len).sum::<usize>() + heads + 128);
}

fn write_status(out: &mut Out<'_>, status: &protocol::Status) {
    let protocol::Status { code, description, extra } = status;
    out.text(RESULT).map(3).text(CODE).signed(code.number());
    out.text(DESCRIPTION).text(description).text(EXTRA).text(extra);
}

fn read_status(cursor: &mut Cursor<'_>) -> Result<protocol::Status, DecodeError> {
    let mut status = protocol::Status::default();
    cursor.fields(RESULT, &[CODE, DESCRIPTION, EXTRA], |cursor, field| {
        match field {
            0 => status.code = Code::from_number(cursor.signed(CODE)?),
            1 => status.description = cursor.text(DESCRIPTION)?,
            _ => status.extra = cursor.text(EXTRA)?,
        }
        Ok(())
    })?;
    Ok(status)
}

impl Code {
    /// The code's number on the wire.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Success => 0,
            Self::ClusterIdMismatch => 1,
            Self::TopicNotFound => 2,
            Self::Internal => 3,
            Self::NotLeader => 4,
            Self::Shutdown => 5,
            Self::Other(number) => number,
        }
    }

    /// The code with that number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::ClusterIdMismatch,
            2 => Self::TopicNotFound,
            3 => Self::Internal,
            4 => Self::NotLeader,
            5 => Self::Shutdown,
            other => Self::Other(other),
        }
    }
}
