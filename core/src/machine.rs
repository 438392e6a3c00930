//! The interface between a driver and a protocol.

use alloc::vec::Vec;
use core::time::Duration;

use crate::address::Address;
use crate::arena::Batch;
use crate::error::Disconnect;
use crate::memory::{Holding, Verdict};
use crate::recv_buf::RecvBuf;
use crate::supervisor::DialFailure;
use crate::time::Instant;

pub use crate::reason::Reason;
pub use crate::supervisor::Epoch;

/// The reading half's access to the machine behind its lock.
///
/// A single owner passes `&mut machine`. A driver passes a guard that takes its lock on first use and
/// releases it before application code runs, so that one lock covers a whole batch of replies and none is
/// held while a handler runs.
pub trait Access<M> {
    /// The machine; takes the lock if it is not held.
    fn machine(&mut self) -> &mut M;
}

impl<M> Access<M> for &mut M {
    fn machine(&mut self) -> &mut M {
        self
    }
}

/// The result of asking for the next event.
#[derive(Debug)]
pub enum Next<E> {
    /// An event for the application. The next step, or dropping the buffer, consumes it.
    Event(E),
    /// The bytes contain no further event.
    NeedData,
    /// The machine accepts nothing more for now: see [`Machine::is_paused`].
    Paused,
}

/// The sides of the driver to be woken after a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Wake {
    /// The writing side: there is something to write, and no write is under way.
    pub write: bool,
    /// The side that reads and watches the time: reading can continue, a timeout is earlier than the driver
    /// knows, or the connection must end.
    pub attend: bool,
}

impl Wake {
    /// Whether a side is to be woken.
    #[must_use]
    pub const fn any(self) -> bool {
        self.write || self.attend
    }
}

/// How the machine wants its connection to end.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// Everything is written and answered: shut down the writing side, read until the peer ends its side or
    /// `wait` is over, then close.
    Graceful {
        /// How long to wait for the peer.
        wait: Duration,
        /// The cause to report.
        cause: Disconnect,
    },
    /// Close at once.
    Abort(Disconnect),
}

impl Ending {
    /// How long to wait for the peer's end of the stream.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self {
            Self::Graceful { wait, .. } => *wait,
            Self::Abort(_) => Duration::ZERO,
        }
    }
}

/// A protocol as a pure state machine: received bytes go in, batches come out and back, timeouts, connections
/// begin and end.
///
/// It has two halves. The machine itself sits behind the driver's lock; all senders and the driver use it.
/// The [`Reader`](Self::Reader) parses; it belongs to the side that reads the socket, lives as long as one
/// connection, and reaches the machine through [`Access`] only when necessary. All methods may be called in
/// any order; the machine stays consistent if its outputs are not drained.
///
/// The driver's side of the contract:
///
/// 1. Call [`handle_connected`](Self::handle_connected) when a socket is connected, then make an empty input
///    pass ([`begin_input`](Self::begin_input) with 0 bytes, [`next_event`](Self::next_event) until there is
///    no more, [`end_input`](Self::end_input)).
/// 2. Make such a pass for every read; at the end of the stream call [`handle_eof`](Self::handle_eof).
/// 3. Call [`begin_write`](Self::begin_write) until it returns `None`; write each batch and give it back with
///    [`end_write`](Self::end_write). There is one batch at a time: its holder has the right to write.
/// 4. Sleep until bytes can be read or written, until a command wakes the driver
///    ([`take_wake`](Self::take_wake) returned true after a command), or until
///    [`poll_timeout`](Self::poll_timeout); then call [`handle_timeout`](Self::handle_timeout).
/// 5. When [`poll_ending`](Self::poll_ending) says so, or anything fails, call
///    [`handle_disconnected`](Self::handle_disconnected), with the current batch if there is one.
///
/// After every step, wake the tokens from [`take_tokens`](Self::take_tokens), without the lock.
pub trait Machine: Sized + Send + 'static {
    /// Wakes one waiting caller: a `Waker` for drivers, anything for simulations.
    type Token: Send;
    /// The reading half, one per connection.
    type Reader: Send;
    /// The events for the application; they borrow from the receive buffer.
    type Event<'b>;
    /// How a peer breaks this protocol. A protocol without a variant of its own in [`Disconnect`] converts
    /// with [`Disconnect::foreign`].
    type Error: core::error::Error + Into<Disconnect>;

    /// A connection is established. The epoch is larger than any before.
    fn handle_connected(&mut self, now: Instant, epoch: Epoch) -> Self::Reader;

    /// `bytes` more bytes are in the buffer (0 for a pass that only resumes).
    fn begin_input(reader: &mut Self::Reader, access: &mut impl Access<Self>, now: Instant, bytes: usize);

    /// The next event for the application.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection must be closed.
    fn next_event<'b>(
        reader: &mut Self::Reader,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<Self::Event<'b>>, Self::Error>;

    /// The application refused the last event: it is returned again later. `false`: reading pauses until
    /// then; `true`: the event is kept aside, and the pass continues.
    fn refuse(reader: &mut Self::Reader, buf: &mut RecvBuf) -> bool {
        let _ = reader;
        buf.unlend();
        false
    }

    /// Moves buffered answers to the machine, if they are at least `pile` bytes and can be written now.
    /// `true`: they should be written before the pass is over, so that both sides work at the same time.
    #[inline]
    fn flush_answers(reader: &mut Self::Reader, access: &mut impl Access<Self>, pile: usize) -> bool {
        let _ = (reader, access, pile);
        false
    }

    /// The pass is over: buffered answers are moved to the machine.
    fn end_input(reader: &mut Self::Reader, access: &mut impl Access<Self>, now: Instant, buf: &mut RecvBuf);

    /// A deadline was due: usually the connection is quiet. Frees the memory of the receive buffer if nothing is
    /// unread, and what else is kept for messages to come.
    fn release_memory(reader: &mut Self::Reader, access: &mut impl Access<Self>, buf: &mut RecvBuf) {
        let _ = (reader, access);
        buf.release_if_empty();
    }

    /// The peer ended its stream.
    ///
    /// # Errors
    /// The stream ended inside a frame.
    fn handle_eof(reader: &mut Self::Reader, buf: &RecvBuf) -> Result<(), Self::Error>;

    /// Whether the handshake of the connection is done.
    fn is_ready(&self) -> bool;

    /// Whether the handshake of any connection of this machine was ever done, even if that connection has
    /// ended; such a machine is not closed to make room for newer handshakes. By default the same as
    /// [`is_ready`](Self::is_ready).
    fn was_ready(&self) -> bool {
        self.is_ready()
    }

    /// Whether reading is paused; [`take_wake`](Self::take_wake) reports when it can continue.
    fn is_paused(&self) -> bool {
        false
    }

    /// Whether processing more input is work that other connections should not have to wait for: it is part
    /// of an incomplete long message, or its answers are long.
    fn is_heavy(&self) -> bool {
        false
    }

    /// Whether the write queue contains only messages whose outcome no caller awaits. The driver may then leave the
    /// writing to a caller that queues more messages.
    fn streams(&self) -> bool {
        false
    }

    /// Whether a pass without new bytes would return an event that was kept aside before.
    fn wants_pass(&self) -> bool {
        false
    }

    /// The connection is over for this reason. Complete messages that had to wait, and that have no later
    /// connection to wait for, are still handed over, one event for each call. `None`: there is no more. Call
    /// it before [`retire_reader`](Self::retire_reader), and call [`end_input`](Self::end_input) after it if
    /// there were events. An event that the application refuses is the last one.
    fn next_leftover<'b>(
        reader: &mut Self::Reader,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
        cause: &Disconnect,
    ) -> Option<Self::Event<'b>> {
        let _ = (reader, access, now, buf, cause);
        None
    }

    /// The connection's reader ends: the next reader may need what it holds. Messages that were kept by
    /// reference may still hold memory of the receive buffer. Call it before
    /// [`handle_disconnected`](Self::handle_disconnected).
    fn retire_reader(&mut self, now: Instant, reader: Self::Reader, buf: RecvBuf) {
        let _ = (now, reader, buf);
    }

    /// The connection has ended. `lent` is the current batch, if the caller has it.
    fn handle_disconnected(&mut self, now: Instant, lent: Option<Batch>, cause: Disconnect);

    /// Takes the next batch of bytes to write. `None`: there is nothing to write, or a batch is being
    /// written.
    fn begin_write(&mut self, now: Instant) -> Option<Batch>;

    /// `written` bytes of the current batch were written so far; this resets the write-stall timer.
    fn handle_progress(&mut self, now: Instant, written: usize) {
        let _ = (now, written);
    }

    /// Takes the batch back, completely written or not. Returns true if there is more to write: the caller
    /// then has to write it or to wake the driver.
    #[must_use]
    fn end_write(&mut self, now: Instant, batch: Batch) -> bool;

    /// When [`handle_timeout`](Self::handle_timeout) must be called, and why. The machine remembers the
    /// returned time: a command that makes it earlier requests a wake.
    fn poll_timeout(&mut self) -> Option<(Instant, Reason)>;

    /// Whether [`handle_timeout`](Self::handle_timeout) must be called now. For a driver that is running: it
    /// may be less exact than [`poll_timeout`](Self::poll_timeout), which is called before the driver sleeps.
    #[inline]
    fn is_due(&mut self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|(at, _)| at <= now)
    }

    /// Time has passed. May be called early or twice.
    fn handle_timeout(&mut self, now: Instant);

    /// Whether and how the connection must end. While the driver waits for the peer's end of the stream, it
    /// calls this again, and does not wait longer than the last result says.
    fn poll_ending(&mut self, now: Instant) -> Option<Ending>;

    /// Closes the machine for good: finishes work for at most `linger`, then ends.
    fn close(&mut self, now: Instant, linger: Duration);

    /// Whether the machine is closed and there is nothing left to do: no reconnecting.
    fn is_closed(&self) -> bool;

    /// There will be no further connection. If one is established, [`poll_ending`](Self::poll_ending) may
    /// tell its driver to end it, and the machine is closed when it has ended.
    fn give_up(&mut self, now: Instant, cause: Disconnect);

    /// Ends for good, at once: the driver closes an established connection when
    /// [`poll_ending`](Self::poll_ending) tells it to.
    fn abort(&mut self, now: Instant, cause: Disconnect) {
        self.give_up(now, cause);
    }

    /// A dial begins.
    fn handle_dialing(&mut self, address: Address, attempt: u32) {
        let _ = (address, attempt);
    }

    /// A dial, a name resolution or a handshake failed.
    fn handle_dial_failed(&mut self, attempt: u32, failure: DialFailure) {
        let _ = (attempt, failure);
    }

    /// A wait before the next attempt to connect begins, because the last attempt failed or the last
    /// connection was too short.
    fn handle_waiting(&mut self, attempt: u32, after: Duration, cause: Disconnect) {
        let _ = (attempt, after, cause);
    }

    /// Without a connection: returns true once if the application requests one now, so that a wait ends.
    fn take_reconnect(&mut self) -> bool {
        false
    }

    /// Whether [`take_wake`](Self::take_wake) or [`take_tokens`](Self::take_tokens) may return something. A
    /// cheap check for callers that would usually call them in vain after each command.
    fn has_wakes(&self) -> bool {
        true
    }

    /// The sides of the driver to be woken since the last call.
    fn take_wake(&mut self) -> Wake;

    /// From now on the counter of a server's memory counts what this machine holds.
    fn count_memory(&mut self) {}

    /// The server needs the memory that this machine holds, `held` bytes in its last report: it frees as much
    /// as possible, and [aborts](Self::abort). Returns how many bytes it still holds until its connection is
    /// over.
    fn close_for_memory(&mut self, now: Instant, held: usize, limit: usize) -> usize {
        self.abort(now, Disconnect::ServerMemory { held: held as u64, limit: limit as u64 });
        0
    }

    /// A report of what the machine holds of its server's memory, if one is due: once after each relevant
    /// change. The counter (see [`crate::memory`]) answers with [`handle_memory`](Self::handle_memory).
    fn take_holding(&mut self) -> Option<Holding> {
        None
    }

    /// Layers under the machine, such as TLS, hold this many bytes of its connection from now on: received and
    /// not decoded or not read, or to be written. They count in its next [report](Self::take_holding). The
    /// driver calls it when the number has changed; a new connection begins with none.
    fn note_held_below(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Bytes of received requests and messages that handlers of the application still hold; `None` if no
    /// handler runs. The accepting side asks when the machine is over: until there is none, the machine keeps
    /// its place in the server's limits, and makes a report when that changes.
    fn handled(&self) -> Option<usize> {
        None
    }

    /// Sets what the machine may hold from now on.
    fn handle_memory(&mut self, now: Instant, verdict: Verdict) {
        let _ = (now, verdict);
    }

    /// Moves the tokens of callers to be woken to the end of `into`.
    fn take_tokens(&mut self, into: &mut Vec<Self::Token>);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerError;

    /// A machine with the required methods only.
    struct Least;

    impl Machine for Least {
        type Token = u32;
        type Reader = ();
        type Event<'b> = ();
        type Error = PeerError;

        fn handle_connected(&mut self, _: Instant, _: Epoch) {}
        fn begin_input((): &mut (), _: &mut impl Access<Self>, _: Instant, _: usize) {}
        fn next_event(
            (): &mut (),
            _: &mut impl Access<Self>,
            _: Instant,
            _: &mut RecvBuf,
        ) -> Result<Next<()>, PeerError> {
            Ok(Next::NeedData)
        }
        fn end_input((): &mut (), _: &mut impl Access<Self>, _: Instant, _: &mut RecvBuf) {}
        fn handle_eof((): &mut (), _: &RecvBuf) -> Result<(), PeerError> {
            Ok(())
        }
        fn is_ready(&self) -> bool {
            true
        }
        fn handle_disconnected(&mut self, _: Instant, _: Option<Batch>, _: Disconnect) {}
        fn begin_write(&mut self, _: Instant) -> Option<Batch> {
            None
        }
        fn end_write(&mut self, _: Instant, _: Batch) -> bool {
            false
        }
        fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
            Some((Instant::ZERO + Duration::from_millis(5), Reason::Other))
        }
        fn handle_timeout(&mut self, _: Instant) {}
        fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
            None
        }
        fn close(&mut self, _: Instant, _: Duration) {}
        fn is_closed(&self) -> bool {
            false
        }
        fn give_up(&mut self, _: Instant, _: Disconnect) {}
        fn take_wake(&mut self) -> Wake {
            Wake::default()
        }
        fn take_tokens(&mut self, _: &mut Vec<u32>) {}
    }

    #[test]
    fn a_machine_that_does_not_say_whether_it_has_wakes_is_asked_for_them() {
        assert!(Least.has_wakes());
    }

    #[test]
    fn a_machine_is_due_when_its_timeout_is_and_not_before() {
        assert!(!Least.is_due(Instant::ZERO + Duration::from_millis(4)));
        assert!(Least.is_due(Instant::ZERO + Duration::from_millis(5)));
    }

    #[test]
    fn what_a_machine_does_not_decide_changes_nothing() {
        assert!(!Least.is_heavy());
        assert!(!Least.is_paused() && !Least.wants_pass() && !Least.take_reconnect());
        assert!(!Least::flush_answers(&mut (), &mut &mut Least, 0));
        let mut buf = RecvBuf::new();
        buf.spare()[..2].copy_from_slice(b"ab");
        buf.filled(2);
        buf.lend(2);
        assert!(!Least::refuse(&mut (), &mut buf));
        assert_eq!(buf.unread(), b"ab", "refused, and it comes again");
    }
}
