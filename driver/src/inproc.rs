//! In-process connections: byte streams through memory.
//!
//! Any runtime can be on either side, so that the parts of a program, or of a test, communicate without a
//! socket. A stream buffers 64 KiB in each direction; a writer waits for room as it would with a socket.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, Read};
use std::sync::PoisonError;
use std::task::Waker;

use bowline_core::address::Address;

use crate::sync::{Arc, Mutex};

/// Maximum bytes that wait in one direction.
const ROOM: usize = 64 * 1024;

/// One direction of a stream.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The other side will not write, or read, any more.
    ended: bool,
    broken: bool,
    /// The wakers of waiting readers. There may be two: of the connection's task, and of a caller that reads
    /// for itself.
    readers: Wakers,
    writers: Wakers,
}

/// All of them are woken at once; each is contained once.
#[derive(Debug, Default)]
struct Wakers(Vec<Waker>);

impl Wakers {
    fn keep(&mut self, waker: &Waker) {
        if !self.0.iter().any(|kept| kept.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// One side of a stream.
#[derive(Debug)]
pub struct Stream {
    name: Address,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

impl Stream {
    fn pair(name: Address) -> (Self, Self) {
        let (there, back) = (Arc::default(), Arc::default());
        let one = Self { name: name.clone(), incoming: Arc::clone(&there), outgoing: Arc::clone(&back) };
        (one, Self { name, incoming: back, outgoing: there })
    }

    /// Reads what is available; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is available now.
    pub fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.incoming.lock();
        if pipe.bytes.is_empty() && !pipe.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut read = pipe.bytes.read(buf)?;
        // The ring's two halves.
        if read < buf.len() {
            read += pipe.bytes.read(&mut buf[read..])?;
        }
        let writers = pipe.writers.take();
        drop(pipe);
        writers.wake();
        Ok(read)
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] without room; [`io::ErrorKind::BrokenPipe`] if the other side does not
    /// read any more.
    pub fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.outgoing.lock();
        if pipe.broken || pipe.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut wrote = 0;
        for slice in slices {
            let n = slice.len().min(ROOM - pipe.bytes.len());
            pipe.bytes.extend(&slice[..n]);
            wrote += n;
        }
        if wrote == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let readers = pipe.readers.take();
        drop(pipe);
        readers.wake();
        Ok(wrote)
    }

    /// Whether a read would return something; otherwise keeps the waker for when it would.
    #[must_use]
    pub fn poll_readable(&self, waker: &Waker) -> bool {
        let mut pipe = self.incoming.lock();
        let ready = !pipe.bytes.is_empty() || pipe.ended;
        if !ready {
            pipe.readers.keep(waker);
        }
        ready
    }

    /// Whether a write would succeed, or fail; otherwise keeps the waker for when it would.
    #[must_use]
    pub fn poll_writable(&self, waker: &Waker) -> bool {
        let mut pipe = self.outgoing.lock();
        let ready = pipe.bytes.len() < ROOM || pipe.broken;
        if !ready {
            pipe.writers.keep(waker);
        }
        ready
    }

    /// Ends the writing side: the other side reads what is buffered, and then the end of the stream.
    pub fn shutdown_write(&self) {
        let mut pipe = self.outgoing.lock();
        pipe.ended = true;
        let readers = pipe.readers.take();
        drop(pipe);
        readers.wake();
    }

    /// Ends both directions.
    pub fn shutdown(&self) {
        self.shutdown_write();
        let mut pipe = self.incoming.lock();
        (pipe.ended, pipe.broken) = (true, true);
        let (readers, writers) = (pipe.readers.take(), pipe.writers.take());
        drop(pipe);
        readers.wake();
        writers.wake();
    }

    /// The address of the stream.
    #[must_use]
    pub fn address(&self) -> Address {
        self.name.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

type Listeners = HashMap<Arc<str>, Arc<Mutex<Queue>>>;

/// The two sides of a new stream with this name.
#[must_use]
pub fn pair(name: Address) -> (Stream, Stream) {
    Stream::pair(name)
}

/// The listeners, by name.
fn listeners() -> std::sync::MutexGuard<'static, Option<Listeners>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

static LISTENERS: std::sync::Mutex<Option<Listeners>> = std::sync::Mutex::new(None);

#[derive(Debug)]
struct Queue {
    streams: VecDeque<Stream>,
    backlog: usize,
    acceptors: Wakers,
}

/// Listens under a name until it is dropped.
#[derive(Debug)]
pub struct Acceptor {
    name: Arc<str>,
    queue: Arc<Mutex<Queue>>,
}

impl Acceptor {
    /// The next stream; otherwise keeps the waker for when there is one.
    #[must_use]
    pub fn poll_accept(&self, waker: &Waker) -> Option<Stream> {
        let mut queue = self.queue.lock();
        let stream = queue.streams.pop_front();
        if stream.is_none() {
            queue.acceptors.keep(waker);
        }
        stream
    }

    /// The address that it listens at.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Inproc(Arc::clone(&self.name))
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if let Some(listeners) = &mut *listeners() {
            listeners.remove(&self.name);
        }
        let waiting = std::mem::take(&mut self.queue.lock().streams);
        drop(waiting);
    }
}

/// Listens under `name`.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if the name is in use.
pub fn listen(name: &Arc<str>, backlog: u32) -> io::Result<Acceptor> {
    let backlog = usize::try_from(backlog).unwrap_or(usize::MAX).max(1);
    let queue =
        Arc::new(Mutex::new(Queue { streams: VecDeque::new(), backlog, acceptors: Wakers::default() }));
    let mut listeners = listeners();
    let listeners = listeners.get_or_insert_default();
    if listeners.contains_key(name) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    listeners.insert(Arc::clone(name), Arc::clone(&queue));
    Ok(Acceptor { name: Arc::clone(name), queue })
}

/// Connects to the listener of that name.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] without a listener, or if too many connections wait there.
pub fn connect(name: &Arc<str>) -> io::Result<Stream> {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    // Held until the stream is queued: a listener that is dropped drops its queue, too.
    let listeners = listeners();
    let queue = listeners.as_ref().and_then(|listeners| listeners.get(name)).ok_or_else(refused)?;
    let mut queue = queue.lock();
    if queue.streams.len() >= queue.backlog {
        return Err(refused());
    }
    let (ours, theirs) = Stream::pair(Address::Inproc(Arc::clone(name)));
    queue.streams.push_back(theirs);
    let acceptors = queue.acceptors.take();
    drop(queue);
    drop(listeners);
    acceptors.wake();
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_waits_to_read_is_woken() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (one, other) = Stream::pair(Address::Inproc("pair".into()));
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(!one.poll_readable(&waker) && !one.poll_readable(&waker));
        }
        assert_eq!(other.write_now(&[IoSlice::new(b"x")]).unwrap(), 1);
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [1, 1]);
    }

    #[test]
    fn bytes_go_both_ways_and_room_is_bounded() {
        let name: Arc<str> = "inproc-test".into();
        assert_eq!(connect(&name).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let acceptor = listen(&name, 1).unwrap();
        assert_eq!(listen(&name, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let one = connect(&name).unwrap();
        assert_eq!(connect(&name).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "the queue is full");
        let other = acceptor.poll_accept(Waker::noop()).unwrap();
        assert!(acceptor.poll_accept(Waker::noop()).is_none());

        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut got, mut at, mut buf) = (Vec::new(), 0, [0; 1000]);
        while got.len() < sent.len() {
            if at < sent.len() {
                match one.write_now(&[IoSlice::new(&sent[at..]), IoSlice::new(b"")]) {
                    Ok(n) => at += n,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert!(at - got.len() <= ROOM);
            let n = other.read_now(&mut buf).unwrap();
            got.extend_from_slice(&buf[..n]);
            if at == sent.len() {
                one.shutdown_write();
            }
        }
        assert!(got == sent);
        assert_eq!(other.read_now(&mut buf).unwrap(), 0, "the end");
        assert_eq!(other.write_now(&[IoSlice::new(b"back")]).unwrap(), 4);
        assert_eq!(one.read_now(&mut buf).unwrap(), 4);
        drop(one);
        assert_eq!(other.write_now(&[IoSlice::new(b"x")]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(acceptor);
        assert_eq!(connect(&name).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
