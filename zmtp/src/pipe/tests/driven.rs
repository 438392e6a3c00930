//! A pipe that is driven by the test.

use std::time::Duration;

use bowline_core::machine::{Ending, Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;

use super::super::*;
use crate::error::ZmtpError;
use crate::message::Message;

/// A pipe with its connection, whose other end is the test.
pub(super) struct Driven {
    pub(super) pipe: Pipe<u32>,
    pub(super) reader: Option<Reader>,
    pub(super) buf: RecvBuf,
    pub(super) now: Instant,
    pub(super) sent: Vec<u8>,
    pub(super) told: Vec<String>,
    pub(super) ended: Option<Disconnect>,
}

impl Driven {
    pub(super) fn new(options: Options, role: Role) -> Self {
        Self::of(Pipe::new(options.build().unwrap(), role))
    }

    pub(super) fn of(mut pipe: Pipe<u32>) -> Self {
        let now = Instant::ZERO;
        let reader = Some(pipe.handle_connected(now, Epoch::FIRST));
        let (buf, sent, told) = (RecvBuf::new(), Vec::new(), Vec::new());
        let mut driven = Self { pipe, reader, buf, now, sent, told, ended: None };
        driven.work();
        driven
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.ended.is_none() {
            let room = self.buf.spare();
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.buf.filled(n);
            bytes = &bytes[n..];
            self.pass(n);
        }
        self.work();
    }

    pub(super) fn pass(&mut self, bytes: usize) {
        let Self { pipe, reader: Some(reader), buf, now, told, .. } = self else { return };
        let mut access = &mut *pipe;
        Pipe::begin_input(reader, &mut access, *now, bytes);
        let error = loop {
            match Pipe::next_event(reader, &mut access, *now, buf) {
                Ok(Next::Event(PipeEvent::Messages { .. })) => {}
                Ok(Next::Event(PipeEvent::Ready(peer))) => {
                    let id = peer.routing_id.escape_ascii();
                    told.push(alloc::format!("ready {} {id}", peer.version));
                }
                Ok(Next::Event(PipeEvent::Authenticate(request))) => {
                    told.push(alloc::format!("asks {:?}", request.credentials));
                }
                Ok(Next::Event(PipeEvent::Subscribe(topic))) => {
                    told.push(alloc::format!("+{}", topic.escape_ascii()));
                }
                Ok(Next::Event(PipeEvent::Cancel(topic))) => {
                    told.push(alloc::format!("-{}", topic.escape_ascii()));
                }
                Ok(Next::Event(other)) => told.push(alloc::format!("{other:?}")),
                Ok(Next::NeedData | Next::Paused) => break None,
                Err(error) => break Some(error),
            }
        };
        Pipe::end_input(reader, &mut access, *now, buf);
        if let Some(error) = error {
            // So that the output does not depend on the fragmentation of the input.
            self.write();
            self.end(error.into());
        }
    }

    pub(super) fn write(&mut self) {
        while let Some(mut batch) = self.pipe.begin_write(self.now) {
            while !batch.is_done() {
                let mut slices = [&[][..]];
                batch.slices(&mut slices);
                self.sent.extend_from_slice(slices[0]);
                let n = slices[0].len();
                batch.wrote(n);
            }
            let _more = self.pipe.end_write(self.now, batch);
        }
    }

    /// The work of a driver between reads.
    pub(super) fn work(&mut self) {
        loop {
            self.write();
            if self.reader.is_some()
                && let Some(Ending::Abort(cause) | Ending::Graceful { cause, .. }) =
                    self.pipe.poll_ending(self.now)
            {
                self.end(cause);
            }
            if !(self.pipe.take_wake().attend && self.reader.is_some() && !self.pipe.is_paused()) {
                return;
            }
            self.pass(0);
        }
    }

    pub(super) fn end(&mut self, cause: Disconnect) {
        if let Some(reader) = self.reader.take() {
            self.pipe.retire_reader(self.now, reader, core::mem::take(&mut self.buf));
            self.pipe.handle_disconnected(self.now, None, cause.clone());
            self.ended = Some(cause);
        }
    }

    pub(super) fn eof(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        let cause = match Pipe::<u32>::handle_eof(reader, &self.buf) {
            Ok(()) => Disconnect::PeerClosed,
            Err(error) => error.into(),
        };
        self.end(cause);
    }

    pub(super) fn pass_time(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.pipe.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.pipe.handle_timeout(self.now);
            self.work();
        }
        self.now = until;
    }

    pub(super) fn sent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.sent)
    }

    pub(super) fn received(&mut self) -> Vec<Vec<Vec<u8>>> {
        let (mut inbox, mut message, mut all) = (Inbox::new(), Message::new(), Vec::new());
        self.pipe.swap_inbox(&mut inbox);
        while inbox.pop_into(&mut message) {
            all.push(message.iter().map(|part| part.to_vec()).collect());
        }
        self.work();
        all
    }

    pub(super) fn error(&self) -> Option<&ZmtpError> {
        self.ended.as_ref().and_then(ZmtpError::of)
    }
}
