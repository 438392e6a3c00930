//! The task between a socket and its channels.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{RecvError, SendError as SocketSendError};
use bowline_zmtp::socket_type::SocketType;

use super::progress::Progress;
use super::takes_turns;
use crate::channel::{Entry, Inlet, Outlet};
use crate::error::{ReceiveError, Refusal, SendError};
use crate::parts::with_parts;
use crate::socket::Handle;

/// Messages in each direction before other tasks get their turn.
const AT_ONCE: u32 = 128;
/// How long to wait for the close after the linger time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Moves messages from `in` to the socket and from the socket to `out`. Ready when both have ended.
pub(super) struct Pump<R: Runtime> {
    handle: Arc<Handle<R>>,
    kind: SocketType,
    input: Option<Inlet>,
    output: Option<Outlet>,
    /// Taken from `in`; not accepted by the socket yet.
    hand: Option<Message>,
    sending: Option<Ticket>,
    /// Taken from the socket; not accepted by `out` yet.
    got: Option<Entry>,
    receiving: Option<Ticket>,
    /// `in` is closed: its messages are sent until this time.
    until: Option<Instant>,
    /// The socket is closing, and is given up at this time.
    closing: Option<Instant>,
    alarm: Option<Alarm<R::Timer>>,
    unsent: Vec<Message>,
    progress: Arc<Progress>,
    has_ended: bool,
}

impl<R: Runtime> Pump<R> {
    pub(super) fn new(
        handle: Arc<Handle<R>>,
        kind: SocketType,
        input: Option<Inlet>,
        output: Option<Outlet>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            handle,
            kind,
            input,
            output,
            hand: None,
            sending: None,
            got: None,
            receiving: None,
            until: None,
            closing: None,
            alarm: None,
            unsent: Vec::new(),
            progress,
            has_ended: false,
        }
    }

    /// Sends the messages of `in`. `true`: something was done.
    fn send(&mut self, cx: &mut Context<'_>, left: &mut u32) -> bool {
        let mut moved = false;
        while *left > 0 {
            let message = match (&mut self.hand, &mut self.input) {
                (Some(message), _) => message,
                (hand, Some(input)) => match input.poll_pop(cx) {
                    Poll::Ready(Some(Ok(message))) => hand.insert(message),
                    // An error of another socket, whose `out` this is.
                    Poll::Ready(Some(Err(_))) => continue,
                    Poll::Ready(None) => {
                        self.input = None;
                        self.close();
                        return true;
                    }
                    Poll::Pending => return moved,
                },
                (None, None) => {
                    if self.output.is_none() {
                        self.close();
                    }
                    return moved;
                }
            };
            let core = &self.handle.core;
            match with_parts(message, |parts| core.poll_send_parts(parts, &mut self.sending, cx)) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(())) => {
                    self.hand = None;
                    self.progress.note_sent();
                    *left -= 1;
                }
                Poll::Ready(Err(Refusal::Closed)) => {
                    self.give_up();
                    return true;
                }
                // It is sent when there is a reply to the one before.
                Poll::Ready(Err(Refusal::Socket(SocketSendError::State(SocketType::Req)))) => return moved,
                Poll::Ready(Err(reason)) => {
                    let message = self.hand.take().unwrap_or_default();
                    self.progress.note_refused(message.bytes(), SendError::new(reason, message));
                    *left -= 1;
                }
            }
            moved = true;
        }
        moved
    }

    /// Moves received messages to `out`. `true`: something was done.
    fn receive(&mut self, cx: &mut Context<'_>, left: &mut u32) -> bool {
        let mut moved = false;
        while *left > 0 {
            let Some(output) = &mut self.output else { return moved };
            if self.got.is_some() {
                match output.poll_push(&mut self.got, cx) {
                    Poll::Pending => return moved,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        self.end_output();
                        return true;
                    }
                }
            }
            let core = &self.handle.core;
            let mut message = Message::new();
            self.got = match core.poll_receive_into(&mut message, &mut self.receiving, cx) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(_)) => {
                    self.progress.note_received();
                    Some(Ok(message))
                }
                Poll::Ready(Err(lost @ ReceiveError::Socket(RecvError::PeerLost))) => Some(Err(lost)),
                // Its turn to receive comes after it has sent.
                Poll::Ready(Err(ReceiveError::Socket(RecvError::State(_)))) if !core.is_closing() => {
                    return moved;
                }
                Poll::Ready(Err(_)) => {
                    self.output = None;
                    return true;
                }
            };
            *left -= 1;
            moved = true;
        }
        moved
    }

    /// `out` has no receiver any more.
    fn end_output(&mut self) {
        self.output = None;
        if matches!(self.got.take(), Some(Ok(_))) {
            self.progress.note_undelivered();
        }
        self.leave_receivers();
        // Without replies a REQ is useless, and a REP without requests; messages in `in` are still sent.
        if takes_turns(self.kind) && self.input.as_ref().is_some_and(|input| !input.close_if_last()) {
            self.input = None;
        }
        if self.input.is_none() {
            self.until.get_or_insert_with(|| clock::after(self.handle.core.linger));
            if self.hand.is_none() {
                self.close();
            }
        }
    }

    /// Begins to close the socket, which sends its waiting messages for the rest of the linger time.
    fn close(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let linger = match self.until {
            Some(until) => until.saturating_since(clock::now()),
            None => self.handle.core.linger,
        };
        self.closing = Some(clock::after(linger + PATIENCE));
        drop(self.handle.begin_close(linger));
    }

    /// The socket accepts nothing any more: the rest are messages that no peer got.
    fn give_up(&mut self) {
        self.give_up_input();
        self.close();
    }

    fn give_up_input(&mut self) {
        if let Some(ticket) = self.sending.take() {
            self.handle.core.leave_senders(ticket);
        }
        self.unsent.extend(self.hand.take());
        if let Some(input) = self.input.take() {
            self.unsent.extend(input.end());
        }
    }

    fn leave_receivers(&mut self) {
        if let Some(ticket) = self.receiving.take() {
            self.handle.core.leave_receivers(ticket);
        }
    }

    /// Checks what may have changed at the other ends.
    fn look(&mut self, cx: &mut Context<'_>) {
        self.handle.core.watch(cx.waker());
        if self.closing.is_none() && self.handle.core.is_closing() {
            self.give_up();
        }
        if let Some(input) = &self.input
            && self.until.is_none()
            && input.poll_closed(cx).is_ready()
        {
            self.until = Some(clock::after(self.handle.core.linger));
        }
        if self.output.as_ref().is_some_and(|output| output.poll_closed(cx).is_ready()) {
            self.end_output();
        }
    }

    /// Waits for the time limit of closing. `true`: it is over.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(until) = self.closing.or(self.until) else { return false };
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
        while clock::now() < until {
            if !alarm.poll(cx, until) {
                return false;
            }
        }
        true
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let mut unsent = std::mem::take(&mut self.unsent);
            // Those in the socket are older.
            unsent.splice(0..0, self.handle.core.take_unsent());
            self.progress.end(unsent);
        }
    }
}

impl<R: Runtime> Future for Pump<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.look(cx);
        let (mut to_send, mut to_receive) = (AT_ONCE, AT_ONCE);
        // For a REQ, a reply lets the next request be sent, and the other way round.
        while this.send(cx, &mut to_send) | this.receive(cx, &mut to_receive) {}
        if to_send == 0 || to_receive == 0 {
            R::wake_later(cx.waker().clone());
            return Poll::Pending;
        }
        if this.has_ended {
            return if this.output.is_none() { Poll::Ready(()) } else { Poll::Pending };
        }
        if this.closing.is_some() {
            if this.handle.core.poll_closed(cx.waker()) || this.poll_time(cx) {
                this.end();
                if this.output.is_none() {
                    return Poll::Ready(());
                }
            }
        } else if this.poll_time(cx) {
            this.give_up();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Pump<R> {
    /// It is over, or the runtime dropped the task.
    fn drop(&mut self) {
        self.give_up();
        self.leave_receivers();
        if matches!(self.got.take(), Some(Ok(_))) {
            self.progress.note_undelivered();
        }
        self.end();
    }
}
