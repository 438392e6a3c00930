//! Broadcasts: one message to many peers, encoded once.

use alloc::vec::Vec;

use bytes::Bytes;

use super::options::CastOptions;
use super::{Link, LinkEvent};
use crate::arena::EXTERNAL_FROM;
use crate::body::Payload;
use crate::config::Overflow;
use crate::error::{CastError, CastRefusal};
use crate::frame::{Class, Framing, Kind, Meta};
use crate::link::Queued;
use crate::time::Instant;

/// A message for many links of one framing. A short one is encoded once, and the links copy its bytes; a long
/// one (16 KiB or more) is kept once, and the links share it.
#[derive(Clone, Debug)]
pub struct SharedCast {
    options: CastOptions,
    body: Bytes,
    /// The frame, if it is short. It is the same for all links: a cast's frame contains nothing that belongs
    /// to one link.
    frame: Option<Vec<u8>>,
}

impl SharedCast {
    /// Encodes the message by `framing`, which must be the framing of the links that it is for.
    pub fn new<F: Framing>(framing: &F, options: CastOptions, body: Bytes) -> Self {
        let mut frame = Vec::new();
        let meta = Meta {
            kind: Kind::Cast,
            class: options.class.unwrap_or(Class::Normal),
            id: options.seq,
            method: options.method,
            ..Meta::default()
        };
        let short = body.len() < EXTERNAL_FROM;
        // A message that cannot be encoded is refused by each link, with its own error.
        let encoded = short
            && framing
                .encode(&mut frame, &meta, options.extensions.as_deref().unwrap_or_default(), &body)
                .is_ok();
        Self { options, body, frame: encoded.then_some(frame) }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Queues a broadcast message. As [`cast`](Self::cast), but no caller waits for room: with
    /// [`Overflow::Block`] a full queue drops it, which is counted and reported as an event.
    ///
    /// # Errors
    /// As [`cast`](Self::cast); the error does not contain the message.
    pub fn cast_shared(&mut self, now: Instant, shared: &SharedCast) -> Result<Queued, CastError> {
        let SharedCast { options, body, frame } = shared;
        let class = self.cast_class(options, body.len());
        let result = match frame {
            Some(frame)
                if options.class.unwrap_or(Class::Normal) == class && frame.len() <= self.fragment() =>
            {
                self.cast_frame(now, options, class, body.len(), frame)
            }
            _ => self.cast(now, options, Payload::Owned(body.clone())),
        };
        self.note_memory();
        result.map_err(|error| {
            if matches!(error.reason(), CastRefusal::Full(_))
                && self.settings.write_overflow == Overflow::Block
            {
                self.counters.casts_dropped += 1;
                self.event(LinkEvent::BroadcastDropped);
            }
            CastError::new(error.into_reason(), None)
        })
    }
}
