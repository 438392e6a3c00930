//! Holds received messages while the application is being told of its peer.
//!
//! If an application's `on_connect` is not called where the connection is read (but on another thread, or as
//! a task), it must still return before the first request is handed over, as it does when called in place.
//! Replies, heartbeats and messages for the receive queue are processed meanwhile.

use super::Link;
use crate::frame::Framing;
use crate::link::reader::Reader;
use crate::machine::Access;

/// How many `on_connect` calls are pending: a connection may begin before the application was told of the
/// last one.
#[derive(Debug, Default)]
pub(super) struct Held {
    requests: u32,
    messages: u32,
}

impl Held {
    /// Whether no request may be started.
    pub(super) fn is_held(&self) -> bool {
        self.requests > 0
    }

    /// Whether no message may be handed over.
    pub(super) fn holds_messages(&self) -> bool {
        self.messages > 0
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The application knows its peer: releases what [`Reader::hold`] held. `messages` as there.
    pub fn release_held(&mut self, messages: bool) {
        self.held.requests = self.held.requests.saturating_sub(1);
        self.held.messages = self.held.messages.saturating_sub(u32::from(messages));
        self.conn.released = true;
        self.conn.paused.for_answers = false;
        self.conn.paused.for_inbound = false;
        self.wakes.attend();
    }
}

impl<F: Framing> Reader<F> {
    /// From now on requests wait, and messages too if `messages` is set, until [`Link::release_held`].
    pub fn hold<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>, messages: bool) {
        let held = &mut access.machine().held;
        held.requests += 1;
        held.messages += u32::from(messages);
        self.note_held(held);
    }
}
