//! Frames other than messages.

use super::Reader;
use super::handshake::name;
use crate::auth::Refusal;
use crate::error::{PeerError, Status};
use crate::frame::native::Credit;
use crate::frame::{Framing, Kind, Meta};
use crate::link::classes::lane;
use crate::link::{Link, Role};
use crate::machine::Access;
use crate::recv_buf::WholeBlocks;
use crate::time::Instant;

impl<F: Framing> Reader<F> {
    /// Handles a frame that is not a message, or a part of one. `true`: a message is complete and laid aside.
    #[inline(never)]
    pub(super) fn handle_other<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        meta: &Meta,
        body: &[u8],
        consumed: usize,
        blocks: &mut WholeBlocks,
    ) -> Result<bool, PeerError> {
        match meta.kind {
            Kind::Fragment => {
                return self.handle_fragment(access, now, meta, body, consumed, blocks);
            }
            Kind::Abort => {
                self.arrived[lane(meta.class)].bytes += consumed as u64;
                self.handle_abort(meta)?;
            }
            Kind::Cancel => {
                self.arrived[lane(meta.class)].bytes += consumed as u64;
                self.handle_cancel(access, meta.id)?;
            }
            Kind::Credit => {
                self.guard.control(consumed)?;
                let credit = Credit::decode(body)?;
                access.machine().handle_credit(&credit)?;
            }
            Kind::Ack if self.in_session => {
                self.guard.control(consumed)?;
                access.machine().handle_ack(meta.id)?;
            }
            Kind::Ping => {
                self.guard.control(consumed)?;
                self.local.take_if(|local| local.is_empty());
                let link = access.machine();
                link.conn.due.answer_ping(meta.id);
                link.wake_driver();
            }
            // Every byte is a sign of life: the pass recorded it.
            Kind::Pong => {
                self.guard.control(consumed)?;
                self.local.take_if(|local| local.is_empty());
                access.machine().handle_pong(now, meta.id);
            }
            Kind::GoAway => {
                self.guard.control(consumed)?;
                access.machine().handle_go_away(Status(meta.status));
            }
            Kind::Ack | Kind::Resume => {
                return Err(PeerError::Resume { field: "frames of a session", value: 1, limit: 0 });
            }
            // The peer let this side in before, and refuses it now.
            Kind::Refused if self.authenticates && access.machine().role() == Role::Dialing => {
                access.machine().handle_refused(Refusal::decode(body)?);
                self.is_stopped = true;
            }
            Kind::Hello => return Err(PeerError::SecondHello),
            other => return Err(PeerError::AfterHandshake { found: name(other) }),
        }
        Ok(false)
    }

    /// The peer cancelled a request.
    fn handle_cancel<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        id: u64,
    ) -> Result<(), PeerError> {
        self.guard.cancel()?;
        if self.parked.iter_mut().any(|parked| parked.cancel(id)) {
            access.machine().counters.cancels += 1;
            return Ok(());
        }
        // Buffered answers may be for this request.
        let link = access.machine();
        self.flush(link);
        link.cancel_inbound(id);
        Ok(())
    }
}
