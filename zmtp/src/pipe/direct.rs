//! Joined pipes of two sockets of one process: a message that one socket sends is put into the other's inbox
//! directly. There is no connection, no handshake and no byte stream between them.
//!
//! A joined pipe is the receiving end of its socket. The other socket queues messages in it
//! ([`Pipes::with_out`](crate::socket::Pipes::with_out)), so that a message is copied once, under one lock.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;

use super::reader::{takes_messages, told, told_of};
use super::{Peer, Pipe, PipeEvent, Refusal, check_message};
use crate::error::ZmtpError;
use crate::mechanism::read_metadata;
use crate::options::{Options, QueueLimit};
use crate::socket_type::SocketType;
use crate::wire::{Command, Frame, Version};

/// State of a joined pipe, in place of a connection.
#[derive(Debug)]
pub(super) struct Direct<T> {
    pub(super) peer: Arc<Peer>,
    /// Limit of the inbox: the sender's limit for queued messages plus the receiver's limit for received
    /// ones.
    pub(super) limit: QueueLimit,
    /// Whether only the newest message for each first part is kept.
    pub(super) conflate: bool,
    /// The peer's subscriptions and group memberships, as frames of 3.1.
    news: Vec<u8>,
    has_messages: bool,
    ended: Option<Disconnect>,
    /// Handed out when there is news for the socket.
    waits: Option<T>,
}

/// Changes of a joined pipe since its socket last asked.
#[derive(Debug, Default)]
pub struct DirectNews {
    controls: Vec<u8>,
    /// Messages were added to an empty inbox.
    pub has_messages: bool,
    /// The pipe has to be parted, for that reason.
    pub ended: Option<Disconnect>,
}

impl<T> Pipe<T> {
    /// Joins the pipe to one of a socket with the options `other`. Returns that peer.
    ///
    /// The caller joins both pipes and then reports [ready](PipeEvent::Ready) to the socket of each; from
    /// then on the socket takes [news](Self::take_news).
    ///
    /// # Errors
    /// The socket types are not compatible, or the other's properties are too long.
    pub fn join(&mut self, other: &Options) -> Result<Arc<Peer>, ZmtpError> {
        let metadata = read_metadata(&self.options, &other.own_metadata())?;
        let routing_id = metadata.get("Identity").unwrap_or_default().to_vec();
        let (socket_type, user_id) = (Some(other.kind), None);
        let peer = Arc::new(Peer { version: Version::V3_1, socket_type, routing_id, metadata, user_id });
        let (own, theirs) = (self.options.inbox_limit(), other.send_limit);
        let limit = QueueLimit {
            messages: own.messages.saturating_add(theirs.messages),
            bytes: own.bytes.saturating_add(theirs.bytes),
        };
        self.connections += 1;
        self.stats.handshakes += 1;
        self.direct = Some(alloc::boxed::Box::new(Direct {
            peer: Arc::clone(&peer),
            limit,
            conflate: self.options.conflate || other.conflate,
            news: Vec::new(),
            has_messages: false,
            ended: None,
            waits: None,
        }));
        Ok(peer)
    }

    /// Whether it is joined to another pipe.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.direct.is_some()
    }

    /// Separates it from the other pipe. It can be joined again, unless it is closed.
    pub fn part(&mut self) {
        self.direct = None;
        self.paused = false;
        self.note_room();
    }

    /// The changes since the last call. If there are none, `token` is handed out
    /// ([`take_tokens`](bowline_core::machine::Machine::take_tokens)) when there is one.
    pub fn take_news(&mut self, token: T) -> Option<DirectNews> {
        let direct = self.direct.as_mut()?;
        if direct.news.is_empty() && !direct.has_messages && direct.ended.is_none() {
            direct.waits = Some(token);
            return None;
        }
        Some(DirectNews {
            controls: take(&mut direct.news),
            has_messages: take(&mut direct.has_messages),
            ended: direct.ended.clone(),
        })
    }

    /// Requests that it is parted for that reason.
    pub(super) fn end_direct(&mut self, cause: Disconnect) {
        if let Some(direct) = &mut self.direct {
            direct.ended.get_or_insert(cause);
            self.tokens.extend(direct.waits.take());
        }
    }

    /// Adds a message of the other socket.
    pub(super) fn send_direct(&mut self, envelope: &[&[u8]], parts: &[Payload<'_>]) -> Result<(), Refusal> {
        // The other socket has checked its own limits; the receiver's limits apply too.
        check_message(&self.options, envelope, parts)?;
        self.admit_direct()?;
        self.arrive(|inbox| inbox.push_parts(envelope, parts));
        Ok(())
    }

    /// Adds an encoded message of the other socket.
    pub(super) fn send_direct_encoded(&mut self, encoded: &[u8]) -> Result<(), Refusal> {
        self.admit_direct()?;
        self.arrive(|inbox| inbox.push_encoded(encoded));
        Ok(())
    }

    /// Checks that the other socket may send.
    pub(super) fn admit_direct(&mut self) -> Result<(), Refusal> {
        if self.closed || self.closing.is_some() || self.is_ending() {
            return Err(Refusal::Closed);
        }
        if self.is_full() {
            if self.direct.as_ref().is_some_and(|direct| direct.conflate) {
                self.conflate_inbox();
            }
            if self.is_full() {
                return Err(Refusal::Full);
            }
        }
        Ok(())
    }

    pub(super) fn is_ending(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| direct.ended.is_some())
    }

    pub(super) fn arrive(&mut self, push: impl FnOnce(&mut crate::inbox::Inbox)) {
        if !takes_messages(self.options.kind) {
            self.stats.unwanted += 1;
            return;
        }
        let was_empty = self.inbox.is_empty();
        push(&mut self.inbox);
        self.settle_received();
        self.stats.received += 1;
        self.unconflated = true;
        if was_empty && let Some(direct) = &mut self.direct {
            direct.has_messages = true;
            self.tokens.extend(direct.waits.take());
        }
    }

    /// Adds a subscription of the other socket.
    pub(super) fn control_direct(&mut self, encoded: &[u8]) {
        if let Some(direct) = &mut self.direct
            && direct.ended.is_none()
        {
            direct.news.extend_from_slice(encoded);
            self.tokens.extend(direct.waits.take());
        }
    }
}

impl DirectNews {
    /// Calls `each` with the peer's subscriptions, group memberships and ends of them, in order.
    ///
    /// # Errors
    /// A group's name is too long.
    pub fn controls(&self, kind: SocketType, mut each: impl FnMut(PipeEvent<'_>)) -> Result<(), ZmtpError> {
        let mut rest = &self.controls[..];
        while let Some(frame) = Frame::parse(Version::V3_1, rest)? {
            let Some(body) = rest.get(frame.header..frame.total()) else { break };
            rest = &rest[frame.total()..];
            match (frame.command, body) {
                (true, body) => {
                    if let Some((told, topic)) = told(kind, Command::parse(body)?)? {
                        each(told_of(told, topic));
                    }
                }
                (false, [1, topic @ ..]) => each(PipeEvent::Subscribe(topic)),
                (false, [0, topic @ ..]) => each(PipeEvent::Cancel(topic)),
                _ => {}
            }
        }
        Ok(())
    }
}
