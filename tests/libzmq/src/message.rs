//! A part of a message.

use std::ffi::{CStr, c_int, c_void};

use crate::raw::{self, RawMessage};
use crate::{Result, check, text};

/// One part, while libzmq has to do with it.
pub(crate) struct Part(RawMessage);

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: it was made a message, and is not used again.
        unsafe { raw::zmq_msg_close(&raw mut self.0) };
    }
}

impl Part {
    pub(crate) fn empty() -> Self {
        let mut part = Self(RawMessage([0; 64]));
        // SAFETY: memory of the size and alignment of a message.
        unsafe { raw::zmq_msg_init(&raw mut part.0) };
        part
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut part = Self(RawMessage([0; 64]));
        // SAFETY: memory of the size and alignment of a message, which then has room for the bytes.
        unsafe {
            assert_eq!(raw::zmq_msg_init_size(&raw mut part.0, bytes.len()), 0, "memory");
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                raw::zmq_msg_data(&raw mut part.0).cast(),
                bytes.len(),
            );
        }
        part
    }

    pub(crate) fn to(mut self, id: u32) -> Self {
        // SAFETY: a message.
        check(unsafe { raw::zmq_msg_set_routing_id(&raw mut self.0, id) }).expect("an id");
        self
    }

    pub(crate) fn in_group(mut self, group: &str) -> Self {
        let group = text(group);
        // SAFETY: a message, and a text with a zero at its end, which is copied.
        check(unsafe { raw::zmq_msg_set_group(&raw mut self.0, group.as_ptr()) }).expect("a group");
        self
    }

    /// # Safety
    /// It is a socket.
    pub(crate) unsafe fn send(mut self, socket: *mut c_void, flags: c_int) -> Result<()> {
        // SAFETY: a message, and the caller's socket. What was sent is an empty message, to be closed as any other.
        check(unsafe { raw::zmq_msg_send(&raw mut self.0, socket, flags) })
    }

    /// # Safety
    /// It is a socket.
    pub(crate) unsafe fn receive(socket: *mut c_void) -> Result<Self> {
        let mut part = Self::empty();
        // SAFETY: a message, and the caller's socket.
        check(unsafe { raw::zmq_msg_recv(&raw mut part.0, socket, 0) })?;
        Ok(part)
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        // SAFETY: a message, which has so many bytes there until it is closed.
        unsafe {
            let size = raw::zmq_msg_size(&raw const self.0);
            let mut bytes = vec![0_u8; size];
            if size > 0 {
                let data = raw::zmq_msg_data(&raw mut self.0).cast::<u8>();
                std::ptr::copy_nonoverlapping(data, bytes.as_mut_ptr(), size);
            }
            bytes
        }
    }

    pub(crate) fn more(&self) -> bool {
        // SAFETY: a message.
        (unsafe { raw::zmq_msg_more(&raw const self.0) }) == 1
    }

    fn routing_id(&mut self) -> u32 {
        // SAFETY: a message.
        unsafe { raw::zmq_msg_routing_id(&raw mut self.0) }
    }

    fn group(&mut self) -> String {
        // SAFETY: a message, whose group is a text with a zero at its end.
        unsafe { CStr::from_ptr(raw::zmq_msg_group(&raw mut self.0)) }.to_string_lossy().into_owned()
    }

    fn property(&self, name: &str) -> Option<String> {
        let name = text(name);
        // SAFETY: a message, and a text with a zero at its end; the answer is one, too, or nothing.
        unsafe {
            let value = raw::zmq_msg_gets(&raw const self.0, name.as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
        }
    }

    pub(crate) fn received(&mut self, property: &str) -> Received {
        Received {
            body: self.bytes(),
            routing_id: self.routing_id(),
            group: self.group(),
            property: self.property(property),
        }
    }
}

/// A message of one part, and what stands beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Where it came from: of a SERVER and a PEER.
    pub routing_id: u32,
    /// To which group it was sent: of a DISH.
    pub group: String,
    /// The property that was asked for, if the connection that it came over has it.
    pub property: Option<String>,
}
