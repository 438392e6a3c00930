//! Received messages that cannot be handed over yet.

use alloc::boxed::Box;
use bytes::Bytes;

use super::handshake::Stage;
use super::{Event, Reader};
use crate::error::{Disconnect, PeerError};
use crate::frame::{Class, Framing, Meta, Step};
use crate::link::Link;
use crate::link::classes::lane;
use crate::link::hold::Held;
use crate::link::reader::kept_messages::{Kept, Parked};
use crate::machine::Access;
use crate::recv_buf::{Frame, RecvBuf};
use crate::time::Instant;

impl<F: Framing> Reader<F> {
    /// Whether a message cannot be handed over now: for want of room for a request's answer, or because
    /// others of its class wait.
    #[inline]
    pub(super) fn must_wait<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        is_request: bool,
        class: Class,
    ) -> bool {
        self.stage == Stage::Held
            || (self.has_parked && !self.parked[lane(class)].is_empty())
            || (is_request && !self.can_start(access))
    }

    /// The reader knows whether messages are held.
    pub(in crate::link) fn note_held(&mut self, held: &Held) {
        if held.is_held() {
            self.starts = 0;
        }
        if matches!(self.stage, Stage::Open | Stage::Held) {
            self.stage = if held.holds_messages() { Stage::Held } else { Stage::Open };
        }
    }

    /// Whether a request may be started: there is room for its answer.
    #[inline]
    pub(super) fn can_start<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>) -> bool {
        if !self.may_start() && !self.may_start_now(access) {
            return false;
        }
        self.starts -= 1;
        true
    }

    #[inline]
    fn may_start(&self) -> bool {
        self.starts > 0 && self.has_answer_room()
    }

    /// As [`can_start`](Self::can_start), after the buffered answers were moved to the link.
    #[inline(never)]
    fn may_start_now<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>) -> bool {
        let link = access.machine();
        self.flush(link);
        self.answer_rooms = link.answer_rooms();
        self.starts = link.free_inbound();
        self.may_start()
    }

    /// Whether each class has room for a further answer besides the buffered ones.
    #[inline]
    fn has_answer_room(&self) -> bool {
        let kept = self.local.as_ref().map_or([0; 2], |local| local.frames.by_class());
        kept[0] < self.answer_rooms[0] && kept[1] < self.answer_rooms[1]
    }

    /// Keeps a message until it can be handed over.
    pub(super) fn park<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        mut kept: Kept,
    ) -> Result<(), PeerError> {
        // Its cost includes its memory, and it may outlive the connection.
        kept.frame.count_here();
        if kept.is_request() {
            let parked = self.parked.iter().map(Parked::requests).sum::<usize>();
            access.machine().check_inbound(kept.meta.id, parked)?;
            if self.parked.iter().any(|parked| parked.has_request(kept.meta.id)) {
                return Err(PeerError::RequestIdInUse { id: kept.meta.id });
            }
        }
        self.parked[lane(kept.meta.class)].push(kept);
        self.has_parked = true;
        Ok(())
    }

    /// Lays the next waiting message aside, if it can be handed over now.
    pub(super) fn unpark<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>) -> bool {
        if self.stage == Stage::Held {
            return false;
        }
        for lane in 0..2 {
            if let Some(front) = self.parked[lane].front() {
                if front.is_request() && !self.can_start(access) {
                    continue;
                }
                let Some(kept) = self.parked[lane].pop() else { continue };
                self.aside = Some(Box::new(kept));
                return true;
            }
        }
        self.has_parked = !self.parked.iter().all(Parked::is_empty);
        false
    }

    /// The connection is over, and no session continues: returns messages that waited behind requests that
    /// could not start. The requests have no caller any more.
    pub(in crate::link) fn next_leftover<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &'b mut RecvBuf,
        cause: &Disconnect,
    ) -> Option<Event<'b>> {
        buf.take_lent();
        // Without a handshake they belong to an earlier session; while the application is being told of its
        // peer, messages are held.
        if !self.has_parked || self.stage != Stage::Open || access.machine().survives(cause) {
            return None;
        }
        for parked in &mut self.parked {
            parked.drop_requests();
        }
        if self.unpark(access) { Some(self.lend_aside(buf, now)) } else { None }
    }

    /// Gives the message that was laid aside to the application.
    pub(super) fn lend_aside<'b>(&mut self, buf: &'b mut RecvBuf, now: Instant) -> Event<'b> {
        let (meta, extensions, body, is_request, frame) = match &self.aside {
            Some(kept) => (
                kept.meta_at(now),
                kept.extensions.clone(),
                kept.body.clone(),
                kept.is_request(),
                kept.frame.clone(),
            ),
            None => (Meta::default(), 0..0, 0..0, false, Frame::Bytes(Bytes::new())),
        };
        let len = frame.len();
        buf.lend_frame(frame);
        self.lend(buf, is_request, meta, extensions, body, len)
    }

    /// The application refused the last event. `true`: it is kept, and reading continues.
    pub(in crate::link) fn refuse(&mut self, buf: &mut RecvBuf) -> bool {
        if self.last_was_request {
            self.requests = self.requests.saturating_sub(1);
        } else {
            self.messages = self.messages.saturating_sub(1);
        }
        if !self.framing.profile().flow_control {
            buf.unlend();
            return false;
        }
        self.starts = 0;
        self.has_parked = true;
        if let Some(mut kept) = self.aside.take() {
            kept.frame.count_here();
            self.parked[lane(kept.meta.class)].push_front(*kept);
            return true;
        }
        buf.unlend();
        let Ok(Step::Frame { meta, extensions, body, consumed }) = self.framing.next_frame(buf.unread())
        else {
            return false;
        };
        let frame = Frame::Bytes(Bytes::copy_from_slice(&buf.unread()[..consumed]));
        let since = self.now;
        self.parked[lane(meta.class)].push_front(Kept { meta, extensions, body, frame, since });
        buf.lend(consumed);
        true
    }
}
