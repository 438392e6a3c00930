//! Every key, what it takes, and where it goes.

use alloc::string::String;
use core::time::Duration;

use super::draft::{Draft, Failing, Level, Wait};
use super::error::Wrong;
use super::value::{
    Raw, address_or_none, bytes, bytes_or_none, choice, flag, number, number_or_none, text, time,
    time_or_none,
};
use crate::config::{OnDisconnect, Overflow};
use crate::error::ConfigError;
use crate::proxy::{NoProxy, Proxy};

/// One setting.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Reads a value and sets it.
    pub(super) put: fn(&mut Draft, &Raw) -> Result<(), Wrong>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

/// Each: its name, how it is read, and where in a draft it goes.
macro_rules! keys {
    ($([$name:literal, $read:ident => $($place:tt)+])*) => {
        pub(super) const KEYS: &[Key] = &[
            $(Key {
                name: $name,
                put: |draft, raw| {
                    draft.$($place)+ = $read(raw)?;
                    Ok(())
                },
            }),*
        ];
    };
}

keys! {
    ["max_message", some_bytes => max_message]
    ["write_queue.messages", number => settings.write_queue.messages]
    ["write_queue.bytes", bytes => settings.write_queue.bytes]
    ["write_overflow", overflow => settings.write_overflow]
    ["read_queue.messages", number => settings.read_queue.messages]
    ["read_queue.bytes", bytes => settings.read_queue.bytes]
    ["read_overflow", overflow => settings.read_overflow]
    ["event_queue", number => settings.event_queue]
    ["errored_queue.messages", number => settings.errored_queue.messages]
    ["errored_queue.bytes", bytes => settings.errored_queue.bytes]
    ["errored_overflow", overflow => settings.errored_overflow]
    ["delivery", level => level]
    ["delivery_retry_limit", some_number => resends]
    ["on_disconnect", on_disconnect => settings.on_disconnect]
    ["on_failure", failing => failing]
    ["on_failure_method", some_number => failing_method]
    ["expire_after", time_or_none => settings.expire_after]
    ["resend_window", bytes => settings.resend_window]
    ["session_window", bytes => settings.session_window]
    ["session_expiry", time => settings.session_expiry]
    ["max_detached", number => settings.max_detached]
    ["max_detached_per_address", number => settings.max_detached_per_address]
    ["max_detached_bytes", bytes => settings.max_detached_bytes]
    ["ack_delay", time => settings.ack_delay]
    ["retry_limit", number => settings.retry_limit]
    ["retry_buffer", bytes => settings.retry_buffer]
    ["call_timeout", time => settings.call_timeout]
    ["cast_timeout", time => settings.cast_timeout]
    ["max_in_flight", number => settings.max_in_flight]
    ["max_inbound", number => settings.max_inbound]
    ["max_inbound_bytes", bytes => settings.max_inbound_bytes]
    ["answers_ahead", bytes => settings.answers_ahead]
    ["max_answer", bytes_or_none => settings.max_answer]
    ["normal_window", bytes => settings.windows[0]]
    ["bulk_window", bytes => settings.windows[1]]
    ["fragment", bytes => settings.fragment]
    ["bulk_ahead", bytes => settings.bulk_ahead]
    ["connect_timeout", time => settings.connect_timeout]
    ["attempt_delay", time => settings.attempt_delay]
    ["heartbeat", time => settings.heartbeat]
    ["dead_after", time => settings.dead_after]
    ["write_stall", time => settings.write_stall]
    ["message_timeout", time => settings.message_timeout]
    ["linger", time => settings.linger]
    ["first_call_id", number_or_none => settings.first_call_id]
    ["seed", number_or_none => settings.seed]
    ["proxy", proxy => settings.proxy]
    ["no_proxy", no_proxy => no_proxy]
    ["reconnect.policy", wait => wait]
    ["reconnect.base", some_time => base]
    ["reconnect.cap", some_time => cap]
    ["reconnect.delay", some_time => delay]
    ["reconnect.healthy_after", time => settings.reconnect.healthy_after]
    ["reconnect.max_rounds", number_or_none => settings.reconnect.max_rounds]
    ["reconnect.stop_when_refused", flag => settings.reconnect.stop_when_refused]
    ["reconnect.stop_when_rejected", flag => settings.reconnect.stop_when_rejected]
    ["reconnect.retry_when_denied", flag => settings.reconnect.retry_when_denied]
    ["reconnect.longest_advice", time => settings.reconnect.longest_advice]
    ["reconnect.retry_insecure", flag => settings.reconnect.retry_insecure]
    ["sockets.nodelay", flag => settings.sockets.nodelay]
    ["sockets.send_buffer", bytes_or_none => settings.sockets.send_buffer]
    ["sockets.receive_buffer", bytes_or_none => settings.sockets.receive_buffer]
    ["sockets.keepalive", time_or_none => settings.sockets.keepalive]
    ["sockets.user_timeout", time_or_none => settings.sockets.user_timeout]
    ["sockets.notsent_lowat", bytes_or_none => settings.sockets.notsent_lowat]
    ["sockets.tos", number_or_none => settings.sockets.tos]
    ["sockets.bind", address_or_none => settings.sockets.bind]
    ["sockets.reuse_address", flag => settings.sockets.reuse_address]
    ["sockets.reuse_port", flag => settings.sockets.reuse_port]
    ["sockets.backlog", number => settings.sockets.backlog]
    ["accept_limits.connections", number => settings.accept.connections]
    ["accept_limits.per_address", number => settings.accept.per_address]
    ["accept_limits.per_second", number => settings.accept.per_second]
    ["accept_limits.burst", number => settings.accept.burst]
    ["accept_limits.per_identity", number => settings.accept.per_identity]
    ["accept_limits.verifications", number => settings.accept.verifications]
    ["accept_limits.verification", time_or_none => settings.accept.verification]
    ["accept_limits.handshake", time_or_none => settings.accept.handshake]
    ["accept_limits.handshake_memory", bytes => settings.accept.handshake_memory]
    ["accept_limits.memory", bytes => settings.accept.memory]
    ["accept_limits.idle", time_or_none => settings.accept.idle]
    ["accept_limits.message", time_or_none => settings.accept.message]
    ["accept_limits.drain_rate", bytes => settings.accept.drain_rate]
}

fn overflow(raw: &Raw) -> Result<Overflow, Wrong> {
    let choices = [
        ("block", Overflow::Block),
        ("reject", Overflow::Reject),
        ("drop_newest", Overflow::DropNewest),
        ("drop_oldest", Overflow::DropOldest),
        ("disconnect", Overflow::Disconnect),
    ];
    choice(raw, &choices)
}

fn on_disconnect(raw: &Raw) -> Result<OnDisconnect, Wrong> {
    let choices =
        [("keep", OnDisconnect::Keep), ("return", OnDisconnect::Return), ("drop", OnDisconnect::Drop)];
    choice(raw, &choices)
}

fn level(raw: &Raw) -> Result<Option<Level>, Wrong> {
    let choices = [
        ("at_most_once", Level::AtMostOnce),
        ("at_least_once", Level::AtLeastOnce),
        ("session", Level::Session),
    ];
    choice(raw, &choices).map(Some)
}

fn failing(raw: &Raw) -> Result<Option<Failing>, Wrong> {
    let choices =
        [("silence", Failing::Silence), ("disconnect", Failing::Disconnect), ("answer", Failing::Answer)];
    choice(raw, &choices).map(Some)
}

fn wait(raw: &Raw) -> Result<Option<Wait>, Wrong> {
    let choices = [("backoff", Wait::Backoff), ("fixed", Wait::Fixed), ("never", Wait::Never)];
    choice(raw, &choices).map(Some)
}

fn some_number(raw: &Raw) -> Result<Option<u32>, Wrong> {
    number(raw).map(Some)
}

fn some_bytes(raw: &Raw) -> Result<Option<usize>, Wrong> {
    bytes(raw).map(Some)
}

fn some_time(raw: &Raw) -> Result<Option<Duration>, Wrong> {
    time(raw).map(Some)
}

fn proxy(raw: &Raw) -> Result<Option<Proxy>, Wrong> {
    if matches!(raw, Raw::Nothing) {
        return Ok(None);
    }
    let url = match text(raw)? {
        "none" => return Ok(None),
        url => url,
    };
    url.parse().map(Some).map_err(|error| match error {
        ConfigError::Address(_) => {
            Wrong::Must(r#"a URL: "socks5://host:1080", "http://host:3128"; or "none""#.into())
        }
        other => Wrong::Config(other),
    })
}

fn no_proxy(raw: &Raw) -> Result<Option<String>, Wrong> {
    let targets = text(raw)?;
    let _: NoProxy = targets.parse().map_err(|_| {
        Wrong::Must(r#"hosts and networks such as "localhost, .example.org, 10.0.0.0/8""#.into())
    })?;
    Ok(Some(targets.into()))
}
