//! Assembles messages from fragments, one at a time per class.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::error::{FrameError, PeerError};
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Framing, Kind, Meta, Step};
use crate::time::Instant;

/// The minimum number of bytes of the frame in a message's first fragment: its header up to the length of its
/// extensions, so that the length of the message is known from it.
const FIRST: usize = 32;

/// A message of which some fragments have arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    message: u64,
    /// The metadata of its frame.
    pub(super) meta: Meta,
    frame: Vec<u8>,
    /// The number of bytes received.
    have: usize,
    /// The length of the frame as far as it is known.
    need: usize,
    /// It was cancelled: its bytes are discarded on arrival.
    pub(super) unwanted: bool,
    pub(super) since: Instant,
}

/// The effect of a fragment.
#[derive(Debug)]
pub(super) enum Assembled {
    More,
    /// The message is complete.
    Whole(Bytes),
    /// The message is complete, but was cancelled.
    Discarded,
}

impl Assembly {
    /// Begins with a message's first fragment, which is added separately.
    ///
    /// # Errors
    /// It is not the beginning of a message, or of one that may not be fragmented.
    pub(super) fn begin<F: Framing>(
        framing: &F,
        fragment: &Meta,
        piece: &[u8],
        now: Instant,
    ) -> Result<Self, PeerError> {
        if piece.len() < FIRST {
            let (value, limit) = (piece.len() as u64, FIRST as u64);
            return Err(PeerError::Fragment { field: "length of the first", value, limit });
        }
        let kind = || PeerError::Fragment {
            field: "kind of the message",
            value: u64::from(*piece.first().unwrap_or(&0)),
            limit: 5,
        };
        let meta = framing.peek(piece).ok_or_else(kind)?;
        if !matches!(meta.kind, Kind::Request | Kind::Reply | Kind::ErrorReply | Kind::Cast) {
            return Err(kind());
        }
        if meta.class != fragment.class {
            let (value, limit) = (meta.class.index() as u64, fragment.class.index() as u64);
            return Err(PeerError::Fragment { field: "class of the message", value, limit });
        }
        let message = fragment.id;
        Ok(Self { message, meta, frame: Vec::new(), have: 0, need: 0, unwanted: false, since: now })
    }

    /// Whether its bytes take credit: those of requests and casts do.
    pub(super) fn takes_credit(&self) -> bool {
        matches!(self.meta.kind, Kind::Request | Kind::Cast)
    }

    /// The cost of the next `n` bytes.
    pub(super) fn cost(&self, n: usize) -> u64 {
        match (self.takes_credit(), self.have) {
            (false, _) => 0,
            (true, 0) => n as u64 + MESSAGE_COST,
            (true, _) => n as u64,
        }
    }

    /// The cost of the bytes received so far.
    pub(super) fn spent(&self) -> u64 {
        if self.takes_credit() && self.have > 0 { self.have as u64 + MESSAGE_COST } else { 0 }
    }

    /// The cost of the missing bytes.
    pub(super) fn missing(&self) -> u64 {
        if self.takes_credit() { (self.need - self.have.min(self.need)) as u64 } else { 0 }
    }

    /// The received bytes of an answer.
    pub(super) fn answer(&self) -> u64 {
        if self.takes_credit() { 0 } else { self.frame.len() as u64 }
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.frame.capacity()
    }

    pub(super) fn check_id(&self, id: u64) -> Result<(), PeerError> {
        if id != self.message {
            return Err(PeerError::Fragment { field: "message id", value: id, limit: self.message });
        }
        Ok(())
    }

    /// Adds a fragment.
    ///
    /// # Errors
    /// The message exceeds a limit, or the fragment exceeds the message.
    pub(super) fn add<F: Framing>(
        &mut self,
        framing: &mut F,
        limit: usize,
        piece: &[u8],
    ) -> Result<Assembled, PeerError> {
        let first = self.have == 0;
        if first || !self.unwanted {
            self.grow(piece.len());
            self.frame.extend_from_slice(piece);
        }
        self.have += piece.len();
        if first {
            self.need = match framing.next_frame(&self.frame)? {
                Step::Need(need) => need,
                Step::Frame { consumed, .. } => consumed,
            };
            if self.need > limit {
                let (value, limit) = (self.need as u64, limit as u64);
                return Err(FrameError::TooLong { field: "frame", value, limit }.into());
            }
            if self.unwanted {
                self.frame = Vec::new();
            }
        }
        if self.have > self.need {
            let (value, limit) = (self.have as u64, self.need as u64);
            return Err(PeerError::Fragment { field: "bytes of the message", value, limit });
        }
        if self.have < self.need {
            return Ok(Assembled::More);
        }
        if self.unwanted {
            return Ok(Assembled::Discarded);
        }
        Ok(Assembled::Whole(Bytes::from(core::mem::take(&mut self.frame))))
    }

    /// Grows the buffer as bytes arrive, up to the message's size: to at most twice the received bytes, or to the whole
    /// message once a third of it has arrived, so that a message of 64 KiB is moved once and not twice.
    fn grow(&mut self, more: usize) {
        let len = self.frame.len() + more;
        if len > self.frame.capacity() {
            let doubled = (2 * self.frame.capacity()).min(self.need);
            let whole = if self.need <= 3 * len { self.need } else { 0 };
            self.frame.reserve_exact(doubled.max(whole).max(len) - self.frame.len());
        }
    }
}
