//! Casts: fast path and slow path.

use alloc::vec::Vec;

use super::classes::{NORMAL, lane};
use super::options::CastOptions;
use super::{Link, Phase};
use crate::arena::{Load, Sent, Withdrawn};
use crate::body::Payload;
use crate::config::Overflow;
use crate::error::{CastError, CastRefusal, Disconnect, EncodeError, Outcome, Undeliverable};
use crate::frame::{Class, Framing, Kind, Meta};
use crate::link::undelivered::decode;
use crate::time::Instant;

/// Proof that a message was queued; its outcome is not known yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "queued is not written"]
pub struct Queued {
    /// The number of the cast, counted from 1 on each link; events contain it.
    pub number: u64,
    /// The bytes that it takes on the wire.
    pub bytes: usize,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Queues a message that is not answered.
    ///
    /// # Errors
    /// [`CastRefusal::Full`] if the write queue is full and its policy is to block (wait with
    /// [`wait`](Self::wait)), to reject or to drop the newest; [`CastRefusal::Encode`] if the message cannot
    /// be encoded; [`CastRefusal::Closed`]. A message that was passed by value is in the error.
    #[inline]
    pub fn cast(
        &mut self,
        now: Instant,
        options: &CastOptions,
        payload: Payload<'_>,
    ) -> Result<Queued, CastError> {
        match self.cast_plain(options, payload.as_slice()) {
            Some(queued) => Ok(queued),
            None => self.cast_other(now, options, payload),
        }
    }

    /// The fast path of casts: of the normal class, short, not watched, after others that wait. `None`: the
    /// fast path does not apply, and nothing was done; use [`cast`](Self::cast).
    #[inline]
    pub fn cast_plain(&mut self, options: &CastOptions, body: &[u8]) -> Option<Queued> {
        Some(self.cast_in_registers(options, body)).filter(|queued| queued.number > 0)
    }

    /// [`cast_plain`](Self::cast_plain), with number 0 for `None`. Two words fit into registers: on this
    /// path, storing a result and loading it again costs more than everything else.
    #[inline(never)]
    pub fn cast_in_registers(&mut self, options: &CastOptions, body: &[u8]) -> Queued {
        const NONE: Queued = Queued { number: 0, bytes: 0 };
        if !self.takes_plain(options) || body.len() > self.conn.agreed.max_message {
            return NONE;
        }
        let (number, meta) = (self.next_cast, plain_meta(options));
        let bytes = self.arena.push_behind(&self.framing, Sent::Cast(number), &meta, body);
        let Some(bytes) = bytes else { return NONE };
        self.next_cast += 1;
        self.counters.casts += 1;
        self.after_queueing_in(Class::Normal);
        Queued { number, bytes }
    }

    #[inline]
    fn takes_plain(&self, options: &CastOptions) -> bool {
        let is_plain = !options.notify
            && options.extensions.is_none()
            && matches!(options.class, None | Some(Class::Normal))
            && self.settings.expire_after.is_none();
        let may_go = self.closing.is_none() && self.phase != Phase::Closed && !self.lines.write_full[NORMAL];
        is_plain && may_go
    }

    /// [`cast_plain`](Self::cast_plain) for several messages, until one is not plain, or the room for a batch
    /// is used up. Returns how many were queued: use [`cast`](Self::cast) for the next one, then continue.
    #[inline]
    pub fn cast_plain_many<B: AsRef<[u8]>>(&mut self, options: &CastOptions, bodies: &[B]) -> usize {
        let max = self.conn.agreed.max_message;
        if !self.takes_plain(options) || bodies.first().is_none_or(|body| body.as_ref().len() > max) {
            return 0;
        }
        // If one is too long, it is the first one of the next call.
        let sound = bodies.iter().position(|body| body.as_ref().len() > max);
        let bodies = &bodies[..sound.unwrap_or(bodies.len())];
        let limit = self.settings.write_queue;
        let fits = |load: Load| !limit.is_reached(load.messages, load.bytes);
        let meta = plain_meta(options);
        let count = self.arena.push_many_behind(&self.framing, self.next_cast, &meta, bodies, fits);
        if count > 0 {
            self.next_cast += count as u64;
            self.counters.casts += count as u64;
            self.after_queueing_in(Class::Normal);
        }
        count
    }

    #[inline(never)]
    fn cast_other(
        &mut self,
        now: Instant,
        options: &CastOptions,
        payload: Payload<'_>,
    ) -> Result<Queued, CastError> {
        let class = self.cast_class(options, payload.len());
        let meta =
            Meta { kind: Kind::Cast, class, id: options.seq, method: options.method, ..Meta::default() };
        let extensions = options.extensions.as_deref().unwrap_or_default();
        let checked = self
            .check_encodes(&meta, extensions, payload.as_slice())
            .map_err(CastRefusal::from)
            .and_then(|()| self.check_cast(class, payload.len()));
        if let Err(reason) = checked {
            return Err(refused(reason, payload));
        }
        let number = self.next_cast;
        // Cheap in both cases: a slice is copied anyway, an owned body is reference-counted.
        let kept = match &payload {
            Payload::Owned(bytes) => Payload::Owned(bytes.clone()),
            Payload::Borrowed(bytes) => Payload::Borrowed(bytes),
        };
        let pushed = self.arena.push(
            &self.framing,
            Sent::Cast(number),
            &meta,
            extensions,
            kept,
            self.framing.profile().external_bodies,
        );
        match pushed {
            Ok(bytes) => Ok(self.cast_queued(now, options, class, bytes)),
            Err(error) => Err(refused(error.into(), payload)),
        }
    }

    /// Queues a frame that was encoded before, for a body of `len` bytes.
    pub(super) fn cast_frame(
        &mut self,
        now: Instant,
        options: &CastOptions,
        class: Class,
        len: usize,
        frame: &[u8],
    ) -> Result<Queued, CastError> {
        self.check_cast(class, len).map_err(|reason| CastError::new(reason, None))?;
        self.arena.push_frame(class, Sent::Cast(self.next_cast), frame, len);
        Ok(self.cast_queued(now, options, class, frame.len()))
    }

    #[inline]
    fn cast_queued(&mut self, now: Instant, options: &CastOptions, class: Class, bytes: usize) -> Queued {
        let number = self.next_cast;
        self.next_cast += 1;
        self.counters.casts += 1;
        if options.notify {
            self.notify_outcome(number);
        }
        self.watch_expiry(now, class, number);
        self.after_queueing_in(class);
        Queued { number, bytes }
    }

    /// Refuses messages that cannot be encoded before a full queue makes room for them by dropping a message
    /// or the connection.
    fn check_encodes(&self, meta: &Meta, extensions: &[u8], body: &[u8]) -> Result<(), EncodeError> {
        let has_cost = matches!(self.settings.write_overflow, Overflow::DropOldest | Overflow::Disconnect);
        if !has_cost || !self.lines.write_full[lane(meta.class)] {
            return Ok(());
        }
        self.check_size(body.len())?;
        let mut out = Vec::new();
        if !self.framing.profile().external_bodies {
            return self.framing.encode(&mut out, meta, extensions, body);
        }
        let mark = self.framing.begin(&mut out, meta, extensions)?;
        self.framing.finish(&mut out, mark, body.len())
    }

    /// Makes room for one message, which may take several casts: many short ones may have filled the queue.
    /// Calls are not dropped.
    fn drop_oldest_casts(&mut self, class: Class) -> Result<(), CastRefusal> {
        let limit = self.settings.write_queue;
        let has_room = |load: Load| !limit.is_reached(load.messages, load.bytes);
        let mut dropped = Vec::new();
        let Self { arena, framing, .. } = &mut *self;
        let reason = Undeliverable::Dropped(Overflow::DropOldest);
        arena.take_oldest_casts(class, has_room, |frame| {
            dropped.extend(decode(framing, frame, Outcome::Dropped, &reason));
        });
        if !dropped.is_empty() {
            self.after_withdrawing(Withdrawn::Waiting);
        }
        self.counters.casts_dropped += dropped.len() as u64;
        for undelivered in dropped {
            self.fail_cast(undelivered);
        }
        if has_room(self.arena.ours(class)) {
            Ok(())
        } else {
            Err(CastRefusal::Full(self.write_queue_full(class)))
        }
    }

    fn check_cast(&mut self, class: Class, len: usize) -> Result<(), CastRefusal> {
        if self.closing.is_some() || self.phase == Phase::Closed {
            return Err(CastRefusal::Closed);
        }
        self.check_size(len)?;
        if !self.lines.write_full[lane(class)] {
            return Ok(());
        }
        match self.settings.write_overflow {
            Overflow::Block => Err(CastRefusal::Full(self.write_queue_full(class))),
            Overflow::Reject => {
                self.counters.casts_refused += 1;
                Err(CastRefusal::Full(self.write_queue_full(class)))
            }
            Overflow::DropNewest => {
                self.counters.casts_dropped += 1;
                Err(CastRefusal::Full(self.write_queue_full(class)))
            }
            Overflow::DropOldest => self.drop_oldest_casts(class),
            Overflow::Disconnect => {
                self.conn.abort_for(Disconnect::Overflow { queue: "write" });
                self.wakes.attend();
                Err(CastRefusal::Full(self.write_queue_full(class)))
            }
        }
    }
}

#[inline]
fn plain_meta(options: &CastOptions) -> Meta {
    let (id, method) = (options.seq, options.method);
    Meta { kind: Kind::Cast, class: Class::Normal, id, method, ..Meta::default() }
}

fn refused(reason: CastRefusal, payload: Payload<'_>) -> CastError {
    let body = match payload {
        Payload::Owned(bytes) => Some(bytes),
        Payload::Borrowed(_) => None,
    };
    CastError::new(reason, body)
}
