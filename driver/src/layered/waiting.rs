//! Waiting for a socket with a layer: by tasks and threads that are woken, and by an owner that waits itself.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;

use super::{Layered, Progress};
use crate::owner::{OwnerSocket, Patience, Until};
use crate::runtime::Socket;
use crate::stream::Stream;

impl<S: Socket> Socket for Layered<S> {
    fn callers_read(&self) -> bool {
        self.inner.callers_read()
    }

    fn wait_readable(&self, limit: Duration) -> bool {
        match &self.over {
            Some(over) if over.has_input() => true,
            _ => self.inner.wait_readable(limit),
        }
    }

    fn watch_reads(&self, watch: bool) {
        self.inner.watch_reads(watch);
    }

    fn others_wait(&self) -> bool {
        self.inner.others_wait()
    }

    fn runs_woken_first(&self) -> bool {
        self.inner.runs_woken_first()
    }

    fn writes_apart(&self) -> bool {
        self.inner.writes_apart()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.over.as_ref().is_some_and(|over| over.has_input()) {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(over) = &self.over
            && over.is_handshaking()
            && !over.output.lock().is_pending()
        {
            // Before the handshake is done nothing is written: it waits for input.
            return self.inner.poll_readable(cx);
        }
        self.inner.poll_writable(cx)
    }

    #[inline]
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(over) = &self.over {
            loop {
                let mut out = over.output.lock();
                over.flush_for_now(&self.inner, &mut out)?;
                // The writer of the current batch waits for room itself.
                if !out.is_pending() || !out.records.is_empty() {
                    break;
                }
                drop(out);
                if let pending_or_failed @ (Poll::Pending | Poll::Ready(Err(_))) =
                    self.inner.poll_writable(cx)
                {
                    return pending_or_failed;
                }
            }
        }
        self.inner.poll_flush(cx)
    }
}

impl<S: Socket> Layered<S> {
    /// Ready when the handshake is done. Does everything that can be done at once.
    ///
    /// # Errors
    /// The handshake failed, or the socket did.
    pub fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let waited = match self.handshake()? {
                Progress::Done => return Poll::Ready(Ok(())),
                progress => self.poll_progress(progress, cx)?,
            };
            if waited.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Ready when the handshake can continue.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_progress(&self, progress: Progress, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if self.inner.poll_flush(cx)?.is_pending() && progress == Progress::Writes {
            return Ok(Poll::Pending);
        }
        let polled = match progress {
            Progress::Done => Poll::Ready(Ok(())),
            Progress::Reads => self.inner.poll_readable(cx),
            Progress::Writes => match self.inner.poll_writable(cx) {
                // A peer that refuses may send that without reading.
                Poll::Pending => self.inner.poll_readable(cx),
                ready => ready,
            },
        };
        match polled {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

impl<S: OwnerSocket> OwnerSocket for Layered<S> {
    async fn connect(address: Address, options: SocketOptions, limit: Duration) -> io::Result<Self> {
        S::connect(address, options, limit).await.map(Self::plain)
    }

    fn resolve(
        host: String,
        port: u16,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        S::resolve(host, port, limit)
    }

    fn adopt(stream: Stream) -> io::Result<Self> {
        S::adopt(stream).map(Self::plain)
    }

    #[inline]
    fn read(&self, buf: &mut [u8], patience: &Patience) -> io::Result<usize> {
        let Some(over) = &self.over else { return self.inner.read(buf, patience) };
        let mut patience = *patience;
        // A thread that sleeps in a read cannot write.
        patience.may_sleep &= !over.output.lock().is_pending();
        over.read(&self.inner, buf, |room| self.inner.read(room, &patience))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, until: &Until) -> Poll<io::Result<()>> {
        let Some(over) = &self.over else { return self.inner.poll_ready(cx, until) };
        if until.readable && over.has_input() {
            return Poll::Ready(Ok(()));
        }
        let mut until = *until;
        let mut out = over.output.lock();
        over.flush_for_now(&self.inner, &mut out)?;
        let is_pending = out.is_pending();
        drop(out);
        // Writing waits for the handshake, and so for the peer.
        until.readable |= until.writable && over.is_handshaking();
        until.writable = is_pending || (until.writable && !over.is_handshaking());
        self.inner.poll_ready(cx, &until)
    }
}

impl<S: OwnerSocket> Layered<S> {
    /// Waits until the handshake is done, at most until `by`.
    ///
    /// # Errors
    /// The handshake failed, or the socket did; [`io::ErrorKind::TimedOut`] after `by`.
    pub async fn secure(&mut self, by: bowline_core::time::Instant) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            loop {
                let (readable, writable) = match self.handshake()? {
                    Progress::Done => return Poll::Ready(Ok(())),
                    Progress::Reads => (true, false),
                    Progress::Writes => (true, true),
                };
                if crate::clock::now() >= by {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                let until = Until { readable, writable, time: Some(by), spins: false };
                match self.inner.poll_ready(cx, &until) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
        })
        .await
    }
}
