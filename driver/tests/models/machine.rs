//! The machine of the models, and its application.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bowline_core::Batch;
use bowline_core::address::Address;
use bowline_core::error::{Disconnect, PeerError};
use bowline_core::machine::{Access, Ending, Machine, Next, Reason, Wake};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_driver::{Application, Flow, LazyGuard, Shared};

/// Every queued byte is one message; every received byte is a reply for the waiting caller.
#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) queued: Vec<u8>,
    pub(crate) lent: bool,
    pub(crate) replies: usize,
    pub(crate) waiting: Option<Waker>,
    pub(crate) tokens: Vec<Waker>,
    pub(crate) closed: bool,
    /// The connection is over.
    pub(crate) gone: bool,
    /// The driver has found nothing to do: only then does it have to be woken.
    pub(crate) idle: bool,
    pub(crate) wake: Wake,
    /// No caller awaits the outcome of its messages.
    pub(crate) streams: bool,
}

impl Toy {
    pub(crate) fn cast(&mut self, byte: u8) {
        self.queued.push(byte);
        if std::mem::take(&mut self.idle) {
            self.wake.write = true;
        }
    }

    /// Whether there is a reply, or the connection is over; otherwise stores the waker.
    pub(crate) fn poll_reply(&mut self, waker: &Waker) -> Option<bool> {
        if self.replies > 0 {
            self.replies -= 1;
            return Some(true);
        }
        if self.closed {
            return Some(false);
        }
        self.waiting = Some(waker.clone());
        None
    }
}

impl Machine for Toy {
    type Token = Waker;
    type Reader = ();
    type Event<'b> = u8;
    type Error = PeerError;

    fn handle_connected(&mut self, _: Instant, _: Epoch) {}
    fn begin_input((): &mut (), _: &mut impl Access<Self>, _: Instant, _: usize) {}

    fn next_event<'b>(
        (): &mut (),
        _: &mut impl Access<Self>,
        _: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<u8>, PeerError> {
        let Some(&byte) = buf.unread().first() else { return Ok(Next::NeedData) };
        buf.consume(1);
        Ok(Next::Event(byte))
    }

    fn end_input((): &mut (), _: &mut impl Access<Self>, _: Instant, _: &mut RecvBuf) {}

    fn handle_eof((): &mut (), _: &RecvBuf) -> Result<(), PeerError> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn handle_disconnected(&mut self, now: Instant, _: Option<Batch>, cause: Disconnect) {
        (self.lent, self.gone) = (false, true);
        self.give_up(now, cause);
    }

    fn begin_write(&mut self, _: Instant) -> Option<Batch> {
        if self.lent {
            return None;
        }
        if self.queued.is_empty() || self.gone {
            self.idle = true;
            return None;
        }
        (self.lent, self.idle) = (true, false);
        Some(Batch::from_bytes(std::mem::take(&mut self.queued)))
    }

    fn end_write(&mut self, _: Instant, batch: Batch) -> bool {
        if self.gone {
            // Late: its connection is over.
            return false;
        }
        assert!(std::mem::take(&mut self.lent), "one batch is out at a time");
        assert!(batch.is_done(), "the socket takes everything");
        self.idle = self.queued.is_empty();
        !self.idle
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
        self.closed.then_some(Ending::Abort(Disconnect::LocalClose))
    }

    fn close(&mut self, now: Instant, _: Duration) {
        self.give_up(now, Disconnect::LocalClose);
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn give_up(&mut self, _: Instant, _: Disconnect) {
        self.closed = true;
        self.wake = Wake { write: true, attend: true };
        self.tokens.extend(self.waiting.take());
    }

    fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }

    fn take_tokens(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.tokens);
    }
}

/// Counts replies.
pub(crate) struct App;

impl Application<Toy> for App {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Toy>>, _: Epoch, _: Option<Address>) {}

    fn event(
        &self,
        (): &mut (),
        (): &mut (),
        access: &mut LazyGuard<'_, Toy>,
        _: u8,
    ) -> Result<Flow, Disconnect> {
        let toy = access.machine();
        toy.replies += 1;
        let waiting = toy.waiting.take();
        toy.tokens.extend(waiting);
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), _: &Disconnect) {}
}
