//! The declarations of zmq.h of 4.3.5, with its drafts.

use std::ffi::{c_char, c_int, c_void};

#[allow(non_camel_case_types, reason = "as the header has it")]
type size_t = usize;

/// A `zmq_msg_t`: 64 bytes, aligned as a pointer.
#[repr(C, align(8))]
pub(crate) struct RawMessage(pub(crate) [u8; 64]);

unsafe extern "C" {
    pub(crate) fn zmq_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int);
    pub(crate) fn zmq_has(capability: *const c_char) -> c_int;
    pub(crate) fn zmq_errno() -> c_int;
    pub(crate) fn zmq_strerror(number: c_int) -> *const c_char;
    pub(crate) fn zmq_ctx_new() -> *mut c_void;
    pub(crate) fn zmq_ctx_term(context: *mut c_void) -> c_int;
    pub(crate) fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    pub(crate) fn zmq_close(socket: *mut c_void) -> c_int;
    pub(crate) fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_unbind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_connect_peer(socket: *mut c_void, endpoint: *const c_char) -> u32;
    pub(crate) fn zmq_disconnect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_join(socket: *mut c_void, group: *const c_char) -> c_int;
    pub(crate) fn zmq_leave(socket: *mut c_void, group: *const c_char) -> c_int;
    pub(crate) fn zmq_setsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *const c_void,
        size: size_t,
    ) -> c_int;
    pub(crate) fn zmq_getsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *mut c_void,
        size: *mut size_t,
    ) -> c_int;
    pub(crate) fn zmq_socket_monitor(socket: *mut c_void, endpoint: *const c_char, events: c_int) -> c_int;
    pub(crate) fn zmq_msg_init(message: *mut RawMessage) -> c_int;
    pub(crate) fn zmq_msg_init_size(message: *mut RawMessage, size: size_t) -> c_int;
    pub(crate) fn zmq_msg_send(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    pub(crate) fn zmq_msg_recv(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    pub(crate) fn zmq_msg_data(message: *mut RawMessage) -> *mut c_void;
    pub(crate) fn zmq_msg_size(message: *const RawMessage) -> size_t;
    pub(crate) fn zmq_msg_more(message: *const RawMessage) -> c_int;
    pub(crate) fn zmq_msg_close(message: *mut RawMessage) -> c_int;
    pub(crate) fn zmq_msg_gets(message: *const RawMessage, property: *const c_char) -> *const c_char;
    pub(crate) fn zmq_msg_set_routing_id(message: *mut RawMessage, id: u32) -> c_int;
    pub(crate) fn zmq_msg_routing_id(message: *mut RawMessage) -> u32;
    pub(crate) fn zmq_msg_set_group(message: *mut RawMessage, group: *const c_char) -> c_int;
    pub(crate) fn zmq_msg_group(message: *mut RawMessage) -> *const c_char;
    pub(crate) fn zmq_curve_keypair(public: *mut c_char, secret: *mut c_char) -> c_int;
}
