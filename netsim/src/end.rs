//! One end of a simulated connection.

use bowline_core::Batch;
use bowline_core::body::Body;
use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::link::{Event, Inbound, InboundState, Link, LinkEvent, Message, Reader, Role, State};
use bowline_core::machine::{Ending, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::net::{Direction, Net};

/// A link with what drives it. Requests are answered with their own bodies, messages kept.
#[derive(Debug)]
pub struct End<F: Framing> {
    /// The machine.
    pub link: Link<F, u64>,
    reader: Option<Reader<F>>,
    buf: RecvBuf,
    batch: Option<Batch>,
    out: Direction,
    /// Messages received, in order.
    pub messages: Vec<Vec<u8>>,
    /// Requests received, in order.
    pub requests: Vec<Vec<u8>>,
    /// Messages are taken as they come; otherwise they wait in the link's queue.
    pub takes: bool,
    /// Requests are answered as they come; otherwise their handlers wait.
    pub answers: bool,
    /// Requests whose handlers wait, and their bodies.
    waiting: Vec<(Inbound, Body)>,
    /// Whoever writes does not notice the end of a connection: what it was writing comes back when
    /// the next one is ready.
    pub slow_writer: bool,
    late: Option<Batch>,
    tokens: Vec<u64>,
    taken: Vec<Message>,
    /// What a [`Ledger`](crate::Ledger) has no use for.
    pub events: Vec<LinkEvent>,
}

impl<F: Framing> End<F> {
    /// Without a connection.
    #[must_use]
    pub fn new(config: Config<F>, role: Role) -> Self {
        let out = match role {
            Role::Dialing => Direction::ToServer,
            Role::Accepting => Direction::ToClient,
        };
        Self {
            link: Link::new(config, role),
            reader: None,
            buf: RecvBuf::new(),
            batch: None,
            out,
            messages: Vec::new(),
            requests: Vec::new(),
            takes: true,
            answers: true,
            waiting: Vec::new(),
            slow_writer: false,
            late: None,
            tokens: Vec::new(),
            taken: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Whether it has a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.reader.is_some()
    }

    /// A connection is there.
    pub fn connect(&mut self, now: Instant, epoch: Epoch) {
        self.reader = Some(self.link.handle_connected(now, epoch));
        self.buf = RecvBuf::new();
        self.batch = None;
    }

    /// The connection is gone.
    pub fn disconnect(&mut self, now: Instant, cause: Disconnect) {
        if let Some(reader) = self.reader.take() {
            self.link.retire_reader(now, reader);
        }
        let mut lent = self.batch.take();
        if self.slow_writer && self.late.is_none() {
            self.late = lent.take();
        }
        self.link.handle_disconnected(now, lent, cause);
    }

    /// Reads, works and writes as far as it goes. True: something moved. `Err`: the connection is
    /// over, and this end knows.
    ///
    /// # Errors
    /// Why.
    pub fn step(&mut self, now: Instant, net: &mut Net) -> Result<bool, Disconnect> {
        let stepped = self.try_step(now, net);
        if let Err(cause) = &stepped {
            self.disconnect(now, cause.clone());
        }
        self.link.take_tokens(&mut self.tokens);
        self.tokens.clear();
        stepped
    }

    /// Bytes of memory held for this end of the connection.
    #[must_use]
    pub fn memory(&self) -> usize {
        let reader = self.reader.as_ref().map_or(0, Reader::memory);
        let batch = self.batch.as_ref().map_or(0, Batch::len);
        self.link.memory() + reader + self.buf.capacity() + batch
    }

    /// Bytes of memory held for messages that came in part, or that wait to be handed over.
    #[must_use]
    pub fn reader_memory(&self) -> usize {
        self.reader.as_ref().map_or(0, Reader::memory)
    }

    /// Takes messages that wait and answers requests that wait, if it does.
    fn catch_up(&mut self) -> bool {
        let mut moved = false;
        if self.takes && self.link.take_received(usize::MAX, &mut self.taken) > 0 {
            self.messages.extend(self.taken.drain(..).map(|message| message.body.to_vec()));
            moved = true;
        }
        if self.answers {
            for (inbound, body) in self.waiting.drain(..) {
                match self.link.poll_inbound(inbound, None) {
                    InboundState::Wanted => self.link.answer(inbound, Ok((&body).into())),
                    _ => self.link.finish_inbound(inbound),
                }
                moved = true;
            }
        }
        moved
    }

    /// Time passes without a connection.
    pub fn idle(&mut self, now: Instant) {
        if self.link.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.link.handle_timeout(now);
        }
        if self.link.is_closed() {
            self.return_late(now);
        }
        self.catch_up();
        self.link.take_tokens(&mut self.tokens);
        self.tokens.clear();
    }

    /// Whoever was still writing when a connection ended gives its batch back.
    pub(crate) fn return_late(&mut self, now: Instant) -> bool {
        let late = self.late.take();
        let is_late = late.is_some();
        if let Some(late) = late {
            let _more = self.link.end_write(now, late);
        }
        is_late
    }

    fn try_step(&mut self, now: Instant, net: &mut Net) -> Result<bool, Disconnect> {
        if self.reader.is_none() {
            return Ok(false);
        }
        self.link.handle_timeout(now);
        let mut moved = self.catch_up();
        if self.link.state() == State::Ready {
            moved |= self.return_late(now);
        }
        match self.link.poll_ending(now) {
            Some(Ending::Abort(cause)) => return Err(cause),
            Some(Ending::Graceful { cause, .. }) if self.batch.is_none() => return Err(cause),
            _ => {}
        }
        if !self.link.is_paused() {
            let back = match self.out {
                Direction::ToServer => Direction::ToClient,
                Direction::ToClient => Direction::ToServer,
            };
            let n = net.read(now, back, self.buf.spare());
            self.buf.filled(n);
            moved |= n > 0;
            self.input(now, n)?;
            if n == 0 && net.is_over(back) {
                let Some(reader) = &mut self.reader else { return Ok(false) };
                return Err(match Link::<F, u64>::handle_eof(reader, &self.buf) {
                    Ok(()) => Disconnect::PeerClosed,
                    Err(error) => error.into(),
                });
            }
        }
        moved |= self.output(now, net);
        // A slow writer gives its batch back in the next step after the link is ready.
        Ok(moved | (self.late.is_some() && self.link.state() == State::Ready))
    }

    fn input(&mut self, now: Instant, n: usize) -> Result<(), Disconnect> {
        let Self { link, reader: Some(reader), buf, messages, requests, takes, answers, waiting, .. } = self
        else {
            return Ok(());
        };
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf)? {
            match event {
                Event::Burst(run) => {
                    for message in run {
                        if *takes {
                            messages.push(message.body.to_vec());
                        } else {
                            let kept = access.enqueue_received(&message);
                            debug_assert!(kept, "with flow control the window is the bound");
                        }
                    }
                }
                Event::Message(message) if *takes => messages.push(message.body.to_vec()),
                Event::Message(message) => {
                    let room = access.enqueue_received(&message) || Link::<F, u64>::refuse(reader, buf);
                    if !room {
                        break;
                    }
                }
                Event::Request(request) if !*answers => {
                    if let Some(inbound) = access.open_inbound(now, &request)? {
                        requests.push(request.body.to_vec());
                        waiting.push((inbound, request.to_body()));
                    } else if !Link::<F, u64>::refuse(reader, buf) {
                        break;
                    }
                }
                Event::Request(request) => {
                    requests.push(request.body.to_vec());
                    // Too large an answer is told to the caller by the link itself.
                    let _ = reader.answer(request.id(), request.body.into());
                }
                _ => {}
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        Ok(())
    }

    fn output(&mut self, now: Instant, net: &mut Net) -> bool {
        let mut moved = false;
        loop {
            let Some(mut batch) = self.batch.take().or_else(|| self.link.begin_write(now)) else {
                return moved;
            };
            while !batch.is_done() {
                let mut slices = [&[][..]; 1];
                batch.slices(&mut slices);
                let n = net.write(now, self.out, slices[0]);
                if n == 0 {
                    self.batch = Some(batch);
                    return moved;
                }
                batch.wrote(n);
                self.link.handle_progress(now, batch.written());
                moved = true;
            }
            let _more = self.link.end_write(now, batch);
        }
    }
}
