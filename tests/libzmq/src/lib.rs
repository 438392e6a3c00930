//! A wrapper of libzmq for tests: contexts, sockets, messages of several parts, authentication, monitors.
//!
//! Not a binding for programs: it contains only what the tests use.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

mod message;
mod monitor;
mod names;
mod raw;
mod socket;
mod sodium;
mod zap;

pub use message::Received;
pub use monitor::{Event, Monitor};
pub use names::{Kind, Option, events};
pub use socket::Socket;
pub use zap::{Request, Zap};

/// An error code of libzmq.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Its number.
    pub number: i32,
    /// Its text.
    pub text: String,
}

impl Error {
    /// Whether it is that it would have to wait (longer).
    #[must_use]
    pub fn is_again(&self) -> bool {
        // EAGAIN of Linux, and of the others.
        matches!(self.number, 11 | 35)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// The result of a libzmq call.
pub type Result<T> = std::result::Result<T, Error>;

fn last_error() -> Error {
    // SAFETY: both take nothing of ours, and the text is libzmq's for ever.
    let (number, text) = unsafe {
        let number = raw::zmq_errno();
        (number, CStr::from_ptr(raw::zmq_strerror(number)))
    };
    Error { number, text: text.to_string_lossy().into_owned() }
}

fn check(code: c_int) -> Result<()> {
    if code >= 0 { Ok(()) } else { Err(last_error()) }
}

fn text(of: &str) -> CString {
    CString::new(of).expect("no zero")
}

/// Its version.
#[must_use]
pub fn version() -> (i32, i32, i32) {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: three integers to be written to.
    unsafe { raw::zmq_version(&raw mut major, &raw mut minor, &raw mut patch) };
    (major, minor, patch)
}

/// Whether it was built with that.
#[must_use]
pub fn has(capability: &str) -> bool {
    let capability = text(capability);
    // SAFETY: a text with a zero at its end, which is only read.
    unsafe { raw::zmq_has(capability.as_ptr()) == 1 }
}

/// A key pair of CURVE as Z85 has it: public, secret.
///
/// # Panics
/// If libzmq has no CURVE.
#[must_use]
pub fn key_pair() -> (String, String) {
    let (mut public, mut secret): ([c_char; 41], [c_char; 41]) = ([0; 41], [0; 41]);
    // SAFETY: both have room for 40 characters and a zero.
    check(unsafe { raw::zmq_curve_keypair(public.as_mut_ptr(), secret.as_mut_ptr()) }).expect("it has CURVE");
    // SAFETY: it has written a zero behind the 40 characters.
    let [public, secret] = [&public, &secret].map(|key| unsafe { CStr::from_ptr(key.as_ptr()) });
    (public.to_string_lossy().into_owned(), secret.to_string_lossy().into_owned())
}

#[derive(Debug)]
struct Inner(NonNull<c_void>);

// SAFETY: zmq(7): "a ØMQ context is thread safe".
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: it is not used again: each socket has a share of it.
        let _ = unsafe { raw::zmq_ctx_term(self.0.as_ptr()) };
    }
}

/// A context of its own, which ends with its last socket.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

impl Default for Context {
    fn default() -> Self {
        // SAFETY: it takes nothing.
        Self(Arc::new(Inner(NonNull::new(unsafe { raw::zmq_ctx_new() }).expect("memory"))))
    }
}

impl Context {
    /// A socket, which gives up sending and receiving after 20 s, and does not linger.
    ///
    /// # Panics
    /// If libzmq makes none.
    #[must_use]
    pub fn socket(&self, kind: Kind) -> Socket {
        // SAFETY: the context lives.
        let socket = NonNull::new(unsafe { raw::zmq_socket(self.0.0.as_ptr(), kind as c_int) });
        let socket = Socket::of(socket.expect("a socket"), self.clone());
        socket.set(Option::ReceiveTimeout, 20_000);
        socket.set(Option::SendTimeout, 20_000);
        socket.set(Option::Linger, 0);
        socket.set(Option::ReconnectInterval, 10);
        socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_tests_are_for() {
        assert_eq!(version(), (4, 3, 5));
        for capability in ["ipc", "draft", "curve"] {
            assert!(has(capability), "libzmq has no {capability}");
        }
        let (public, secret) = key_pair();
        assert!(public.len() == 40 && secret.len() == 40 && public != secret);
    }
}
