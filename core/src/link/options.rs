//! How to call and how to cast.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::frame::Class;

/// How to make a call.
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
    /// `None`: none, which is quickly seen and dropped.
    pub(super) extensions: Option<Box<[u8]>>,
}

impl CallOptions {
    /// A call to `method` (the message type on tcpstream) with the default deadline.
    #[inline]
    pub fn new(method: u32) -> Self {
        Self { method, ..Self::default() }
    }

    /// The call ends with an error if no reply came within this time, waiting for a free place
    /// and for the connection included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Priority class ([`Class::Control`] counts as normal). By default messages longer than a
    /// fragment go to bulk where there is flow control, and all others to normal. A peer without flow
    /// control is not told the class: it orders only what waits here.
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(if class == Class::Control { Class::Normal } else { class });
        self
    }

    /// The call may run twice without harm: it is made again, under its one deadline, when its
    /// connection dies before the answer came, or when the peer turned it away without starting it
    /// (see [`ConfigBuilder::retry_limit`](crate::config::ConfigBuilder::retry_limit)). Its request
    /// is kept, copied, until then. A budget that all calls of a link share (10 tokens, one a
    /// retry, a tenth back per success, none at half or less) keeps retries from becoming a storm.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// The call does not wait for a connection: it fails as never sent if there is none, or if the
    /// one there is ends, or gets a go-away, before the request left. (In a session, what is queued
    /// stays with the session.)
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// Attempt number that travels with the request, from 1 (native). It is a hint to the peer, and
    /// so is the time left until the deadline: other framings leave both out.
    pub fn attempt(mut self, attempt: u8) -> Self {
        self.attempt = attempt;
        self
    }

    /// Encoded extensions that travel with the request (native, and framings that say what theirs are; refused
    /// elsewhere, with [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported)).
    pub fn extensions(mut self, encoded: Vec<u8>) -> Self {
        self.extensions = (!encoded.is_empty()).then(|| encoded.into());
        self
    }

    /// Whether the call may run twice.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The deadline asked for, if it is not the default one.
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

/// How to cast.
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
    /// `None`: none, which is quickly seen and dropped.
    pub(super) extensions: Option<Box<[u8]>>,
}

impl CastOptions {
    /// A cast to `method` (the message type on tcpstream). Framings of plain messages (raw,
    /// length-prefixed, buffstreams) have no room for one: any but 0 is refused there, with
    /// [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported).
    // Inlined before the compiler decides how values are moved. Otherwise it puts a cast's future together on
    // the stack and copies it 16 bytes at a time, and a load of 16 bytes over stores of 8 waits for all of
    // them: for a sixth of the time of a cast.
    #[inline(always)]
    pub fn new(method: u32) -> Self {
        let (seq, class, notify) = (0, None, false);
        Self { method, seq, class, notify, timeout: None, extensions: None }
    }

    /// The Seq of the message (tcpstream; elsewhere any but 0 is refused, with
    /// [`EncodeError::Unsupported`](crate::error::EncodeError::Unsupported)). Answering a request by
    /// its Seq later is a cast with that Seq.
    pub fn seq(mut self, seq: u64) -> Self {
        self.seq = seq;
        self
    }

    /// Priority class ([`Class::Control`] counts as normal). By default messages longer than a
    /// fragment go to bulk where there is flow control, and all others to normal. A peer without flow
    /// control is not told the class: it orders only what waits here.
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(if class == Class::Control { Class::Normal } else { class });
        self
    }

    /// Where the end of the cast is waited for (`cast_and_wait`): for how long at most, in place of
    /// [`ConfigBuilder::cast_timeout`](crate::config::ConfigBuilder::cast_timeout). Others do not
    /// look at it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The deadline asked for, if it is not the default one.
    #[must_use]
    pub fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// An event says when the message was written, too; failures always are events.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Encoded extensions that travel with the message (native; refused elsewhere, with
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
