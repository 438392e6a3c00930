//! What a driver drives: any protocol that can be told of connections, bytes and time.

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

/// The way from the reading half to the machine behind its lock.
///
/// A single owner passes `&mut machine`. A driver passes a guard that takes its lock at the first
/// use and lets go of it before application code runs, so that one lock covers a whole batch of
/// replies and none is held while a handler works.
pub trait Access<M> {
    /// The machine; takes the lock if it is not held.
    fn machine(&mut self) -> &mut M;
}

impl<M> Access<M> for &mut M {
    fn machine(&mut self) -> &mut M {
        self
    }
}

/// What came of asking for the next event.
#[derive(Debug)]
pub enum Next<E> {
    /// Something for the application. The next step, or dropping the buffer, consumes it.
    Event(E),
    /// Nothing more in these bytes.
    NeedData,
    /// The machine takes nothing more for now, whatever comes: see [`Machine::is_paused`].
    Paused,
}

/// Who a command wants woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Wake {
    /// The writing side: there is something to write, and no write is under way.
    pub write: bool,
    /// The side that reads and watches the time: reading can go on, a timeout is earlier than the
    /// driver knows, or the connection shall end.
    pub attend: bool,
}

impl Wake {
    /// Whether anybody is to be woken.
    #[must_use]
    pub const fn any(self) -> bool {
        self.write || self.attend
    }
}

/// How the machine wants its connection to end.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// Everything is written and answered: shut the writing side down, read until the peer ends
    /// its side or `wait` is over, then close.
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
    /// How long the peer's end of the stream is waited for.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self {
            Self::Graceful { wait, .. } => *wait,
            Self::Abort(_) => Duration::ZERO,
        }
    }
}

/// A protocol as a pure state machine: bytes in, batches out and back, timeouts, connection up
/// and down.
///
/// It has two halves. The machine itself sits behind the driver's lock; everybody who sends, and
/// the driver, go through it. The [`Reader`](Self::Reader) parses; it belongs to the side that reads the
/// socket, lives as long as one connection, and reaches the machine through [`Access`] only when
/// it must. All methods may be called in any order; the machine stays consistent when its outputs
/// are not drained.
///
/// The driver's side of the contract:
///
/// 1. [`handle_connected`](Self::handle_connected) when a socket is there, and an empty input
///    pass ([`begin_input`](Self::begin_input) with 0 bytes, [`next_event`](Self::next_event)
///    until it has no more, [`end_input`](Self::end_input)).
/// 2. For every read the same pass; at end of stream [`handle_eof`](Self::handle_eof).
/// 3. [`begin_write`](Self::begin_write) until it says `None`; each batch is written and given
///    back with [`end_write`](Self::end_write). One batch is out at a time: holding it is the
///    right to write.
/// 4. Sleep until bytes can be read or written, a command woke it
///    ([`take_wake`](Self::take_wake) was true after a command), or
///    [`poll_timeout`](Self::poll_timeout); then [`handle_timeout`](Self::handle_timeout).
/// 5. When [`poll_ending`](Self::poll_ending) says so, or anything fails:
///    [`handle_disconnected`](Self::handle_disconnected), with the batch that is out.
///
/// After every step, tokens from [`take_tokens`](Self::take_tokens) are woken, unlocked.
pub trait Machine: Sized + Send + 'static {
    /// Wakes one waiting caller: a `Waker` for drivers, anything for simulations.
    type Token: Send;
    /// The reading half, one per connection.
    type Reader: Send;
    /// What the application learns; borrows from the receive buffer.
    type Event<'b>;
    /// How a peer breaks this protocol. A protocol that has no other place for it in [`Disconnect`]
    /// converts with [`Disconnect::foreign`].
    type Error: core::error::Error + Into<Disconnect>;

    /// A connection is there. The epoch is larger than any before.
    fn handle_connected(&mut self, now: Instant, epoch: Epoch) -> Self::Reader;

    /// `bytes` more bytes are in the buffer (0 for a pass that only resumes).
    fn begin_input(reader: &mut Self::Reader, access: &mut impl Access<Self>, now: Instant, bytes: usize);

    /// The next thing the application should know.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection must be closed.
    fn next_event<'b>(
        reader: &mut Self::Reader,
        access: &mut impl Access<Self>,
        now: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<Self::Event<'b>>, Self::Error>;

    /// The application did not take the event lent last: it comes again. False: reading pauses
    /// until then; true: it is kept aside, and the pass goes on.
    fn refuse(reader: &mut Self::Reader, buf: &mut RecvBuf) -> bool {
        let _ = reader;
        buf.unlend();
        false
    }

    /// Hands answers that the reader kept back to the machine, if they are at least `pile` bytes and
    /// can be written now. True: they are, and had better be written before the pass is over, so
    /// that both sides work at the same time.
    #[inline]
    fn flush_answers(reader: &mut Self::Reader, access: &mut impl Access<Self>, pile: usize) -> bool {
        let _ = (reader, access, pile);
        false
    }

    /// The pass is over: what the reader kept back goes to the machine.
    fn end_input(reader: &mut Self::Reader, access: &mut impl Access<Self>, now: Instant, buf: &mut RecvBuf);

    /// The peer ended its stream.
    ///
    /// # Errors
    /// Within a frame.
    fn handle_eof(reader: &mut Self::Reader, buf: &RecvBuf) -> Result<(), Self::Error>;

    /// Whether the connection is past its handshake.
    fn is_ready(&self) -> bool;

    /// Whether a connection of this machine ever got past its handshake, even if it is gone again: what makes room
    /// for younger handshakes is not for it. By default, whether the present one [did](Self::is_ready).
    fn was_ready(&self) -> bool {
        self.is_ready()
    }

    /// Whether reading makes no sense now; a [`take_wake`](Self::take_wake) says when it does.
    fn is_paused(&self) -> bool {
        false
    }

    /// Whether taking more in is work that others need not wait for: what comes is part of something
    /// long that is not whole, or its answers are long.
    fn is_heavy(&self) -> bool {
        false
    }

    /// Whether a pass without new bytes has something to hand over that was kept aside before.
    fn wants_pass(&self) -> bool {
        false
    }

    /// The connection is over for that cause. What came on it whole, and had to wait, and has no later
    /// connection to wait for, is still handed over, one event for each call. `None`: there is no more. To be
    /// said before [`retire_reader`](Self::retire_reader), with [`end_input`](Self::end_input) behind it if there
    /// were events. An event that the application refuses is the last.
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

    /// The connection's reader reads no more: what it holds may be wanted by the next one. To be
    /// said before [`handle_disconnected`](Self::handle_disconnected).
    fn retire_reader(&mut self, now: Instant, reader: Self::Reader) {
        let _ = (now, reader);
    }

    /// The connection is gone. `lent` is the batch that was out, if the caller has it.
    fn handle_disconnected(&mut self, now: Instant, lent: Option<Batch>, cause: Disconnect);

    /// Lends the next bytes to write. `None`: nothing to write, or a batch is out.
    fn begin_write(&mut self, now: Instant) -> Option<Batch>;

    /// `written` bytes of the batch that is out have left so far; says so to the write-stall timer.
    fn handle_progress(&mut self, now: Instant, written: usize) {
        let _ = (now, written);
    }

    /// Takes the batch back, wholly written or not. True if there is more to write, which is then
    /// the caller's to do or to wake the driver for.
    #[must_use]
    fn end_write(&mut self, now: Instant, batch: Batch) -> bool;

    /// When [`handle_timeout`](Self::handle_timeout) should be called, and why. Remembers what it
    /// said: a command that makes it earlier asks for a wake.
    fn poll_timeout(&mut self) -> Option<(Instant, Reason)>;

    /// Whether [`handle_timeout`](Self::handle_timeout) should be called now. For a driver that is at
    /// work: it need not be as exact as [`poll_timeout`](Self::poll_timeout), which is asked before
    /// the driver sleeps.
    #[inline]
    fn is_due(&mut self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|(at, _)| at <= now)
    }

    /// Time has passed. May be called early or twice.
    fn handle_timeout(&mut self, now: Instant);

    /// Whether and how the connection shall end. While the peer's end of the stream is waited for, the
    /// driver asks again, and waits no longer than what comes last says.
    fn poll_ending(&mut self, now: Instant) -> Option<Ending>;

    /// Closes the machine for good: drain for at most `linger`, then end.
    fn close(&mut self, now: Instant, linger: Duration);

    /// Whether it is closed and there is nothing left to do: no reconnecting.
    fn is_closed(&self) -> bool;

    /// There will be no further connection. If one is up, its driver may be told by
    /// [`poll_ending`](Self::poll_ending) to end it, and the machine is closed when it has.
    fn give_up(&mut self, now: Instant, cause: Disconnect);

    /// Ends for good, at once: a connection that is up is closed by its driver, which
    /// [`poll_ending`](Self::poll_ending) tells so.
    fn abort(&mut self, now: Instant, cause: Disconnect) {
        self.give_up(now, cause);
    }

    /// A dial begins.
    fn handle_dialing(&mut self, address: Address, attempt: u32) {
        let _ = (address, attempt);
    }

    /// A dial, a look-up or a handshake failed.
    fn handle_dial_failed(&mut self, attempt: u32, failure: DialFailure) {
        let _ = (attempt, failure);
    }

    /// A wait begins before the next attempt to connect, because the last one failed or the last
    /// connection did not last.
    fn handle_waiting(&mut self, attempt: u32, after: Duration, cause: Disconnect) {
        let _ = (attempt, after, cause);
    }

    /// Without a connection: whether one is wanted now, once, so that a wait ends.
    fn take_reconnect(&mut self) -> bool {
        false
    }

    /// Whether [`take_wake`](Self::take_wake) or [`take_tokens`](Self::take_tokens) may have
    /// something. For those who ask after each command, and mostly in vain.
    fn has_wakes(&self) -> bool {
        true
    }

    /// Who has to be woken since the last time this was asked.
    fn take_wake(&mut self) -> Wake;

    /// The counter of a server's memory counts what this machine holds from now on.
    fn count_memory(&mut self) {}

    /// The server needs the memory that this machine holds, `held` bytes by its last word: it lets go of
    /// what it can, and [aborts](Self::abort). Returns how many bytes it still holds until its connection
    /// is over.
    fn close_for_memory(&mut self, now: Instant, held: usize, limit: usize) -> usize {
        self.abort(now, Disconnect::ServerMemory { held: held as u64, limit: limit as u64 });
        0
    }

    /// What the machine holds of its server's memory, if it has to say so: once after each change
    /// that matters. The counter (see [`crate::memory`]) answers with
    /// [`handle_memory`](Self::handle_memory).
    fn take_holding(&mut self) -> Option<Holding> {
        None
    }

    /// What the machine may hold from now on.
    fn handle_memory(&mut self, now: Instant, verdict: Verdict) {
        let _ = (now, verdict);
    }

    /// Moves the tokens of callers to wake to the end of `into`.
    fn take_tokens(&mut self, into: &mut Vec<Self::Token>);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerError;

    /// A machine with the least that one has to have.
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
