//! Steps: exchanges on a connection before its machine, without IO, such as with a proxy or for a greeting.
//!
//! A [`Step`] gets the received bytes, and says what to send and when it is done. [`Steps`] runs several of
//! them over one connection, with bounded memory, and keeps the bytes after the last one for the machine.

use alloc::vec::Vec;
use core::time::Duration;

#[cfg(test)]
pub(crate) mod pieces;
mod run;

pub use run::Steps;

/// Default maximum of bytes that a step may leave unconsumed.
pub const MAX_PENDING: usize = 16 * 1024;
/// Maximum bytes of steps that wait to be written.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// One step: it gets received bytes and sends bytes, until it is done or fails.
///
/// It is called first without bytes (or with those that an earlier step left), then whenever more bytes have
/// arrived, and again while it consumes bytes and some are left. The result must not depend on how the bytes
/// are split into reads.
///
/// ```
/// use bowline_core::error::PreambleError;
/// use bowline_core::step::{Progress, Step};
///
/// /// Says who it is, and waits for a line that begins with `OK`.
/// struct Greet(Option<&'static str>);
///
/// impl Step for Greet {
///     type Error = PreambleError;
///
///     fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, PreambleError> {
///         if let Some(name) = self.0.take() {
///             out.extend_from_slice(format!("HELLO {name}\n").as_bytes());
///         }
///         let Some(end) = received.iter().position(|byte| *byte == b'\n') else { return Ok(Progress::more(0)) };
///         match received[..end].starts_with(b"OK") {
///             true => Ok(Progress::done(end + 1)),
///             false => Err(PreambleError::refused(std::io::Error::other("it does not know us"))),
///         }
///     }
/// }
///
/// let mut step = Greet(Some("me"));
/// let mut out = Vec::new();
/// assert_eq!(step.advance(b"", &mut out)?, Progress::more(0));
/// assert_eq!(out, b"HELLO me\n");
/// // What comes behind the line is for whatever follows.
/// assert_eq!(step.advance(b"OK\nmore", &mut out)?, Progress::done(3));
/// # Ok::<(), PreambleError>(())
/// ```
pub trait Step: Send {
    /// The error of the step.
    type Error: From<Interrupted>;

    /// `received` are all bytes that arrived and were not consumed, up to [`max_pending`](Self::max_pending).
    /// Append the bytes to send to `out`.
    ///
    /// # Errors
    /// The step failed: the connection is closed.
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, Self::Error>;

    /// Maximum bytes that may wait unconsumed, at least 1; a step that leaves this many without being done
    /// fails with [`Interrupted::TooLong`]. Default 16 KiB.
    fn max_pending(&self) -> usize {
        MAX_PENDING
    }
}

impl<S: Step + ?Sized> Step for alloc::boxed::Box<S> {
    type Error = S::Error;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, S::Error> {
        (**self).advance(received, out)
    }

    fn max_pending(&self) -> usize {
        (**self).max_pending()
    }
}

/// The progress of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Progress {
    consumed: usize,
    done: bool,
}

impl Progress {
    /// The step consumed `consumed` bytes from the front, and waits for more.
    pub const fn more(consumed: usize) -> Self {
        Self { consumed, done: false }
    }

    /// The step consumed `consumed` bytes from the front, and is done; the rest belongs to what follows.
    pub const fn done(consumed: usize) -> Self {
        Self { consumed, done: true }
    }

    /// The number of bytes consumed from the front.
    #[must_use]
    pub const fn consumed(self) -> usize {
        self.consumed
    }

    /// Whether the step is done.
    #[must_use]
    pub const fn is_done(self) -> bool {
        self.done
    }
}

/// Why a step was interrupted: errors that are the same for all steps.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Interrupted {
    /// The other side ended the stream.
    #[error("the connection was closed before it was set up, with {pending} bytes of an answer")]
    Closed {
        /// Bytes that arrived and are not a complete answer.
        pending: usize,
    },
    /// Too many bytes arrived without a complete answer.
    #[error("an answer is not whole within {limit} bytes")]
    TooLong {
        /// The step's limit.
        limit: usize,
    },
    /// It took too long.
    #[error("the connection was not set up within {limit:?}")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The step wants to send more than the limit.
    #[error("the step wants to send {value} bytes at once, limit {limit}")]
    TooMuch {
        /// Bytes that wait to be sent.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// The step reported more consumed bytes than there were.
    #[error("the step says that it consumed {consumed} bytes of {received}")]
    Overrun {
        /// The reported number.
        consumed: usize,
        /// The number of available bytes.
        received: usize,
    },
}
