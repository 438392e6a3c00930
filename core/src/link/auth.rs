//! Who the peer is: the exchange of credentials, before a connection is ready, and the end of a welcome.
//!
//! | accepting | dialing |
//! |---|---|
//! | [`Link::challenge`], then hello and challenge | hello (and resume) |
//! | hello, resume and credentials come in: [`Event::Credentials`](super::Event::Credentials) | the challenge comes in: [`Event::Challenge`](super::Event::Challenge) |
//! | [`Link::decide`] | [`Link::show`] |
//! | accepted, or refused and the end | ready, or the end: [`Disconnect::Refused`] |

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Link, Phase, Role};
use crate::auth::{
    Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, Identity, MAX_CHALLENGE,
    Refusal, RefusalCode, Shown,
};
use crate::error::{Disconnect, PeerError};
use crate::frame::native::{AUTHENTICATION, Accepted, Resume, SESSION};
use crate::frame::{Framing, Kind, Meta};
use crate::machine::Ending;
use crate::supervisor::Epoch;
use crate::time::Instant;

/// How long a peer that was refused has for reading that, and for closing its end.
const PARTING: Duration = Duration::from_secs(1);

/// What an accepting link knows of its peers, from one connection to the next.
#[derive(Debug, Default)]
pub(super) struct Doorman {
    /// For the next connection.
    challenge: Option<Vec<u8>>,
    /// Who the peer is, since it was let in.
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
    /// What the peer said of its session: nothing is made of it before the peer is let in.
    resume: Option<Resume>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The peer has to answer.
    Asked,
    /// The application decides, since then.
    Deciding(Instant),
    /// The peer was let in.
    Accepted,
}

/// A refusal that is on its way to the peer; the connection ends behind it.
#[derive(Debug)]
pub(super) struct Parting {
    refusal: Refusal,
    /// It goes at once then, whether it was told or not.
    until: Instant,
    /// The refusal left.
    told: bool,
}

/// What both sides agreed on about the way to messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeted {
    /// The connection belongs to a session.
    pub(super) in_session: bool,
    /// The dialing side says who it is.
    pub(super) authenticates: bool,
}

/// What the reader of an accepting link finds of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Open,
    /// Let in; with that the peer's session goes on, if it wants one.
    Accepted(Option<Resume>),
    Refused,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// From now on an accepting link requires its peer's credentials, in answer to a [`challenge`](Self::challenge), before
    /// it hands anything over.
    pub fn require_credentials(&mut self) {
        self.doorman.get_or_insert_default();
    }

    /// An accepting link asks its next connection who it is, with that challenge: at most [`MAX_CHALLENGE`]
    /// bytes (others are left out), which nobody can know before. To be said before each connection; once it
    /// was said, one for which it was not is refused.
    pub fn challenge(&mut self, challenge: impl Into<Vec<u8>>) {
        let mut challenge = challenge.into();
        challenge.truncate(MAX_CHALLENGE);
        self.doorman.get_or_insert_default().challenge = Some(challenge);
    }

    /// Who the peer of an accepting link is; `None`: it was not asked, or not let in yet. It stays when the
    /// connection ends.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        Some(&self.doorman.as_deref()?.admitted.as_ref()?.identity)
    }

    /// Where a dialing link's credentials come from.
    #[must_use]
    pub fn credential_source(&self) -> Option<Arc<dyn CredentialSource>> {
        self.settings.credentials.0.clone()
    }

    /// What the application decided about what the peer [showed](Shown) on that connection. Ignored if nothing
    /// is to be decided there (any more). Whether the peer is let in with that.
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

    /// Whether a decision about that connection is waited for.
    #[must_use]
    pub fn is_deciding(&self, epoch: Epoch) -> bool {
        let step = self.conn.exchange.as_ref().map(|exchange| exchange.step);
        self.epoch == epoch
            && self.phase == Phase::Handshaking
            && self.conn.parting.is_none()
            && matches!(step, Some(Step::Deciding(_)))
    }

    /// Ends an accepting link whose peer's identity is withdrawn: the peer gets the refusal, then its connection and its
    /// session end.
    pub fn withdraw(&mut self, now: Instant, refusal: Refusal) {
        match self.phase {
            Phase::Closed => {}
            Phase::Down => self.end(now, Disconnect::Denied(refusal)),
            Phase::Handshaking if self.conn.exchange.is_some() => self.part(now, refusal),
            Phase::Ready if self.conn.agreed.authenticated => self.part(now, refusal),
            // It would not know what it is told.
            Phase::Handshaking | Phase::Ready => {
                self.conn.abort_for(Disconnect::Denied(refusal));
                self.wakes.attend();
            }
        }
    }

    /// What a dialing link shows in answer to that challenge. Ignored if the connection it came on is gone.
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

    /// Answers a challenge by what the settings say: for drivers without a lock.
    pub fn answer_challenge(&mut self, now: Instant, challenge: &Challenge) {
        let credentials = match self.credential_source() {
            Some(source) => source.credentials(challenge),
            None => Ok(Credentials::none()),
        };
        self.show(now, challenge, credentials);
    }

    /// Requests of the peer that are handled at once. It does not break the protocol with more of them, up to what
    /// our hello said: they wait.
    pub(super) fn max_inbound(&self) -> usize {
        match self.doorman.as_deref() {
            Some(Doorman { admitted: Some(admitted), .. }) => admitted.max_inbound,
            _ => self.settings.max_inbound,
        }
    }

    /// The features of our hello: those offered, and those required.
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

    /// The challenge follows the hello at once: a peer that does not know it is refused because of its hello.
    pub(super) fn send_challenge(&mut self) {
        let Some(doorman) = &mut self.doorman else { return };
        let Some(challenge) = doorman.challenge.take() else {
            let refusal = Refusal::new(RefusalCode::UNAVAILABLE).text("no challenge");
            return self.conn.abort_for(Disconnect::Denied(refusal));
        };
        self.send_control(Meta::control(Kind::Challenge, 0), &challenge);
        self.conn.exchange = Some(Box::new(Exchange { challenge, resume: None, step: Step::Asked }));
    }

    /// The peer said what it said of its session, and has to say who it is first.
    pub(super) fn keep_resume(&mut self, resume: Resume) {
        if let Some(exchange) = &mut self.conn.exchange {
            exchange.resume = Some(resume);
        }
    }

    /// The accepting side asks who we are.
    pub(super) fn handle_challenge(&mut self, bytes: &[u8]) -> Challenge {
        let (challenge, resume, step) = (bytes.to_vec(), None, Step::Asked);
        self.conn.exchange = Some(Box::new(Exchange { challenge: challenge.clone(), resume, step }));
        // What the resume behind our hello named.
        let session = self.session().filter(|_| self.wants_session()).map_or(0, |session| session.id);
        Challenge { bytes: challenge, session, epoch: self.epoch }
    }

    /// The dialing side said who it is.
    pub(super) fn handle_credentials(&mut self, now: Instant, bytes: &[u8]) -> Result<Shown, PeerError> {
        let Some(exchange) = self.conn.exchange.as_mut().filter(|exchange| exchange.step == Step::Asked)
        else {
            return Err(PeerError::AfterHandshake { found: "credentials" });
        };
        exchange.step = Step::Deciding(now);
        let challenge = Challenge {
            bytes: exchange.challenge.clone(),
            session: exchange.resume.map_or(0, |resume| resume.session),
            epoch: self.epoch,
        };
        if self.limits().verification.is_some() {
            self.wakes.attend();
        }
        // The framing has compared the length.
        let credentials = Credentials::new(bytes).unwrap_or_default();
        Ok(Shown { credentials, challenge })
    }

    /// What was decided about the peer.
    pub(super) fn verdict(&self) -> Verdict {
        if self.conn.parting.is_some() {
            return Verdict::Refused;
        }
        match self.conn.exchange.as_deref() {
            Some(Exchange { step: Step::Accepted, resume, .. }) => Verdict::Accepted(*resume),
            _ => Verdict::Open,
        }
    }

    /// The accepting side let us in.
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

    /// The accepting side does not let us in, or tells us to go.
    pub(super) fn handle_refused(&mut self, refusal: Refusal) {
        self.conn.abort_for(Disconnect::Refused(refusal));
        self.wakes.attend();
    }

    /// Nothing of the exchange is wanted any more: the connection is ready.
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
        // The reader goes on without a byte more.
        self.conn.released = true;
        self.wakes.attend();
    }

    /// Whether the peer asks for the session that is here, and which belongs to another.
    fn is_anothers_session(&self, identity: &Identity) -> bool {
        let resume = self.conn.exchange.as_ref().and_then(|exchange| exchange.resume);
        let asks = resume.zip(self.session()).is_some_and(|(resume, held)| held.is_asked_for_by(&resume));
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

    /// A batch left whole: if nothing else is to be said to a peer that has to go, it was told.
    pub(super) fn note_told(&mut self) {
        if let Some(parting) = &mut self.conn.parting
            && !self.arena.has_control()
            && !parting.told
        {
            parting.told = true;
            self.wakes.attend();
        }
    }

    /// The end of a connection whose peer has to go.
    pub(super) fn parting(&self, now: Instant) -> Option<Ending> {
        let Parting { refusal, until, told } = self.conn.parting.as_deref()?;
        let cause = Disconnect::Denied(refusal.clone());
        match (now >= *until, told) {
            (true, _) => Some(Ending::Abort(cause)),
            (_, true) => Some(Ending::Graceful { wait: until.saturating_since(now), cause }),
            _ => None,
        }
    }

    /// When something about the exchange is due.
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

    /// A decision that does not come is one.
    pub(super) fn check_exchange(&mut self, now: Instant) {
        if self.conn.parting.is_none() && self.next_auth_timeout().is_some_and(|at| now >= at) {
            self.part(now, Refusal::new(RefusalCode::UNAVAILABLE).text("not decided in time"));
        }
    }
}
