//! Answers to this side's calls, and the link's answers to its reader.

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
    /// A reply was received: for a call in flight, or counted as late.
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

    /// As [`handle_reply`](Self::handle_reply), for a reply that is only a body, which is in `buf`.
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

    /// From now on replies are given to the application in the receive buffer, and their calls end with that:
    /// for a single owner, who both makes calls and reads. If a call ends otherwise, or its reply is not a
    /// single plain frame, its token is returned as usual and the result is taken with
    /// [`poll_reply`](Self::poll_reply).
    pub fn lend_replies(&mut self) {
        self.lends_replies = true;
    }

    /// A reply was received that will be given out in the receive buffer. `false`: it is late.
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

    /// An answer was received that no call waits for.
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

    /// The cost that may still be received, by class.
    pub(super) fn allowances(&self) -> [u64; 2] {
        self.inflows.allowances()
    }
}
