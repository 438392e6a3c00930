//! Reading frames that CURVE encrypted: each is a box that contains the flags.

use alloc::vec::Vec;

use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bytes::Bytes;

use super::reader::{Large, MAX_COMMAND, Reader, Told, handle, subscription};
use super::{Pipe, PipeEvent};
use crate::error::ZmtpError;
use crate::inbox::{LARGE, check};
use crate::mechanism::{Opened, SEALED};
use crate::wire::{Command, Frame, Version};

/// The result of handling an encrypted frame.
pub(super) enum Sealed<'b> {
    Event(PipeEvent<'b>),
    /// A topic, or a group.
    Tell(Told, Bytes),
    Need(usize),
    GoOn,
}

impl Reader {
    /// Handles the encrypted frame at the front.
    pub(super) fn sealed<'b, T>(
        &mut self,
        pipe: &mut Pipe<T>,
        now: Instant,
        buf: &mut RecvBuf,
    ) -> Result<Sealed<'b>, ZmtpError> {
        let unread = buf.unread();
        let Some(frame) = Frame::parse(Version::V3_1, unread)? else {
            return Ok(Sealed::Need(unread.len() + 1));
        };
        if frame.command || frame.more {
            return Err(ZmtpError::Unexpected { found: "a frame in clear", expected: "MESSAGE" });
        }
        // Only the box's content tells whether it is a command.
        let body = frame.body.saturating_sub(SEALED);
        if body > MAX_COMMAND {
            check(1, 0, body, &pipe.options)?;
        }
        if frame.body >= LARGE {
            buf.consume(frame.header);
            self.large = Some(Large { more: false, length: frame.body, body: pipe.recent.take(frame.body) });
            return Ok(Sealed::GoOn);
        }
        let Some(sealed) = unread.get(frame.header..frame.total()) else {
            return Ok(Sealed::Need(frame.total()));
        };
        let handled = self.open(pipe, now, sealed);
        buf.consume(frame.total());
        handled
    }

    /// Decrypts a frame and handles its content. The memory of a long command or subscription is freed.
    pub(super) fn open<'b, T>(
        &mut self,
        pipe: &mut Pipe<T>,
        now: Instant,
        sealed: &[u8],
    ) -> Result<Sealed<'b>, ZmtpError> {
        let handled = self.open_frame(pipe, now, sealed);
        if self.opened.capacity() > LARGE {
            self.opened = Vec::new();
        }
        handled
    }

    fn open_frame<'b, T>(
        &mut self,
        pipe: &mut Pipe<T>,
        now: Instant,
        sealed: &[u8],
    ) -> Result<Sealed<'b>, ZmtpError> {
        let session = pipe.connection.as_mut().and_then(|connection| connection.session.as_mut());
        let Some(session) = session else { return Ok(Sealed::GoOn) };
        if sealed.len() >= LARGE {
            self.opened = pipe.recent.take(sealed.len()).into();
        }
        let Opened { more, command } = session.open(sealed, &mut self.opened)?;
        let body = &self.opened[1..];
        if command {
            return open_command(pipe, now, body);
        }
        self.staged.check(body.len(), &pipe.options)?;
        let alone = self.staged.is_empty() && !more;
        if alone
            && pipe.options.kind.publishes()
            && let Some(first) = body.first()
            && let Some(told) = subscription(body.len(), *first)?
        {
            return Ok(Sealed::Tell(told, Bytes::copy_from_slice(&body[1..])));
        }
        match body.len() {
            LARGE.. => {
                let content = core::mem::take(&mut self.opened);
                let content = Bytes::from(content);
                pipe.recent.note(&content);
                self.staged.push_large(more, content.slice(1..));
            }
            _ => self.staged.push(more, body),
        }
        if more {
            return Ok(Sealed::GoOn);
        }
        Ok(self.deliver(pipe).map_or(Sealed::GoOn, Sealed::Event))
    }
}

fn open_command<'b, T>(pipe: &mut Pipe<T>, now: Instant, body: &[u8]) -> Result<Sealed<'b>, ZmtpError> {
    if body.len() > MAX_COMMAND {
        let (value, limit) = (body.len() as u64, MAX_COMMAND as u64);
        return Err(ZmtpError::TooLong { field: "command", value, limit });
    }
    Ok(match handle(pipe, now, Command::parse(body)?)? {
        // The topic follows the command's name.
        Some(told) => Sealed::Tell(told, Bytes::copy_from_slice(&body[1 + usize::from(body[0])..])),
        None => Sealed::GoOn,
    })
}
