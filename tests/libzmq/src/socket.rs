//! A socket of libzmq.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use crate::message::{Part, Received};
use crate::{Context, Option, Result, check, last_error, raw, text};

const LAST_ENDPOINT: c_int = 32;
const SEND_MORE: c_int = 2;

/// A socket, for one thread at a time.
#[derive(Debug)]
pub struct Socket {
    raw: NonNull<c_void>,
    /// It outlives the socket.
    pub(crate) context: Context,
}

// SAFETY: zmq_socket(3): sockets may be migrated between threads with a full fence, which moving a value to
// another thread has.
unsafe impl Send for Socket {}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let _ = unsafe { raw::zmq_close(self.raw.as_ptr()) };
    }
}

impl Socket {
    pub(crate) fn of(raw: NonNull<c_void>, context: Context) -> Self {
        Self { raw, context }
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.raw.as_ptr()
    }

    /// Sets an option that is a number.
    ///
    /// # Panics
    /// If libzmq does not take it.
    pub fn set(&self, option: Option, value: i32) {
        self.set_bytes(option, &value.to_ne_bytes());
    }

    /// Sets an option that is bytes.
    ///
    /// # Panics
    /// If libzmq does not take it.
    pub fn set_bytes(&self, option: Option, value: &[u8]) {
        // SAFETY: so many bytes, which are only read.
        let code = unsafe {
            raw::zmq_setsockopt(self.as_ptr(), option as c_int, value.as_ptr().cast(), value.len())
        };
        check(code).unwrap_or_else(|error| panic!("{option:?}: {error}"));
    }

    /// Makes it the server of CURVE, whose key is known.
    pub fn be_curve_server(&self, secret_key: &str) {
        self.set(Option::CurveServer, 1);
        self.set_bytes(Option::CurveSecretKey, secret_key.as_bytes());
    }

    /// Makes it the client of CURVE, which knows the server's key. The keys: public, secret.
    pub fn be_curve_client(&self, (public, secret): (&str, &str), server_key: &str) {
        self.set_bytes(Option::CurvePublicKey, public.as_bytes());
        self.set_bytes(Option::CurveSecretKey, secret.as_bytes());
        self.set_bytes(Option::CurveServerKey, server_key.as_bytes());
    }

    /// Makes it the client of PLAIN, which sends a name and a password.
    pub fn be_plain_client(&self, username: &str, password: &str) {
        self.set_bytes(Option::PlainUsername, username.as_bytes());
        self.set_bytes(Option::PlainPassword, password.as_bytes());
    }

    /// Binds, and says where to.
    ///
    /// # Errors
    /// The error of libzmq.
    ///
    /// # Panics
    /// If it says its endpoint in other bytes than text.
    pub fn bind(&self, endpoint: &str) -> Result<String> {
        let endpoint = text(endpoint);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_bind(self.as_ptr(), endpoint.as_ptr()) })?;
        let (mut bound, mut size) = (vec![0_u8; 256], 256);
        // SAFETY: so many bytes to be written to; the size says how many were.
        check(unsafe {
            raw::zmq_getsockopt(self.as_ptr(), LAST_ENDPOINT, bound.as_mut_ptr().cast(), &raw mut size)
        })?;
        bound.truncate(size.saturating_sub(1));
        Ok(String::from_utf8(bound).expect("text"))
    }

    /// Accepts no more.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn unbind(&self, endpoint: &str) -> Result<()> {
        let endpoint = text(endpoint);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_unbind(self.as_ptr(), endpoint.as_ptr()) })
    }

    /// Connects, in the background.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn connect(&self, endpoint: &str) -> Result<()> {
        let endpoint = text(endpoint);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_connect(self.as_ptr(), endpoint.as_ptr()) })
    }

    /// Connects a PEER, and says which number the other side has here.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn connect_peer(&self, endpoint: &str) -> Result<u32> {
        let endpoint = text(endpoint);
        // SAFETY: a text with a zero at its end, which is only read.
        match unsafe { raw::zmq_connect_peer(self.as_ptr(), endpoint.as_ptr()) } {
            0 => Err(last_error()),
            id => Ok(id),
        }
    }

    /// Ends a connection.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn disconnect(&self, endpoint: &str) -> Result<()> {
        let endpoint = text(endpoint);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_disconnect(self.as_ptr(), endpoint.as_ptr()) })
    }

    /// A DISH joins a group.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn join(&self, group: &str) -> Result<()> {
        let group = text(group);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_join(self.as_ptr(), group.as_ptr()) })
    }

    /// A DISH leaves a group.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn leave(&self, group: &str) -> Result<()> {
        let group = text(group);
        // SAFETY: a text with a zero at its end, which is only read.
        check(unsafe { raw::zmq_leave(self.as_ptr(), group.as_ptr()) })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn send<P: AsRef<[u8]>>(&self, parts: &[P]) -> Result<()> {
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 < parts.len() { SEND_MORE } else { 0 };
            // SAFETY: it is a socket.
            unsafe { Part::of(part.as_ref()).send(self.as_ptr(), flags) }?;
        }
        Ok(())
    }

    /// A SERVER or a PEER sends to one of its peers.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn send_to(&self, id: u32, body: &[u8]) -> Result<()> {
        // SAFETY: it is a socket.
        unsafe { Part::of(body).to(id).send(self.as_ptr(), 0) }
    }

    /// A RADIO sends to a group.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn send_in_group(&self, group: &str, body: &[u8]) -> Result<()> {
        // SAFETY: it is a socket.
        unsafe { Part::of(body).in_group(group).send(self.as_ptr(), 0) }
    }

    /// Receives a message.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn recv(&self) -> Result<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        loop {
            // SAFETY: it is a socket.
            let mut part = unsafe { Part::receive(self.as_ptr()) }?;
            parts.push(part.bytes());
            if !part.more() {
                return Ok(parts);
            }
        }
    }

    /// Receives a message that comes within so many milliseconds.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn recv_within(&self, milliseconds: i32) -> Result<Vec<Vec<u8>>> {
        self.set(Option::ReceiveTimeout, milliseconds);
        let received = self.recv();
        self.set(Option::ReceiveTimeout, 20_000);
        received
    }

    /// Receives a message of one part, and what stands beside it: also the property of that name.
    ///
    /// # Errors
    /// The error of libzmq.
    pub fn recv_one(&self, property: &str) -> Result<Received> {
        // SAFETY: it is a socket.
        let mut part = unsafe { Part::receive(self.as_ptr()) }?;
        Ok(part.received(property))
    }
}
