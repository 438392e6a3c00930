//! Options of calls and casts.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::frame::Class;

/// The options of a call.
///
/// ```
/// use bowline_core::link::CallOptions;
/// use core::time::Duration;
///
/// // Method 7. It may run twice, so it is made again within its two seconds.
/// let options = CallOptions::new(7).timeout(Duration::from_secs(2)).idempotent(true);
/// assert!(options.is_idempotent());
/// assert_eq!(options.get_timeout(), Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct CallOptions {
    pub(super) method: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) class: Option<Class>,
    pub(super) attempt: u8,
    pub(super) idempotent: bool,
    pub(super) fail_fast: bool,
    /// `None` if there are none, which is cheap to test and drop.
    pub(super) extensions: Option<Box<[u8]>>,
}

impl CallOptions {
    /// A call to `method` (the message type on tcpstream) with the default deadline.
    #[inline]
    pub fn new(method: u32) -> Self {
        Self { method, ..Self::default() }
    }

    /// Sets the timeout: the call ends with an error if no reply is received within this time, including the
    /// wait for a free place among the calls in flight and for the connection.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the priority class ([`Class::Control`] counts as normal). Default: bulk for messages longer than
    /// a fragment if there is flow control, otherwise normal. A peer without flow control is not told the
    /// class: it only orders the messages that wait on this side.
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(if class == Class::Control { Class::Normal } else { class });
        self
    }

    /// Marks the call as safe to run twice: it is retried, under its one deadline, if its connection ends
    /// before the answer arrives, or if the peer refused to start it (see
    /// [`ConfigBuilder::retry_limit`](crate::config::ConfigBuilder::retry_limit)). A copy of its request is
    /// kept until then. A budget that all calls of a link share (10 tokens, one for a retry, a tenth returned
    /// for a success, no retry at half or less) prevents retry storms.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// The call does not wait for a connection: it fails as never sent if there is none, or if the present
    /// one ends or gets a go-away before the request was sent. (In a session, a queued request stays in the
    /// session.)
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// Sets the attempt number that is sent with the request, counted from 1 (native). Like the time left
    /// until the deadline, it is a hint to the peer: other framings leave both out.
    pub fn attempt(mut self, attempt: u8) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets the encoded extensions that are sent with the request (native, and framings that define their
    /// own; otherwise refused with [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported)).
    pub fn extensions(mut self, encoded: Vec<u8>) -> Self {
        self.extensions = (!encoded.is_empty()).then(|| encoded.into());
        self
    }

    /// Whether the call may run twice.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The timeout, if one was set.
    #[must_use]
    pub fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl From<u32> for CallOptions {
    fn from(method: u32) -> Self {
        Self::new(method)
    }
}

/// The options of a cast.
///
/// ```
/// use bowline_core::frame::Class;
/// use bowline_core::link::CastOptions;
/// use core::time::Duration;
///
/// // An event says when it was written. It does not hold up messages of the normal class.
/// let options = CastOptions::new(3).class(Class::Bulk).notify(true).timeout(Duration::from_secs(1));
/// assert_eq!(options.get_timeout(), Some(Duration::from_secs(1)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct CastOptions {
    pub(super) method: u32,
    pub(super) seq: u64,
    pub(super) class: Option<Class>,
    pub(super) notify: bool,
    pub(super) timeout: Option<Duration>,
    /// `None` if there are none, which is cheap to test and drop.
    pub(super) extensions: Option<Box<[u8]>>,
}

impl CastOptions {
    /// A cast to `method` (the message type on tcpstream). Framings of plain messages (raw, length-prefixed,
    /// buffstreams) cannot carry one: any value but 0 is refused there with
    /// [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported).
    // Inlined before the compiler decides how values are moved. Otherwise it builds a cast's future on the
    // stack and copies it 16 bytes at a time, and a load of 16 bytes after stores of 8 waits for all of them,
    // which takes a sixth of the time of a cast.
    #[inline(always)]
    pub fn new(method: u32) -> Self {
        let (seq, class, notify) = (0, None, false);
        Self { method, seq, class, notify, timeout: None, extensions: None }
    }

    /// Sets the Seq of the message (tcpstream; on other framings any value but 0 is refused with
    /// [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported)). To answer a request by its Seq
    /// later, cast with that Seq.
    pub fn seq(mut self, seq: u64) -> Self {
        self.seq = seq;
        self
    }

    /// Sets the priority class ([`Class::Control`] counts as normal). Default: bulk for messages longer than
    /// a fragment if there is flow control, otherwise normal. A peer without flow control is not told the
    /// class: it only orders the messages that wait on this side.
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(if class == Class::Control { Class::Normal } else { class });
        self
    }

    /// Sets the timeout of a cast whose outcome is waited for (`cast_and_wait`), in place of
    /// [`ConfigBuilder::cast_timeout`](crate::config::ConfigBuilder::cast_timeout). Other casts ignore it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The timeout, if one was set.
    #[must_use]
    pub fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Also reports the success of the cast as an event; failures are always reported.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Sets the encoded extensions that are sent with the message (native; otherwise refused with
    /// [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported)).
    pub fn extensions(mut self, encoded: Vec<u8>) -> Self {
        self.extensions = (!encoded.is_empty()).then(|| encoded.into());
        self
    }
}

impl From<u32> for CastOptions {
    fn from(method: u32) -> Self {
        Self::new(method)
    }
}
