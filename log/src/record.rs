//! What is appended, and what is read.

use bytes::Bytes;

/// A record. Every log has a body; ids and headers are for those whose [`Capabilities`](crate::Capabilities) say so:
/// others refuse such records, so that nothing is dropped in silence.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The content, which may be empty.
    pub body: Bytes,
    /// By what the log knows a record that it already has.
    pub id: Option<String>,
    /// Names and values. A name may come more than once: the order of its values is kept, that of names need not be.
    pub headers: Vec<(String, String)>,
}

impl Record {
    /// A record with a body, without id or headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), id: None, headers: Vec::new() }
    }

    /// The same record with an id: appended again within the log's window, it is stored once.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same record with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Its bytes: those of the body, the id and the headers.
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

/// A record and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry<P> {
    /// Where it stands.
    pub position: P,
    /// What was appended there.
    pub record: Record,
}

impl<P> Entry<P> {
    /// An entry; for implementations of [`Log`](crate::Log).
    pub fn new(position: P, record: Record) -> Self {
        Self { position, record }
    }
}
