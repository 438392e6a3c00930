//! A socket, optionally with a layer such as TLS over it.
//!
//! The driver reads from and writes to a [`Layered`] socket. Without a layer each call is passed to the
//! socket. With one, the bytes to write are encoded as records, and count as written when their record was
//! written completely: until then the caller passes the same bytes again, and they are not encoded twice.
//!
//! There are three locks, always taken in this order: input, output, layer. The layer's lock is never held
//! during a system call; the others are only held by readers and by writers. Records are made in a buffer of
//! the thread: the connection itself holds only what its socket did not take.

use std::io::{self, IoSlice};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::layer::{Layer, LayerError, Secured};

use crate::runtime::Wire;
use crate::shared::WriteNow;
use crate::sync::Arc;

mod outgoing;
mod over;
mod pile;
mod scratch;
mod waiting;

use over::Over;
pub use pile::Pile;

/// A socket, and its layer if it has one.
pub struct Layered<S> {
    inner: S,
    over: Option<Box<Over>>,
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
        Self { inner, over: Some(Box::new(Over::new(layer, &[]))) }
    }

    /// Adds a layer to a socket that has none. `came` are bytes of the layer that were read already.
    pub fn put_over(&mut self, layer: Box<dyn Layer>, came: &[u8]) {
        debug_assert!(self.over.is_none(), "there is a layer already");
        self.over = Some(Box::new(Over::new(layer, came)));
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

    #[inline]
    fn is_layered(&self) -> bool {
        self.over.is_some()
    }

    #[inline]
    fn held(&self) -> usize {
        self.inner.held() + self.over.as_ref().map_or(0, |over| over.held())
    }
}

#[cfg(all(test, not(bowline_loom)))]
pub(crate) mod tests;
