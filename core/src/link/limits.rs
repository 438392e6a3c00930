//! Limits of the accepting side: idle peers, and slow readers.

use core::time::Duration;

use super::{Link, Role};
use crate::config::Settings;
use crate::error::Disconnect;
use crate::frame::Framing;
use crate::time::Instant;

/// Limits that depend on the role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) handshake: Duration,
    pub(super) message: Duration,
    pub(super) idle: Option<Duration>,
    pub(super) drain_rate: u32,
    /// The time limit for the application's decision about credentials.
    pub(super) verification: Option<Duration>,
}

impl Limits {
    fn new(settings: &Settings, role: Role) -> Self {
        let (handshake, message) = (settings.connect_timeout, settings.message_timeout);
        match (role, &settings.accept) {
            (Role::Accepting, limits) => Self {
                handshake: limits.handshake.unwrap_or(handshake),
                message: limits.message.unwrap_or(message),
                idle: limits.idle,
                drain_rate: limits.drain_rate,
                verification: limits.verification,
            },
            (Role::Dialing, _) => Self { handshake, message, idle: None, drain_rate: 0, verification: None },
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    pub(super) fn limits(&self) -> Limits {
        Limits::new(&self.settings, self.role)
    }

    /// When to check whether the peer is idle, or reads too slowly.
    pub(super) fn next_accept_check(&self) -> Option<Instant> {
        let idle = self.limits().idle.map(|limit| self.conn.life.activity.1 + limit);
        let drain = self.conn.writing.draining.map(|(since, _)| since + self.settings.write_stall);
        idle.into_iter().chain(drain).min()
    }

    /// Messages of all kinds, both ways.
    pub(super) fn messages_so_far(&self) -> u64 {
        let c = &self.counters;
        c.messages + c.requests + c.casts + c.calls + c.answers + c.calls_replied
    }

    pub(super) fn check_idle(&mut self, now: Instant) {
        let Some(limit) = self.limits().idle else { return };
        let (then, since) = self.conn.life.activity;
        let so_far = self.messages_so_far();
        let last = if self.inbound.len() > 0 || self.calls.in_flight() > 0 {
            now
        } else if so_far != then {
            // Between two checks: not later than this.
            self.conn.life.last_received.max(self.conn.life.last_written).max(since)
        } else {
            since
        };
        self.conn.life.activity = (so_far, last);
        if now >= last + limit {
            self.conn.abort_for(Disconnect::Idle { limit });
        }
    }

    /// A peer that reads a little now and then counts like one that reads nothing.
    pub(super) fn check_drain(&mut self, now: Instant) {
        let Some((since, before)) = self.conn.writing.draining else { return };
        if now < since + self.settings.write_stall {
            return;
        }
        let written = self.counters.bytes_out + self.conn.writing.in_batch;
        let millis = now.saturating_since(since).as_millis().max(1);
        let rate =
            u64::try_from(u128::from(written.saturating_sub(before)) * 1000 / millis).unwrap_or(u64::MAX);
        let limit = u64::from(self.limits().drain_rate);
        if rate < limit {
            self.conn.abort_for(Disconnect::SlowReader { rate, limit });
        } else {
            self.conn.writing.draining = Some((now, written));
        }
    }
}
