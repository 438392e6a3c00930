//! A long message that is being sent in fragments.

use super::chunk::{Chunk, External, Sent};
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Class, Framing, Kind, Meta};

/// Shorter pieces of a body are copied into the batch, which is cheaper than a slice of their own.
const COPY_BELOW: usize = 2 * 1024;

/// A long message whose fragments are sent one by one.
#[derive(Debug)]
pub(super) struct Partial {
    /// The whole frame of the message.
    pub(super) frame: Chunk,
    pub(super) sent: Sent,
    /// Its number on the wire.
    pub(super) message: u64,
    /// How much of the frame is in batches already.
    pub(super) at: usize,
}

impl Partial {
    pub(super) fn new(frame: Chunk, message: u64) -> Self {
        let sent = frame.marks().first().map_or(Sent::Control, |mark| mark.sent);
        Self { frame, sent, message, at: 0 }
    }

    pub(super) fn rest(&self) -> usize {
        self.frame.len() - self.at
    }

    /// The credit that its next `n` bytes take.
    pub(super) fn cost(&self, n: usize) -> u64 {
        match (self.sent.takes_credit(), self.at) {
            (false, _) => 0,
            (true, 0) => n as u64 + MESSAGE_COST,
            (true, _) => n as u64,
        }
    }

    /// Appends the next `n` bytes as a fragment; returns its length on the wire.
    pub(super) fn cut<F: Framing>(&mut self, framing: &F, class: Class, n: usize, out: &mut Chunk) -> usize {
        let before = out.own_len();
        let meta = Meta { class, ..Meta::new(Kind::Fragment, self.message) };
        let Ok(mark) = framing.begin(&mut out.bytes, &meta, &[]) else { return 0 };
        let own = &self.frame.bytes;
        let (start, end) = (self.at, self.at + n);
        if start < own.len() {
            out.bytes.extend_from_slice(&own[start..end.min(own.len())]);
        }
        let mut outside = None;
        if end > own.len()
            && let Some(External { body, .. }) = self.frame.externals.first()
        {
            let piece = start.saturating_sub(own.len())..end - own.len();
            if piece.len() < COPY_BELOW {
                out.bytes.extend_from_slice(&body[piece]);
            } else {
                outside = Some(body.slice(piece));
            }
        }
        let outside_len = outside.as_ref().map_or(0, |body| body.len());
        let finished = framing.finish(&mut out.bytes, mark, outside_len);
        debug_assert!(finished.is_ok(), "a fragment can always be written: {finished:?}");
        let added = out.own_len() - before + outside_len;
        if let Some(body) = outside {
            out.externals.push(External { at: out.own_len(), body });
        }
        self.at = end;
        // A message is given back from its whole frame, never from a fragment.
        out.mark(added, if self.rest() == 0 { self.sent } else { Sent::Part }, 0);
        added
    }
}
