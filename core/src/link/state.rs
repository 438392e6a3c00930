//! What a link says of itself.

use core::time::Duration;

use super::classes::{CLASSES, lane};
use super::{Counters, Link, Phase, Role, State};
use crate::address::Address;
use crate::arena::Load;
use crate::error::Disconnect;
use crate::frame::{Class, Framing, Profile};
use crate::supervisor::Epoch;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// What the framing can carry.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.framing.profile()
    }

    /// Which end this side is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            _ if self.closing.is_some() => State::Draining,
            Phase::Down => State::Disconnected,
            Phase::Handshaking => State::Handshaking,
            Phase::Ready => State::Ready,
        }
    }

    /// The connection that is up, or was last.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Numbers since the link was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.counters()
    }

    /// Frames longer than this are cut up on the connection that is up; `usize::MAX` where frames
    /// cannot be.
    pub(super) fn fragment(&self) -> usize {
        self.arena.fragment()
    }

    /// Calls that wait for their reply.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.in_flight()
    }

    /// Messages and bytes that wait to be written, without the batch being written.
    #[must_use]
    pub fn write_queue(&self) -> (usize, usize) {
        let load = self.waiting_load();
        (load.messages, load.bytes)
    }

    pub(super) fn waiting_load(&self) -> Load {
        let mut load = self.arena.owed();
        load.add(self.answers.held());
        for class in CLASSES {
            load.add(self.arena.ours(class));
        }
        load
    }

    /// What the messages of that class cost that were received and not taken yet: what they take of the
    /// window this side grants.
    #[must_use]
    pub fn kept(&self, class: Class) -> u64 {
        self.inflow[lane(class)].kept()
    }

    /// What happens to a message when the write queue is full.
    #[must_use]
    pub fn write_overflow(&self) -> crate::config::Overflow {
        self.settings.write_overflow
    }

    /// Why the last connection ended, or, if there was an attempt since that failed, why that did.
    #[must_use]
    pub fn last_disconnect(&self) -> Option<&Disconnect> {
        self.route.last_cause.as_deref()
    }

    /// Bytes of memory the link holds for queues and tables, and what the reader of a session left
    /// for the next one (the receive buffer and the batch on loan are with the driver).
    #[must_use]
    pub fn memory(&self) -> usize {
        let outcomes = self.outcomes.as_ref().map_or(0, |outcomes| outcomes.memory());
        let retired = self.history.retired.as_ref().map_or(0, |retired| retired.memory());
        let tables = self.calls.memory() + self.retries.memory() + self.events.memory() + outcomes + retired;
        let held = self.answers.held().bytes;
        self.arena.memory() + held + tables + self.received.memory() + size_of::<Self>()
    }

    /// The default deadline of a call, from now.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.settings.call_timeout
    }

    /// How long a cast may wait in the write queue: casts need the time if so.
    #[must_use]
    pub fn expire_after(&self) -> Option<Duration> {
        self.settings.expire_after
    }

    /// How long a cast whose end is waited for may take unless it says otherwise.
    #[must_use]
    pub fn cast_timeout(&self) -> Duration {
        self.settings.cast_timeout
    }

    /// The other end of the present connection, or of the last.
    #[must_use]
    pub fn remote_addr(&self) -> Option<&Address> {
        self.route.remote.as_ref()
    }

    /// This end of the present connection, or of the last.
    #[must_use]
    pub fn local_addr(&self) -> Option<&Address> {
        self.route.local.as_ref()
    }

    /// Sets the address of this end of the connection. `None` leaves the address known before.
    pub fn set_local_addr(&mut self, local: Option<Address>) {
        if let Some(local) = local {
            self.route.local = Some(local);
        }
    }

    /// Sets the address of the other end of the connection, for events and
    /// [`remote_addr`](Self::remote_addr). `None` leaves the address known before.
    pub fn set_remote_addr(&mut self, remote: Option<Address>) {
        if remote.is_some() {
            self.route.remote = remote;
        }
    }
}
