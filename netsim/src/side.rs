//! What drives one machine over a simulated network: a driver's half, without threads or wakers.

use std::fmt;

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::net::{Direction, Net};

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The application has it.
    Yes,
    /// The application has no room: it comes again.
    No,
}

/// What the application does with what its machines tell it.
pub trait App<M: Machine> {
    /// A machine told something. `end` says which one.
    ///
    /// # Errors
    /// The application ends the connection.
    fn event(
        &mut self,
        end: usize,
        now: Instant,
        machine: &mut M,
        reader: &mut M::Reader,
        event: M::Event<'_>,
    ) -> Result<Taken, Disconnect>;

    /// Before each pass, and while there is no connection: takes what waits in the machine, and gives
    /// it commands. True: it did something.
    fn work(&mut self, end: usize, now: Instant, machine: &mut M) -> bool {
        let _ = (end, now, machine);
        false
    }
}

/// Takes every event and does nothing with it: for machines that keep what they hear.
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

/// All that a driver has beside a machine: the reader and the buffer of its connection, the batch that
/// is being written. Under [`World`](crate::World), and for tests that play the peer themselves.
pub struct Side<M: Machine> {
    end: usize,
    pub(crate) reader: Option<M::Reader>,
    buf: RecvBuf,
    batch: Option<Batch>,
    out: Direction,
    /// The writer does not notice the end of a connection: what it was writing comes back when the next
    /// one is ready.
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
    /// Of the machine with that number, writing in that direction.
    #[must_use]
    pub fn new(end: usize, out: Direction) -> Self {
        Self {
            end,
            reader: None,
            buf: RecvBuf::new(),
            batch: None,
            out,
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

    /// Writes in that direction from the next connection on.
    pub fn set_direction(&mut self, out: Direction) {
        self.out = out;
    }

    /// A connection is there.
    pub fn connect(&mut self, machine: &mut M, now: Instant, epoch: Epoch) {
        self.reader = Some(machine.handle_connected(now, epoch));
        self.buf = RecvBuf::new();
        self.batch = None;
    }

    /// The connection is gone. What came on it whole and has no later one to wait for is still handed over.
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
            machine.retire_reader(now, reader);
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

    /// Reads, works and writes as far as it goes. True: something moved. `Err`: the connection is over,
    /// and the machine knows.
    ///
    /// # Errors
    /// Why.
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

    /// Time passes without a connection. True: the application did something.
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

    /// Everything is looked at in every step, so that nothing has to be woken.
    fn forget_wakes(&mut self, machine: &mut M) {
        let _wake = machine.take_wake();
        machine.take_tokens(&mut self.tokens);
        self.tokens.clear();
    }

    /// A writer that was still at it when a connection ended gives its batch back, if there is one.
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
        machine.handle_timeout(now);
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
            let back = self.out.back();
            let n = net.read(now, back, self.buf.spare());
            self.buf.filled(n);
            moved |= n > 0;
            self.input(machine, app, now, n)?;
            if n == 0 && net.is_over(back) {
                let Some(reader) = &mut self.reader else { return Ok(false) };
                return Err(match M::handle_eof(reader, &self.buf) {
                    Ok(()) => Disconnect::PeerClosed,
                    Err(error) => error.into(),
                });
            }
        }
        moved |= self.output(machine, now, net);
        // A slow writer gives its batch back in the next step after the machine is ready.
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

    fn output(&mut self, machine: &mut M, now: Instant, net: &mut Net) -> bool {
        let mut moved = false;
        loop {
            let Some(mut batch) = self.batch.take().or_else(|| machine.begin_write(now)) else {
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
                machine.handle_progress(now, batch.written());
                moved = true;
            }
            let _more = machine.end_write(now, batch);
        }
    }
}
