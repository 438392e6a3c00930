//! One way through a proxy.

use std::task::{Context, Poll};

use bowline_core::waiters::Ticket;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use super::steer::{FlowCounters, Steer};
use crate::core::{Interest, SocketCore};
use crate::error::Refusal;
use crate::parts::with_parts;

/// What one socket receives goes to the other. One message at a time is between them.
#[derive(Debug)]
pub(super) struct Flow {
    from: Arc<SocketCore>,
    to: Arc<SocketCore>,
    /// Its memory is used again.
    message: Message,
    /// The message was received, and is not sent.
    is_held: bool,
    receiving: Option<Ticket>,
    sending: Option<Ticket>,
}

impl Flow {
    pub(super) fn new(from: Arc<SocketCore>, to: Arc<SocketCore>) -> Self {
        Self { from, to, message: Message::new(), is_held: false, receiving: None, sending: None }
    }

    /// Moves messages, until there is none, no room for one, or `left` is used up.
    pub(super) fn run(
        &mut self,
        cx: &mut Context<'_>,
        poller: u64,
        steer: &Steer,
        counters: &FlowCounters,
        capture: Option<&SocketCore>,
        left: &mut u32,
    ) {
        while *left > 0 {
            if !self.is_held && !self.receive(cx, poller, steer) {
                return;
            }
            let (to, sending) = (&self.to, &mut self.sending);
            match with_parts(&self.message, |parts| to.poll_send_parts(parts, sending, cx)) {
                Poll::Pending | Poll::Ready(Err(Refusal::Closed)) => return,
                Poll::Ready(Ok(())) => {
                    counters.note_passed(self.message.bytes());
                    if let Some(capture) = capture
                        && with_parts(&self.message, |parts| capture.try_send_parts(parts)).is_err()
                    {
                        steer.note_capture_lost();
                    }
                }
                Poll::Ready(Err(_)) => counters.note_refused(),
            }
            self.is_held = false;
            *left -= 1;
        }
    }

    /// Receives a message, if the other socket would take one. False: it did not; the task is woken when that changes.
    fn receive(&mut self, cx: &mut Context<'_>, poller: u64, steer: &Steer) -> bool {
        if steer.is_paused() || !self.to.poll_ready(poller, Interest::SEND, cx).send || self.to.is_closing() {
            // Others that receive from it are not to wait for this one.
            self.leave_receivers();
            return false;
        }
        let received = self.from.poll_receive_into(&mut self.message, &mut self.receiving, cx);
        self.is_held = matches!(received, Poll::Ready(Ok(_)));
        self.is_held
    }

    fn leave_receivers(&mut self) {
        if let Some(ticket) = self.receiving.take() {
            self.from.leave_receivers(ticket);
        }
    }

    /// The flow ends: the message that it holds.
    pub(super) fn end(&mut self, poller: u64) -> Option<Message> {
        self.leave_receivers();
        if let Some(ticket) = self.sending.take() {
            self.to.leave_senders(ticket);
        }
        self.to.leave_pollers(poller);
        std::mem::take(&mut self.is_held).then(|| std::mem::take(&mut self.message))
    }
}
