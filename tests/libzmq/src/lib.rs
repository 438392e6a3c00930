//! libzmq as tests need it: contexts, sockets, messages of several parts.
//!
//! Not a binding for programs: what it does not know is left out.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;

#[allow(non_camel_case_types, reason = "as the header has it")]
type size_t = usize;

/// A `zmq_msg_t`: 64 bytes, aligned as a pointer.
#[repr(C, align(8))]
struct RawMessage([u8; 64]);

// The declarations are those of zmq.h of 4.3.5.
unsafe extern "C" {
    fn zmq_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int);
    fn zmq_has(capability: *const c_char) -> c_int;
    fn zmq_errno() -> c_int;
    fn zmq_strerror(number: c_int) -> *const c_char;
    fn zmq_ctx_new() -> *mut c_void;
    fn zmq_ctx_term(context: *mut c_void) -> c_int;
    fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    fn zmq_close(socket: *mut c_void) -> c_int;
    fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_disconnect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, size: size_t) -> c_int;
    fn zmq_getsockopt(socket: *mut c_void, option: c_int, value: *mut c_void, size: *mut size_t) -> c_int;
    fn zmq_send(socket: *mut c_void, bytes: *const c_void, size: size_t, flags: c_int) -> c_int;
    fn zmq_msg_init(message: *mut RawMessage) -> c_int;
    fn zmq_msg_recv(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    fn zmq_msg_data(message: *mut RawMessage) -> *mut c_void;
    fn zmq_msg_size(message: *const RawMessage) -> size_t;
    fn zmq_msg_more(message: *const RawMessage) -> c_int;
    fn zmq_msg_close(message: *mut RawMessage) -> c_int;
}

/// What libzmq said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

fn check(code: c_int) -> Result<()> {
    if code >= 0 {
        return Ok(());
    }
    // SAFETY: both take nothing of ours, and the text is libzmq's for ever.
    let text = unsafe { CStr::from_ptr(zmq_strerror(zmq_errno())) };
    Err(Error(text.to_string_lossy().into_owned()))
}

/// Its version.
#[must_use]
pub fn version() -> (i32, i32, i32) {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: three integers to be written to.
    unsafe { zmq_version(&raw mut major, &raw mut minor, &raw mut patch) };
    (major, minor, patch)
}

/// Whether it was built with that.
#[must_use]
pub fn has(capability: &str) -> bool {
    let capability = CString::new(capability).unwrap_or_default();
    // SAFETY: a text with a zero at its end, which is only read.
    unsafe { zmq_has(capability.as_ptr()) == 1 }
}

/// Types of sockets, with their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the types of sockets")]
#[repr(i32)]
pub enum Kind {
    Pair = 0,
    Pub = 1,
    Sub = 2,
    Req = 3,
    Rep = 4,
    Dealer = 5,
    Router = 6,
    Pull = 7,
    Push = 8,
    XPub = 9,
    XSub = 10,
}

/// Options, with their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as zmq_setsockopt names them")]
#[repr(i32)]
pub enum Option {
    RoutingId = 5,
    Subscribe = 6,
    Unsubscribe = 7,
    Linger = 17,
    ReconnectInterval = 18,
    SendHighWater = 23,
    ReceiveHighWater = 24,
    ReceiveTimeout = 27,
    SendTimeout = 28,
    RouterMandatory = 33,
    Immediate = 39,
    HeartbeatInterval = 75,
    HeartbeatTimeout = 77,
}

const LAST_ENDPOINT: c_int = 32;
const SEND_MORE: c_int = 2;

/// A context of its own, ended when it is dropped.
#[derive(Debug)]
pub struct Context(NonNull<c_void>);

// SAFETY: zmq(7): "a ØMQ context is thread safe".
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Default for Context {
    fn default() -> Self {
        // SAFETY: it takes nothing.
        Self(NonNull::new(unsafe { zmq_ctx_new() }).expect("memory"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it is not used again: sockets borrow it.
        let _ = unsafe { zmq_ctx_term(self.0.as_ptr()) };
    }
}

impl Context {
    /// A socket, which gives up sending and receiving after 10 s, and does not linger.
    #[must_use]
    pub fn socket(&self, kind: Kind) -> Socket<'_> {
        // SAFETY: the context lives.
        let socket = NonNull::new(unsafe { zmq_socket(self.0.as_ptr(), kind as c_int) });
        let socket = Socket(socket.expect("a socket"), std::marker::PhantomData);
        socket.set(Option::ReceiveTimeout, 10_000);
        socket.set(Option::SendTimeout, 10_000);
        socket.set(Option::Linger, 0);
        socket.set(Option::ReconnectInterval, 10);
        socket
    }
}

/// A socket, for one thread at a time.
#[derive(Debug)]
pub struct Socket<'a>(NonNull<c_void>, std::marker::PhantomData<&'a Context>);

// SAFETY: zmq_socket(3): sockets may be migrated between threads with a full fence, which moving a value to
// another thread has.
unsafe impl Send for Socket<'_> {}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let _ = unsafe { zmq_close(self.0.as_ptr()) };
    }
}

impl Socket<'_> {
    /// Sets an option that is a number.
    ///
    /// # Panics
    /// If libzmq does not take it.
    pub fn set(&self, option: Option, value: i32) {
        let bytes = value.to_ne_bytes();
        self.set_bytes(option, &bytes);
    }

    /// Sets an option that is bytes.
    ///
    /// # Panics
    /// If libzmq does not take it.
    pub fn set_bytes(&self, option: Option, value: &[u8]) {
        // SAFETY: so many bytes, which are only read.
        let code =
            unsafe { zmq_setsockopt(self.0.as_ptr(), option as c_int, value.as_ptr().cast(), value.len()) };
        check(code).unwrap_or_else(|error| panic!("{option:?}: {error}"));
    }

    /// Binds, and says where to.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn bind(&self, endpoint: &str) -> Result<String> {
        let endpoint = CString::new(endpoint).expect("no zero");
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { zmq_bind(self.0.as_ptr(), endpoint.as_ptr()) })?;
        let (mut text, mut size) = (vec![0_u8; 256], 256);
        // SAFETY: so many bytes to be written to; the size says how many were.
        check(unsafe {
            zmq_getsockopt(self.0.as_ptr(), LAST_ENDPOINT, text.as_mut_ptr().cast(), &raw mut size)
        })?;
        text.truncate(size.saturating_sub(1));
        Ok(String::from_utf8(text).expect("text"))
    }

    /// Connects, in the background.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn connect(&self, endpoint: &str) -> Result<()> {
        let endpoint = CString::new(endpoint).expect("no zero");
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { zmq_connect(self.0.as_ptr(), endpoint.as_ptr()) })
    }

    /// Ends a connection.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn disconnect(&self, endpoint: &str) -> Result<()> {
        let endpoint = CString::new(endpoint).expect("no zero");
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { zmq_disconnect(self.0.as_ptr(), endpoint.as_ptr()) })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn send<P: AsRef<[u8]>>(&self, parts: &[P]) -> Result<()> {
        for (at, part) in parts.iter().enumerate() {
            let (part, flags) = (part.as_ref(), if at + 1 < parts.len() { SEND_MORE } else { 0 });
            // SAFETY: so many bytes, which are copied.
            check(unsafe { zmq_send(self.0.as_ptr(), part.as_ptr().cast(), part.len(), flags) })?;
        }
        Ok(())
    }

    /// Receives a message.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn recv(&self) -> Result<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        loop {
            let mut message = RawMessage([0; 64]);
            // SAFETY: memory of the size and alignment of a message, which is made one; it is closed below.
            unsafe { zmq_msg_init(&raw mut message) };
            // SAFETY: a message that was made one.
            let received = check(unsafe { zmq_msg_recv(&raw mut message, self.0.as_ptr(), 0) });
            let more = received.is_ok() && {
                // SAFETY: a message that was received into, which has so many bytes there until it is closed.
                let (size, data) =
                    unsafe { (zmq_msg_size(&raw const message), zmq_msg_data(&raw mut message)) };
                let mut part = vec![0; size];
                if size > 0 {
                    // SAFETY: both have so many bytes, and the second is our own.
                    unsafe { std::ptr::copy_nonoverlapping(data.cast::<u8>(), part.as_mut_ptr(), size) };
                }
                parts.push(part);
                // SAFETY: as above.
                (unsafe { zmq_msg_more(&raw const message) }) == 1
            };
            // SAFETY: it is not used again.
            unsafe { zmq_msg_close(&raw mut message) };
            received?;
            if !more {
                return Ok(parts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_tests_are_for() {
        assert_eq!(version(), (4, 3, 5));
        for capability in ["ipc", "draft"] {
            assert!(has(capability), "libzmq has no {capability}");
        }
    }
}
