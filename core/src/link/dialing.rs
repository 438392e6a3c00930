//! The attempts to connect a link, for the errors of deadlines that pass meanwhile.

use alloc::boxed::Box;
use core::num::NonZeroU64;

use super::{Link, LinkEvent, Phase};
use crate::address::Address;
use crate::error::{CallError, Disconnect, LinkWas, Outcome};
use crate::frame::Framing;
use crate::supervisor::DialFailure;

/// Attempts since the last healthy connection. A connected link has none.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    attempts: u32,
    last: Option<DialFailure>,
}

/// Where a link is connected, or was, and the result.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) remote: Option<Address>,
    pub(super) local: Option<Address>,
    /// The application requests a new connection now.
    pub(super) reconnect: bool,
    /// Attempts to connect since the last healthy connection.
    pub(super) dialing: Option<Box<Dialing>>,
    /// Why the last connection ended, or could not be made.
    pub(super) last_cause: Option<Box<Disconnect>>,
    /// In nanoseconds, plus one.
    pub(super) round_trip: Option<NonZeroU64>,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    pub(super) fn note_dialing(&mut self, attempt: u32) {
        self.route.dialing.get_or_insert_default().attempts = attempt;
    }

    pub(super) fn note_dial_failed(&mut self, attempt: u32, failure: DialFailure) {
        if self.phase == Phase::Closed {
            return;
        }
        let dialing = self.route.dialing.get_or_insert_default();
        dialing.attempts = attempt;
        dialing.last = Some(failure.clone());
        self.route.last_cause = Some(Box::new(failure.cause.clone()));
        // A proxy's error names the proxy itself.
        let DialFailure { endpoint, address, cause, .. } = failure;
        self.event(LinkEvent::ConnectFailed { endpoint, address, attempt, cause });
    }

    /// The error of a call that waited in [`Line::Call`](super::Line::Call) until its deadline.
    #[must_use]
    pub fn deadline_passed(&self) -> CallError {
        CallError::DeadlineExceeded { outcome: Outcome::Expired, link: self.doing() }
    }

    /// The state of the link, for the error of a message whose deadline passes now.
    #[cold]
    #[must_use]
    pub fn doing(&self) -> LinkWas {
        match self.phase {
            Phase::Ready if self.conn.gone_away => LinkWas::LeavingPeer,
            Phase::Ready => LinkWas::Connected,
            Phase::Handshaking => LinkWas::Handshaking { address: self.route.remote.clone() },
            Phase::Down | Phase::Closed => {
                let (attempts, last) = match self.route.dialing.as_deref() {
                    Some(Dialing { attempts, last }) => (*attempts, last.clone()),
                    None => (0, None),
                };
                LinkWas::NotConnected { attempts, last: last.map(Box::new) }
            }
        }
    }
}
