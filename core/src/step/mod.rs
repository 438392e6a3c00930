//! What happens on a connection before its machine, as steps without IO: a proxy is asked, a server is greeted.
//!
//! A [`Step`] gets what the other side sent, and says what to send and when it is done. [`Steps`] runs one after
//! another over one connection, with bounded memory, and keeps what came behind the last one for whatever follows.

use alloc::vec::Vec;
use core::time::Duration;

mod run;

pub use run::Steps;

/// Bytes that a step may leave unconsumed, unless it says otherwise.
pub const MAX_PENDING: usize = 16 * 1024;
/// Bytes that steps may have waiting to be written.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// One step: bytes in, bytes out, until it is done or fails.
///
/// It is asked first with nothing (or with what an earlier step left), then whenever more has come, and again while it
/// consumes something and something is left. However the bytes are cut into reads, it has to come to the same result:
/// what it decides must depend on what came, not on how much of it came at once.
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
    /// Why it fails.
    type Error: From<Interrupted>;

    /// `received` is what came and was not consumed, all of it up to [`max_pending`](Self::max_pending) bytes. What is
    /// to be sent is appended to `out`.
    ///
    /// # Errors
    /// The step failed: the connection is closed.
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, Self::Error>;

    /// Bytes that may wait unconsumed, at least 1; a step that leaves so many without being done fails with
    /// [`Interrupted::TooLong`]. Default 16 KiB.
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

/// How far a step came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Progress {
    consumed: usize,
    done: bool,
}

impl Progress {
    /// It took `consumed` bytes off the front, and waits for more.
    pub const fn more(consumed: usize) -> Self {
        Self { consumed, done: false }
    }

    /// It took `consumed` bytes off the front, and is done; the rest is not its own.
    pub const fn done(consumed: usize) -> Self {
        Self { consumed, done: true }
    }

    /// Bytes that it took off the front.
    #[must_use]
    pub const fn consumed(self) -> usize {
        self.consumed
    }

    /// Whether it is done.
    #[must_use]
    pub const fn is_done(self) -> bool {
        self.done
    }
}

/// A step did not come to an end: what is the same for all steps.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Interrupted {
    /// The other side ended the stream.
    #[error("the connection was closed before it was set up, with {pending} bytes of an answer")]
    Closed {
        /// Bytes that came and make no whole answer.
        pending: usize,
    },
    /// Too many bytes came that make no whole answer.
    #[error("an answer is not whole within {limit} bytes")]
    TooLong {
        /// The step's limit.
        limit: usize,
    },
    /// It took too long.
    #[error("the connection was not set up within {limit:?}")]
    TimedOut {
        /// The time it had.
        limit: Duration,
    },
    /// The step wants to send more than may wait to be sent.
    #[error("the step wants to send {value} bytes at once, limit {limit}")]
    TooMuch {
        /// Bytes that wait.
        value: usize,
        /// Bytes that may.
        limit: usize,
    },
    /// The step says that it consumed more than there was.
    #[error("the step says that it consumed {consumed} bytes of {received}")]
    Overrun {
        /// What it says.
        consumed: usize,
        /// What there was.
        received: usize,
    },
}
