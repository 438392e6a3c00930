//! Streams that a program supplies: a socket that is connected already, or any other byte stream.
//!
//! A runtime makes one of its sockets of a [`Stream`] and drives it like any other. [`ByteStream`] is the
//! interface of a program's own stream; each runtime's `stream` function makes one of its users' types
//! (`AsyncRead` and `AsyncWrite`, or `Read` and `Write` on threads).

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use bowline_core::address::Address;
use bowline_core::supervisor::Endpoint;

use crate::inproc;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// A connected stream of bytes, for a link to run over.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// A TCP socket. It is set to non-blocking mode.
    Tcp(TcpStream),
    /// A Unix socket. It is set to non-blocking mode.
    #[cfg(unix)]
    Unix(UnixStream),
    /// One side of an in-process stream.
    Memory(inproc::Stream),
    /// Any other stream.
    Own(OwnStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

/// A socket that listens already, from the service manager or made by the program.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listening {
    /// A TCP socket. It is set to non-blocking mode.
    Tcp(TcpListener),
    /// A Unix socket, whose file the program must remove. It is set to non-blocking mode.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for Listening {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listening {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// The target of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The endpoint, as it was given: with the host's name, if it has one.
    pub endpoint: Endpoint,
    /// The resolved address, or the endpoint itself.
    pub address: Address,
}

impl Target {
    /// A target.
    #[must_use]
    pub fn new(endpoint: Endpoint, address: Address) -> Self {
        Self { endpoint, address }
    }
}

/// A function of the program that connects, called for each connection of a link.
pub type Connector = Arc<dyn Fn(Target) -> Connecting + Send + Sync>;
/// The future of such a connection.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// The interface of a program's own stream. As with `AsyncRead` and `AsyncWrite`, a method that returns
/// `Pending` must wake the task when it should be called again.
pub trait ByteStream: Send {
    /// Reads what is available; 0 at the end of the stream.
    ///
    /// # Errors
    /// The stream has failed.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// The stream has failed.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Flushes bytes that the stream itself buffers.
    ///
    /// # Errors
    /// The stream has failed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the writing side, so that the peer reads the end of the stream. If a stream cannot do only that,
    /// the end of a link takes as long as its peer lets it linger.
    ///
    /// # Errors
    /// The stream has failed.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A [`ByteStream`] as the driver uses it: it tries, and its waker says when to try again.
///
/// Bytes count as written when the stream has taken them. Whether they have left this host is known to the
/// stream only.
pub struct OwnStream {
    stream: Mutex<Inside>,
    name: Address,
    input: Arc<Way>,
    output: Arc<Way>,
}

struct Inside {
    stream: Box<dyn ByteStream>,
    /// Something was written since the last flush.
    is_dirty: bool,
    /// The writing side must end once everything is flushed.
    is_closing: bool,
    is_closed: bool,
}

/// One direction: whether an attempt makes sense, and the task to wake when it does.
#[derive(Default)]
struct Way {
    /// How often the stream has woken it.
    wakes: AtomicU64,
    /// The value of `wakes` plus one before the last attempt, if that was in vain; otherwise 0.
    blocked: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Wake for Way {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::AcqRel);
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Way {
    /// Calls a poll method of the stream, with a waker that ends the block. Under the stream's lock: there is
    /// one attempt at a time.
    fn attempt<T>(
        self: &Arc<Self>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let waker = Waker::from(Arc::clone(self));
        // Read before the attempt: a wake during it ends the block, too.
        let before = self.wakes.load(Ordering::Acquire);
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut Context::from_waker(&waker))));
        // A stream that panics has failed. Its connection ends, and the messages being written get an
        // outcome.
        match polled.unwrap_or_else(|_| Poll::Ready(Err(io::Error::other("the stream panicked")))) {
            Poll::Ready(result) => {
                self.blocked.store(0, Ordering::Release);
                result
            }
            Poll::Pending => {
                self.blocked.store(before + 1, Ordering::Release);
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire) == self.wakes.load(Ordering::Acquire) + 1
    }

    /// This task is woken from now on.
    fn keep(&self, waker: &Waker) {
        let mut kept = self.waker.lock();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Ready unless the last attempt was in vain; keeps the waker for when another one makes sense.
    fn poll(&self, waker: &Waker) -> Poll<io::Result<()>> {
        if !self.is_blocked() {
            return Poll::Ready(Ok(()));
        }
        self.keep(waker);
        // A wake may have come while there was no waker.
        if self.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl std::fmt::Debug for OwnStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OwnStream {
    /// Wraps any byte stream. `name` is the address that the link reports for both sides.
    #[must_use]
    pub fn new(stream: impl ByteStream + 'static, name: Address) -> Self {
        let inside =
            Inside { stream: Box::new(stream), is_dirty: false, is_closing: false, is_closed: false };
        Self { stream: Mutex::new(inside), name, input: Arc::default(), output: Arc::default() }
    }

    /// The name of the stream.
    #[must_use]
    pub fn name(&self) -> Address {
        self.name.clone()
    }

    /// Reads what is available; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is available now; other errors from the stream.
    pub fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut inside = self.stream.lock();
        let read = self.input.attempt(|cx| inside.stream.poll_read(cx, buf))?;
        at_most(read, buf.len(), "read")
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] without room; other errors from the stream.
    pub fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inside = self.stream.lock();
        if inside.is_closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.output.attempt(|cx| inside.stream.poll_write(cx, slices))?;
        let written = at_most(written, slices.iter().map(|slice| slice.len()).sum(), "written")?;
        inside.is_dirty = true;
        // At once: a caller that writes for itself does not come back. The task, which is woken for it, does
        // the rest; it also finds an error again.
        let _ = self.output.attempt(|cx| inside.flush(cx));
        Ok(written)
    }

    /// Ready when a read may return something; otherwise the task is woken when that changes.
    pub fn poll_readable(&self, waker: &Waker) -> Poll<io::Result<()>> {
        self.input.poll(waker)
    }

    /// Ready when a write may succeed; otherwise the task is woken when that changes.
    pub fn poll_writable(&self, waker: &Waker) -> Poll<io::Result<()>> {
        self.output.poll(waker)
    }

    /// Flushes the stream, and ends the writing side if that was requested. Pending: the task is woken when
    /// it can continue.
    ///
    /// # Errors
    /// From the stream.
    pub fn poll_flush(&self, waker: &Waker) -> Poll<io::Result<()>> {
        loop {
            self.output.keep(waker);
            let mut inside = self.stream.lock();
            if !inside.is_dirty && inside.is_closed == inside.is_closing {
                return Poll::Ready(Ok(()));
            }
            match self.output.attempt(|cx| inside.flush(cx)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            drop(inside);
            if self.output.poll(waker).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Ends the writing side, once everything written is flushed: [`poll_flush`](Self::poll_flush) continues
    /// with that.
    ///
    /// # Errors
    /// From the stream.
    pub fn shutdown_write(&self) -> io::Result<()> {
        let mut inside = self.stream.lock();
        inside.is_closing = true;
        match self.output.attempt(|cx| inside.flush(cx)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}

impl Inside {
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_dirty {
            match self.stream.poll_flush(cx)? {
                Poll::Ready(()) => self.is_dirty = false,
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.is_closing && !self.is_closed {
            match self.stream.poll_close(cx)? {
                Poll::Ready(()) => self.is_closed = true,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The number of bytes that a stream reports as moved; an error if it exceeds the given number.
fn at_most(moved: usize, given: usize, what: &str) -> io::Result<usize> {
    if moved <= given {
        return Ok(moved);
    }
    let message = format!("a stream says that it has {what} {moved} bytes of {given}");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports a given number.
    struct Says(usize);

    impl ByteStream for Says {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(self.0))
        }

        fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(self.0))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn own(stream: impl ByteStream + 'static) -> OwnStream {
        OwnStream::new(stream, Address::Inproc("own".into()))
    }

    #[test]
    fn a_stream_that_lies_about_bytes_is_an_error() {
        let stream = own(Says(11));
        let kind = |result: io::Result<usize>| result.expect_err("more than there was").kind();
        assert_eq!(kind(stream.read_now(&mut [0; 10])), io::ErrorKind::InvalidData);
        assert_eq!(kind(stream.write_now(&[IoSlice::new(&[0; 10])])), io::ErrorKind::InvalidData);
        assert_eq!(stream.read_now(&mut [0; 11]).expect("as much as there was"), 11);
    }

    /// Panics.
    struct Breaks;

    impl ByteStream for Breaks {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            std::panic::resume_unwind(Box::new(()))
        }

        fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            std::panic::resume_unwind(Box::new(()))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            std::panic::resume_unwind(Box::new(()))
        }

        fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            std::panic::resume_unwind(Box::new(()))
        }
    }

    #[test]
    fn a_stream_that_panics_has_failed() {
        let stream = own(Breaks);
        assert_eq!(stream.read_now(&mut [0; 10]).expect_err("it panics").kind(), io::ErrorKind::Other);
        assert_eq!(
            stream.write_now(&[IoSlice::new(b"x")]).expect_err("it panics").kind(),
            io::ErrorKind::Other
        );
        assert_eq!(stream.shutdown_write().expect_err("it panics").kind(), io::ErrorKind::Other);
    }

    /// Pending, and wakes in the middle of the attempt or after it.
    struct Wakes(Arc<Mutex<Option<Waker>>>, bool);

    impl ByteStream for Wakes {
        fn poll_read(&mut self, cx: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            *self.0.lock() = Some(cx.waker().clone());
            if self.1 {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_wake_is_not_lost_whenever_it_comes() {
        let kept = Arc::default();
        let stream = own(Wakes(Arc::clone(&kept), true));
        let blocked = stream.read_now(&mut [0; 1]).expect_err("nothing there");
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        assert!(stream.poll_readable(Waker::noop()).is_ready(), "woken during the attempt");

        let stream = own(Wakes(Arc::clone(&kept), false));
        stream.read_now(&mut [0; 1]).expect_err("nothing there");
        assert!(stream.poll_readable(Waker::noop()).is_pending());
        kept.lock().take().expect("kept").wake();
        assert!(stream.poll_readable(Waker::noop()).is_ready(), "woken after the attempt");
    }
}
