//! Long messages, put together from their fragments.

use alloc::boxed::Box;

use super::Reader;
use crate::error::PeerError;
use crate::frame::{Framing, Kind, Meta, Step};
use crate::link::Link;
use crate::link::assembly::{Assembled, Assembly};
use crate::link::classes::lane;
use crate::link::reader::kept_messages::Kept;
use crate::machine::Access;
use crate::recv_buf::{Block, Frame, WholeBlocks};
use crate::time::Instant;

impl<F: Framing> Reader<F> {
    /// A fragment was received. `true`: it completes a message for the application, which is laid aside.
    pub(super) fn handle_fragment<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        meta: &Meta,
        piece: &[u8],
        consumed: usize,
        blocks: &mut WholeBlocks,
    ) -> Result<bool, PeerError> {
        let Some(kept) = self.assemble(access, now, meta, (piece, consumed), blocks)? else {
            return Ok(false);
        };
        if self.must_wait(access, kept.is_request(), kept.meta.class) {
            self.park(access, kept)?;
            return Ok(false);
        }
        self.aside = Some(Box::new(kept));
        Ok(true)
    }

    /// The peer aborted the message that it was sending: the received part is freed.
    pub(super) fn handle_abort(&mut self, meta: &Meta) -> Result<(), PeerError> {
        let Some(assembly) = self.assemblies[lane(meta.class)].take() else {
            return Err(PeerError::Fragment { field: "id of an abort", value: meta.id, limit: 0 });
        };
        assembly.check_id(meta.id)
    }

    /// A fragment was received. `Some`: it completes a message for the application.
    fn assemble<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        fragment: &Meta,
        (piece, bytes): (&[u8], usize),
        blocks: &mut WholeBlocks,
    ) -> Result<Option<Kept>, PeerError> {
        let lane = lane(fragment.class);
        let mut assembly = match self.assemblies[lane].take() {
            Some(assembly) => assembly,
            None => {
                let mut assembly = Assembly::begin(&self.framing, fragment, piece, now)?;
                if matches!(assembly.meta.kind, Kind::Reply | Kind::ErrorReply) {
                    assembly.unwanted = !access.machine().is_in_flight(assembly.meta.id);
                }
                Box::new(assembly)
            }
        };
        assembly.check_id(fragment.id)?;
        // Missing bytes are granted according to the received ones: the link must know both.
        let cost = assembly.cost(piece.len());
        self.charge(access, fragment.class, cost, bytes)?;
        let meta = assembly.meta;
        let limit = self.longest_frame();
        let block = match assembly.add(&mut self.framing, limit, piece, blocks)? {
            Assembled::More => {
                self.assemblies[lane] = Some(assembly);
                return Ok(None);
            }
            Assembled::Discarded => {
                access.machine().note_late_reply(meta.id)?;
                return Ok(None);
            }
            Assembled::Whole(block) => block,
        };
        let is_watched = blocks.watch(Block::clone(&block));
        if is_watched {
            access.machine().note_kept_block(now);
        }
        let frame = Frame::Block { block, is_watched };
        let Step::Frame { meta, extensions, body, .. } = self.framing.next_frame(&frame)? else {
            return Err(PeerError::Fragment {
                field: "end of the message",
                value: frame.len() as u64,
                limit: 0,
            });
        };
        if matches!(meta.kind, Kind::Reply | Kind::ErrorReply) {
            let link = access.machine();
            link.handle_reply(now, &meta, &frame[extensions], || frame.keep(&frame[body]))?;
            return Ok(None);
        }
        if meta.kind == Kind::Request {
            self.guard.request();
        }
        Ok(Some(Kept { meta, extensions, body, frame, since: now }))
    }
}
