//! Buffers of the thread, which all of its connections use: an idle connection holds none of its own.

use std::cell::RefCell;

/// The purpose of a buffer. A thread has one buffer for each.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// Input from the socket.
    Incoming,
    /// Records for the socket.
    Outgoing,
}

std::thread_local! {
    static SCRATCH: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Uses one of the thread's buffers. If it is in use already, or the thread is ending, a new one is used.
pub(super) fn with_scratch<T>(purpose: Use, f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let taken = SCRATCH.try_with(|scratch| std::mem::take(&mut scratch.borrow_mut()[purpose as usize]));
    let mut buf = taken.unwrap_or_default();
    let result = f(&mut buf);
    let _ = SCRATCH.try_with(|scratch| scratch.borrow_mut()[purpose as usize] = buf);
    result
}
