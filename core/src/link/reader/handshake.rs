//! What comes before messages: the hello, the resume of a session, and the word to the application.

use super::{Event, Reader};
use crate::error::PeerError;
use crate::frame::native::{Hello, Resume};
use crate::frame::{Framing, Kind, Step};
use crate::link::Link;
use crate::machine::{Access, Next};
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The first frame has to be a hello.
    Hello,
    /// The next frame has to be a resume.
    Resume,
    /// Tell the application that the connection is ready.
    Announce,
    /// The application is being told, and messages wait for that.
    Held,
    Open,
}

/// What the unread bytes begin with, where a frame of one kind has to come.
#[derive(Debug)]
pub(in crate::link) enum Front<'b> {
    /// So many bytes are needed before that can be said.
    Need(usize),
    /// That frame.
    Frame {
        body: &'b [u8],
        /// Its length, bytes.
        consumed: usize,
    },
}

/// Looks for the frame of that kind (a hello, or a resume) that has to come next.
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
            let is_hello = kind == Kind::Hello;
            Err(if is_hello {
                PeerError::ExpectedHello { found }
            } else {
                PeerError::ExpectedResume { found }
            })
        }
    }
}

impl<F: Framing> Reader<F> {
    /// All steps on the way to messages that the bytes suffice for: the last one is an event.
    #[cold]
    pub(super) fn handshake<'b, T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
        now: Instant,
        buf: &mut RecvBuf,
    ) -> Result<Next<Event<'b>>, PeerError> {
        loop {
            buf.take_lent();
            let kind = match self.stage {
                Stage::Hello => Kind::Hello,
                Stage::Resume => Kind::Resume,
                Stage::Announce | Stage::Held | Stage::Open => break,
            };
            let (body, consumed) = match front(&mut self.framing, kind, buf.unread())? {
                Front::Need(need) => return self.wait_for(buf, need),
                Front::Frame { body, consumed } => (body, consumed),
            };
            self.frame_since = None;
            self.stage = if self.stage == Stage::Hello {
                self.in_session = access.machine().handle_hello(now, &Hello::decode(body)?)?;
                if self.in_session { Stage::Resume } else { Stage::Announce }
            } else {
                self.resumed = access.machine().handle_resume(now, &Resume::decode(body)?)?;
                Stage::Announce
            };
            if self.stage == Stage::Announce && !self.resumed {
                self.forget_session();
            }
            buf.lend(consumed);
        }
        self.stage = Stage::Open;
        access.machine().handle_ready(now);
        self.begin(access, now, 0);
        Ok(Next::Event(if self.resumed { Event::Resumed } else { Event::Ready }))
    }
}

fn name(kind: Kind) -> &'static str {
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
    }
}
