//! Authentication: the exchange of credentials before a connection is ready, and refusals.
//!
//! | accepting side | dialing side |
//! |---|---|
//! | [`Link::challenge`], then sends hello and challenge | sends hello (and resume) |
//! | receives hello, resume and credentials: [`Event::Credentials`](super::Event::Credentials) | receives the challenge: [`Event::Challenge`](super::Event::Challenge) |
//! | [`Link::decide`] | [`Link::show`] |
//! | sends accepted, or refused and closes | ready, or closed: [`Disconnect::Refused`] |

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::greeting::Claim;
use super::{Link, Phase, Role};
use crate::auth::{
    Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, Identity, MAX_CHALLENGE,
    Refusal, RefusalCode, Shown,
};
use crate::error::{Disconnect, PeerError};
use crate::frame::native::{AUTHENTICATION, Accepted, SESSION};
use crate::frame::{Framing, Kind, Meta};
use crate::machine::Ending;
use crate::supervisor::Epoch;
use crate::time::Instant;

/// How long a refused peer has for reading the refusal and closing its side.
const PARTING: Duration = Duration::from_secs(1);

/// The authentication state of an accepting link, kept from one connection to the next.
#[derive(Debug, Default)]
pub(super) struct Doorman {
    /// For the next connection.
    challenge: Option<Vec<u8>>,
    /// The identity of the peer, after it was let in.
    admitted: Option<Admitted>,
}

#[derive(Debug)]
struct Admitted {
    identity: Identity,
    max_inbound: usize,
}

/// The exchange on one connection, until it is ready.
#[derive(Debug)]
pub(super) struct Exchange {
    challenge: Vec<u8>,
    /// The peer's resume: not processed before the peer is let in.
    claim: Option<Claim>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Waiting for the peer's credentials.
    Asked,
    /// Waiting for the application's decision, since this time.
    Deciding(Instant),
    /// The peer was let in.
    Accepted,
}

/// A refusal that is being sent to the peer; the connection ends after it.
#[derive(Debug)]
pub(super) struct Parting {
    refusal: Refusal,
    /// The connection is closed at this time, whether the refusal was sent or not.
    until: Instant,
    /// The refusal was sent.
    told: bool,
}

/// The parameters that both sides agreed on for the rest of the handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeted {
    /// The connection belongs to a session.
    pub(super) in_session: bool,
    /// The dialing side authenticates.
    pub(super) authenticates: bool,
}

/// The state of a decision, as the reader of an accepting link sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Open,
    /// Let in; the peer's session then continues, if it wants one.
    Accepted(Option<Claim>),
    Refused,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Makes an accepting link require its peer's credentials, in answer to a [`challenge`](Self::challenge),
    /// before it hands anything over.
    pub fn require_credentials(&mut self) {
        self.doorman.get_or_insert_default();
    }

    /// Sets the challenge for the next connection of an accepting link: at most [`MAX_CHALLENGE`] bytes
    /// (further bytes are ignored), which must be unpredictable. Call it before each connection; after the
    /// first call, a connection without a challenge is refused.
    pub fn challenge(&mut self, challenge: impl Into<Vec<u8>>) {
        let mut challenge = challenge.into();
        challenge.truncate(MAX_CHALLENGE);
        self.doorman.get_or_insert_default().challenge = Some(challenge);
    }

    /// The identity of an accepting link's peer; `None` if it did not have to authenticate, or was not let in
    /// yet. It remains after the end of the connection.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        Some(&self.doorman.as_deref()?.admitted.as_ref()?.identity)
    }

    /// The source of a dialing link's credentials.
    #[must_use]
    pub fn credential_source(&self) -> Option<Arc<dyn CredentialSource>> {
        self.settings.credentials.0.clone()
    }

    /// The application's decision about the [credentials](Shown) of that connection. Ignored if no decision
    /// is pending for it. Returns whether the peer was let in.
    pub fn decide(&mut self, now: Instant, epoch: Epoch, decision: Decision) -> bool {
        if !self.is_deciding(epoch) {
            return false;
        }
        match decision {
            Ok(grant) if self.is_anothers_session(&grant.identity) => {
                self.part(now, RefusalCode::OTHER_IDENTITY.into());
            }
            Ok(grant) => self.let_in(grant),
            Err(refusal) => self.part(now, refusal),
        }
        self.conn.parting.is_none()
    }

    /// Whether a decision about that connection is pending.
    #[must_use]
    pub fn is_deciding(&self, epoch: Epoch) -> bool {
        let step = self.conn.exchange.as_ref().map(|exchange| exchange.step);
        self.epoch == epoch
            && self.phase == Phase::Handshaking
            && self.conn.parting.is_none()
            && matches!(step, Some(Step::Deciding(_)))
    }

    /// Withdraws the peer of an accepting link: the peer gets the refusal, then its connection and its
    /// session end.
    pub fn withdraw(&mut self, now: Instant, refusal: Refusal) {
        match self.phase {
            Phase::Closed => {}
            Phase::Down => self.end(now, Disconnect::Denied(refusal)),
            Phase::Handshaking if self.conn.exchange.is_some() => self.part(now, refusal),
            Phase::Ready if self.conn.authenticated => self.part(now, refusal),
            // Before the handshake the peer would not understand a refusal.
            Phase::Handshaking | Phase::Ready => {
                self.conn.abort_for(Disconnect::Denied(refusal));
                self.wakes.attend();
            }
        }
    }

    /// The credentials of a dialing link in answer to that challenge. Ignored if its connection has ended.
    pub fn show(
        &mut self,
        now: Instant,
        challenge: &Challenge,
        credentials: Result<Credentials, CredentialsError>,
    ) {
        let asked = self.conn.exchange.as_ref().is_some_and(|exchange| exchange.step == Step::Asked);
        if self.epoch != challenge.epoch || self.phase != Phase::Handshaking || !asked {
            return;
        }
        match credentials {
            Ok(credentials) => {
                self.send_control(Meta::control(Kind::Credentials, 0), credentials.as_bytes());
                if let Some(exchange) = &mut self.conn.exchange {
                    exchange.step = Step::Deciding(now);
                }
            }
            Err(error) => self.conn.abort_for(Disconnect::NoCredentials(error)),
        }
        self.wakes.attend();
    }

    /// Answers a challenge by the source in the settings: for drivers without a lock.
    pub fn answer_challenge(&mut self, now: Instant, challenge: &Challenge) {
        let credentials = match self.credential_source() {
            Some(source) => source.credentials(challenge),
            None => Ok(Credentials::none()),
        };
        self.show(now, challenge, credentials);
    }

    /// Maximum number of the peer's requests that are handled at once. More of them, up to the limit in this
    /// side's hello, do not break the protocol: they wait.
    pub(super) fn max_inbound(&self) -> usize {
        match self.doorman.as_deref() {
            Some(Doorman { admitted: Some(admitted), .. }) => admitted.max_inbound,
            _ => self.settings.max_inbound,
        }
    }

    /// The features of this side's hello: those offered, and those required.
    pub(super) fn features(&self) -> (u64, u64) {
        let is_dialing = self.role == Role::Dialing;
        let (mut offered, mut required) = (0, 0);
        if self.wants_session() {
            offered |= SESSION;
            required |= if is_dialing { SESSION } else { 0 };
        }
        if is_dialing {
            offered |= AUTHENTICATION;
        } else if self.doorman.is_some() {
            (offered, required) = (offered | AUTHENTICATION, required | AUTHENTICATION);
        }
        (offered, required)
    }

    /// The challenge directly follows the hello: a peer that does not know it is refused because of its
    /// hello.
    pub(super) fn send_challenge(&mut self) {
        let Some(doorman) = &mut self.doorman else { return };
        let Some(challenge) = doorman.challenge.take() else {
            let refusal = Refusal::new(RefusalCode::UNAVAILABLE).text("no challenge");
            return self.conn.abort_for(Disconnect::Denied(refusal));
        };
        self.send_control(Meta::control(Kind::Challenge, 0), &challenge);
        self.conn.exchange = Some(Box::new(Exchange { challenge, claim: None, step: Step::Asked }));
    }

    /// Keeps the peer's resume until the peer has authenticated.
    pub(super) fn keep_claim(&mut self, claim: Claim) {
        if let Some(exchange) = &mut self.conn.exchange {
            exchange.claim = Some(claim);
        }
    }

    /// The accepting side sent a challenge.
    pub(super) fn handle_challenge(&mut self, bytes: &[u8]) -> Challenge {
        let (challenge, claim, step) = (bytes.to_vec(), None, Step::Asked);
        self.conn.exchange = Some(Box::new(Exchange { challenge: challenge.clone(), claim, step }));
        // The session that the resume after this side's hello named.
        let session = self.session().filter(|_| self.wants_session()).map_or(0, |session| session.id);
        Challenge { bytes: challenge, session, epoch: self.epoch }
    }

    /// The dialing side sent its credentials.
    pub(super) fn handle_credentials(&mut self, now: Instant, bytes: &[u8]) -> Result<Shown, PeerError> {
        let Some(exchange) = self.conn.exchange.as_mut().filter(|exchange| exchange.step == Step::Asked)
        else {
            return Err(PeerError::AfterHandshake { found: "credentials" });
        };
        exchange.step = Step::Deciding(now);
        let challenge = Challenge {
            bytes: exchange.challenge.clone(),
            session: exchange.claim.map_or(0, |claim| claim.resume.session),
            epoch: self.epoch,
        };
        if self.limits().verification.is_some() {
            self.wakes.attend();
        }
        // The framing has checked the length.
        let credentials = Credentials::new(bytes).unwrap_or_default();
        Ok(Shown { credentials, challenge })
    }

    /// The decision about the peer.
    pub(super) fn verdict(&self) -> Verdict {
        if self.conn.parting.is_some() {
            return Verdict::Refused;
        }
        match self.conn.exchange.as_deref() {
            Some(Exchange { step: Step::Accepted, claim, .. }) => Verdict::Accepted(*claim),
            _ => Verdict::Open,
        }
    }

    /// The accepting side let this side in.
    pub(super) fn handle_accepted(&mut self, accepted: Accepted) -> Result<(), PeerError> {
        let showed = self.conn.exchange.take().is_some_and(|exchange| exchange.step != Step::Asked);
        if !showed {
            return Err(PeerError::Unauthenticated {
                expected: "the credentials to be waited for",
                found: "acceptance",
            });
        }
        if let Some(most) = accepted.max_in_flight {
            let agreed = &mut self.conn.agreed.max_in_flight;
            *agreed = (*agreed).min(usize::try_from(most).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// The accepting side refused this side, at once or later.
    pub(super) fn handle_refused(&mut self, refusal: Refusal) {
        self.conn.abort_for(Disconnect::Refused(refusal));
        self.wakes.attend();
    }

    /// The connection is ready: the state of the exchange is dropped.
    pub(super) fn end_exchange(&mut self) {
        self.conn.exchange = None;
    }

    fn let_in(&mut self, Grant { identity, max_inbound, .. }: Grant) {
        let Some(exchange) = &mut self.conn.exchange else { return };
        exchange.step = Step::Accepted;
        let all = self.settings.max_inbound;
        let most = max_inbound.map_or(all, |most| most.clamp(1, all));
        let admitted = Some(Admitted { identity, max_inbound: most });
        self.doorman.get_or_insert_default().admitted = admitted;
        let said = (most < all).then(|| u32::try_from(most).unwrap_or(u32::MAX - 1));
        self.send_control(Meta::control(Kind::Accepted, 0), &Accepted::new(said).to_bytes());
        // The reader continues without a further byte.
        self.conn.released = true;
        self.wakes.attend();
    }

    /// Whether the peer asks for the present session, and it belongs to another identity.
    fn is_anothers_session(&self, identity: &Identity) -> bool {
        let claim = self.conn.exchange.as_ref().and_then(|exchange| exchange.claim);
        let asks = claim.zip(self.session()).is_some_and(|(claim, held)| claim.is_for(&held));
        asks && self.session_owner() != Some(identity.name())
    }

    fn part(&mut self, now: Instant, refusal: Refusal) {
        if self.conn.parting.is_some() {
            return;
        }
        self.send_control(Meta::control(Kind::Refused, 0), &refusal.to_bytes());
        self.conn.parting = Some(Box::new(Parting { refusal, until: now + PARTING, told: false }));
        self.wakes.attend();
        self.wake_driver();
    }

    /// A batch was written completely: if nothing else is to be sent to a refused peer, the refusal was sent.
    pub(super) fn note_told(&mut self) {
        if let Some(parting) = &mut self.conn.parting
            && !self.arena.has_control()
            && !parting.told
        {
            parting.told = true;
            self.wakes.attend();
        }
    }

    /// The end of a connection whose peer was refused.
    pub(super) fn parting(&self, now: Instant) -> Option<Ending> {
        let Parting { refusal, until, told } = self.conn.parting.as_deref()?;
        let cause = Disconnect::Denied(refusal.clone());
        match (now >= *until, told) {
            (true, _) => Some(Ending::Abort(cause)),
            (_, true) => Some(Ending::Graceful { wait: until.saturating_since(now), cause }),
            _ => None,
        }
    }

    /// When the next step of the exchange is due.
    pub(super) fn next_auth_timeout(&self) -> Option<Instant> {
        if let Some(parting) = &self.conn.parting {
            return Some(parting.until);
        }
        match (self.role, self.conn.exchange.as_deref()) {
            (Role::Accepting, Some(Exchange { step: Step::Deciding(since), .. })) => {
                self.limits().verification.map(|limit| *since + limit)
            }
            _ => None,
        }
    }

    /// A decision that is late is a refusal.
    pub(super) fn check_exchange(&mut self, now: Instant) {
        if self.conn.parting.is_none() && self.next_auth_timeout().is_some_and(|at| now >= at) {
            self.part(now, Refusal::new(RefusalCode::UNAVAILABLE).text("not decided in time"));
        }
    }
}
