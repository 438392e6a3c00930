//! What comes in waits while the application is being told of its peer.
//!
//! An application whose `on_connect` runs elsewhere than where the connection is read (on another thread, as a
//! task) has the same right as one whose runs in place: that it knows the peer before it has its
//! first request. Replies, heartbeats and messages that wait to be received come in
//! meanwhile.

use super::Link;
use crate::frame::Framing;
use crate::link::reader::Reader;
use crate::machine::Access;

/// How often the application is being told of its peer: a connection may come before it knows of the
/// last one.
#[derive(Debug, Default)]
pub(super) struct Held {
    requests: u32,
    messages: u32,
}

impl Held {
    /// No request may be started.
    pub(super) fn is_held(&self) -> bool {
        self.requests > 0
    }

    /// No message may be handed over.
    pub(super) fn holds_messages(&self) -> bool {
        self.messages > 0
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The application knows its peer: what [`Reader::hold`] held goes on. `messages` as there.
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
    /// From now on requests wait, and `messages` with them, until [`Link::release_held`].
    pub fn hold<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>, messages: bool) {
        let held = &mut access.machine().held;
        held.requests += 1;
        held.messages += u32::from(messages);
        self.note_held(held);
    }
}
