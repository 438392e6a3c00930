//! Operations on machines, in the order that the input chooses.

use std::time::Duration;

use bowline_core::config::{Config, Overflow, QueueLimit};
use bowline_core::error::{Disconnect, TransportError, TransportKind};
use bowline_core::link::{CallOptions, CastOptions};
use bowline_core::supervisor::{Action, Dialed, Endpoint, Epoch, ReconnectPolicy, Supervisor};
use bowline_core::time::Instant;
use bowline_netsim::{NetConfig, Sim};

use crate::Input;

const MS: Duration = Duration::from_millis(1);
/// Most operations in one run: longer inputs find nothing that several shorter ones do not.
const MOST: usize = 200;

/// Two joined links: calls, casts, cuts, silence, closing, time.
pub fn link_ops(data: &[u8]) {
    let mut input = Input(data);
    let overflow = match input.byte() % 4 {
        0 => Overflow::Block,
        1 => Overflow::Reject,
        2 => Overflow::DropNewest,
        _ => Overflow::DropOldest,
    };
    let config = Config::builder()
        .reconnect(ReconnectPolicy::backoff(MS, MS * 50))
        .write_overflow(overflow)
        .write_queue(QueueLimit { messages: 1 + usize::from(input.byte()), bytes: 64 * 1024 })
        .max_in_flight(1 + usize::from(input.byte() % 64))
        .build();
    let Ok(config) = config else { return };
    let piece = 1 + usize::from(input.byte()) * 8;
    let net = NetConfig { max_write: piece, max_read: piece, ..NetConfig::default() };
    let mut sim = Sim::new(config, net, u64::from(input.byte()));
    let mut number = 0_u32;
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let (op, size) = (input.byte(), usize::from(input.byte()));
        number += 1;
        let mut body = number.to_be_bytes().to_vec();
        body.resize(4 + size * 9, 7);
        match op % 16 {
            0..=3 => {
                let timeout = MS * (1 + u32::from(op) * 8);
                let _ = sim.call(CallOptions::new(1).timeout(timeout), &body);
            }
            4..=7 => {
                let _ = sim.cast(&CastOptions::new(2), &body);
            }
            8..=11 => sim.run_for(MS * u32::from(op)),
            12 => sim.cut(),
            13 => sim.fall_silent(),
            14 => sim.set_reachable(size.is_multiple_of(2)),
            _ if size == 255 => sim.close(MS * 20),
            _ => sim.run_for(Duration::from_micros(size as u64)),
        }
    }
    sim.run_for(Duration::from_secs(5));
    assert!(sim.outcomes().all(|outcome| outcome.is_some()), "a call without an outcome: {:#?}", sim.trace());
    for bodies in [sim.messages().collect::<Vec<_>>(), sim.requests().collect()] {
        let numbers: Vec<&[u8]> = bodies.iter().map(|body| &body[..4]).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "twice, or out of order");
    }
    let counters = sim.client.link.counters();
    assert!(
        counters.calls >= counters.calls_replied + counters.calls_maybe_delivered,
        "counters do not add up: {counters:?}"
    );
}

/// The supervisor: results of attempts, connections up and down, time.
pub fn supervisor_ops(data: &[u8]) {
    let mut input = Input(data);
    let count = 1 + usize::from(input.byte() % 4);
    let endpoints: Vec<Endpoint> = (0..count).filter_map(|i| format!("host{i}:80").parse().ok()).collect();
    let policy = ReconnectPolicy::backoff(MS * 10, Duration::from_secs(1));
    let mut supervisor = Supervisor::new(endpoints, policy, Duration::from_secs(3), u64::from(input.byte()));
    let mut now = Instant::ZERO;
    let (mut resolving, mut dialing) = (Vec::new(), Vec::new());
    let mut connected: Option<Epoch> = None;
    let refused = || TransportError::new(TransportKind::Refused, "refused");
    supervisor.start(now);
    for _ in 0..MOST {
        while let Some(action) = supervisor.poll_action() {
            match action {
                Action::Resolve { attempt, .. } => resolving.push(attempt),
                Action::Dial { attempt, .. } => dialing.push(attempt),
                Action::Abandon { attempt } => {
                    resolving.retain(|&other| other != attempt);
                    dialing.retain(|&other| other != attempt);
                }
                Action::Close { epoch, .. } => {
                    assert_eq!(connected.take(), Some(epoch), "closes what is not there");
                }
                _ => {}
            }
        }
        assert!(dialing.len() <= 64 && resolving.len() <= 1, "too much at once");
        assert!(
            supervisor.poll_timeout().is_some() || connected.is_some() || supervisor.is_stopped(),
            "stuck"
        );
        if input.is_empty() {
            break;
        }
        let (op, arg) = (input.byte(), input.byte());
        now += MS * u32::from(arg);
        match op % 10 {
            0 => {
                if let Some(attempt) = resolving.pop() {
                    let addresses: Vec<_> = (0..arg % 5).map(|i| ([10, 0, 0, i], 80).into()).collect();
                    supervisor.handle_resolved(now, attempt, Ok(&addresses));
                }
            }
            1 => {
                if let Some(attempt) = resolving.pop() {
                    supervisor.handle_resolved(now, attempt, Err(refused()));
                }
            }
            2 | 3 => {
                if let Some(attempt) = dialing.pop()
                    && let Dialed::Use(epoch) = supervisor.handle_dialed(now, attempt, Ok(()))
                {
                    assert!(connected.replace(epoch).is_none(), "two connections at once");
                }
            }
            4 => {
                if let Some(attempt) = dialing.pop() {
                    supervisor.handle_dialed(now, attempt, Err(refused()));
                }
            }
            5 => {
                if let Some(epoch) = connected {
                    supervisor.handle_ready(now, epoch);
                }
            }
            6 => {
                if let Some(epoch) = connected.take() {
                    supervisor.handle_down(now, epoch, &Disconnect::PeerClosed);
                }
            }
            7 => supervisor.reconnect_now(now),
            8 if arg == 255 => {
                supervisor.stop();
                resolving.clear();
                dialing.clear();
            }
            _ => supervisor.handle_timeout(now),
        }
    }
}
