//! Bounded channels of messages, between a program and its sockets or within the program.

use bowline_core::config::QueueLimit;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;

#[cfg(test)]
mod model;
mod queue;
mod receiver;
mod sender;

pub(crate) use queue::Entry;
use queue::Shared;
pub(crate) use receiver::Inlet;
pub use receiver::{ChannelReceive, Receiver};
pub(crate) use sender::Outlet;
pub use sender::{ChannelSend, Sender};

/// The capacity of a channel, and its policy for messages that find it full.
///
/// There are two limits: a number of messages and a number of bytes (of their parts; 4 MiB by default). A
/// message is accepted while the content is below both, so that a channel may exceed its bytes by one
/// message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer {
    kind: BufferKind,
    limit: QueueLimit,
}

/// Handling of a message when a channel is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BufferKind {
    Fixed,
    Sliding,
    Dropping,
}

impl Buffer {
    /// Senders wait for room. The channel holds up to `messages`, at least one.
    #[must_use]
    pub const fn fixed(messages: usize) -> Self {
        Self::new(BufferKind::Fixed, messages)
    }

    /// The oldest messages are dropped and counted. The channel holds up to `messages`, at least one.
    #[must_use]
    pub const fn sliding(messages: usize) -> Self {
        Self::new(BufferKind::Sliding, messages)
    }

    /// The new message is dropped and counted. The channel holds up to `messages`, at least one.
    #[must_use]
    pub const fn dropping(messages: usize) -> Self {
        Self::new(BufferKind::Dropping, messages)
    }

    /// Sets the limit of bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.limit.bytes = bytes;
        self
    }

    const fn new(kind: BufferKind, messages: usize) -> Self {
        let messages = if messages == 0 { 1 } else { messages };
        Self { kind, limit: QueueLimit { messages, bytes: 4 * 1024 * 1024 } }
    }

    fn never_waits(self) -> bool {
        self.kind != BufferKind::Fixed
    }

    fn is_reached(&self, messages: usize, bytes: usize) -> bool {
        messages > 0 && self.limit.is_reached(messages, bytes)
    }
}

/// The counters of a channel, and its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelStats {
    /// Messages that were accepted.
    pub sent: u64,
    /// Messages that were received.
    pub received: u64,
    /// Messages that a sliding or dropping buffer dropped.
    pub dropped: u64,
    /// Messages that were left when the last receiver was dropped.
    pub unread: u64,
    /// Messages in the channel.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
}

/// Creates a channel of messages. Both ends can be cloned, and used by several tasks or threads.
///
/// It closes when the last sender is dropped, or when either end closes it. Then no message is accepted any
/// more, waiting senders get their messages back, and the messages in the channel can still be received.
///
/// ```
/// # use bowline_driver::runtime::Runtime;
/// # fn example<R: Runtime>() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline_zmtp_driver::{Buffer, channel};
///
/// let (sender, mut receiver) = channel::<R>(Buffer::sliding(2));
/// for number in ["1", "2", "3"] {
///     sender.try_send(number)?;
/// }
/// assert_eq!(&receiver.try_recv()?.expect("the second")[0][..], b"2");
/// assert_eq!(receiver.stats().dropped, 1);
/// # Ok(()) }
/// ```
#[must_use]
pub fn channel<R: Runtime>(buffer: Buffer) -> (Sender<R>, Receiver<R>) {
    let shared = Shared::new(buffer);
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}
