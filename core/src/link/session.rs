//! Sessions: state that both sides share, and that outlives its connections.
//!
//! Both sides count the frames that belong to the session ([`Kind::is_counted`]); only acknowledgements and
//! the resume carry numbers. Frames that the peer has not acknowledged are kept as they were written. On the
//! next connection each side says how many frames it has received, and the other continues from there.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::greeting::Claim;
use super::left_blocks::LeftBlocks;
use super::settle::Ended;
use super::undelivered::decode;
use super::{Link, LinkEvent, Phase, Role};
use crate::arena::{Batch, FrameRef, Sent};
use crate::auth::{Identity, RefusalCode};
use crate::config::Delivery;
use crate::error::{Disconnect, FrameError, Outcome, PeerError, Undeliverable};
use crate::frame::native::Resume;
use crate::frame::{Framing, Kind, Meta};
use crate::link::reader::Retired;
use crate::time::Instant;

/// The peer gets an acknowledgement at least once per this many received bytes.
const ACK_BYTES: u64 = 64 * 1024;

/// The id and the token that an accepting side assigns to a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionIdentity {
    /// Unique among the sessions of a server; not 0.
    pub id: u64,
    /// Random, from the system: a peer that knows it may take over the session.
    pub token: [u8; 16],
}

impl core::fmt::Debug for SessionIdentity {
    /// Does not print the token.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The state of the session, except the sent frames (which are in the arena).
#[derive(Debug)]
pub(super) struct Session {
    identity: SessionIdentity,
    /// The identity that it belongs to, if the peer has one.
    owner: Option<Identity>,
    /// Frames received, and how many of them were acknowledged.
    received: u64,
    said: u64,
    unsaid_bytes: u64,
    /// When an acknowledgement is due at the latest; whether it is due now.
    ack_at: Option<Instant>,
    ack_due: bool,
    /// The end of its life without a connection, on the accepting side.
    detached_until: Option<Instant>,
    /// Without a connection, if its memory is counted: the bytes that were counted last.
    pub(super) counted: Option<usize>,
}

impl Session {
    /// The number of frames received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    fn new(identity: SessionIdentity, owner: Option<Identity>) -> Self {
        Self {
            identity,
            owner,
            received: 0,
            said: 0,
            unsaid_bytes: 0,
            ack_at: None,
            ack_due: false,
            detached_until: None,
            counted: None,
        }
    }
}

/// The session of a link, and what is left of earlier connections.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) session: Option<Box<Session>>,
    /// For the next session of an accepting link.
    pub(super) offer: Option<Box<SessionIdentity>>,
    /// State that the reader of the session's last connection left.
    pub(super) retired: Option<Box<Retired>>,
    /// Blocks of the receive buffers of ended connections.
    pub(super) left: LeftBlocks,
    /// Counts connections, or sessions if there are any: an answer belongs to one of them.
    pub(super) scope: u64,
    /// The session continues on this connection.
    pub(super) scope_holds: bool,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Whether this side wants sessions, and the framing has them.
    pub(super) fn wants_session(&self) -> bool {
        matches!(self.settings.delivery, Delivery::Session)
            && (self.role == Role::Dialing || self.history.offer.is_some() || self.history.session.is_some())
    }

    /// Sets the identity of the next session of an accepting link. Without one there is no session.
    pub fn offer_session(&mut self, identity: SessionIdentity) {
        self.history.offer = Some(Box::new(identity));
    }

    /// The present session, connected or not.
    #[must_use]
    pub fn session(&self) -> Option<SessionIdentity> {
        self.history.session.as_ref().map(|session| session.identity)
    }

    /// The name of the identity that the session belongs to.
    pub(super) fn session_owner(&self) -> Option<&str> {
        Some(self.history.session.as_ref()?.owner.as_ref()?.name())
    }

    /// Whether the link has no connection and waits for its session to be resumed.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.phase == Phase::Down && self.history.session.is_some()
    }

    /// Another connection takes over the session: the present one ends.
    pub fn supersede(&mut self) {
        if self.phase != Phase::Down && self.phase != Phase::Closed {
            self.conn.abort_for(Disconnect::Superseded);
            self.wakes.attend();
        }
    }

    /// Stops waiting for the resumption of a session without a connection.
    pub fn expire_session(&mut self, now: Instant) {
        if self.is_detached() {
            self.end(now, Disconnect::SessionExpired);
        }
    }

    /// Sends this side's resume after its hello.
    pub(super) fn send_resume(&mut self) {
        let resume = match &mut self.history.session {
            Some(session) => {
                session.said = session.received;
                (session.unsaid_bytes, session.ack_at, session.ack_due) = (0, None, false);
                Resume::new(session.identity.id, session.identity.token, session.received)
            }
            None => Resume::new(0, [0; 16], 0),
        };
        self.send_control(Meta::control(Kind::Resume, 0), &resume.to_bytes());
    }

    /// The peer's resume. `true`: the session continues; `false`: it is a new one.
    pub(super) fn handle_resume(&mut self, now: Instant, claim: &Claim) -> Result<bool, PeerError> {
        let theirs = &claim.resume;
        let goes_on = self.session().is_some_and(|held| claim.is_for(&held));
        if goes_on {
            self.go_on(theirs.received)?;
        } else {
            let identity = match self.role {
                Role::Dialing => SessionIdentity { id: theirs.session, token: theirs.token },
                Role::Accepting => self
                    .history
                    .offer
                    .take()
                    .map_or(SessionIdentity { id: 0, token: [0; 16] }, |offer| *offer),
            };
            if identity.id == 0 {
                return Err(PeerError::Resume { field: "session", value: theirs.session, limit: 0 });
            }
            self.lose_session(now, &Disconnect::SessionLost);
            let owner = self.identity().cloned();
            self.history.session = Some(Box::new(Session::new(identity, owner)));
            self.arena.begin_session(self.settings.session_window);
            self.begin_flow();
        }
        if let Some(session) = &mut self.history.session {
            session.detached_until = None;
        }
        if self.role == Role::Accepting {
            self.send_resume();
        }
        Ok(goes_on)
    }

    /// The session continues: the peer has received this many of its frames.
    fn go_on(&mut self, received: u64) -> Result<(), PeerError> {
        let unacked = self.arena.unacked();
        let (watched, mut acked) = (self.watches_casts(), Vec::new());
        let resumed = self.arena.resume(received, |sent| acked.extend(sent.cast().filter(|_| watched)));
        let Some(replayed) = resumed else {
            return Err(PeerError::Resume { field: "received", value: received, limit: self.arena.lent() });
        };
        // Acknowledgements may have been lost with the old connection: the resume replaces them.
        self.note_acked(acked);
        if replayed > 0 {
            self.counters.replayed += replayed;
        }
        self.history.scope_holds = true;
        // Late replies may belong to any call of the session.
        self.conn.calls_before = 0;
        // The last grants may have been lost with the old connection.
        self.inflows.repeat();
        self.event(LinkEvent::Resumed {
            epoch: self.epoch,
            replayed,
            already_there: unacked.saturating_sub(replayed),
        });
        Ok(())
    }

    /// Frames of the session were received.
    pub(super) fn note_received_frames(&mut self, now: Instant, frames: u64, bytes: u64) {
        let Some(session) = &mut self.history.session else { return };
        session.received += frames;
        session.unsaid_bytes += bytes;
        if frames == 0 || session.ack_due {
            return;
        }
        if session.unsaid_bytes >= ACK_BYTES.min(self.settings.session_window as u64 / 4) {
            session.ack_due = true;
            self.wake_driver();
        } else if session.ack_at.is_none() {
            let at = now + self.settings.ack_delay;
            session.ack_at = Some(at);
            self.wakes.attend_before(at);
        }
    }

    /// Sends an acknowledgement at once.
    pub(super) fn ack_now(&mut self) {
        if let Some(session) = &mut self.history.session
            && session.said < session.received
        {
            session.ack_due = true;
            self.wake_driver();
        }
    }

    /// Whether frames were received whose acknowledgement was not encoded yet.
    pub(super) fn owes_ack(&self) -> bool {
        self.history.session.as_ref().is_some_and(|session| session.said < session.received)
    }

    pub(super) fn has_ack_due(&self) -> bool {
        self.history.session.as_ref().is_some_and(|session| session.ack_due)
    }

    pub(super) fn encode_ack(&mut self) {
        let Some(session) = self.history.session.as_mut().filter(|session| session.ack_due) else { return };
        (session.ack_due, session.ack_at, session.unsaid_bytes) = (false, None, 0);
        session.said = session.received;
        let meta = Meta::control(Kind::Ack, session.received);
        self.send_control(meta, b"");
    }

    /// The peer has received this many of this side's frames.
    pub(super) fn handle_ack(&mut self, received: u64) -> Result<(), PeerError> {
        let (watched, mut acked) = (self.watches_casts(), Vec::new());
        let known = self.arena.ack(received, |sent| acked.extend(sent.cast().filter(|_| watched)));
        if !known {
            return Err(PeerError::Ack { value: received, limit: self.arena.lent() });
        }
        self.note_acked(acked);
        if !self.arena.has_no_data() {
            self.wake_driver();
        } else if self.closing.is_some() || self.conn.gone_away {
            // The close may have waited for this.
            self.wakes.attend();
        }
        Ok(())
    }

    /// When the next step of the session is due.
    pub(super) fn next_session_timeout(&self) -> Option<Instant> {
        let session = self.history.session.as_ref()?;
        match self.phase {
            Phase::Ready => session.ack_at,
            Phase::Down => session.detached_until,
            _ => None,
        }
    }

    pub(super) fn check_session(&mut self, now: Instant) {
        let Some(session) = &mut self.history.session else { return };
        if self.phase == Phase::Ready && session.ack_at.is_some_and(|at| now >= at) {
            session.ack_at = None;
            session.ack_due = true;
            self.wake_driver();
        } else if self.phase == Phase::Down && session.detached_until.is_some_and(|at| now >= at) {
            self.end(now, Disconnect::SessionExpired);
        }
    }

    /// Whether the session outlives a connection that ends for this reason.
    pub(super) fn survives(&self, cause: &Disconnect) -> bool {
        let said_good_bye =
            self.closing.is_some() || (self.conn.gone_away && *cause == Disconnect::PeerClosed);
        let over = match cause {
            // The connection ended in the middle of a frame, as broken connections do.
            Disconnect::Protocol(PeerError::Frame(FrameError::Truncated { .. })) => false,
            // A delayed connection that is older than the present state: its numbers are outdated. It is
            // closed, and the session stays.
            Disconnect::Protocol(PeerError::Resume { .. }) if self.role == Role::Accepting => false,
            // A peer in its handshake did not own the session. A ready peer that was refused did.
            Disconnect::Denied(_) => self.phase == Phase::Ready,
            Disconnect::Refused(refusal) => {
                self.phase == Phase::Ready || refusal.code == RefusalCode::OTHER_IDENTITY
            }
            Disconnect::Protocol(_) | Disconnect::LocalClose | Disconnect::GoneAway => true,
            // That policy ends the session: acknowledged messages may not be dropped.
            Disconnect::Overflow { .. } => true,
            _ => said_good_bye,
        };
        self.history.session.is_some() && !over
    }

    /// The connection ended and the session stays: nothing is lost, everything waits.
    pub(super) fn detach(&mut self, now: Instant, lent: Option<Batch>) {
        self.arena.detach(lent);
        let expiry = self.settings.session_expiry;
        let accepting = self.role == Role::Accepting;
        if let Some(session) = &mut self.history.session {
            session.detached_until = accepting.then(|| now + expiry);
            (session.ack_at, session.ack_due) = (None, false);
            if self.share.is_counted {
                // Counted from this moment on, by the counter that is informed now.
                session.counted = Some(0);
            }
        }
        self.say_waiting();
        // There is no writer until there is a connection again: the queued bytes are reported to the counter.
        self.wakes.note_writer(true);
        // From now on the time of its end has to be watched without a connection.
        self.wakes.attend();
    }

    /// The session is over, if there is one: messages that the peer did not acknowledge are given back, and
    /// calls that the peer was handling may or may not be executed.
    pub(super) fn lose_session(&mut self, now: Instant, cause: &Disconnect) {
        self.say_waiting();
        if self.history.session.take().is_none() {
            return;
        }
        let (mut acked, mut failed, mut answers, mut unacknowledged) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        let Self { arena, framing, .. } = &mut *self;
        let reason = Undeliverable::Disconnected(cause.clone());
        let lost = |frame: &FrameRef<'_>| {
            unacknowledged += 1;
            match frame.sent {
                Sent::Cast(_) => failed.extend(decode(framing, frame, Outcome::MaybeDelivered, &reason)),
                Sent::Answer(id) => answers.push(id),
                _ => {}
            }
        };
        arena.end_session(|sent| acked.extend(sent.cast()), lost);
        self.note_acked(acked);
        for mut undelivered in failed {
            undelivered.attempts = 1;
            self.fail_cast(undelivered);
        }
        for id in answers {
            self.drop_answer(id);
        }
        self.history.retired = self.history.retired.take().map(|retired| Box::new(retired.without_session()));
        // If a side closed and nothing was unfinished, nothing was lost: this is the regular end of a
        // session.
        let parting = matches!(cause, Disconnect::GoneAway | Disconnect::LocalClose)
            || (self.conn.gone_away && *cause == Disconnect::PeerClosed);
        if unacknowledged > 0 || !(parting || self.closing.is_some()) {
            self.event(LinkEvent::SessionLost { unacknowledged });
        }
        // Waiting messages go to the next session, or are given back.
        self.settle(Ended::Session, cause);
        let again = self.choose_retries();
        self.fail_calls_that_left(cause, &again);
        self.requeue_all(now, &again);
        let Self { inbound, wakes, .. } = &mut *self;
        inbound.clear(|token| wakes.caller(token));
        self.history.scope += 1;
    }

    /// Queues an abort at the front of its class: its place is after the fragments that were sent and before
    /// the next message.
    pub(super) fn push_abort(&mut self, class: crate::frame::Class, message: u64) {
        let mut frame = Vec::new();
        let meta = Meta { class, ..Meta::new(Kind::Abort, message) };
        if self.framing.encode(&mut frame, &meta, &[], b"").is_ok() {
            self.arena.push_encoded(class, Sent::Abort, &frame, 0);
        }
    }

    /// The number of frames that wait for the peer's acknowledgement.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.arena.unacked()
    }
}
