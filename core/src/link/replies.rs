//! What comes in for this side's own calls, and what the reader asks of the link.

use core::time::Duration;

use super::classes::CLASSES;
use super::{Link, LinkEvent};
use crate::body::Body;
use crate::calls::Reply;
use crate::error::{CallError, Disconnect, Failure, PeerError, Status};
use crate::frame::{Framing, Kind, Meta};
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A reply came: for a call in flight, or counted as late.
    #[inline]
    pub(super) fn handle_reply(
        &mut self,
        now: Instant,
        meta: &Meta,
        extensions: &[u8],
        body: impl FnOnce() -> Body,
    ) -> Result<(), PeerError> {
        let kind = meta.kind;
        if kind == Kind::ErrorReply && !self.retries.is_empty() {
            let retry_after = meta.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms)));
            let failure = Failure { status: Status(meta.status), retry_after, body: Default::default() };
            if self.retry_refused(now, meta.id, &failure) {
                return Ok(());
            }
        }
        let completed = self.calls.complete(meta.id, || {
            if kind == Kind::ErrorReply {
                return Err(CallError::Failed(Failure {
                    status: Status(meta.status),
                    retry_after: meta.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms))),
                    body: body().into_bytes(),
                }));
            }
            Ok(Reply {
                body: body(),
                method: meta.method,
                extensions: (!extensions.is_empty()).then(|| extensions.into()),
            })
        });
        match completed {
            Some(token) => {
                self.counters.calls_replied += 1;
                self.forget_retries(meta.id, kind == Kind::Reply);
                self.wakes.caller(token);
                Ok(())
            }
            None => self.note_late_reply(meta.id),
        }
    }

    /// The reply to a call in flight, or to none, that is nothing but a body, which lies in `buf`.
    #[inline]
    pub(super) fn handle_plain_reply(
        &mut self,
        id: u64,
        body: &[u8],
        buf: &RecvBuf,
    ) -> Result<(), PeerError> {
        let Some(token) = self.calls.complete_plain(id, body, buf) else { return self.note_late_reply(id) };
        self.counters.calls_replied += 1;
        self.forget_retries(id, true);
        self.wakes.caller(token);
        Ok(())
    }

    /// Replies are handed to the application as they lie in the receive buffer, and their calls are
    /// over then: for a single owner, who makes calls and reads. Other ends of a call, and replies
    /// that are not one plain frame, give their token back and wait for
    /// [`poll_reply`](Self::poll_reply) as ever.
    pub fn lend_replies(&mut self) {
        self.lends_replies = true;
    }

    /// A reply came that will be lent. False: it is late.
    #[inline]
    pub(super) fn take_lent_reply(&mut self, id: u64) -> Result<bool, PeerError> {
        if !self.calls.take_over(id) {
            self.note_late_reply(id)?;
            return Ok(false);
        }
        self.counters.calls_replied += 1;
        self.forget_retries(id, true);
        self.grant_calls();
        Ok(true)
    }

    /// An answer came that no call waits for.
    #[cold]
    pub(super) fn note_late_reply(&mut self, id: u64) -> Result<(), PeerError> {
        self.counters.late_replies += 1;
        self.conn.late_replies += 1;
        self.event(LinkEvent::LateReply { id });
        let (value, limit) = (self.conn.late_replies, self.counters.calls - self.conn.calls_before);
        if self.framing.profile().flow_control && value > limit {
            return Err(PeerError::Flood { what: "replies", value, limit });
        }
        Ok(())
    }

    pub(super) fn is_in_flight(&self, id: u64) -> bool {
        self.calls.get(id).is_some()
    }

    pub(super) fn handle_go_away(&mut self, status: Status) {
        self.event(LinkEvent::GoAway { status });
        self.ack_now();
        if !self.conn.gone_away {
            self.conn.gone_away = true;
            for (class, begun) in CLASSES.into_iter().zip(self.arena.hold_back()) {
                if let Some(message) = begun {
                    self.abort_message(class, message);
                }
            }
            self.fail_waiting_calls(&Disconnect::GoneAway);
        }
        self.wakes.attend();
    }

    /// What may still come, by class.
    pub(super) fn allowances(&self) -> [u64; 2] {
        [self.inflow[0].allowance(), self.inflow[1].allowance()]
    }
}
