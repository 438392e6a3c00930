//! The state of a link.

use super::inflow::Inflow;
use core::time::Duration;

use super::classes::CLASSES;
use super::{Counters, Link, Phase, Role, State};
use crate::address::Address;
use crate::arena::Load;
use crate::error::Disconnect;
use crate::frame::{Class, Framing, Profile};
use crate::supervisor::Epoch;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The capabilities of the framing.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.framing.profile()
    }

    /// The role of this side.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The state of the link.
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

    /// The number of the present connection, or of the last one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Counters since the link was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.counters()
    }

    /// Longer frames are cut into fragments on the present connection; `usize::MAX` if the framing has no
    /// fragments.
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

    /// The cost of the messages of that class that were received and not taken yet: their share of the window
    /// that this side grants.
    #[must_use]
    pub fn kept(&self, class: Class) -> u64 {
        self.inflows.find(class).map_or(0, Inflow::kept)
    }

    /// Handling of a message when the write queue is full.
    #[must_use]
    pub fn write_overflow(&self) -> crate::config::Overflow {
        self.settings.write_overflow
    }

    /// Why the last connection ended, or, if an attempt has failed since, why it failed.
    #[must_use]
    pub fn last_disconnect(&self) -> Option<&Disconnect> {
        self.route.last_cause.as_deref()
    }

    /// Bytes of memory that the link holds for queues and tables, and for what the reader of a session left
    /// to the next one. The current batch and the receive buffer, with the messages in blocks that it counts, belong
    /// to the driver.
    #[must_use]
    pub fn memory(&self) -> usize {
        let outcomes = self.outcomes.as_ref().map_or(0, |outcomes| outcomes.memory());
        let retired = self.history.retired.as_ref().map_or(0, |retired| retired.memory());
        let tables = self.calls.memory() + self.retries.memory() + self.events.memory() + outcomes + retired;
        let held = self.answers.held().bytes + self.history.left.memory();
        let received = self.received.memory().saturating_sub(self.counted_with_buffer());
        self.arena.memory() + held + tables + received + size_of::<Self>()
    }

    /// The default timeout of a call.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.settings.call_timeout
    }

    /// Whether its connections have a layer such as TLS: each of their writes ends a record.
    #[must_use]
    pub fn is_layered(&self) -> bool {
        let layers = &self.settings.layers;
        match self.role {
            Role::Dialing => layers.dial.is_some(),
            Role::Accepting => layers.accept.is_some(),
        }
    }

    /// How long a cast may wait in the write queue: if this is set, casts need the time.
    #[must_use]
    pub fn expire_after(&self) -> Option<Duration> {
        self.settings.expire_after
    }

    /// The default timeout of a cast whose outcome is waited for.
    #[must_use]
    pub fn cast_timeout(&self) -> Duration {
        self.settings.cast_timeout
    }

    /// How long closing waits for work under way, unless the caller of
    /// [`close`](crate::machine::Machine::close) says otherwise.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.settings.linger
    }

    /// The address of the other side of the present connection, or of the last one.
    #[must_use]
    pub fn remote_addr(&self) -> Option<&Address> {
        self.route.remote.as_ref()
    }

    /// The address of this side of the present connection, or of the last one.
    #[must_use]
    pub fn local_addr(&self) -> Option<&Address> {
        self.route.local.as_ref()
    }

    /// Sets the address of this side of the connection. `None` keeps the known address.
    pub fn set_local_addr(&mut self, local: Option<Address>) {
        if let Some(local) = local {
            self.route.local = Some(local);
        }
    }

    /// Sets the address of the other side of the connection, for events and
    /// [`remote_addr`](Self::remote_addr). `None` keeps the known address.
    pub fn set_remote_addr(&mut self, remote: Option<Address>) {
        if remote.is_some() {
            self.route.remote = remote;
        }
    }
}
