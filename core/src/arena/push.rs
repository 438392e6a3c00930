//! Messages encoded into the write queue.

use super::Arena;
use super::chunk::{self, CHUNK, Chunk, Load, Sent};
use crate::body::Payload;
use crate::error::EncodeError;
use crate::frame::{Class, Framing, Meta};

impl Arena {
    /// Appends an encoded message to its class. On error nothing changed.
    #[inline]
    pub(crate) fn push<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        extensions: &[u8],
        payload: Payload<'_>,
        external_bodies: bool,
    ) -> Result<usize, EncodeError> {
        let len = payload.len();
        if len.saturating_add(extensions.len()) >= self.fragment.min(chunk::EXTERNAL_FROM) {
            return self.push_long(framing, sent, meta, extensions, payload, external_bodies);
        }
        let bytes = len + extensions.len() + 64;
        let Self { lanes, spare, fragment, .. } = self;
        let lane = lanes.get_mut(meta.class);
        let most = if meta.class == Class::Bulk { CHUNK.min(*fragment) } else { CHUNK };
        let chunk = lane.tail(bytes, most, spare);
        let added = chunk.push_copied(framing, sent, meta, extensions, payload.as_slice())?;
        lane.note_pushed(sent, added);
        Ok(added)
    }

    /// Appends a short message to the normal class. `None`: nothing was done, because the message is not
    /// short or the framing refuses it.
    #[inline(always)]
    pub(crate) fn push_behind<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        body: &[u8],
    ) -> Option<usize> {
        if body.len() >= self.short {
            return None;
        }
        let lane = self.lanes.normal_mut();
        if let Some(chunk) = lane.last_with_room(body.len() + 64) {
            let added = chunk.push_copied(framing, sent, meta, &[], body).ok()?;
            lane.note_pushed(sent, added);
            return Some(added);
        }
        // A copy, so that the value that was built in registers is stored to memory here only.
        let first = *meta;
        self.push(framing, sent, &first, &[], Payload::Borrowed(body), false).ok()
    }

    /// As [`push_behind`](Self::push_behind), for several messages, the first of which has number `first`,
    /// while they fit. Returns how many were appended. `fits` says, given the load that waits, whether one
    /// more is allowed.
    #[inline]
    pub(crate) fn push_many_behind<F: Framing, B: AsRef<[u8]>>(
        &mut self,
        framing: &F,
        first: u64,
        meta: &Meta,
        bodies: &[B],
        fits: impl Fn(Load) -> bool,
    ) -> usize {
        let short = self.short;
        let lane = self.lanes.normal_mut();
        let mut load = lane.ours();
        let before = load;
        let Some(chunk) = lane.last_with_room(0) else { return 0 };
        for (number, body) in (first..).zip(bodies) {
            let body = body.as_ref();
            if body.len() >= short || !chunk.has_memory(body.len() + 64) {
                break;
            }
            let Ok(added) = chunk.push_copied(framing, Sent::Cast(number), meta, &[], body) else { break };
            load.add(Load { messages: usize::from(added > 0), bytes: added });
            if !fits(load) {
                break;
            }
        }
        let pushed = Load { messages: load.messages - before.messages, bytes: load.bytes - before.bytes };
        lane.note_many(pushed);
        pushed.messages
    }

    /// Appends a copy of an encoded frame that is not longer than a fragment.
    pub(crate) fn push_frame(&mut self, class: Class, sent: Sent, frame: &[u8], body: usize) {
        let Self { lanes, spare, fragment, .. } = self;
        let lane = lanes.get_mut(class);
        let most = if class == Class::Bulk { CHUNK.min(*fragment) } else { CHUNK };
        lane.tail(frame.len(), most, spare).push_encoded(sent, frame, body);
        lane.note_pushed(sent, frame.len());
    }

    /// As [`push`](Self::push), for bodies that may be kept by reference or cut into fragments.
    #[inline(never)]
    fn push_long<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        extensions: &[u8],
        payload: Payload<'_>,
        external_bodies: bool,
    ) -> Result<usize, EncodeError> {
        let fragment = self.fragment;
        let may_be_external = external_bodies && payload.len() >= chunk::EXTERNAL_FROM;
        let payload = match payload {
            // Copied once here, and not again when it is cut into fragments.
            Payload::Borrowed(bytes) if may_be_external && bytes.len() > fragment => {
                Payload::Owned(bytes::Bytes::copy_from_slice(bytes))
            }
            payload => payload,
        };
        let by_reference = may_be_external && matches!(payload, Payload::Owned(_));
        if payload.len() + extensions.len() + 64 > fragment {
            // Possibly too long for one frame: a chunk of its own.
            let mut alone = Chunk::default();
            let added = alone.push(framing, sent, meta, extensions, payload, external_bodies)?;
            alone.large = added > fragment;
            self.lane_mut(meta.class).push_chunk(alone);
            return Ok(added);
        }
        let copied = if by_reference { 0 } else { payload.len() };
        let Self { lanes, spare, .. } = self;
        let lane = lanes.get_mut(meta.class);
        let most = if meta.class == Class::Bulk { CHUNK.min(fragment) } else { CHUNK };
        let chunk = lane.tail(copied + extensions.len() + 64, most, spare);
        let added = chunk.push(framing, sent, meta, extensions, payload, external_bodies)?;
        lane.note_pushed(sent, added);
        Ok(added)
    }

    /// Encodes a frame that goes out before all messages, whatever class it has.
    pub(crate) fn push_control<F: Framing>(
        &mut self,
        framing: &F,
        meta: &Meta,
        body: &[u8],
    ) -> Result<usize, EncodeError> {
        let Self { control, spare, .. } = self;
        let chunk = control.get_or_insert_default();
        if chunk.capacity() == 0
            && let Some(spare) = spare.pop()
        {
            **chunk = spare;
        }
        chunk.reserve(body.len() + 64);
        chunk.push(framing, Sent::Control, meta, &[], body.into(), false)
    }
}
