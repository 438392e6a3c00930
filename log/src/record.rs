//! Records, to append and as read.

use bytes::Bytes;

/// A record. Every log supports bodies; ids and headers are supported by logs with these
/// [`Capabilities`](crate::Capabilities). Other logs refuse such records, so that nothing is dropped
/// silently.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The content, which may be empty.
    pub body: Bytes,
    /// The id by which the log recognises a record that it has already.
    pub id: Option<String>,
    /// Names and values. A name may occur more than once: the order of its values is kept, that of names need
    /// not be.
    pub headers: Vec<(String, String)>,
}

impl Record {
    /// A record with a body, without id or headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), id: None, headers: Vec::new() }
    }

    /// Adds an id: if it is appended again within the log's window, it is stored once.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Its size in bytes: body, id and headers.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.body.len() + self.id.as_ref().map_or(0, String::len) + headers
    }
}

impl<B: Into<Bytes>> From<B> for Record {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}

/// A record and its position.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry<P> {
    /// Its position.
    pub position: P,
    /// The record.
    pub record: Record,
}

impl<P> Entry<P> {
    /// An entry; for implementations of [`Log`](crate::Log).
    pub fn new(position: P, record: Record) -> Self {
        Self { position, record }
    }
}
