//! One direction of a proxy.

use std::task::{Context, Poll};

use bowline_core::waiters::Ticket;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use super::steer::{FlowCounters, Steer};
use crate::core::{Interest, SocketCore};
use crate::error::Refusal;
use crate::parts::with_parts;

/// Passes the messages that one socket receives to the other, one at a time.
#[derive(Debug)]
pub(super) struct Flow {
    from: Arc<SocketCore>,
    to: Arc<SocketCore>,
    /// Its memory is reused.
    message: Message,
    /// The message was received, and not sent yet.
    is_held: bool,
    receiving: Option<Ticket>,
    sending: Option<Ticket>,
}

impl Flow {
    pub(super) fn new(from: Arc<SocketCore>, to: Arc<SocketCore>) -> Self {
        Self { from, to, message: Message::new(), is_held: false, receiving: None, sending: None }
    }

    /// Moves messages, until there is none, there is no room for one, or `left` is used up.
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

    /// Receives a message, if the other socket would accept one. `false`: it did not; the task is woken when
    /// that changes.
    fn receive(&mut self, cx: &mut Context<'_>, poller: u64, steer: &Steer) -> bool {
        if steer.is_paused() || !self.to.poll_ready(poller, Interest::SEND, cx).send || self.to.is_closing() {
            // Other receivers of the socket must not wait for this one.
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

    /// The flow ends: returns the message that it holds.
    pub(super) fn end(&mut self, poller: u64) -> Option<Message> {
        self.leave_receivers();
        if let Some(ticket) = self.sending.take() {
            self.to.leave_senders(ticket);
        }
        self.to.leave_pollers(poller);
        std::mem::take(&mut self.is_held).then(|| std::mem::take(&mut self.message))
    }
}
