//! The frames before messages: hello, authentication, the resume of a session; then the event for the
//! application.

use alloc::boxed::Box;

use super::{Event, Reader};
use crate::auth::Refusal;
use crate::error::PeerError;
use crate::frame::native::{Accepted, Hello, Resume};
use crate::frame::{Framing, Kind, Step};
use crate::link::auth::{Greeted, Verdict};
use crate::link::greeting::{Claim, Greeting};
use crate::link::{Link, Role};
use crate::machine::{Access, Next};
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

/// The stage of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The first frame has to be a hello.
    Hello,
    /// The next frame has to be a challenge.
    Challenge,
    /// The next frame has to be the accepting side's decision about this side.
    Accepted,
    /// The next frame has to be a resume.
    Resume,
    /// The next frame has to contain the peer's credentials.
    Credentials,
    /// The application decides about the peer, which must not send anything meanwhile.
    Verdict,
    /// The application has to be told that the connection is ready.
    Announce,
    /// The application is being told, and messages wait for that.
    Held,
    Open,
}

/// The result of looking for a required frame at the start of the unread bytes.
#[derive(Debug)]
pub(in crate::link) enum Front<'b> {
    /// At least this many bytes are needed.
    Need(usize),
    /// The frame.
    Frame {
        body: &'b [u8],
        /// Its length, bytes.
        consumed: usize,
    },
}

/// Looks for a frame of the required kind (a hello, a resume, or one of the exchange of credentials).
pub(in crate::link) fn front<'b, F: Framing>(
    framing: &mut F,
    kind: Kind,
    unread: &'b [u8],
) -> Result<Front<'b>, PeerError> {
    match framing.next_frame(unread)? {
        Step::Need(need) => Ok(Front::Need(need)),
        Step::Frame { meta, body, consumed, .. } if meta.kind == kind => {
            Ok(Front::Frame { body: &unread[body], consumed })
        }
        Step::Frame { meta, .. } => {
            let found = name(meta.kind);
            Err(match kind {
                Kind::Hello => PeerError::ExpectedHello { found },
                Kind::Resume => PeerError::ExpectedResume { found },
                _ => PeerError::Unauthenticated { expected: name(kind), found },
            })
        }
    }
}

impl<F: Framing> Reader<F> {
    /// Takes all steps of the handshake that the bytes are sufficient for: the last one is an event.
    #[cold]
    pub(super) fn handshake<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &mut RecvBuf,
    ) -> Result<Next<Event<'b>>, PeerError> {
        loop {
            buf.take_lent();
            if self.stage == Stage::Hello
                && let Some(greeting) = access.machine().greeting.take()
            {
                self.greeted(access.machine(), now, *greeting)?;
            }
            let kind = match self.stage {
                Stage::Hello => Kind::Hello,
                Stage::Challenge => Kind::Challenge,
                Stage::Accepted => Kind::Accepted,
                Stage::Resume => Kind::Resume,
                Stage::Credentials => Kind::Credentials,
                Stage::Verdict => match access.machine().verdict() {
                    Verdict::Accepted(claim) => {
                        if let Some(claim) = claim {
                            self.resumed = access.machine().handle_resume(now, &claim)?;
                        }
                        self.go_to(Stage::Announce);
                        continue;
                    }
                    Verdict::Refused => return Ok(Next::Paused),
                    Verdict::Open => return self.nothing_before_verdict(buf),
                },
                Stage::Announce | Stage::Held | Stage::Open => break,
            };
            if kind == Kind::Accepted && self.is_refused(access, buf.unread())? {
                return Ok(Next::Paused);
            }
            let (body, consumed) = match front(&mut self.framing, kind, buf.unread())? {
                Front::Need(need) => return self.wait_for(buf, need),
                Front::Frame { body, consumed } => (body, consumed),
            };
            self.frame_since = None;
            let link = access.machine();
            let mut event = None;
            match kind {
                Kind::Hello => self.take_hello(link, now, &Hello::decode(body)?)?,
                Kind::Challenge => {
                    self.go_to(Stage::Accepted);
                    event = Some(Event::Challenge(Box::new(link.handle_challenge(body))));
                }
                Kind::Accepted => {
                    link.handle_accepted(Accepted::decode(body)?)?;
                    self.go_to(if self.in_session { Stage::Resume } else { Stage::Announce });
                }
                Kind::Credentials => {
                    self.go_to(Stage::Verdict);
                    event = Some(Event::Credentials(Box::new(link.handle_credentials(now, body)?)));
                }
                _ => {
                    let claim = link.claim(Resume::decode(body)?);
                    self.take_claim(link, now, claim)?;
                }
            }
            buf.lend(consumed);
            if let Some(event) = event {
                return Ok(Next::Event(event));
            }
        }
        self.stage = Stage::Open;
        access.machine().handle_ready(now);
        self.begin(access, now, 0);
        Ok(Next::Event(if self.resumed { Event::Resumed } else { Event::Ready }))
    }

    /// The greeting was read before the link learned of the connection: this reader continues behind it.
    fn greeted<T: Send + 'static>(
        &mut self,
        link: &mut Link<F, T>,
        now: Instant,
        greeting: Greeting<F>,
    ) -> Result<(), PeerError> {
        let (framing, hello, claim, rest) = greeting.into_parts();
        self.framing = framing;
        if let Some(hello) = hello {
            self.take_hello(link, now, &hello)?;
        }
        if let Some(claim) = claim {
            if self.stage != Stage::Resume {
                return Err(PeerError::Resume { field: "frames of a session", value: 1, limit: 0 });
            }
            self.take_claim(link, now, claim)?;
        }
        rest
    }

    /// The peer's hello.
    fn take_hello<T: Send + 'static>(
        &mut self,
        link: &mut Link<F, T>,
        now: Instant,
        hello: &Hello,
    ) -> Result<(), PeerError> {
        let Greeted { in_session, authenticates } = link.handle_hello(now, hello)?;
        (self.in_session, self.authenticates) = (in_session, authenticates);
        self.go_to(match (link.role(), in_session, authenticates) {
            (Role::Dialing, _, true) => Stage::Challenge,
            (_, true, _) => Stage::Resume,
            (Role::Accepting, false, true) => Stage::Credentials,
            (_, false, false) => Stage::Announce,
        });
        Ok(())
    }

    /// The peer's resume. An accepting side does not process it before the peer has authenticated.
    fn take_claim<T: Send + 'static>(
        &mut self,
        link: &mut Link<F, T>,
        now: Instant,
        claim: Claim,
    ) -> Result<(), PeerError> {
        if link.role() == Role::Accepting && self.authenticates {
            link.keep_claim(claim);
            self.go_to(Stage::Credentials);
        } else {
            self.resumed = link.handle_resume(now, &claim)?;
            self.go_to(Stage::Announce);
        }
        Ok(())
    }

    /// The next stage of the handshake.
    fn go_to(&mut self, stage: Stage) {
        self.stage = stage;
        if stage == Stage::Announce && !self.resumed {
            self.forget_session();
        }
    }

    /// Whether the accepting side sent a refusal instead of accepting this side.
    fn is_refused<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        unread: &[u8],
    ) -> Result<bool, PeerError> {
        let Ok(Front::Frame { body, .. }) = front(&mut self.framing, Kind::Refused, unread) else {
            return Ok(false);
        };
        access.machine().handle_refused(Refusal::decode(body)?);
        Ok(true)
    }

    /// A peer must not send anything before the decision about it.
    fn nothing_before_verdict<'b>(&mut self, buf: &RecvBuf) -> Result<Next<Event<'b>>, PeerError> {
        if buf.unread().is_empty() {
            return Ok(Next::NeedData);
        }
        // An invalid frame is reported as such.
        let found = match self.framing.next_frame(buf.unread())? {
            Step::Frame { meta, .. } => name(meta.kind),
            Step::Need(_) => "more bytes",
        };
        Err(PeerError::Unauthenticated { expected: "nothing before the peer is let in", found })
    }
}

pub(super) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => "hello",
        Kind::Request => "request",
        Kind::Reply => "reply",
        Kind::ErrorReply => "error reply",
        Kind::Cast | Kind::Numbered => "message",
        Kind::Cancel => "cancel",
        Kind::Ping => "ping",
        Kind::Pong => "pong",
        Kind::GoAway => "go-away",
        Kind::Ack => "ack",
        Kind::Resume => "resume",
        Kind::Credit => "credit",
        Kind::Fragment => "fragment",
        Kind::Abort => "abort",
        Kind::Challenge => "challenge",
        Kind::Credentials => "credentials",
        Kind::Accepted => "acceptance",
        Kind::Refused => "refusal",
    }
}
