//! A message that is being assembled, in the storage format of [`Inbox`](super::Inbox).

use alloc::vec::Vec;

use bytes::Bytes;

use super::{APART, CHUNK, LARGE};
use crate::error::ZmtpError;
use crate::message::Message;
use crate::options::Options;
use crate::wire::{MORE, Version, put_header};

/// A message that is being assembled: it is incomplete, or its frames need re-encoding.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(super) bytes: Vec<u8>,
    pub(super) large: Vec<Bytes>,
    pub(super) parts: usize,
    /// Total bytes of the bodies that are stored separately.
    pub(super) body: usize,
    /// Bytes of all bodies.
    size: usize,
}

impl Staged {
    /// Whether it contains no part of a message.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts == 0
    }

    /// Bytes of the bodies received so far.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Checks that one more frame with a body of `body` bytes keeps the message within its limits.
    pub(crate) fn check(&self, body: usize, options: &Options) -> Result<(), ZmtpError> {
        check(self.parts + 1, self.size, body, options)
    }

    pub(crate) fn push(&mut self, more: bool, body: &[u8]) {
        if body.len() >= LARGE {
            return self.push_large(more, Bytes::copy_from_slice(body));
        }
        put_header(&mut self.bytes, Version::V2, if more { MORE } else { 0 }, body.len());
        self.bytes.extend_from_slice(body);
        self.parts += 1;
        self.size += body.len();
    }

    pub(crate) fn push_large(&mut self, more: bool, body: Bytes) {
        self.bytes.push(APART | if more { MORE } else { 0 });
        self.parts += 1;
        self.size += body.len();
        self.body += body.len();
        self.large.push(body);
    }

    /// Appends all parts of a message.
    pub(super) fn push_message(&mut self, message: &Message) {
        for (place, part) in message.iter().enumerate() {
            let more = place + 1 < message.len();
            match part.len() {
                LARGE.. => self.push_large(more, part.clone().into_bytes()),
                _ => self.push(more, part),
            }
        }
    }

    /// Discards the message. A little memory is kept for reuse.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > CHUNK {
            self.bytes = Vec::new();
        }
        self.large.clear();
        (self.parts, self.body, self.size) = (0, 0, 0);
    }
}

/// Checks that a message stays within its limits with a frame of `body` bytes that is part number `parts`,
/// where the earlier parts have `size` bytes.
pub(crate) fn check(parts: usize, size: usize, body: usize, options: &Options) -> Result<(), ZmtpError> {
    let bytes = size.saturating_add(body);
    if bytes > options.max_message {
        let (value, limit) = (bytes as u64, options.max_message as u64);
        return Err(ZmtpError::TooLong { field: "message", value, limit });
    }
    if parts > options.max_parts {
        let (value, limit) = (parts as u64, options.max_parts as u64);
        return Err(ZmtpError::TooMany { field: "parts of a message", value, limit });
    }
    Ok(())
}
