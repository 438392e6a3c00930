//! Connections that end while a sender writes.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, Waker};

use bowline_core::error::Disconnect;
use bowline_core::machine::{Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_driver::clock;
use bowline_driver::shared::{Connected, WriteNow};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{Pipe, Role};
use bowline_zmtp::socket::{PipeId, RecvError};
use bowline_zmtp::socket_type::SocketType;

use crate::core::{SharedPipe, SocketCore};
use crate::error::ReceiveError;
use crate::lifetime::for_tests;

/// The first bytes of a REP, with NULL.
fn hello() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
    bytes.resize(64, 0);
    bytes.extend_from_slice(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REP");
    bytes
}

/// A new pipe whose handshake is done.
fn connected(core: &Arc<SocketCore>, role: Role) -> (PipeId, Arc<SharedPipe>) {
    let (id, pipe) = core.add(role);
    shake_hands(core, id, &pipe);
    (id, pipe)
}

/// A pipe gets a new connection, and its handshake is done; all bytes of that are written.
fn shake_hands(core: &Arc<SocketCore>, id: PipeId, pipe: &SharedPipe) {
    let (now, mut tokens, mut buf) = (clock::now(), Vec::new(), RecvBuf::new());
    let mut reader = pipe.with(|pipe| pipe.handle_connected(now, Epoch::FIRST));
    let hello = hello();
    buf.spare()[..hello.len()].copy_from_slice(&hello);
    buf.filled(hello.len());
    let mut guard = pipe.lazy(&mut tokens);
    match Pipe::next_event(&mut reader, &mut guard, now, &mut buf).expect("a sound peer") {
        Next::Event(event) => {
            guard.release();
            core.handle_event(id, event);
        }
        other => panic!("{other:?}"),
    }
    drop(guard);
    while let Some(mut batch) = pipe.with(|pipe| pipe.begin_write(now)) {
        batch.wrote(batch.len());
        pipe.with(|pipe| pipe.end_write(now, batch));
    }
}

/// A socket that fails during a write, after its connection's task has seen the end already.
struct Dying {
    core: Arc<SocketCore>,
    id: PipeId,
    pipe: Arc<SharedPipe>,
    takes_all: bool,
    /// It has connected again, too.
    is_back: bool,
}

impl WriteNow for Dying {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pipe.set_connection(None);
        self.pipe.with(|pipe| pipe.handle_disconnected(clock::now(), None, Disconnect::PeerClosed));
        self.core.disconnected(self.id, &Disconnect::PeerClosed);
        if self.is_back {
            shake_hands(&self.core, self.id, &self.pipe);
        }
        match self.takes_all {
            true => Ok(slices.iter().map(|slice| slice.len()).sum()),
            false => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Connected for Dying {
    fn read_for(&self, _: &dyn Fn() -> bool) {}
}

fn ask(takes_all: bool, is_back: bool) -> Arc<SocketCore> {
    let core = for_tests(Options::new(SocketType::Req));
    let (id, pipe) = connected(&core, if is_back { Role::Dialing } else { Role::Accepting });
    let dying = Dying { core: Arc::clone(&core), id, pipe: Arc::clone(&pipe), takes_all, is_back };
    pipe.set_connection(Some(Arc::new(dying)));
    let mut cx = Context::from_waker(Waker::noop());
    let sent = core.poll_send(&mut None, &mut cx, |socket, table| socket.send(table, &[b"question".into()]));
    assert_eq!(sent, Poll::Ready(Ok(())));
    core
}

fn receive(core: &SocketCore) -> Result<PipeId, ReceiveError> {
    core.try_receive(|state| state.receive(&mut Message::new()))
}

#[test]
fn a_request_that_left_as_its_peer_went_is_lost() {
    for is_back in [false, true] {
        let core = ask(true, is_back);
        assert_eq!(receive(&core), Err(ReceiveError::Socket(RecvError::PeerLost)), "back: {is_back}");
    }
}

#[test]
fn a_request_that_did_not_leave_goes_to_the_next_peer() {
    let core = ask(false, false);
    assert_eq!(receive(&core), Err(ReceiveError::Socket(RecvError::WouldBlock)));
    let (_, pipe) = connected(&core, Role::Accepting);
    assert_eq!(pipe.look(|pipe| pipe.stats().sent), 1);
}
