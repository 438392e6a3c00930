//! The system's libzmq with libsodium, for CURVE: the binding's own libzmq is built without.

use std::ffi::{CString, c_char, c_int, c_void};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use libloading::Library;

use super::common::{Until, curve};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Pattern, Tally, Work};

const PULL: c_int = 7;
const PUSH: c_int = 8;
const LINGER: c_int = 17;
const LAST_ENDPOINT: c_int = 32;
const CURVE_SERVER: c_int = 47;
const CURVE_PUBLICKEY: c_int = 48;
const CURVE_SECRETKEY: c_int = 49;
const CURVE_SERVERKEY: c_int = 50;

pub struct LibZmqCurve;

impl Contender for LibZmqCurve {
    fn name(&self) -> &'static str {
        "libzmq with libsodium, defaults"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Pattern(Pattern::Curve { .. }) => match LibZmq::load() {
                Ok(zmq) if zmq.has(c"curve") => Ok(()),
                _ => Err("the system has no libzmq.so.5 with CURVE: install libzmq's package"),
            },
            _ => Err("libzmq stands for it"),
        }
    }

    fn serve(&self, _: &Job, ready: Ready) -> Result<Tally> {
        let zmq = LibZmq::load()?;
        let socket = zmq.socket(PULL)?;
        socket.set_number(CURVE_SERVER, 1)?;
        socket.set(CURVE_SECRETKEY, &curve::SERVER)?;
        socket.bind(c"tcp://127.0.0.1:*")?;
        ready(socket.last_endpoint()?.strip_prefix("tcp://").context("no address")?.parse()?);
        let (counter, mut message) = (Counter::default(), Message::new(&zmq));
        loop {
            if counter.message(socket.recv(&mut message)?, 1) {
                return Ok(counter.tally());
            }
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let Work::Pattern(Pattern::Curve { size }) = job.work else { return Ok(Tally::default()) };
        let zmq = LibZmq::load()?;
        let socket = zmq.socket(PUSH)?;
        socket.set_number(LINGER, -1)?;
        socket.set(CURVE_SERVERKEY, &curve::public(curve::SERVER))?;
        socket.set(CURVE_PUBLICKEY, &curve::public(curve::CLIENT))?;
        socket.set(CURVE_SECRETKEY, &curve::CLIENT)?;
        socket.connect(&CString::new(format!("tcp://{server}"))?)?;
        let (message, mut until) = (body(size), Until::new(job, size));
        while !until.over() {
            socket.send(&message)?;
        }
        socket.send(&last(size))?;
        Ok(Tally::default())
    }
}

/// The functions of libzmq that are needed, and the library, which outlives them.
struct LibZmq {
    context: *mut c_void,
    socket: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
    term: unsafe extern "C" fn(*mut c_void) -> c_int,
    has: unsafe extern "C" fn(*const c_char) -> c_int,
    bind: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    connect: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    setsockopt: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> c_int,
    getsockopt: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, *mut usize) -> c_int,
    send: unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> c_int,
    msg_init: unsafe extern "C" fn(*mut RawMessage) -> c_int,
    msg_recv: unsafe extern "C" fn(*mut RawMessage, *mut c_void, c_int) -> c_int,
    msg_data: unsafe extern "C" fn(*mut RawMessage) -> *mut c_void,
    msg_size: unsafe extern "C" fn(*const RawMessage) -> usize,
    msg_close: unsafe extern "C" fn(*mut RawMessage) -> c_int,
    _library: Library,
}

/// `zmq_msg_t`.
#[repr(C, align(8))]
struct RawMessage([u8; 64]);

impl LibZmq {
    fn load() -> Result<Self> {
        // SAFETY: libzmq's initialisers do nothing that needs care; each function has the type that `zmq.h` gives it,
        // and is not used after the library, which is in the same value.
        unsafe {
            let library = Library::new("libzmq.so.5")?;
            let new: unsafe extern "C" fn() -> *mut c_void = *library.get(b"zmq_ctx_new\0")?;
            let context = new();
            ensure!(!context.is_null(), "no context");
            Ok(Self {
                context,
                socket: *library.get(b"zmq_socket\0")?,
                close: *library.get(b"zmq_close\0")?,
                term: *library.get(b"zmq_ctx_term\0")?,
                has: *library.get(b"zmq_has\0")?,
                bind: *library.get(b"zmq_bind\0")?,
                connect: *library.get(b"zmq_connect\0")?,
                setsockopt: *library.get(b"zmq_setsockopt\0")?,
                getsockopt: *library.get(b"zmq_getsockopt\0")?,
                send: *library.get(b"zmq_send\0")?,
                msg_init: *library.get(b"zmq_msg_init\0")?,
                msg_recv: *library.get(b"zmq_msg_recv\0")?,
                msg_data: *library.get(b"zmq_msg_data\0")?,
                msg_size: *library.get(b"zmq_msg_size\0")?,
                msg_close: *library.get(b"zmq_msg_close\0")?,
                _library: library,
            })
        }
    }

    fn has(&self, what: &std::ffi::CStr) -> bool {
        // SAFETY: it reads the text.
        unsafe { (self.has)(what.as_ptr()) == 1 }
    }

    fn socket(&self, kind: c_int) -> Result<Socket<'_>> {
        // SAFETY: the context lives as long as `self`.
        let raw = unsafe { (self.socket)(self.context, kind) };
        ensure!(!raw.is_null(), "no socket");
        Ok(Socket { zmq: self, raw })
    }
}

impl Drop for LibZmq {
    fn drop(&mut self) {
        // SAFETY: every socket borrows `self`, so all are closed. It waits until all is written.
        unsafe { (self.term)(self.context) };
    }
}

struct Socket<'z> {
    zmq: &'z LibZmq,
    raw: *mut c_void,
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        // SAFETY: a socket of ours, closed once.
        unsafe { (self.zmq.close)(self.raw) };
    }
}

fn check(returned: c_int) -> Result<()> {
    ensure!(returned >= 0, "libzmq: {}", std::io::Error::last_os_error());
    Ok(())
}

impl Socket<'_> {
    fn set(&self, option: c_int, value: &[u8]) -> Result<()> {
        // SAFETY: it reads that many bytes.
        check(unsafe { (self.zmq.setsockopt)(self.raw, option, value.as_ptr().cast(), value.len()) })
    }

    fn set_number(&self, option: c_int, value: c_int) -> Result<()> {
        self.set(option, &value.to_ne_bytes())
    }

    fn last_endpoint(&self) -> Result<String> {
        let (mut text, mut len) = ([0; 256], 256);
        // SAFETY: it writes at most `len` bytes.
        check(unsafe { (self.zmq.getsockopt)(self.raw, LAST_ENDPOINT, text.as_mut_ptr().cast(), &mut len) })?;
        Ok(std::str::from_utf8(&text[..len - 1])?.to_owned())
    }

    fn bind(&self, endpoint: &std::ffi::CStr) -> Result<()> {
        // SAFETY: it reads the text.
        check(unsafe { (self.zmq.bind)(self.raw, endpoint.as_ptr()) })
    }

    fn connect(&self, endpoint: &std::ffi::CStr) -> Result<()> {
        // SAFETY: it reads the text.
        check(unsafe { (self.zmq.connect)(self.raw, endpoint.as_ptr()) })
    }

    fn send(&self, body: &[u8]) -> Result<()> {
        // SAFETY: it copies that many bytes.
        check(unsafe { (self.zmq.send)(self.raw, body.as_ptr().cast(), body.len(), 0) })
    }

    fn recv<'m>(&self, message: &'m mut Message<'_>) -> Result<&'m [u8]> {
        // SAFETY: an initialised message, whose bytes are valid until it is used again, which needs it mutably.
        unsafe {
            check((self.zmq.msg_recv)(&mut message.raw, self.raw, 0))?;
            let data = (self.zmq.msg_data)(&mut message.raw);
            Ok(std::slice::from_raw_parts(data.cast(), (self.zmq.msg_size)(&message.raw)))
        }
    }
}

struct Message<'z> {
    zmq: &'z LibZmq,
    raw: RawMessage,
}

impl<'z> Message<'z> {
    fn new(zmq: &'z LibZmq) -> Self {
        let mut raw = RawMessage([0; 64]);
        // SAFETY: room for a message. A message may be moved: libzmq has no pointer to it.
        unsafe { (zmq.msg_init)(&mut raw) };
        Self { zmq, raw }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: initialised, and closed once.
        unsafe { (self.zmq.msg_close)(&mut self.raw) };
    }
}
