//! A custom protocol, implemented as a machine with the tools of the core.
//!
//! One end sends lines, and the other returns each in capitals. An unanswered line is sent again on the next
//! connection, so that each is answered once, in order. There is no framing and no handshake of Bowline's.
//! `tests/second_machine.rs` runs it on the runtimes, `netsim/tests/world.rs` over a simulated network,
//! `fuzz/src/machines.rs` against any bytes.
#![allow(dead_code, unreachable_pub, reason = "each that includes it uses another part")]

use std::collections::VecDeque;
use std::fmt;
use std::task::Poll;
use std::time::Duration;

use bowline_core::Batch;
use bowline_core::deadlines::Deadlines;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Access, Ending, Epoch, Machine, Next, Reason, Wake};
use bowline_core::out_queue::{OutQueue, QueueLimit};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_core::waiters::{Ticket, Waiters};

/// The longest line, in bytes.
pub const LONGEST: usize = 1000;
/// Time limit of an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes that may wait to be written.
pub const LIMIT: QueueLimit = QueueLimit { messages: 50, bytes: 16 * 1024 };

/// Violations by a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShoutError {
    /// A line without an end.
    TooLong,
    /// An answer to nothing.
    Unasked,
    /// The stream ended within a line.
    Cut,
    /// No answer came for [`PATIENCE`].
    NoAnswer,
}

impl fmt::Display for ShoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a line without an end",
            Self::Unasked => "an answer to nothing",
            Self::Cut => "the stream ended within a line",
            Self::NoAnswer => "no answer came in time",
        })
    }
}

impl std::error::Error for ShoutError {}

impl From<ShoutError> for Disconnect {
    fn from(error: ShoutError) -> Self {
        Self::foreign(error)
    }
}

/// One end. A `T` wakes a caller that waits for a line.
#[derive(Debug)]
pub struct Shout<T> {
    answers: bool,
    connected: bool,
    closed: bool,
    ending: Option<Disconnect>,
    out: OutQueue,
    /// The number of the next line.
    next: u64,
    /// Lines without an answer yet, by number.
    unanswered: VecDeque<(u64, String)>,
    deadlines: Deadlines<u64>,
    heard: VecDeque<String>,
    line: Waiters<T>,
    tokens: Vec<T>,
    /// The reading side waits for room in the queue.
    paused: bool,
    wake: Wake,
}

impl<T> Shout<T> {
    /// The end that sends lines.
    pub fn saying() -> Self {
        Self::new(false)
    }

    /// The end that answers them.
    pub fn answering() -> Self {
        Self::new(true)
    }

    fn new(answers: bool) -> Self {
        Self {
            answers,
            connected: false,
            closed: false,
            ending: None,
            out: OutQueue::new(),
            next: 0,
            unanswered: VecDeque::new(),
            deadlines: Deadlines::new(),
            heard: VecDeque::new(),
            line: Waiters::new(),
            tokens: Vec::new(),
            paused: false,
            wake: Wake::default(),
        }
    }

    /// Sends a line. Returns false if too much waits to be written.
    pub fn say(&mut self, now: Instant, line: &str) -> bool {
        assert!(!self.answers && line.len() <= LONGEST && !line.contains('\n'));
        if self.out.is_full(&LIMIT) {
            return false;
        }
        self.next += 1;
        self.unanswered.push_back((self.next, line.to_owned()));
        push(&mut self.out, self.next, line.as_bytes());
        self.watch(now, self.next);
        true
    }

    fn watch(&mut self, now: Instant, number: u64) {
        self.wake.attend |= self.deadlines.next().is_none();
        let unanswered = &self.unanswered;
        let live = |key: &u64| unanswered.front().is_some_and(|(first, _)| key >= first);
        self.deadlines.push(now, PATIENCE, number, || unanswered.len(), live);
    }

    /// The oldest received line that was not taken yet; `None` once closed.
    pub fn poll_hear(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Poll<Option<String>> {
        if let Some(line) = self.heard.pop_front() {
            if let Some(ticket) = ticket.take() {
                self.line.leave(ticket);
            }
            return Poll::Ready(Some(line));
        }
        if self.closed {
            return Poll::Ready(None);
        }
        match *ticket {
            Some(held) if self.line.is_waiting(held) => _ = self.line.poll(held, token),
            held => {
                // It was woken, but another caller was faster: it queues again at the end.
                held.map(|held| self.line.leave(held));
                *ticket = Some(self.line.join(token()));
            }
        }
        Poll::Pending
    }

    /// Whether it is the end that sends lines.
    pub fn says(&self) -> bool {
        !self.answers
    }

    /// Bytes of memory allocated for output.
    pub fn memory(&self) -> usize {
        self.out.memory()
    }

    /// Number of lines that were sent and not answered yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    fn handle_line(&mut self, line: &[u8]) -> Result<(), ShoutError> {
        if self.answers {
            self.next += 1;
            push(&mut self.out, self.next, &line.to_ascii_uppercase());
        } else {
            self.unanswered.pop_front().ok_or(ShoutError::Unasked)?;
        }
        self.heard.push_back(String::from_utf8_lossy(line).into_owned());
        self.tokens.extend(self.line.grant_one());
        Ok(())
    }
}

fn push(out: &mut OutQueue, number: u64, line: &[u8]) {
    out.push(number, line.len() + 1, |message| {
        message.put(line);
        message.put(b"\n");
    });
}

/// Passes on one line at a time.
#[derive(Debug, Default)]
pub struct LineReader {
    /// Number of unread bytes that contain no line break.
    searched: usize,
}

impl<T: Send + 'static> Machine for Shout<T> {
    type Token = T;
    type Reader = LineReader;
    type Event<'b> = &'b [u8];
    type Error = ShoutError;

    fn handle_connected(&mut self, now: Instant, _: Epoch) -> LineReader {
        self.connected = true;
        for at in 0..self.unanswered.len() {
            self.watch(now, self.unanswered[at].0);
        }
        LineReader::default()
    }

    fn begin_input(_: &mut LineReader, _: &mut impl Access<Self>, _: Instant, _: usize) {}

    fn next_event<'b>(
        reader: &mut LineReader,
        access: &mut impl Access<Self>,
        _: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<&'b [u8]>, ShoutError> {
        buf.take_lent();
        let machine = access.machine();
        if machine.answers && machine.out.is_full(&LIMIT) {
            machine.paused = true;
            return Ok(Next::Paused);
        }
        let unread = buf.unread();
        let Some(end) = unread[reader.searched..].iter().position(|&byte| byte == b'\n') else {
            reader.searched = unread.len();
            if unread.len() > LONGEST {
                return Err(ShoutError::TooLong);
            }
            buf.want(unread.len() + 1);
            return Ok(Next::NeedData);
        };
        let end = reader.searched + end;
        if end > LONGEST {
            return Err(ShoutError::TooLong);
        }
        machine.handle_line(&unread[..end])?;
        reader.searched = 0;
        buf.lend(end + 1);
        Ok(Next::Event(&buf.lent()[..end]))
    }

    fn end_input(_: &mut LineReader, _: &mut impl Access<Self>, _: Instant, buf: &mut RecvBuf) {
        buf.take_lent();
    }

    fn handle_eof(_: &mut LineReader, buf: &RecvBuf) -> Result<(), ShoutError> {
        if buf.unread().is_empty() { Ok(()) } else { Err(ShoutError::Cut) }
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn is_paused(&self) -> bool {
        self.paused
    }

    fn handle_disconnected(&mut self, _: Instant, lent: Option<Batch>, _: Disconnect) {
        (self.connected, self.paused, self.ending) = (false, false, None);
        // Unanswered lines are sent again, in order, and none twice.
        self.out.disconnect(lent, |_| false);
        self.out.retain(|_| false);
        for (number, line) in &self.unanswered {
            push(&mut self.out, *number, line.as_bytes());
        }
    }

    fn begin_write(&mut self, _: Instant) -> Option<Batch> {
        let batch = self.out.begin_write(self.connected);
        if self.paused && !self.out.is_full(&LIMIT.low_mark()) {
            self.paused = false;
            self.wake.attend = true;
        }
        batch
    }

    fn end_write(&mut self, _: Instant, batch: Batch) -> bool {
        self.out.end_write(batch, |_| false);
        self.out.has_batch(self.connected)
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        self.deadlines.next().map(|at| (at, Reason::Deadline))
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(number) = self.deadlines.pop_due(now) {
            let waits = self.unanswered.front().is_some_and(|(first, _)| number >= *first);
            if waits && self.connected {
                self.ending.get_or_insert_with(|| ShoutError::NoAnswer.into());
            }
        }
    }

    fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
        if self.closed {
            return Some(Ending::Abort(Disconnect::LocalClose));
        }
        self.ending.clone().map(Ending::Abort)
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
        let Self { line, tokens, .. } = self;
        line.close(|token| tokens.push(token));
    }

    fn take_wake(&mut self) -> Wake {
        let wake = std::mem::take(&mut self.wake);
        Wake { write: wake.write | self.out.take_wake(), ..wake }
    }

    fn take_tokens(&mut self, into: &mut Vec<T>) {
        into.append(&mut self.tokens);
    }
}
