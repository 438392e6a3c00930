//! Assembles messages from fragments, one at a time per class.

use alloc::sync::Arc;

use crate::error::{FrameError, PeerError};
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Framing, Kind, Meta, Step};
use crate::memory::STEP;
use crate::recv_buf::{Block, WholeBlocks};
use crate::time::Instant;

/// The minimum number of bytes of the frame in a message's first fragment: its header up to the length of its
/// extensions, so that the length of the message is known from it.
const FIRST: usize = 32;

/// Bytes of new memory that are counted before they are written to: one step of the server's memory.
const AHEAD: usize = STEP;

/// A message of which some fragments have arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    message: u64,
    /// The metadata of its frame.
    pub(super) meta: Meta,
    /// The received bytes: in a block that an earlier message was in, if one of a suitable size is free.
    frame: Option<Block>,
    /// The memory of the earlier message's block; 0 for new memory.
    used_before: usize,
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
    Whole(Block),
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
        Ok(Self { message, meta, frame: None, used_before: 0, have: 0, need: 0, unwanted: false, since: now })
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
        if self.takes_credit() { 0 } else { self.len() as u64 }
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.capacity())
    }

    /// Bytes of memory for the part that has not arrived: all of a block that was used before. Of new memory at
    /// most [`AHEAD`] bytes count, because the system provides it when it is written to. If all of it counted, a
    /// link would take a third of its message more than its server granted at once, and with hundreds of links
    /// the server would close some.
    pub(super) fn ahead(&self) -> usize {
        let used_before = self.used_before.saturating_sub(self.len());
        used_before.max((self.memory() - self.len()).min(AHEAD))
    }

    fn len(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.len())
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
        blocks: &mut WholeBlocks,
    ) -> Result<Assembled, PeerError> {
        if self.have == 0 {
            self.need = match framing.next_frame(piece)? {
                Step::Need(need) => need,
                Step::Frame { consumed, .. } => consumed,
            };
            if self.need > limit {
                let (value, limit) = (self.need as u64, limit as u64);
                return Err(FrameError::TooLong { field: "frame", value, limit }.into());
            }
            if !self.unwanted {
                // At most twice the message, because the block lives as long as its body.
                let accepted = self.need..=self.need.saturating_mul(2);
                self.frame = blocks.take_free(|size| accepted.contains(&size));
                self.used_before = self.memory();
            }
        }
        self.have += piece.len();
        if self.have > self.need {
            let (value, limit) = (self.have as u64, self.need as u64);
            return Err(PeerError::Fragment { field: "bytes of the message", value, limit });
        }
        if !self.unwanted {
            self.append(piece);
        }
        if self.have < self.need {
            return Ok(Assembled::More);
        }
        match self.frame.take() {
            Some(frame) if !self.unwanted => Ok(Assembled::Whole(frame)),
            _ => Ok(Assembled::Discarded),
        }
    }

    /// Grows the memory as bytes arrive, up to the message's size: to at most twice the received bytes, or to the whole
    /// message once a third of it has arrived, so that a message of 64 KiB is moved once and not twice.
    fn append(&mut self, piece: &[u8]) {
        // Nothing else holds the block: bytes that something held would be copied, and not overwritten.
        let frame = Arc::make_mut(self.frame.get_or_insert_default());
        if self.have == piece.len() {
            frame.clear();
        }
        let len = frame.len() + piece.len();
        if len > frame.capacity() {
            let doubled = (2 * frame.capacity()).min(self.need);
            let whole = if self.need <= 3 * len { self.need } else { 0 };
            frame.reserve_exact(doubled.max(whole).max(len) - frame.len());
        }
        frame.extend_from_slice(piece);
    }
}
