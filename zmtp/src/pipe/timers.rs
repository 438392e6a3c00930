//! The deadlines of a connection: handshake, heartbeats, stalled writes and slow messages.

use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::Reason;
use bowline_core::time::Instant;

use crate::options::{Heartbeat, Options};
use crate::wire::{Version, put_command};

/// The deadlines of one connection.
#[derive(Debug)]
pub(super) struct Timers {
    /// Deadline of the handshake; `None` once it is done.
    handshake: Option<Instant>,
    /// Set if the peer answers PINGs.
    heartbeat: Option<Heartbeat>,
    last_read: Instant,
    /// When to check whether a PING is due.
    ping_at: Instant,
    /// When a peer that was sent a PING counts as dead.
    dead_at: Option<Instant>,
    /// The peer's TTL from its last PING: silence of that length counts as its death.
    peer_ttl: Option<Duration>,
    /// When the TTL expires, if nothing follows that PING.
    ttl_at: Option<Instant>,
    /// When the peer last accepted bytes of the current write; `None` if nothing is being written.
    writing_since: Option<Instant>,
    /// When the peer is to be sent a PONG while reading is paused.
    sign_at: Option<Instant>,
    /// Since when a message is incomplete and no whole one has been received.
    message_since: Option<Instant>,
    /// Whether a PING is to be sent.
    ping: bool,
    /// The PONG to send, with its context and the context's length. Many PINGs get one PONG per write.
    pong: Option<([u8; 16], u8)>,
}

impl Timers {
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        Self {
            handshake: Some(now + options.handshake),
            heartbeat: None,
            last_read: now,
            ping_at: Instant::FAR_FUTURE,
            dead_at: None,
            peer_ttl: None,
            ttl_at: None,
            writing_since: None,
            sign_at: None,
            message_since: None,
            ping: false,
            pong: None,
        }
    }

    pub(super) fn handshake_done(&mut self, options: &Options, version: Version, now: Instant) {
        (self.handshake, self.message_since) = (None, None);
        // A peer of 3.0 may not know PING and would be taken for dead.
        self.heartbeat = options.heartbeat.filter(|_| version == Version::V3_1);
        if let Some(heartbeat) = self.heartbeat {
            self.ping_at = now + heartbeat.interval;
        }
    }

    /// Bytes were received. Any bytes show that the peer is alive.
    pub(super) fn read(&mut self, now: Instant) {
        (self.last_read, self.dead_at, self.ttl_at) = (now, None, None);
    }

    /// The peer accepted bytes of the current write, or a write begins; `false`: the write is done.
    pub(super) fn writing(&mut self, now: Instant, writing: bool) {
        self.writing_since = writing.then_some(now);
    }

    /// When the current write has taken too long.
    fn stalled_at(&self, options: &Options) -> Option<Instant> {
        Some(self.writing_since? + options.write_stall?)
    }

    /// Something followed a PING, possibly in the same read.
    pub(super) fn heard(&mut self) {
        (self.ttl_at, self.message_since) = (None, None);
    }

    /// Whether a message or command is incomplete after a read, and whether a whole one was received before.
    pub(super) fn within_message(&mut self, now: Instant, within: bool, has_moved: bool) {
        if has_moved || !within {
            self.message_since = None;
        }
        if within {
            self.message_since.get_or_insert(now);
        }
    }

    /// When the incoming message has taken too long.
    fn slow_at(&self, options: &Options) -> Option<Instant> {
        Some(self.message_since? + options.message_timeout?)
    }

    /// The peer sent a PING.
    pub(super) fn pinged(&mut self, now: Instant, ttl: u16, context: &[u8]) {
        self.peer_ttl = (ttl > 0).then(|| Duration::from_millis(u64::from(ttl) * 100));
        self.ttl_at = self.peer_ttl.map(|ttl| now + ttl);
        let mut kept = [0; 16];
        let length = context.len().min(16);
        kept[..length].copy_from_slice(&context[..length]);
        // At most 16.
        self.pong = Some((kept, length as u8));
    }

    /// Reading was paused. The peer's answers are not read now, and the peer is kept from timing out by
    /// unsolicited PONGs: any whole frame resets libzmq's timers.
    pub(super) fn paused(&mut self, now: Instant, version: Version) {
        // The delay is not the peer's.
        (self.dead_at, self.message_since) = (None, None);
        if version.has_commands() && self.sign_at.is_none() {
            self.sign_at = Some(now + self.sign_interval());
        }
    }

    /// Reading resumes. The pause does not count as silence of the peer.
    pub(super) fn resumed(&mut self, now: Instant) {
        if self.sign_at.take().is_some() {
            self.read(now);
            if let Some(heartbeat) = self.heartbeat {
                self.ping_at = self.ping_at.max(now + heartbeat.interval);
            }
        }
    }

    /// Half of the peer's timeout, as far as it is known.
    fn sign_interval(&self) -> Duration {
        let ours = self.heartbeat.unwrap_or_default().interval;
        self.peer_ttl.map_or(ours, |ttl| ttl.min(ours)).max(Duration::from_millis(2)) / 2
    }

    fn is_paused(&self) -> bool {
        self.sign_at.is_some()
    }

    /// The next deadline.
    pub(super) fn next(&self, options: &Options) -> Option<(Instant, Reason)> {
        if let Some(at) = self.handshake {
            return Some((at, Reason::Handshake));
        }
        let stall = self.stalled_at(options).map(|at| (at, Reason::WriteStall));
        let ping = self.heartbeat.filter(|_| !self.is_paused()).map(|_| (self.ping_at, Reason::Heartbeat));
        let sign = self.sign_at.map(|at| (at, Reason::Heartbeat));
        let dead = self
            .dead_at
            .into_iter()
            .chain(self.ttl_at.filter(|_| !self.is_paused()))
            .min()
            .map(|at| (at, Reason::DeadPeer));
        let slow = self.slow_at(options).map(|at| (at, Reason::SlowMessage));
        [ping, sign, dead, stall, slow].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Handles the passing of time. `Some`: the connection has to be closed.
    ///
    /// While a write is pending and the peer accepts nothing, it counts as slow, not as dead.
    pub(super) fn expire(&mut self, options: &Options, now: Instant) -> Option<Disconnect> {
        if let Some(at) = self.handshake {
            let limit = options.handshake;
            return (at <= now).then_some(Disconnect::ConnectTimeout { limit });
        }
        if let (Some(at), Some(since), Some(limit)) =
            (self.stalled_at(options), self.writing_since, options.write_stall)
            && at <= now
        {
            return Some(Disconnect::WriteStalled { stalled: now.saturating_since(since), limit });
        }
        if let (Some(at), Some(limit)) = (self.slow_at(options), options.message_timeout)
            && at <= now
        {
            return Some(Disconnect::SlowMessage { limit });
        }
        if self.sign_at.is_some_and(|at| at <= now) {
            self.sign_at = Some(now + self.sign_interval());
            self.pong.get_or_insert(([0; 16], 0));
        }
        let silent = now.saturating_since(self.last_read);
        if let (Some(at), Some(limit), false) = (self.ttl_at, self.peer_ttl, self.is_paused())
            && at <= now
        {
            return Some(Disconnect::DeadPeer { silent, limit });
        }
        let heartbeat = self.heartbeat.filter(|_| !self.is_paused())?;
        if self.dead_at.is_some_and(|at| at <= now) {
            if self.writing_since.is_none() {
                let limit = heartbeat.interval + heartbeat.timeout;
                return Some(Disconnect::DeadPeer { silent, limit });
            }
            self.dead_at = Some(now + heartbeat.timeout);
        }
        if self.ping_at <= now {
            let quiet_until = self.last_read + heartbeat.interval;
            if heartbeat.ttl.is_zero() && quiet_until > now {
                self.ping_at = quiet_until;
            } else {
                self.ping = true;
                self.dead_at.get_or_insert(now + heartbeat.timeout);
                self.ping_at = now + heartbeat.interval;
            }
        }
        None
    }

    /// Whether a PING is to be sent.
    pub(super) fn asks(&self) -> bool {
        self.ping
    }

    /// Whether there is a PING or PONG to send.
    pub(super) fn has_output(&self) -> bool {
        self.ping || self.pong.is_some()
    }

    /// Appends them.
    pub(super) fn put_output(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.ping) {
            let ttl = self.heartbeat.map_or(0, |heartbeat| heartbeat.ttl_on_the_wire());
            put_command(out, "PING", &[&ttl.to_be_bytes()]);
        }
        if let Some((context, length)) = self.pong.take() {
            put_command(out, "PONG", &[&context[..usize::from(length)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket_type::SocketType;
    use alloc::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);

    fn ready(version: Version) -> (Arc<Options>, Timers) {
        let options = Options::new(SocketType::Push).build().unwrap();
        let mut timers = Timers::new(&options, Instant::ZERO);
        timers.handshake_done(&options, version, Instant::ZERO);
        (options, timers)
    }

    fn at(seconds: u32) -> Instant {
        Instant::ZERO + SECOND * seconds
    }

    fn output(timers: &mut Timers) -> Vec<u8> {
        let mut out = Vec::new();
        timers.put_output(&mut out);
        out
    }

    #[test]
    fn a_silent_peer_is_asked_and_then_dead() {
        let (options, mut timers) = ready(Version::V3_1);
        timers.read(at(4));
        assert_eq!(timers.next(&options), Some((at(10), Reason::Heartbeat)));
        assert_eq!(timers.expire(&options, at(10)), None);
        assert!(!timers.has_output(), "it was heard six seconds ago");
        assert_eq!(timers.expire(&options, at(14)), None);
        assert_eq!(output(&mut timers), b"\x04\x07\x04PING\0\0");
        assert_eq!(timers.expire(&options, at(24)), None, "asked again");
        assert_eq!(output(&mut timers), b"\x04\x07\x04PING\0\0");
        let dead = timers.expire(&options, at(34));
        assert_eq!(dead, Some(Disconnect::DeadPeer { silent: SECOND * 30, limit: SECOND * 30 }));
    }

    #[test]
    fn a_clock_that_jumps_kills_nobody_unasked() {
        let (options, mut timers) = ready(Version::V3_1);
        assert_eq!(timers.expire(&options, at(10_000)), None);
        assert!(timers.has_output());
        timers.read(at(10_001));
        assert_eq!(timers.expire(&options, at(10_020)), None);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_slow_and_not_dead() {
        let (options, mut timers) = ready(Version::V3_1);
        timers.writing(at(0), true);
        for second in (10..300).step_by(10) {
            assert_eq!(timers.expire(&options, at(second)), None);
        }
        timers.writing(at(300), false);
        assert!(timers.expire(&options, at(400)).is_some(), "it takes what is written, and says nothing");
        // Its time limit can be configured.
        let limit = SECOND * 20;
        let options = Options::new(SocketType::Push).write_stall(Some(limit)).build().unwrap();
        timers.read(at(400));
        timers.writing(at(401), true);
        timers.writing(at(405), true);
        assert_eq!(timers.expire(&options, at(424)), None);
        assert!(timers.next(&options).is_some_and(|(due, _)| due <= at(425)));
        let stalled = Disconnect::WriteStalled { stalled: limit, limit };
        assert_eq!(timers.expire(&options, at(425)), Some(stalled));
    }

    #[test]
    fn a_peer_of_three_nought_is_not_asked_and_answered_all_the_same() {
        let (options, mut timers) = ready(Version::V3_0);
        assert_eq!(timers.next(&options), None);
        assert_eq!(timers.expire(&options, at(1_000)), None);
        timers.pinged(at(0), 0, b"abc");
        timers.pinged(at(0), 0, b"abcd");
        assert_eq!(output(&mut timers), b"\x04\x09\x04PONGabcd", "one answer, to the latest");
    }

    #[test]
    fn silence_behind_a_ping_for_its_ttl_is_death_and_anything_else_is_life() {
        let (options, mut timers) = ready(Version::V3_0);
        timers.pinged(at(0), 5, b"");
        assert_eq!(timers.next(&options), Some((at(0) + SECOND / 2, Reason::DeadPeer)));
        timers.read(at(1));
        assert_eq!(timers.next(&options), None, "no PING since");
        timers.pinged(at(1), 5, b"");
        timers.heard();
        assert_eq!(timers.next(&options), None);
        timers.pinged(at(2), 5, b"");
        let (limit, silent) = (SECOND / 2, SECOND + SECOND / 2);
        assert_eq!(timers.expire(&options, at(2) + SECOND / 4), None);
        let dead = timers.expire(&options, at(2) + limit);
        assert_eq!(dead, Some(Disconnect::DeadPeer { silent, limit }));
        timers.pinged(at(3), 0, b"");
        assert_eq!(timers.next(&options), None, "a TTL of zero is none");
    }

    #[test]
    fn who_does_not_read_is_heard_and_hears_no_silence() {
        let (options, mut timers) = ready(Version::V3_1);
        timers.pinged(at(0), 20, b"");
        let _ = output(&mut timers);
        timers.paused(at(0), Version::V3_1);
        for second in 1..100 {
            assert_eq!(timers.next(&options), Some((at(second), Reason::Heartbeat)));
            assert_eq!(timers.expire(&options, at(second)), None);
            assert_eq!(output(&mut timers), b"\x04\x05\x04PONG");
        }
        timers.resumed(at(100));
        assert_eq!(timers.next(&options), Some((at(110), Reason::Heartbeat)), "nothing is overdue");
        assert_eq!(timers.expire(&options, at(109)), None, "the pause is no silence");
        timers.pinged(at(109), 20, b"");
        assert!(timers.expire(&options, at(111)).is_some(), "and now it is: two seconds, as it said");
    }

    #[test]
    fn with_a_ttl_of_ours_the_peer_is_asked_however_much_it_says() {
        let heartbeat = Heartbeat { ttl: SECOND * 30, ..Heartbeat::default() };
        let options = Options::new(SocketType::Push).heartbeat(Some(heartbeat)).build().unwrap();
        let mut timers = Timers::new(&options, Instant::ZERO);
        assert_eq!(timers.next(&options), Some((at(10), Reason::Handshake)));
        timers.handshake_done(&options, Version::V3_1, Instant::ZERO);
        for second in 1..=10 {
            timers.read(at(second));
        }
        assert_eq!(timers.expire(&options, at(10)), None);
        assert_eq!(output(&mut timers), b"\x04\x07\x04PING\x01\x2c");
    }
}
