//! Machines of any protocol, driven by the input.

use std::time::Duration;

use bowline_core::config::{Config, QueueLimit};
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::link::{CallId, CallOptions, CastOptions, Link, Role};
use bowline_core::machine::{Epoch, Machine};
use bowline_core::time::Instant;
use bowline_netsim::{Direction, Net, NetConfig, Side, World};
use bowline_zmtp::error::ZmtpError;

use crate::Input;

#[path = "../../tests/machines/shout.rs"]
#[allow(missing_docs, reason = "a test's machine")]
mod shout;

use shout::{LIMIT, LONGEST, Shout};

const MS: Duration = Duration::from_millis(1);
const MOST: usize = 200;
const NET: NetConfig = NetConfig {
    latency: MS,
    jitter: MS,
    max_write: 512,
    max_read: 512,
    window: 8 * 1024,
    bandwidth: None,
    unsent: 16 * 1024,
};

/// The properties of a machine that the target needs.
pub(crate) trait Known: Machine {
    /// Performs an operation of the machine's user.
    fn command(&mut self, now: Instant, what: u8, size: usize);

    /// Whether it holds no more memory than permitted; for links `live_link` checks that.
    fn is_bounded(&self) -> bool {
        true
    }
}

impl Known for Shout<u64> {
    fn command(&mut self, now: Instant, what: u8, size: usize) {
        let mut ticket = None;
        if what.is_multiple_of(4) {
            let _ = self.poll_hear(&mut ticket, || 0);
        } else if self.says() {
            self.say(now, &"x".repeat(size % (LONGEST + 1)));
        }
    }

    fn is_bounded(&self) -> bool {
        // There is room before a push, and the batch that was being written comes back.
        self.memory() <= 4 * (LIMIT.bytes + LONGEST + 64 * 1024)
    }
}

impl<F: Framing> Known for Link<F, u64> {
    fn command(&mut self, now: Instant, what: u8, size: usize) {
        let body = vec![7; size * 20];
        match what % 4 {
            0 => _ = self.call(now, &CallOptions::new(1).timeout(MS * 500), body.into(), 0),
            1 => self.cancel_call(CallId::from_wire(size as u64 % 8)),
            _ => _ = self.cast(now, &CastOptions::new(1), body.into()),
        }
    }
}

/// A machine whose peer is the input.
pub(crate) fn alone<M: Known>(mut input: Input<'_>, mut machine: M) {
    let mut side = Side::new(0, Direction::ToServer);
    let (mut now, mut net, mut epoch) = (Instant::ZERO, Net::new(NET, 1), Epoch::FIRST);
    side.connect(&mut machine, now, epoch);
    let mut scratch = [0; 4096];
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let (op, size) = (input.byte(), usize::from(input.byte()));
        match op % 16 {
            0..=5 => {
                let bytes: Vec<u8> = (0..=size % 32).map(|_| input.byte()).collect();
                send(&mut net, now, &bytes);
            }
            6 => send(&mut net, now, &vec![input.byte(); size * 16]),
            7 | 8 => while net.read(now, Direction::ToServer, &mut scratch) > 0 {},
            9 | 10 => now += MS * (1 + size as u32 * 4),
            11 => net.cut(),
            12 => side.slow_writer = size.is_multiple_of(2),
            13 if side.is_connected() => side.disconnect(&mut machine, &mut (), now, Disconnect::Reopened),
            _ => machine.command(now, op / 16, size),
        }
        settle(&mut machine, &mut side, now, &mut net);
        if machine.is_closed() {
            return;
        }
        if !side.is_connected() {
            epoch = epoch.next();
            net = Net::new(NET, epoch.get());
            side.connect(&mut machine, now, epoch);
        }
    }
    machine.close(now, Duration::ZERO);
    settle(&mut machine, &mut side, now, &mut net);
    if side.is_connected() {
        side.disconnect(&mut machine, &mut (), now, Disconnect::LocalClose);
    }
    machine.give_up(now, Disconnect::LocalClose);
    settle(&mut machine, &mut side, now, &mut net);
    assert!(machine.is_closed(), "it was closed and given up");
}

fn send(net: &mut Net, now: Instant, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = net.write(now, Direction::ToClient, bytes);
        if n == 0 {
            return;
        }
        bytes = &bytes[n..];
    }
}

/// Lets a machine work until nothing changes.
fn settle<M: Known>(machine: &mut M, side: &mut Side<M>, now: Instant, net: &mut Net) {
    for _ in 0..100_000 {
        let stepped = side.step(machine, &mut (), now, net);
        if !side.is_connected() {
            side.idle(machine, &mut (), now);
        }
        if stepped != Ok(true) {
            assert!(machine.is_bounded());
            let due = machine.poll_timeout().is_some_and(|(at, _)| at <= now);
            assert!(!due || stepped.is_err() || machine.is_closed(), "due, and still due");
            return;
        }
    }
    panic!("it never settles");
}

/// Two machines of one protocol over a line that the input breaks: neither reports a violation by the other.
pub(crate) fn together<M: Known>(mut input: Input<'_>, dialing: M, accepting: M) {
    let mut world: World<M> = World::new(NET, u64::from(input.byte()), ());
    let ends = [world.add(dialing), world.add(accepting)];
    world.keep_connected(ends[0], ends[1], MS);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let (op, size) = (input.byte(), usize::from(input.byte()));
        let end = ends[usize::from(op >> 7)];
        let direction = [Direction::ToServer, Direction::ToClient][size % 2];
        match op % 16 {
            0 => world.cut(end),
            1 => world.cut_at(end, direction, size as u64 * 8),
            2 => world.cut_next_at(ends[0], direction, size as u64 * 8),
            3 => world.disconnect(end, Disconnect::Reopened),
            4 => world.fall_silent(end),
            5 => world.set_slow_writer(end, size.is_multiple_of(2)),
            6 => world.jump(MS * size as u32),
            7..=9 => world.run_for(MS * size as u32),
            _ => {
                let now = world.now();
                world.machine_mut(end).command(now, op / 16, size);
            }
        }
    }
    world.run_for(Duration::from_secs(60));
    for end in ends {
        assert!(world.machine(end).is_bounded());
        for (_, cause) in world.ended(end) {
            assert!(!is_fault(cause), "one honest end of another: {cause:?}");
        }
    }
}

/// Whether an end reports a violation by the other. A stream that was cut may end anywhere, and silence has
/// its own error.
fn is_fault(cause: &Disconnect) -> bool {
    use bowline_core::error::{FrameError, PeerError};
    match cause {
        Disconnect::Protocol(PeerError::Frame(FrameError::Truncated { .. })) => false,
        Disconnect::Foreign(error) => {
            if let Some(error) = ZmtpError::of(cause) {
                return !matches!(error, ZmtpError::Truncated { .. });
            }
            use shout::ShoutError::{Cut, NoAnswer};
            !matches!(error.downcast_ref(), Some(Cut | NoAnswer))
        }
        cause => matches!(cause, Disconnect::Protocol(_)),
    }
}

fn config<F: Framing>(framing: F) -> Option<Config<F>> {
    let queue = QueueLimit { messages: 40, bytes: 64 * 1024 };
    Config::with_framing(framing).write_queue(queue).build().ok()
}

/// A machine of a protocol that the first byte chooses: alone, with a peer that sends bytes of the input, or
/// two of them over a line that breaks as the input says.
pub fn machine_ops(data: &[u8]) {
    let mut input = Input(data);
    let Some(native) = config(bowline_core::frame::native::Native::new()) else { return };
    let Some(plain) = config(LengthPrefixed::default()) else { return };
    match input.byte() % 7 {
        0 => alone(input, Shout::saying()),
        1 => alone(input, Shout::answering()),
        2 => alone(input, Link::new(native, Role::Accepting)),
        3 => alone(input, Link::new(plain, Role::Dialing)),
        4 => together(input, Shout::saying(), Shout::answering()),
        5 => together(input, Link::new(native.clone(), Role::Dialing), Link::new(native, Role::Accepting)),
        _ => together(input, Link::new(plain.clone(), Role::Dialing), Link::new(plain, Role::Accepting)),
    }
}
