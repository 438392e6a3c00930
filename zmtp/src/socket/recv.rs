//! Receiving, by socket type.

use super::{Drop, Pattern, PipeId, Pipes, RecvError, Socket};
use crate::message::Message;

impl Socket {
    /// Receives a message into `message`, whose parts are replaced and whose memory is reused. Returns the
    /// pipe that it came from.
    ///
    /// In a ROUTER, SERVER and PEER the message begins with the routing id (of four bytes in the latter two),
    /// in a DISH with the group. A REQ and a REP receive bodies without envelopes.
    ///
    /// # Errors
    /// [`WouldBlock`](RecvError::WouldBlock): no message is available. On an error the content of `message`
    /// is unspecified.
    pub fn recv(&mut self, pipes: &mut impl Pipes, message: &mut Message) -> Result<PipeId, RecvError> {
        let kind = self.options.kind;
        if !kind.receives() {
            return Err(RecvError::NotSupported(kind));
        }
        let received = self.recv_next(pipes, message);
        if self.fair.take_swapped() {
            self.resume_reading(pipes);
        }
        received
    }

    fn recv_next(&mut self, pipes: &mut impl Pipes, message: &mut Message) -> Result<PipeId, RecvError> {
        let kind = self.options.kind;
        match &mut self.pattern {
            Pattern::Req(_) => self.recv_reply(pipes, message),
            Pattern::Rep(rep) if rep.asking.is_some() => Err(RecvError::State(kind)),
            _ => loop {
                let id = self.fair.next(pipes, message).ok_or(RecvError::WouldBlock)?;
                let wanted = match &mut self.pattern {
                    Pattern::Rep(rep) => rep.open(id, message),
                    Pattern::Subscriber(own) => own.wants(&self.options, &message[0]),
                    _ => true,
                };
                match &self.pattern {
                    _ if wanted => return Ok(id),
                    Pattern::Rep(_) => self.note_dropped(id, 1, Drop::Stray),
                    _ => self.stats.filtered += 1,
                }
            },
        }
    }

    fn recv_reply(&mut self, pipes: &mut impl Pipes, message: &mut Message) -> Result<PipeId, RecvError> {
        let Pattern::Req(req) = &mut self.pattern else { return Err(RecvError::WouldBlock) };
        let Some(pending) = req.pending else { return Err(RecvError::State(self.options.kind)) };
        let mut stray = 0;
        let mut found = None;
        'all: for id in pending.left.into_iter().chain(pending.peer) {
            while self.fair.next_of(pipes, id, message) {
                if req.open(message) {
                    found = Some(id);
                    break 'all;
                }
                stray += 1;
            }
        }
        if found.is_some() || pending.lost {
            req.pending = None;
        }
        if let Some(id) = pending.peer.or(pending.left) {
            self.note_dropped(id, stray, Drop::Stray);
        }
        match found {
            Some(id) => Ok(id),
            None if pending.lost => Err(RecvError::PeerLost),
            None => Err(RecvError::WouldBlock),
        }
    }
}
