//! The socket of the models.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::runtime::{Socket, Wire};
use bowline_driver::shared::{Connected, WriteNow};
use bowline_driver::sync::Mutex;

/// A socket that answers every byte with one byte at once.
#[derive(Clone, Default)]
pub(crate) struct Line(pub(crate) Arc<Mutex<Mirror>>);

#[derive(Default)]
pub(crate) struct Mirror {
    pub(crate) written: Vec<u8>,
    pub(crate) incoming: VecDeque<u8>,
    pub(crate) reader: Option<Waker>,
    /// Events are not reported.
    pub(crate) ignored: bool,
    /// Messages that are written are not answered.
    pub(crate) answers_late: bool,
}

impl Mirror {
    /// Wakes the driver for unread bytes, under the lock: bytes that arrived and were not reported yet are
    /// invisible.
    fn report(&mut self) {
        if !self.ignored
            && !self.incoming.is_empty()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl WriteNow for Line {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for slice in slices {
            let mut mirror = self.0.lock();
            mirror.written.extend_from_slice(slice);
            let answers = !mirror.answers_late;
            drop(mirror);
            if answers {
                self.arrive(slice);
            }
            written += slice.len();
        }
        Ok(written)
    }
}

impl Line {
    /// The peer sends these bytes.
    pub(crate) fn arrive(&self, bytes: &[u8]) {
        let mut mirror = self.0.lock();
        mirror.incoming.extend(bytes);
        mirror.report();
    }
}

impl Connected for Line {
    fn read_for(&self, _: &dyn Fn() -> bool) {}

    fn writes_apart(&self) -> bool {
        true
    }
}

impl Wire for Line {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut mirror = self.0.lock();
        let n = mirror.incoming.len().min(buf.len());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(mirror.incoming.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn apply(&self, _: &SocketOptions) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer_addr(&self) -> io::Result<Address> {
        Ok(Address::Inproc("mirror".into()))
    }
}

impl Socket for Line {
    fn callers_read(&self) -> bool {
        true
    }

    fn wait_readable(&self, _: Duration) -> bool {
        !self.0.lock().incoming.is_empty()
    }

    fn watch_reads(&self, watch: bool) {
        let mut mirror = self.0.lock();
        mirror.ignored = !watch;
        // Messages that arrived in the meantime are reported.
        mirror.report();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut mirror = self.0.lock();
        if !mirror.incoming.is_empty() {
            return Poll::Ready(Ok(()));
        }
        mirror.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
