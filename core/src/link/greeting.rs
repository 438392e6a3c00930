//! The greeting: the frames by which a connection names its session, read once.
//!
//! A server has to know which session an accepted connection belongs to before a link gets the connection. It
//! reads the [`Greeting`], finds the session, and gives both to the session's link ([`Link::greeted`]). The
//! link's reader continues behind the greeting: it does not read those frames again. Without a server in front
//! of it, the reader reads the same frames itself. Both ways end in the same steps of the handshake.

use alloc::boxed::Box;

use super::session::SessionIdentity;
use super::{Link, Phase};
use crate::error::PeerError;
use crate::frame::native::{Hello, Resume, SESSION};
use crate::frame::{Framing, Kind};
use crate::link::reader::{Front, front};
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

/// No frame of a greeting is longer: a longer one is left to the link, which refuses it, and is not read
/// ahead.
const LONGEST_GREETING: usize = 2048;

/// A peer's resume, and whether it proves that the session is the peer's.
///
/// Only [`check`](Self::check) compares tokens. What a link does with a resume depends on its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) resume: Resume,
    /// The resume has the token of the session that it names.
    is_proven: bool,
}

impl Claim {
    /// The resume of a peer without a session, until it is checked.
    pub(super) const fn unproven(resume: Resume) -> Self {
        Self { resume, is_proven: false }
    }

    /// Checks whether the peer asks for that session with the right token.
    pub(super) fn check(resume: Resume, held: Option<&SessionIdentity>) -> Self {
        let is_proven = held.is_some_and(|held| resume.session == held.id && resume.has_token(&held.token));
        Self { resume, is_proven }
    }

    /// Whether the peer has proven that this session is its own.
    pub(super) fn is_for(&self, held: &SessionIdentity) -> bool {
        self.is_proven && self.resume.session == held.id
    }
}

/// The first frames of an accepted connection: its hello and, if the peer offers sessions, its resume.
#[derive(Debug)]
pub struct Greeting<F: Framing> {
    /// The connection's framing, behind the frames that were read.
    framing: F,
    hello: Option<Hello>,
    claim: Option<Claim>,
    /// How the peer broke the protocol: the link reports it.
    error: Option<PeerError>,
}

impl<F: Framing> Greeting<F> {
    /// The greeting of a new connection, of which nothing was read yet.
    #[must_use]
    pub const fn new(framing: F) -> Self {
        Self { framing, hello: None, claim: None, error: None }
    }

    /// Takes the frames of the greeting out of the buffer. `false`: more bytes are needed. `true`: the rest,
    /// if there is any, is the link's to read or to refuse.
    #[must_use]
    pub fn read(&mut self, buf: &mut RecvBuf) -> bool {
        self.read_frames(buf).unwrap_or_else(|error| {
            self.error = Some(error);
            true
        })
    }

    fn read_frames(&mut self, buf: &mut RecvBuf) -> Result<bool, PeerError> {
        if !self.framing.profile().handshake || self.error.is_some() {
            return Ok(true);
        }
        loop {
            let kind = match (&self.hello, &self.claim) {
                (None, _) => Kind::Hello,
                (Some(hello), None) if hello.features & SESSION != 0 => Kind::Resume,
                _ => return Ok(true),
            };
            let (body, consumed) = match front(&mut self.framing, kind, buf.unread())? {
                Front::Need(need) => return Ok(need > LONGEST_GREETING),
                Front::Frame { body, consumed } => (body, consumed),
            };
            match kind {
                Kind::Hello => self.hello = Some(Hello::decode(body)?),
                _ => self.claim = Some(Claim::unproven(Resume::decode(body)?)),
            }
            buf.consume(consumed);
        }
    }

    /// The id of the session that the peer asks for; `None` if it wants a new one, or none.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        Some(self.claim?.resume.session).filter(|&session| session != 0)
    }

    /// Whether the peer asks for this session, with its token. The link that gets the greeting does not check
    /// the token again: to it, a greeting that was not checked asks for no session that exists.
    #[must_use]
    pub fn is_for(&mut self, held: &SessionIdentity) -> bool {
        let Some(claim) = &mut self.claim else { return false };
        *claim = Claim::check(claim.resume, Some(held));
        claim.is_for(held)
    }

    /// The framing, what was read, and how reading ended.
    pub(super) fn into_parts(self) -> (F, Option<Hello>, Option<Claim>, Result<(), PeerError>) {
        (self.framing, self.hello, self.claim, self.error.map_or(Ok(()), Err))
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The greeting of the connection whose handshake is under way was read before the link learned of the
    /// connection, which was accepted at `since`: the time limit of the handshake counts from then.
    pub fn greeted(&mut self, since: Instant, greeting: Greeting<F>) {
        if self.phase == Phase::Handshaking {
            self.greeting = Some(Box::new(greeting));
            self.conn.life.began = self.conn.life.began.min(since);
            self.wakes.attend();
        }
    }

    /// A resume that the reader read itself.
    pub(super) fn claim(&self, resume: Resume) -> Claim {
        Claim::check(resume, self.session().as_ref())
    }
}
