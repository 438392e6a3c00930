//! Events of a socket's connections.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Kind, Socket, check, raw, text};

const ALL: c_int = 0xffff;

/// An event: its bit (see [`events`](crate::events)), and a number that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Which it is.
    pub bit: u16,
    /// A descriptor, an error's number, or a status.
    pub value: u32,
}

/// Tells what becomes of a socket's connections.
#[derive(Debug)]
pub struct Monitor(Socket);

impl Monitor {
    /// Of that socket, from now on.
    ///
    /// # Panics
    /// If libzmq does not do it.
    #[must_use]
    pub fn new(socket: &Socket) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let endpoint = format!("inproc://monitor-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let named = text(&endpoint);
        // SAFETY: a socket, and a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_socket_monitor(socket.as_ptr(), named.as_ptr(), ALL) }).expect("a monitor");
        let pair = socket.context.socket(Kind::Pair);
        pair.connect(&endpoint).expect("it is bound");
        Self(pair)
    }

    /// The next event with one of those bits.
    ///
    /// # Panics
    /// If there is none for long.
    #[must_use]
    pub fn wait_for(&self, bits: u16) -> Event {
        loop {
            let parts = self.0.recv().expect("an event");
            let [a, b, c, d, e, f] = parts[0][..] else { panic!("not an event: {parts:?}") };
            let event = Event { bit: u16::from_ne_bytes([a, b]), value: u32::from_ne_bytes([c, d, e, f]) };
            if event.bit & bits != 0 {
                return event;
            }
        }
    }
}
