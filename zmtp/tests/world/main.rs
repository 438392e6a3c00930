//! Pipes and sockets over a simulated network whose connections break.

mod announced;
mod exchanging;
mod network;
mod operating;
mod operations;
mod pair;
mod reference;
mod security;
mod settling;
mod sockets;

use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_zmtp::error::ZmtpError;

/// A simulated network does not close a silent connection by itself, as TCP does.
const STALL: Duration = Duration::from_secs(40);

/// The only errors that a conforming end may report about another are that the stream was cut or silent.
fn is_fault(cause: &Disconnect) -> bool {
    ZmtpError::of(cause).is_some_and(|error| !matches!(error, ZmtpError::Truncated { .. }))
}

/// The parts of message `number`, which determines their number and lengths.
fn parts(number: usize) -> Vec<String> {
    let count = 1 + number % 3;
    (0..count).map(|at| format!("{number}/{at}/{}", "x".repeat(number * 7 % 50))).collect()
}

/// The number of a message. Checks that all of its parts are there, and nothing else.
fn number<'p>(received: impl Iterator<Item = &'p [u8]>) -> usize {
    let received: Vec<_> = received.map(|part| String::from_utf8(part.to_vec()).expect("text")).collect();
    let number = received[0].split('/').next().and_then(|number| number.parse().ok()).expect("a number");
    assert_eq!(received, parts(number), "a message is whole");
    number
}
