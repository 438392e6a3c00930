//! A socket, optionally with a layer such as TLS over it.
//!
//! The driver reads from and writes to a [`Layered`] socket. Without a layer each call is passed to the
//! socket. With one, the bytes to write are encoded as records, and count as written when their record was
//! written completely: until then the caller passes the same bytes again, and they are not encoded twice.
//!
//! There are three locks, always taken in this order: input, output, layer. The layer's lock is never held
//! during a system call; the others are only held by readers and by writers. Records are made in a buffer of
//! the thread: the connection itself holds only what its socket did not take.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::layer::{Layer, LayerError, Secured};

use crate::owner::{OwnerSocket, Patience, Until};
use crate::runtime::{Socket, Wire};
use crate::shared::WriteNow;
use crate::stream::Stream;
use crate::sync::{Arc, Mutex};

/// Plain bytes that are encoded for one write.
const BATCH: usize = 64 * 1024;
/// The maximum number of plain bytes in one record.
const RECORD: usize = 16 * 1024;
/// Bytes that are read from the socket at once: at least one record.
const READ: std::ops::RangeInclusive<usize> = 18 * 1024..=64 * 1024;

std::thread_local! {
    /// Buffers for input, for output, and for pieces that are combined for a record.
    static SCRATCH: RefCell<[Vec<u8>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Uses one of the thread's buffers. If it is in use already, or the thread is ending, a new one is used.
fn with_scratch<T>(which: usize, f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let taken = SCRATCH.try_with(|scratch| std::mem::take(&mut scratch.borrow_mut()[which]));
    let mut buf = taken.unwrap_or_default();
    let result = f(&mut buf);
    let _ = SCRATCH.try_with(|scratch| scratch.borrow_mut()[which] = buf);
    result
}

/// A socket, and its layer if it has one.
pub struct Layered<S> {
    inner: S,
    over: Option<Box<Over>>,
}

struct Over {
    input: Mutex<Input>,
    output: Mutex<Output>,
    layer: Mutex<Box<dyn Layer>>,
}

#[derive(Default)]
struct Input {
    /// Received bytes that the layer did not take yet, from this position on.
    bytes: Vec<u8>,
    at: usize,
    /// Why the layer takes nothing more: reported when everything before it was read.
    failed: Option<LayerError>,
}

#[derive(Default)]
struct Output {
    /// Bytes that the socket did not take yet, from this position on.
    bytes: Vec<u8>,
    left: usize,
    /// For the current batch: where each record ends in `bytes`, and how many plain bytes it contains.
    records: VecDeque<(usize, usize)>,
    is_closing: bool,
    is_closed: bool,
}

impl Output {
    fn is_pending(&self) -> bool {
        self.left < self.bytes.len() || self.is_closing != self.is_closed
    }

    /// The number of plain bytes in completely written records.
    fn take_written(&mut self) -> usize {
        let mut written = 0;
        while let Some(&(end, text)) = self.records.front()
            && end <= self.left
        {
            written += text;
            self.records.pop_front();
        }
        written
    }

    /// Frees the buffer while nothing waits.
    fn release(&mut self) {
        if self.records.is_empty() && self.left == self.bytes.len() {
            (self.bytes, self.left) = (Vec::new(), 0);
        }
    }
}

/// The progress of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is done, or there is no layer.
    Done,
    /// It continues when there is something to read.
    Reads,
    /// It continues when there is room to write.
    Writes,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Layered<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Layered");
        shown.field("inner", &self.inner).field("has_layer", &self.over.is_some()).finish()
    }
}

fn layer_error(error: LayerError) -> io::Error {
    io::Error::other(error)
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

/// Whether to try again later.
fn is_for_now(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl<S> Layered<S> {
    /// A socket without a layer.
    pub fn plain(inner: S) -> Self {
        Self { inner, over: None }
    }

    /// A socket with a layer, whose handshake is not done yet.
    pub fn with(inner: S, layer: Box<dyn Layer>) -> Self {
        let over = Over { input: Mutex::default(), output: Mutex::default(), layer: Mutex::new(layer) };
        Self { inner, over: Some(Box::new(over)) }
    }

    /// Adds a layer to a socket that has none. `came` are bytes of the layer that were read already.
    pub fn put_over(&mut self, layer: Box<dyn Layer>, came: &[u8]) {
        debug_assert!(self.over.is_none(), "there is a layer already");
        let input = Input { bytes: came.to_vec(), ..Input::default() };
        let over = Over { input: Mutex::new(input), output: Mutex::default(), layer: Mutex::new(layer) };
        self.over = Some(Box::new(over));
    }

    /// The same with the socket replaced by the result of `f`.
    pub(crate) fn map<T>(self, f: impl FnOnce(S) -> T) -> Layered<T> {
        Layered { inner: f(self.inner), over: self.over }
    }

    /// The layer's properties of the peer, once its handshake is done.
    #[must_use]
    pub fn secured(&self) -> Option<Arc<Secured>> {
        self.over.as_ref()?.layer.lock().secured()
    }
}

impl<S: Wire> Layered<S> {
    /// Continues the layer's handshake as far as possible without waiting. Reading and writing do so as well;
    /// call this to know that the handshake is done before they begin.
    ///
    /// # Errors
    /// The handshake failed, or the socket did.
    pub fn handshake(&self) -> io::Result<Progress> {
        let Some(over) = &self.over else { return Ok(Progress::Done) };
        loop {
            if let Some(progress) = over.handshake_step(&self.inner)? {
                return Ok(progress);
            }
        }
    }

    /// As [`handshake`](Self::handshake), but processes the peer's bytes only once: one piece of work.
    /// `None`: there may be more to do.
    ///
    /// # Errors
    /// As [`handshake`](Self::handshake).
    pub fn handshake_step(&self) -> io::Result<Option<Progress>> {
        match &self.over {
            None => Ok(Some(Progress::Done)),
            Some(over) => over.handshake_step(&self.inner),
        }
    }
}

impl Over {
    /// Writes waiting bytes to the socket.
    fn flush(&self, inner: &impl Wire, out: &mut Output) -> io::Result<()> {
        while out.left < out.bytes.len() {
            match inner.write_now(&[IoSlice::new(&out.bytes[out.left..])]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => out.left += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if out.is_closing && !out.is_closed {
            inner.shutdown_write()?;
            out.is_closed = true;
        }
        Ok(())
    }

    /// Writes the layer's own bytes. What the socket does not take waits.
    fn transmit(&self, inner: &impl Wire) -> io::Result<()> {
        let mut out = self.output.lock();
        {
            let mut layer = self.layer.lock();
            if layer.wants_transmit() {
                layer.transmit(&mut out.bytes);
            }
        }
        self.flush_for_now(inner, &mut out)
    }

    /// As [`flush`](Self::flush); a full socket is not an error. Records of the current batch are written by
    /// its writer only: otherwise they would be counted too late, if the connection ends before the batch is
    /// passed again.
    fn flush_for_now(&self, inner: &impl Wire, out: &mut Output) -> io::Result<()> {
        if !out.records.is_empty() {
            return Ok(());
        }
        let flushed = match self.flush(inner, out) {
            Err(error) if !is_for_now(&error) => Err(error),
            _ => Ok(()),
        };
        out.release();
        flushed
    }

    fn is_handshaking(&self) -> bool {
        self.layer.lock().is_handshaking()
    }

    fn handshake_step(&self, inner: &impl Wire) -> io::Result<Option<Progress>> {
        self.transmit(inner)?;
        if !self.is_handshaking() {
            return Ok(Some(Progress::Done));
        }
        match self.read(inner, &mut [], |room| inner.read_now(room)) {
            Ok(_) => {
                // No further bytes may be processed before the handshake is known to be done.
                self.transmit(inner)?;
                let mut layer = self.layer.lock();
                if !layer.is_handshaking() {
                    return Ok(Some(Progress::Done));
                }
                if layer.is_peer_closed() {
                    layer.end_of_stream().map_err(layer_error)?;
                }
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) if is_for_now(&error) => {
                let is_pending = self.output.lock().is_pending();
                Ok(Some(if is_pending { Progress::Writes } else { Progress::Reads }))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads received bytes into `buf`, or, if it is empty, continues the handshake by one piece.
    fn read(
        &self,
        inner: &impl Wire,
        buf: &mut [u8],
        mut read_inner: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut input = self.input.lock();
        if input.at < input.bytes.len() {
            let bytes = std::mem::take(&mut input.bytes);
            let at = std::mem::take(&mut input.at);
            if let Some(read) = self.digest(inner, &mut input, &bytes[at..], buf)? {
                return Ok(read);
            }
        } else if let Some(read) = self.digest(inner, &mut input, &[], buf)? {
            return Ok(read);
        }
        with_scratch(0, |room| {
            let want = (buf.len() + buf.len() / 8).clamp(*READ.start(), *READ.end());
            if room.len() < want {
                room.resize(want, 0);
            }
            loop {
                let count = read_inner(&mut room[..want])?;
                if count == 0 {
                    self.layer.lock().end_of_stream().map_err(layer_error)?;
                    return Ok(0);
                }
                if let Some(read) = self.digest(inner, &mut input, &room[..count], buf)? {
                    return Ok(read);
                }
                if buf.is_empty() {
                    return Ok(0);
                }
                if self.output.lock().is_closing {
                    // After this side's close nothing is processed. The bytes are counted, so that a peer
                    // that continues to send keeps no reader busy.
                    let count = count.min(buf.len());
                    buf[..count].fill(0);
                    return Ok(count);
                }
            }
        })
    }

    /// Passes received bytes to the layer, and reads its plain bytes. `None`: none yet. Bytes that the layer
    /// does not take while `buf` is full are kept.
    fn digest(
        &self,
        inner: &impl Wire,
        input: &mut Input,
        mut came: &[u8],
        buf: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut read = 0;
        let mut layer = self.layer.lock();
        loop {
            read += layer.read(&mut buf[read..]);
            if came.is_empty() || input.failed.is_some() || (read == buf.len() && layer.has_plain()) {
                break;
            }
            match layer.receive(came) {
                Ok(0) if !layer.has_plain() => {
                    let error = io::Error::other("the layer takes nothing, and gives nothing");
                    return Err(error);
                }
                Ok(taken) => came = &came[taken..],
                Err(error) => input.failed = Some(error),
            }
        }
        let (wants_transmit, is_closed) = (layer.wants_transmit(), layer.is_peer_closed());
        if is_closed && read == 0 && !buf.is_empty() {
            // The peer's close is answered, as long as the socket can be written to.
            layer.close();
        }
        drop(layer);
        if input.failed.is_none() && !came.is_empty() {
            (input.bytes, input.at) = (came.to_vec(), 0);
        }
        if wants_transmit || (is_closed && read == 0) {
            // An alert, or an answer. If the socket failed, received bytes are read first, and the failure is
            // found again later.
            let transmitted = self.transmit(inner);
            if read == 0 && input.failed.is_none() && !is_closed {
                transmitted?;
            }
        }
        if read > 0 {
            return Ok(Some(read));
        }
        if let Some(error) = &input.failed {
            return Err(layer_error(error.clone()));
        }
        Ok(is_closed.then_some(0))
    }

    fn write(&self, inner: &impl Wire, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_handshaking() {
            while self.handshake_step(inner)?.is_none() {}
            if self.is_handshaking() {
                return Err(would_block());
            }
        }
        let mut out = self.output.lock();
        if out.is_closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !out.records.is_empty() {
            let lent: usize = slices.iter().map(|slice| slice.len()).sum();
            let held: usize = out.records.iter().map(|(_, text)| text).sum();
            if lent < held {
                return Err(io::Error::other("what is in a record already was not lent again"));
            }
            let flushed = self.flush(inner, &mut out);
            let written = out.take_written();
            out.release();
            return finished(written, flushed);
        }
        // No record contains bytes of the current batch.
        self.flush(inner, &mut out)?;
        with_scratch(1, |bytes| {
            bytes.clear();
            // Records are made in the thread's buffer.
            std::mem::swap(bytes, &mut out.bytes);
            out.left = 0;
            let made = self.make_records(&mut out, slices);
            let flushed = made.and_then(|()| self.flush(inner, &mut out));
            let written = out.take_written();
            std::mem::swap(bytes, &mut out.bytes);
            let left = std::mem::take(&mut out.left);
            // The rest is kept by the connection, in a buffer of its own size.
            out.bytes = bytes[left..].to_vec();
            out.records.iter_mut().for_each(|(end, _)| *end -= left);
            finished(written, flushed)
        })
    }

    /// Encodes the batch as records, after the contents of `out`.
    fn make_records(&self, out: &mut Output, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut layer = self.layer.lock();
        if layer.wants_transmit() {
            layer.transmit(&mut out.bytes);
        }
        let Output { bytes, records, .. } = out;
        let mut record = |text: &[u8]| {
            let taken = layer.write(text, bytes).map_err(layer_error)?;
            if taken > 0 {
                records.push_back((bytes.len(), taken));
            }
            Ok::<_, io::Error>(taken)
        };
        let (mut slices, mut slice, mut made) = (slices.iter().peekable(), &[][..], 0);
        while made < BATCH {
            if slice.is_empty() {
                match slices.next() {
                    Some(next) => slice = next,
                    None => break,
                }
            } else if slices.peek().is_some_and(|next| slice.len() + next.len() <= RECORD) {
                // Short pieces share a record.
                let (pieces, taken) = with_scratch(2, |pieces| {
                    pieces.clear();
                    pieces.extend_from_slice(slice);
                    while let Some(next) = slices.next_if(|next| pieces.len() + next.len() <= RECORD) {
                        pieces.extend_from_slice(next);
                    }
                    (pieces.len(), record(pieces))
                });
                let taken = taken?;
                if taken < pieces {
                    break;
                }
                (slice, made) = (&[], made + taken);
            } else {
                let taken = record(slice)?;
                if taken == 0 {
                    break;
                }
                (slice, made) = (&slice[taken..], made + taken);
            }
        }
        Ok(())
    }

    /// This side has nothing more to send: notifies the peer, and ends the writing side of the stream.
    fn shutdown_write(&self, inner: &impl Wire) -> io::Result<()> {
        let mut out = self.output.lock();
        {
            let mut layer = self.layer.lock();
            layer.close();
            layer.transmit(&mut out.bytes);
        }
        out.is_closing = true;
        self.flush_for_now(inner, &mut out)
    }

    /// Whether a read would return something without the socket.
    fn has_input(&self) -> bool {
        let input = self.input.lock();
        if input.at < input.bytes.len() || input.failed.is_some() {
            return true;
        }
        let layer = self.layer.lock();
        layer.has_plain() || layer.is_peer_closed()
    }
}

/// The result of a write of which `written` bytes were written.
fn finished(written: usize, flushed: io::Result<()>) -> io::Result<usize> {
    match flushed {
        _ if written > 0 => Ok(written),
        Ok(()) => Err(would_block()),
        Err(error) => Err(error),
    }
}

impl<S: Wire> WriteNow for Layered<S> {
    #[inline]
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.over {
            None => self.inner.write_now(slices),
            Some(over) => over.write(&self.inner, slices),
        }
    }
}

impl<S: Wire> Wire for Layered<S> {
    #[inline]
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.over {
            None => self.inner.read_now(buf),
            Some(over) => over.read(&self.inner, buf, |room| self.inner.read_now(room)),
        }
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        self.inner.apply(options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match &self.over {
            None => self.inner.shutdown_write(),
            Some(over) => over.shutdown_write(&self.inner),
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.inner.peer_addr()
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.inner.local_addr()
    }

    fn secured(&self) -> Option<Arc<Secured>> {
        Self::secured(self)
    }
}

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
        // What is written in a handshake waits for the peer.
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
                let until = Until { readable, writable, time: Some(by) };
                match self.inner.poll_ready(cx, &until) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
        })
        .await
    }
}

#[cfg(all(test, not(bowline_loom)))]
mod tests;
