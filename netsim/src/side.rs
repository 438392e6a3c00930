//! The driver of one machine over a simulated network, without threads or wakers.

use std::fmt;

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::conduit::{Conduit, MakeConduit};
use crate::net::{Direction, Net};

/// The maximum number of pieces of a batch that a conduit is offered at once.
const PIECES: usize = 8;

/// The result of offering an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The application has taken it.
    Yes,
    /// The application has no room: the event is offered again.
    No,
}

/// The handling of events of machines.
pub trait App<M: Machine> {
    /// Handles an event of the machine `end`.
    ///
    /// # Errors
    /// The application ends the connection, with that cause.
    fn event(
        &mut self,
        end: usize,
        now: Instant,
        machine: &mut M,
        reader: &mut M::Reader,
        event: M::Event<'_>,
    ) -> Result<Taken, Disconnect>;

    /// Called before each pass, and while there is no connection: takes data that waits in the machine, and
    /// gives it commands. Returns whether it did something.
    fn work(&mut self, end: usize, now: Instant, machine: &mut M) -> bool {
        let _ = (end, now, machine);
        false
    }
}

/// Takes every event and ignores it: for machines that store what they receive.
impl<M: Machine> App<M> for () {
    fn event(
        &mut self,
        _: usize,
        _: Instant,
        _: &mut M,
        _: &mut M::Reader,
        _: M::Event<'_>,
    ) -> Result<Taken, Disconnect> {
        Ok(Taken::Yes)
    }
}

/// A driver's state for one machine: the reader and the buffer of its connection, and the batch that is being
/// written. Used by [`World`](crate::World), and by tests that simulate the peer themselves.
pub struct Side<M: Machine> {
    end: usize,
    pub(crate) reader: Option<M::Reader>,
    buf: RecvBuf,
    batch: Option<Batch>,
    out: Direction,
    /// The conduit between this end and the network, for each of its connections.
    through: Option<MakeConduit>,
    conduit: Option<Box<dyn Conduit>>,
    /// The writer does not notice the end of a connection: the batch that it was writing is given back when
    /// the next connection is ready.
    pub slow_writer: bool,
    late: Option<Batch>,
    tokens: Vec<M::Token>,
}

impl<M: Machine> fmt::Debug for Side<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, buf, batch, out, late, .. } = self;
        let connected = self.is_connected();
        write!(f, "Side {{ {end}, connected: {connected}, {out:?}, {buf:?}, {batch:?}, {late:?} }}")
    }
}

impl<M: Machine> Side<M> {
    /// Creates the state for the machine with that number, which writes in that direction.
    #[must_use]
    pub fn new(end: usize, out: Direction) -> Self {
        Self {
            end,
            reader: None,
            buf: RecvBuf::new(),
            batch: None,
            out,
            through: None,
            conduit: None,
            slow_writer: false,
            late: None,
            tokens: Vec::new(),
        }
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.reader.is_some()
    }

    /// Sets the direction of writes from the next connection on.
    pub fn set_direction(&mut self, out: Direction) {
        self.out = out;
    }

    /// Puts a conduit between this end and the network on each connection, including the present one, of which
    /// nothing may have been read or written yet.
    pub fn set_through(&mut self, make: MakeConduit) {
        self.through = Some(make);
        self.conduit = Some(make(self.out));
    }

    /// Starts a connection.
    pub fn connect(&mut self, machine: &mut M, now: Instant, epoch: Epoch) {
        self.reader = Some(machine.handle_connected(now, epoch));
        self.buf = RecvBuf::new();
        self.batch = None;
        self.conduit = self.through.map(|make| make(self.out));
    }

    /// Ends the connection. Whole messages that were received on it and that need no later connection are
    /// still delivered.
    pub fn disconnect(&mut self, machine: &mut M, app: &mut impl App<M>, now: Instant, cause: Disconnect) {
        if let Some(mut reader) = self.reader.take() {
            let mut access = &mut *machine;
            let mut any = false;
            while let Some(event) = M::next_leftover(&mut reader, &mut access, now, &mut self.buf, &cause) {
                any = true;
                if !matches!(app.event(self.end, now, access, &mut reader, event), Ok(Taken::Yes)) {
                    break;
                }
            }
            if any {
                M::end_input(&mut reader, &mut access, now, &mut self.buf);
            }
            machine.retire_reader(now, reader, std::mem::take(&mut self.buf));
        }
        let mut lent = self.batch.take();
        if self.slow_writer && self.late.is_none() {
            self.late = lent.take();
        }
        machine.handle_disconnected(now, lent, cause);
    }

    /// Bytes in the receive buffer and in the batch that is being written.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buf.capacity() + self.batch.as_ref().map_or(0, Batch::len)
    }

    /// Reads, works and writes as far as possible. Returns whether something changed. `Err`: the connection
    /// ended, and the machine has handled it.
    ///
    /// # Errors
    /// The cause.
    pub fn step(
        &mut self,
        machine: &mut M,
        app: &mut impl App<M>,
        now: Instant,
        net: &mut Net,
    ) -> Result<bool, Disconnect> {
        let stepped = self.try_step(machine, app, now, net);
        if let Err(cause) = &stepped {
            self.disconnect(machine, app, now, cause.clone());
        }
        self.forget_wakes(machine);
        stepped
    }

    /// Handles the passing of time without a connection. Returns whether the application did something.
    pub fn idle(&mut self, machine: &mut M, app: &mut impl App<M>, now: Instant) -> bool {
        if machine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            machine.handle_timeout(now);
        }
        if machine.is_closed() {
            self.return_late(machine, now);
        }
        let worked = app.work(self.end, now, machine);
        self.forget_wakes(machine);
        worked
    }

    /// Every step checks everything, so that no wakes are needed.
    fn forget_wakes(&mut self, machine: &mut M) {
        let _wake = machine.take_wake();
        machine.take_tokens(&mut self.tokens);
        self.tokens.clear();
    }

    /// Returns the batch of a writer that was still writing when its connection ended, if there is one.
    pub fn return_late(&mut self, machine: &mut M, now: Instant) -> bool {
        let late = self.late.take();
        let is_late = late.is_some();
        if let Some(late) = late {
            let _more = machine.end_write(now, late);
        }
        is_late
    }

    fn try_step(
        &mut self,
        machine: &mut M,
        app: &mut impl App<M>,
        now: Instant,
        net: &mut Net,
    ) -> Result<bool, Disconnect> {
        if self.reader.is_none() {
            return Ok(false);
        }
        if let Some(conduit) = &mut self.conduit {
            conduit.work(now, net)?;
        }
        let is_due = machine.poll_timeout().is_some_and(|(at, _)| at <= now);
        machine.handle_timeout(now);
        if is_due && let Some(reader) = &mut self.reader {
            M::release_memory(reader, &mut &mut *machine, &mut self.buf);
        }
        let mut moved = app.work(self.end, now, machine);
        if machine.is_ready() {
            moved |= self.return_late(machine, now);
        }
        match machine.poll_ending(now) {
            Some(Ending::Abort(cause)) => return Err(cause),
            Some(Ending::Graceful { cause, .. }) if self.batch.is_none() => return Err(cause),
            _ => {}
        }
        if !machine.is_paused() {
            let read = match &mut self.conduit {
                Some(conduit) => conduit.read(now, net, self.buf.spare())?,
                None => {
                    let back = self.out.back();
                    let n = net.read(now, back, self.buf.spare());
                    (n > 0 || net.is_over(back)).then_some(n)
                }
            };
            let n = read.unwrap_or(0);
            self.buf.filled(n);
            moved |= n > 0;
            self.input(machine, app, now, n)?;
            if read == Some(0) {
                let Some(reader) = &mut self.reader else { return Ok(false) };
                return Err(match M::handle_eof(reader, &self.buf) {
                    Ok(()) => Disconnect::PeerClosed,
                    Err(error) => error.into(),
                });
            }
        }
        moved |= self.output(machine, now, net)?;
        if let Some(conduit) = &self.conduit {
            machine.note_held_below(conduit.held());
        }
        moved |= self.conduit.as_mut().is_some_and(|conduit| conduit.take_moved());
        // A slow writer gives its batch back in the step after the machine is ready.
        Ok(moved | (self.late.is_some() && machine.is_ready()))
    }

    fn input(
        &mut self,
        machine: &mut M,
        app: &mut impl App<M>,
        now: Instant,
        n: usize,
    ) -> Result<(), Disconnect> {
        let Self { end, reader: Some(reader), buf, .. } = self else { return Ok(()) };
        let mut access = &mut *machine;
        M::begin_input(reader, &mut access, now, n);
        loop {
            let event = match M::next_event(reader, &mut access, now, buf) {
                Ok(Next::Event(event)) => event,
                Ok(Next::NeedData | Next::Paused) => break,
                Err(error) => return Err(error.into()),
            };
            let taken = app.event(*end, now, access, reader, event)?;
            if taken == Taken::No && !M::refuse(reader, buf) {
                break;
            }
        }
        M::end_input(reader, &mut access, now, buf);
        Ok(())
    }

    fn output(&mut self, machine: &mut M, now: Instant, net: &mut Net) -> Result<bool, Disconnect> {
        let mut moved = false;
        loop {
            let Some(mut batch) = self.batch.take().or_else(|| machine.begin_write(now)) else {
                return Ok(moved);
            };
            while !batch.is_done() {
                let mut slices = [&[][..]; PIECES];
                let filled = batch.slices(&mut slices);
                let written = match &mut self.conduit {
                    Some(conduit) => conduit.write(now, net, &slices[..filled]),
                    None => Ok(net.write(now, self.out, slices[0])),
                };
                let n = match written {
                    Ok(n @ 1..) => n,
                    other => {
                        self.batch = Some(batch);
                        return other.map(|_| moved);
                    }
                };
                batch.wrote(n);
                machine.handle_progress(now, batch.written());
                moved = true;
            }
            let _more = machine.end_write(now, batch);
        }
    }
}
