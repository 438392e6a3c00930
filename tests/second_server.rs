//! A custom protocol that accepts: its connections share a room, and the unchanged runtimes serve them.
//! `second_machine.rs` is the counterpart that dials.
//!
//! Every line of a guest is sent to all guests. Limits, the pause of the accept loop, and the shutdown are
//! those of every acceptor.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use bowline::AcceptLimits;
use bowline::Address;
use bowline::core::Batch;
use bowline::core::machine::{Access, Ending, Machine, Next, Reason, Wake};
use bowline::core::memory::{Holding, Verdict};
use bowline::core::recv_buf::RecvBuf;
use bowline::core::supervisor::Epoch;
use bowline::core::time::Instant;
use bowline::driver::accept::{Accepted, Acceptor, Door, ServerEvent, Service};
use bowline::driver::gate::Gate;
use bowline::driver::runtime::Runtime;
use bowline::driver::{Application, Flow, LazyGuard, PeerId, Refused, Shared};
use bowline::error::{Disconnect, FrameError, PeerError};

#[path = "machines/watchdog.rs"]
mod watchdog;

use watchdog::within;

/// Bytes that one guest may leave unread.
const UNREAD: usize = 1 << 20;

/// One guest's connection: lines in, lines out.
#[derive(Debug, Default)]
struct Guest {
    connected: bool,
    closed: Option<Disconnect>,
    /// It closes when everything is written.
    leaving: bool,
    lent: usize,
    to_send: Vec<u8>,
    is_counted: bool,
    said: usize,
    wake: Wake,
}

impl Guest {
    fn hear(&mut self, line: &[u8]) {
        if self.to_send.len() + line.len() <= UNREAD {
            self.to_send.extend_from_slice(line);
            self.to_send.push(b'\n');
            self.wake.write = true;
        }
    }
}

impl Machine for Guest {
    type Token = Waker;
    /// Bytes of the line that is being written.
    type Reader = usize;
    type Event<'b> = &'b [u8];
    type Error = PeerError;

    fn handle_connected(&mut self, _: Instant, _: Epoch) -> usize {
        self.connected = true;
        0
    }

    fn begin_input(_: &mut usize, _: &mut impl Access<Self>, _: Instant, _: usize) {}

    fn next_event<'b>(
        lent: &mut usize,
        _: &mut impl Access<Self>,
        _: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<&'b [u8]>, PeerError> {
        buf.consume(std::mem::take(lent));
        match buf.unread().iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                *lent = end + 1;
                Ok(Next::Event(&buf.unread()[..end]))
            }
            None if buf.unread().len() > 1000 => {
                let value = buf.unread().len() as u64;
                Err(FrameError::TooLong { field: "line", value, limit: 1000 }.into())
            }
            None => Ok(Next::NeedData),
        }
    }

    fn end_input(lent: &mut usize, _: &mut impl Access<Self>, _: Instant, buf: &mut RecvBuf) {
        buf.consume(std::mem::take(lent));
    }

    fn handle_eof(_: &mut usize, _: &RecvBuf) -> Result<(), PeerError> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn handle_disconnected(&mut self, now: Instant, _: Option<Batch>, cause: Disconnect) {
        self.connected = false;
        self.give_up(now, cause);
    }

    fn begin_write(&mut self, _: Instant) -> Option<Batch> {
        if self.lent > 0 || !self.connected || self.to_send.is_empty() {
            return None;
        }
        self.lent = self.to_send.len();
        Some(Batch::from_bytes(std::mem::take(&mut self.to_send)))
    }

    fn end_write(&mut self, _: Instant, _: Batch) -> bool {
        self.lent = 0;
        self.wake.attend |= self.leaving;
        !self.to_send.is_empty()
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
        if let Some(cause) = &self.closed {
            return Some(Ending::Abort(cause.clone()));
        }
        let is_done = self.leaving && self.to_send.is_empty() && self.lent == 0;
        is_done.then(|| Ending::Graceful { wait: Duration::ZERO, cause: Disconnect::LocalClose })
    }

    fn close(&mut self, now: Instant, linger: Duration) {
        if linger.is_zero() {
            return self.give_up(now, Disconnect::LocalClose);
        }
        self.leaving = true;
        self.wake = Wake { write: true, attend: true };
    }

    fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    fn give_up(&mut self, _: Instant, cause: Disconnect) {
        self.closed.get_or_insert(cause);
        self.wake = Wake { write: true, attend: true };
    }

    fn count_memory(&mut self) {
        self.is_counted = true;
    }

    fn take_holding(&mut self) -> Option<Holding> {
        let bytes = self.to_send.len() + self.lent;
        let is_news = self.is_counted && bytes.abs_diff(self.said) >= 64 * 1024;
        is_news.then(|| {
            self.said = bytes;
            Holding { bytes, answers: bytes, ..Holding::default() }
        })
    }

    fn handle_memory(&mut self, now: Instant, verdict: Verdict) {
        // A guest for which there is no memory is disconnected.
        if matches!(verdict, Verdict::Refuse(_)) {
            self.abort(now, Disconnect::Overflow { queue: "write" });
        }
    }

    fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }

    fn take_tokens(&mut self, _: &mut Vec<Waker>) {}
}

/// A guest's handle.
type Seat = Arc<Shared<Guest>>;

/// State that all connections share.
#[derive(Clone, Default)]
struct Room {
    guests: Arc<Mutex<Vec<(PeerId, Seat)>>>,
    refused: Arc<Mutex<Vec<Refused>>>,
}

impl Service for Room {
    type Machine = Guest;
    type App = Self;
    type Peer = Seat;

    fn shared(peer: &Self::Peer) -> &Arc<Shared<Guest>> {
        peer
    }

    fn accept(&self) -> Accepted<Self> {
        let (id, peer) = (PeerId::unique(), Arc::new(Shared::new(Guest::default())));
        self.guests.lock().unwrap().push((id, Arc::clone(&peer)));
        Accepted { id, peer, app: Arc::new(self.clone()), has_handshake: false }
    }

    fn gone(&self, id: PeerId, _: &Self::Peer, _: bool) {
        self.guests.lock().unwrap().retain(|(other, _)| *other != id);
    }

    fn event(&self, event: ServerEvent) -> bool {
        if let ServerEvent::Refused { why, .. } = event {
            self.refused.lock().unwrap().push(why);
        }
        true
    }
}

impl Application<Guest> for Room {
    type Session = ();

    fn connected(&self, shared: &Arc<Shared<Guest>>, _: Epoch, _: Option<Address>) {
        shared.with(|guest| guest.hear(b"welcome"));
    }

    fn event(
        &self,
        (): &mut (),
        _: &mut usize,
        access: &mut LazyGuard<'_, Guest>,
        line: &[u8],
    ) -> Result<Flow, Disconnect> {
        access.release();
        let guests = self.guests.lock().unwrap().clone();
        for (_, guest) in guests {
            guest.with(|guest| guest.hear(line));
        }
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), _: &Disconnect) {}
}

/// A guest's side, on a thread of the test.
struct Visitor {
    stream: TcpStream,
    lines: std::io::Lines<BufReader<TcpStream>>,
}

impl Visitor {
    fn enter(address: &Address) -> Self {
        let Address::Tcp(address) = address else { panic!("{address} is not TCP") };
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
        let lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
        Self { stream, lines }
    }

    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    fn hears(&mut self) -> Option<String> {
        self.lines.next().transpose().expect("nothing but lines")
    }
}

/// The guests' actions, on a thread: the room distinguishes them, sends to all, and closes after them.
fn visit(address: &Address, room: &Room) -> Vec<Visitor> {
    let mut guests: Vec<Visitor> = (0..3).map(|_| Visitor::enter(address)).collect();
    for guest in &mut guests {
        assert_eq!(guest.hears().as_deref(), Some("welcome"));
    }
    // One more than the gate admits.
    assert_eq!(Visitor::enter(address).hears(), None);
    assert_eq!(*room.refused.lock().unwrap(), [Refused::Full]);
    for speaker in 0..3 {
        guests[speaker].say(&format!("line {speaker}"));
        for guest in &mut guests {
            assert_eq!(guest.hears(), Some(format!("line {speaker}")));
        }
    }
    // A guest that sends garbage is disconnected, and its place is free.
    let mut rude = guests.pop().expect("three");
    rude.stream.write_all(&[b'x'; 3000]).expect("it reads");
    let mut rest = Vec::new();
    let _reset = rude.stream.read_to_end(&mut rest);
    let mut fourth = loop {
        let mut fourth = Visitor::enter(address);
        if fourth.hears().is_some() {
            break fourth;
        }
    };
    fourth.say("again");
    guests.push(fourth);
    for guest in &mut guests {
        assert_eq!(guest.hears().as_deref(), Some("again"));
    }
    guests
}

async fn on<R: Runtime>() {
    let room = Room::default();
    let mut limits = AcceptLimits::default();
    limits.connections = 3;
    let door = Door::new(Gate::new(limits, Duration::from_secs(60)), room.clone());
    let acceptor = Acceptor::<R, Room>::bind(door, "127.0.0.1:0", bowline::SocketOptions::default())
        .expect("a free port");
    acceptor.start().expect("a runtime");
    let (address, visited) = (acceptor.local_addr().clone(), room.clone());
    let guests = smol::unblock(move || visit(&address, &visited)).await;

    // Lines that were sent before the shutdown are delivered: the machines drain.
    for guest in acceptor.door().inside() {
        guest.with(|guest| guest.hear(b"goodbye"));
    }
    acceptor.begin_shutdown(Duration::from_secs(5));
    let last = smol::unblock(move || {
        guests.into_iter().map(|mut guest| [guest.hears(), guest.hears()]).collect::<Vec<_>>()
    });
    assert_eq!(last.await, vec![[Some("goodbye".to_owned()), None]; 3]);
    assert_eq!(acceptor.stopped().await, 3);
    let Address::Tcp(address) = *acceptor.local_addr() else { panic!("it listens at TCP") };
    assert!(TcpStream::connect(address).is_err(), "the listening socket is closed");
    assert!(room.guests.lock().unwrap().is_empty(), "each is gone, once");
    assert_eq!(acceptor.door().gate().open(), 0);
}

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(within(LIMIT, on::<bowline::tokio::Tokio>()));
}

#[test]
fn on_smol() {
    smol::block_on(within(LIMIT, on::<bowline::smol::Smol>()));
}

#[test]
fn on_async_std() {
    async_std::task::block_on(within(LIMIT, on::<bowline::async_std::AsyncStd>()));
}

#[test]
fn on_threads() {
    bowline::blocking::block_on(within(LIMIT, on::<bowline::blocking::Threads>()));
}
