//! Whether a socket can send or receive now: for waiting on several sockets at once.

use super::balance::Balancer;
use super::{Pattern, Pipes, Socket};
use crate::options::Overflow;
use crate::socket_type::SocketType;

impl Socket {
    /// Whether [`recv`](Self::recv) would find a message or report a lost peer. The message may turn out to
    /// be filtered, or not to be a request.
    pub fn can_recv(&self, pipes: &mut impl Pipes) -> bool {
        match &self.pattern {
            Pattern::Req(req) => req.pending.is_some_and(|pending| {
                let mut froms = pending.left.into_iter().chain(pending.peer);
                pending.lost || froms.any(|id| self.fair.has_any_of(pipes, id))
            }),
            Pattern::Rep(rep) if rep.asking.is_some() => false,
            _ => self.options.kind.receives() && self.fair.has_any(pipes),
        }
    }

    /// Whether [`send`](Self::send), when it waits, waits for room in a pipe, and not for the socket's turn.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        match &self.pattern {
            Pattern::Plain | Pattern::Subscriber(_) => true,
            Pattern::Req(req) => self.options.req_relaxed || req.pending.is_none_or(|pending| pending.lost),
            Pattern::Rep(_) | Pattern::Router(_) | Pattern::Publisher(_) => false,
        }
    }

    /// Whether [`send`](Self::send) would accept a message and it is the socket's turn to send. Always true
    /// for a ROUTER, SERVER, PEER or publisher: without room their behavior depends on the message. With
    /// [`conflate`](crate::options::Options::conflate) a message that replaces another needs no room.
    pub fn can_send(&mut self, pipes: &mut impl Pipes) -> bool {
        let kind = self.options.kind;
        match &self.pattern {
            _ if !kind.sends() => false,
            Pattern::Router(_) | Pattern::Publisher(_) => true,
            Pattern::Rep(rep) => rep.asking.is_some(),
            Pattern::Req(_) if !self.waits_for_room() => false,
            Pattern::Plain | Pattern::Req(_) => {
                self.flush(pipes);
                let takes = self.drops() && Balancer::has_open(pipes, &self.targets);
                // A REQ gives up returned messages.
                let is_next = self.balancer.returned() == 0 || kind == SocketType::Req;
                is_next && (takes || self.balancer.has_room(pipes, &self.targets, 1))
            }
            Pattern::Subscriber(_) if self.drops() => true,
            Pattern::Subscriber(_) => {
                let mut up = self.entries.iter().filter(|(_, entry)| entry.peer.is_some());
                !up.any(|(id, _)| pipes.with_out(*id, |pipe| pipe.is_full()) == Some(true))
            }
        }
    }

    /// Whether messages without room are dropped or replace others.
    fn drops(&self) -> bool {
        matches!(self.options.overflow, Overflow::DropNewest | Overflow::DropOldest)
    }
}
