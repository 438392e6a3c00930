//! Each key sets what the builder's method of its name does.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Settings, settings};
use crate::config::{
    AcceptLimits, Config, ConfigBuilder, Delivery, OnDisconnect, OnFailure, Overflow, QueueLimit,
    SocketOptions,
};
use crate::proxy::Proxy;
use crate::supervisor::ReconnectPolicy;

type Set = fn(ConfigBuilder) -> ConfigBuilder;

const SECOND: Duration = Duration::from_secs(1);

fn queue(messages: Option<usize>, bytes: Option<usize>) -> QueueLimit {
    QueueLimit { messages: messages.unwrap_or(1024), bytes: bytes.unwrap_or(4 << 20) }
}

fn accept(set: impl FnOnce(&mut AcceptLimits)) -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    set(&mut limits);
    limits
}

fn sockets(set: impl FnOnce(&mut SocketOptions)) -> SocketOptions {
    let mut options = SocketOptions::default();
    set(&mut options);
    options
}

fn backoff(base: u64, cap: u64) -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(base), Duration::from_millis(cap))
}

/// The last of the keys is what is looked at; those before belong to it.
const EACH: &[(&str, Set)] = &[
    ("max_message=1MiB", |b| b.max_message(1 << 20)),
    ("write_queue.messages=7", |b| b.write_queue(queue(Some(7), None))),
    ("write_queue.bytes=64KiB", |b| b.write_queue(queue(None, Some(1 << 16)))),
    ("write_overflow=reject", |b| b.write_overflow(Overflow::Reject)),
    ("read_queue.messages=7", |b| b.read_queue(queue(Some(7), None))),
    ("read_queue.bytes=64KiB", |b| b.read_queue(queue(None, Some(1 << 16)))),
    ("read_overflow=drop_newest", |b| b.read_overflow(Overflow::DropNewest)),
    ("event_queue=7", |b| b.event_queue(7)),
    ("errored_queue.messages=7", |b| b.errored_queue(queue(Some(7), None))),
    ("errored_queue.bytes=64KiB", |b| b.errored_queue(queue(None, Some(1 << 16)))),
    ("errored_overflow=drop_newest", |b| b.errored_overflow(Overflow::DropNewest)),
    ("write_overflow=drop_oldest", |b| b.write_overflow(Overflow::DropOldest)),
    ("write_overflow=disconnect", |b| b.write_overflow(Overflow::Disconnect)),
    ("delivery=session", |b| b.delivery(Delivery::Session)),
    ("delivery=at_least_once", |b| b.delivery(Delivery::at_least_once())),
    ("delivery=at_least_once delivery_retry_limit=8", |b| {
        b.delivery(Delivery::AtLeastOnce { retry_limit: 8 })
    }),
    ("on_disconnect=return", |b| b.on_disconnect(OnDisconnect::Return)),
    ("on_disconnect=drop", |b| b.on_disconnect(OnDisconnect::Drop)),
    ("on_failure=disconnect", |b| b.on_failure(OnFailure::Disconnect)),
    ("on_failure=answer on_failure_method=101", |b| b.on_failure(OnFailure::Answer { method: 101 })),
    ("expire_after=1s", |b| b.expire_after(SECOND)),
    ("resend_window=64KiB", |b| b.resend_window(1 << 16)),
    ("session_window=64KiB", |b| b.session_window(1 << 16)),
    ("session_expiry=1s", |b| b.session_expiry(SECOND)),
    ("max_detached=7", |b| b.max_detached(7)),
    ("max_detached_per_address=7", |b| b.max_detached_per_address(7)),
    ("max_detached_bytes=64KiB", |b| b.max_detached_bytes(1 << 16)),
    ("ack_delay=1s", |b| b.ack_delay(SECOND)),
    ("retry_limit=7", |b| b.retry_limit(7)),
    ("retry_buffer=64KiB", |b| b.retry_buffer(1 << 16)),
    ("call_timeout=1s", |b| b.call_timeout(SECOND)),
    ("cast_timeout=1s", |b| b.cast_timeout(SECOND)),
    ("max_in_flight=7", |b| b.max_in_flight(7)),
    ("max_inbound=7", |b| b.max_inbound(7)),
    ("max_inbound_bytes=64KiB", |b| b.max_inbound_bytes(1 << 16)),
    ("answers_ahead=64KiB", |b| b.answers_ahead(1 << 16)),
    ("max_answer=64KiB", |b| b.max_answer(1 << 16)),
    ("normal_window=64KiB", |b| b.normal_window(1 << 16)),
    ("bulk_window=64KiB", |b| b.bulk_window(1 << 16)),
    ("fragment=2KiB", |b| b.fragment(2048)),
    ("bulk_ahead=1MiB", |b| b.bulk_ahead(1 << 20)),
    ("connect_timeout=1s", |b| b.connect_timeout(SECOND)),
    ("attempt_delay=1s", |b| b.attempt_delay(SECOND)),
    ("heartbeat=1s", |b| b.heartbeat(SECOND)),
    ("dead_after=1s", |b| b.dead_after(SECOND)),
    ("write_stall=1s", |b| b.write_stall(SECOND)),
    ("message_timeout=1s", |b| b.message_timeout(SECOND)),
    ("linger=1s", |b| b.linger(SECOND)),
    ("first_call_id=7", |b| b.first_call_id(7)),
    ("seed=7", |b| b.seed(7)),
    ("proxy=socks5://localhost:1080", |b| b.proxy(Proxy::socks5("localhost:1080").unwrap())),
    ("proxy=http://10.0.0.1:3128 no_proxy=localhost,10.0.0.0/8", |b| {
        b.proxy(Proxy::http_connect("10.0.0.1:3128").unwrap().except("localhost,10.0.0.0/8").unwrap())
    }),
    ("reconnect.policy=never", |b| b.reconnect(ReconnectPolicy::never())),
    ("reconnect.base=50ms", |b| b.reconnect(backoff(50, 30_000))),
    ("reconnect.policy=backoff reconnect.cap=1s", |b| b.reconnect(backoff(100, 1_000))),
    ("reconnect.policy=fixed reconnect.delay=1s", |b| b.reconnect(ReconnectPolicy::fixed(SECOND))),
    ("reconnect.healthy_after=1s", |b| b.reconnect(ReconnectPolicy::default().healthy_after(SECOND))),
    ("reconnect.max_rounds=7", |b| b.reconnect(ReconnectPolicy::default().max_rounds(7))),
    ("reconnect.stop_when_refused=true", |b| b.reconnect(ReconnectPolicy::default().stop_when_refused())),
    ("reconnect.stop_when_rejected=true", |b| b.reconnect(ReconnectPolicy::default().stop_when_rejected())),
    ("reconnect.retry_when_denied=true", |b| b.reconnect(ReconnectPolicy::default().retry_when_denied())),
    ("reconnect.longest_advice=1s", |b| b.reconnect(ReconnectPolicy::default().longest_advice(SECOND))),
    ("reconnect.retry_insecure=true", |b| b.reconnect(ReconnectPolicy::default().retry_insecure())),
    ("sockets.nodelay=false", |b| b.sockets(sockets(|s| s.nodelay = false))),
    ("sockets.send_buffer=64KiB", |b| b.sockets(sockets(|s| s.send_buffer = Some(1 << 16)))),
    ("sockets.receive_buffer=64KiB", |b| b.sockets(sockets(|s| s.receive_buffer = Some(1 << 16)))),
    ("sockets.keepalive=none", |b| b.sockets(sockets(|s| s.keepalive = None))),
    ("sockets.user_timeout=1s", |b| b.sockets(sockets(|s| s.user_timeout = Some(SECOND)))),
    ("sockets.notsent_lowat=64KiB", |b| b.sockets(sockets(|s| s.notsent_lowat = Some(1 << 16)))),
    ("sockets.tos=7", |b| b.sockets(sockets(|s| s.tos = Some(7)))),
    ("sockets.bind=10.0.0.1:0", |b| b.sockets(sockets(|s| s.bind = Some(([10, 0, 0, 1], 0).into())))),
    ("sockets.reuse_address=false", |b| b.sockets(sockets(|s| s.reuse_address = false))),
    ("sockets.reuse_port=true", |b| b.sockets(sockets(|s| s.reuse_port = true))),
    ("sockets.backlog=7", |b| b.sockets(sockets(|s| s.backlog = 7))),
    ("accept_limits.connections=7", |b| b.accept_limits(accept(|a| a.connections = 7))),
    ("accept_limits.per_address=7", |b| b.accept_limits(accept(|a| a.per_address = 7))),
    ("accept_limits.per_second=7", |b| b.accept_limits(accept(|a| a.per_second = 7))),
    ("accept_limits.burst=7", |b| b.accept_limits(accept(|a| a.burst = 7))),
    ("accept_limits.per_identity=7", |b| b.accept_limits(accept(|a| a.per_identity = 7))),
    ("accept_limits.verifications=7", |b| b.accept_limits(accept(|a| a.verifications = 7))),
    ("accept_limits.verification=1s", |b| b.accept_limits(accept(|a| a.verification = Some(SECOND)))),
    ("accept_limits.handshake=1s", |b| b.accept_limits(accept(|a| a.handshake = Some(SECOND)))),
    ("accept_limits.handshake_memory=64KiB", |b| b.accept_limits(accept(|a| a.handshake_memory = 1 << 16))),
    ("accept_limits.memory=64KiB", |b| b.accept_limits(accept(|a| a.memory = 1 << 16))),
    ("accept_limits.idle=1s", |b| b.accept_limits(accept(|a| a.idle = Some(SECOND)))),
    ("accept_limits.message=1s", |b| b.accept_limits(accept(|a| a.message = Some(SECOND)))),
    ("accept_limits.drain_rate=64KiB", |b| b.accept_limits(accept(|a| a.drain_rate = 1 << 16))),
];

#[test]
fn each_key_is_the_builders_method() {
    let default = format!("{:?}", Config::builder());
    for (texts, set) in EACH {
        let made = format!("{:?}", settings(texts).apply(Config::builder()).unwrap());
        assert_eq!(made, format!("{:?}", set(Config::builder())), "{texts}");
        assert_ne!(made, default, "{texts} changes something");
    }
    let mut tested: Vec<_> = EACH
        .iter()
        .flat_map(|(texts, _)| texts.split(' '))
        .filter_map(|text| Some(text.split_once('=')?.0))
        .collect();
    tested.dedup();
    for key in Settings::keys() {
        assert!(tested.contains(&key), "{key} is not tested");
    }
}

#[test]
fn what_may_be_absent_is_switched_off() {
    let keys = [
        "expire_after",
        "max_answer",
        "first_call_id",
        "seed",
        "proxy",
        "reconnect.max_rounds",
        "sockets.send_buffer",
        "sockets.receive_buffer",
        "sockets.keepalive",
        "sockets.user_timeout",
        "sockets.notsent_lowat",
        "sockets.tos",
        "sockets.bind",
        "accept_limits.verification",
        "accept_limits.handshake",
        "accept_limits.idle",
        "accept_limits.message",
    ];
    for key in Settings::keys() {
        let taken = Settings::default().set(key, "none").is_ok();
        // A host may be called none.
        assert_eq!(taken, keys.contains(&key) || key == "no_proxy", "{key}");
    }
}
