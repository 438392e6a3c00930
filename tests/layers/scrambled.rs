//! A runtime whose sockets have a layer of records, as with TLS.
//!
//! Each end first sends a [`GREETING`] and accepts nothing before the other's. Then bytes are sent in
//! scrambled records of at most [`RECORD`] bytes. Bytes count as written when their record has been sent
//! completely; until then they must be passed again, unchanged.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use bowline::driver::StartError;
use bowline::driver::owner::TaskSocket;
use bowline::driver::runtime::{Listener, Runtime, Socket, Wire};
use bowline::driver::shared::WriteNow;
use bowline::driver::stream::{Listening, Stream};
use bowline::{Address, SocketOptions};

/// The first bytes of each end.
pub(crate) const GREETING: &[u8; 12] = b"scrambled/1\n";
/// Bytes in a record at most.
pub(crate) const RECORD: usize = 4096;
/// Bytes in front of a record: its length.
pub(crate) const HEADER: usize = 2;

/// There and back.
pub(crate) fn scramble(byte: u8) -> u8 {
    byte ^ 0x5a
}

static RETRIED: AtomicUsize = AtomicUsize::new(0);

/// How often bytes were passed again because their record had not been sent completely.
pub(crate) fn retried() -> usize {
    RETRIED.load(Ordering::Relaxed)
}

fn sent() -> &'static Mutex<HashMap<SocketAddr, usize>> {
    static SENT: OnceLock<Mutex<HashMap<SocketAddr, usize>>> = OnceLock::new();
    SENT.get_or_init(Mutex::default)
}

/// Bytes in records that left whole to that peer.
pub(crate) fn accepted(peer: &SocketAddr) -> usize {
    sent().lock().expect("not poisoned").get(peer).copied().unwrap_or(0)
}

/// A stream over `S` with the layer.
#[derive(Debug)]
pub(crate) struct Layer<S> {
    inner: S,
    peer: Option<Address>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How much of our greeting left, and how much of the peer's came.
    greeted: (usize, usize),
    /// The record that is leaving, how much of it left, and what is in it.
    record: Vec<u8>,
    left: usize,
    holds: Vec<u8>,
    /// Received bytes that are not a whole record yet.
    came: Vec<u8>,
    /// Bytes of whole received records, and how many of them were taken.
    plain: Vec<u8>,
    taken: usize,
}

impl<S: Wire> Layer<S> {
    fn new(inner: S) -> Self {
        let peer = inner.peer_addr().ok();
        Self { inner, peer, state: Mutex::default() }
    }

    /// Sends what is left of our greeting, and takes what is left of the peer's.
    fn greet(&self, state: &mut State) -> io::Result<()> {
        while state.greeted.0 < GREETING.len() {
            state.greeted.0 += self.inner.write_now(&[IoSlice::new(&GREETING[state.greeted.0..])])?;
        }
        while state.greeted.1 < GREETING.len() {
            let mut byte = [0];
            match self.inner.read_now(&mut byte)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ if byte[0] != GREETING[state.greeted.1] => return Err(io::ErrorKind::InvalidData.into()),
                _ => state.greeted.1 += 1,
            }
        }
        Ok(())
    }
}

impl<S: Wire> WriteNow for Layer<S> {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.lock().expect("not poisoned");
        self.greet(&mut state)?;
        let lent = slices.iter().flat_map(|slice| slice.iter().copied());
        if state.holds.is_empty() {
            state.holds = lent.take(RECORD).collect();
            let length = u16::try_from(state.holds.len()).expect("a short record");
            state.record = length.to_be_bytes().to_vec();
            let State { record, holds, .. } = &mut *state;
            record.extend(holds.iter().copied().map(scramble));
            state.left = 0;
        } else {
            RETRIED.fetch_add(1, Ordering::Relaxed);
            assert!(lent.take(state.holds.len()).eq(state.holds.iter().copied()), "lent again, but changed");
        }
        while state.left < state.record.len() {
            state.left += self.inner.write_now(&[IoSlice::new(&state.record[state.left..])])?;
        }
        let written = std::mem::take(&mut state.holds).len();
        if let Some(Address::Tcp(peer)) = self.peer {
            *sent().lock().expect("not poisoned").entry(peer).or_default() += written;
        }
        Ok(written)
    }
}

impl<S: Wire> Wire for Layer<S> {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock().expect("not poisoned");
        self.greet(&mut state)?;
        while state.taken == state.plain.len() {
            (state.taken, state.plain) = (0, Vec::new());
            let mut bytes = [0; RECORD];
            let n = self.inner.read_now(&mut bytes)?;
            if n == 0 {
                return if state.came.is_empty() { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            state.came.extend_from_slice(&bytes[..n]);
            while let Some(length) = state.came.first_chunk::<HEADER>() {
                let end = HEADER + usize::from(u16::from_be_bytes(*length));
                if state.came.len() < end {
                    break;
                }
                let State { came, plain, .. } = &mut *state;
                plain.extend(came.drain(..end).skip(HEADER).map(scramble));
            }
        }
        let n = buf.len().min(state.plain.len() - state.taken);
        buf[..n].copy_from_slice(&state.plain[state.taken..state.taken + n]);
        state.taken += n;
        Ok(n)
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        self.inner.apply(options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.inner.shutdown_write()
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.inner.peer_addr()
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.inner.local_addr()
    }
}

impl<S: Socket> Socket for Layer<S> {
    fn others_wait(&self) -> bool {
        self.inner.others_wait()
    }

    fn writes_apart(&self) -> bool {
        self.inner.writes_apart()
    }

    fn runs_woken_first(&self) -> bool {
        self.inner.runs_woken_first()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.lock().expect("not poisoned");
        if state.taken < state.plain.len() {
            return Poll::Ready(Ok(()));
        }
        if state.greeted.0 < GREETING.len() {
            return self.inner.poll_writable(cx);
        }
        self.inner.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.lock().expect("not poisoned");
        // Before the peer's greeting nothing is written: what is waited for comes in.
        if state.greeted.0 == GREETING.len() && state.greeted.1 < GREETING.len() {
            return self.inner.poll_readable(cx);
        }
        self.inner.poll_writable(cx)
    }
}

/// A runtime with the layer over its sockets.
#[derive(Debug)]
pub(crate) struct Layered<R>(PhantomData<R>);

impl<R: Runtime> Runtime for Layered<R> {
    type Socket = Layer<R::Socket>;
    type OwnerSocket = TaskSocket<Self>;
    type Listener = LayeredListener<R::Listener>;
    type Timer = R::Timer;
    type Style = R::Style;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        R::spawn(task)
    }

    fn threads() -> usize {
        R::threads()
    }

    fn wake_later(waker: Waker) {
        R::wake_later(waker);
    }

    fn check() -> Result<(), StartError> {
        R::check()
    }

    async fn connect(address: Address, options: SocketOptions) -> io::Result<Self::Socket> {
        R::connect(address, options).await.map(Layer::new)
    }

    fn adopt(stream: Stream) -> io::Result<Self::Socket> {
        R::adopt(stream).map(Layer::new)
    }

    fn adopt_listener(listening: Listening) -> io::Result<Self::Listener> {
        R::adopt_listener(listening).map(LayeredListener)
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        R::resolve(host, port).await
    }

    fn listen(address: &Address, options: SocketOptions) -> io::Result<Self::Listener> {
        R::listen(address, options).map(LayeredListener)
    }

    fn timer() -> R::Timer {
        R::timer()
    }
}

/// Accepts streams and puts the layer over them.
#[derive(Debug)]
pub(crate) struct LayeredListener<L>(L);

impl<L: Listener> Listener for LayeredListener<L> {
    type Socket = Layer<L::Socket>;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Socket, Address)>> {
        self.0.poll_accept(cx).map_ok(|(socket, address)| (Layer::new(socket), address))
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.0.local_addr()
    }
}
