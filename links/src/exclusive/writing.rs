//! Writing: full batches at once, the rest in the next turn.

use bowline_core::Batch;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::link::Link;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::error::disconnect;
use bowline_driver::layered::Pile;
use bowline_driver::pump::PILE_OF_ANSWERS;
use bowline_driver::runtime::Wire;
use bowline_driver::shared::{WriteNow, write_batch};

use super::Owned;

/// Once this many bytes wait, they are written without an explicit turn: one batch.
pub(super) const PILE: usize = 64 * 1024;
/// Thresholds, in bytes, at which requests and answers are written while more of them are being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piles {
    pub(super) calls: usize,
    pub(super) answers: usize,
}

impl Piles {
    /// The peer sleeps and takes long to wake: write early, so that both sides work at the same time.
    pub(super) const fn overlap(is_layered: bool) -> Self {
        Self::new(Pile::new(PILE / 4), PILE_OF_ANSWERS, is_layered)
    }

    /// The peer spins and reacts at once: write late, to save system calls.
    pub(super) const fn spin(is_layered: bool) -> Self {
        Self::new(Pile::new(PILE), Pile::new(PILE / 4), is_layered)
    }

    const fn new(calls: Pile, answers: Pile, is_layered: bool) -> Self {
        Self { calls: calls.bytes(is_layered), answers: answers.bytes(is_layered) }
    }
}

impl<F: Framing, S: Wire> Owned<F, S> {
    /// Writes one batch. A failure is reported by the next turn.
    #[inline(never)]
    pub(super) fn write_pile(&mut self) {
        // The last turn may be long ago: a write stall is measured from now on.
        self.now = clock::now();
        if let Err(cause) = self.write(false) {
            self.over.get_or_insert(cause);
        }
    }

    /// Writes waiting bytes, as many as the socket takes: all of them (`all`), or one batch. `true`: nothing
    /// is left.
    pub(super) fn write(&mut self, all: bool) -> Result<bool, Disconnect> {
        loop {
            let more = write_some(&mut self.link, &self.socket, &mut self.batch, self.now)?;
            if !more || !all {
                return Ok(self.batch.is_none());
            }
        }
    }
}

/// Writes one batch, or the rest of one. `true`: it was written, and there may be more.
pub(super) fn write_some<F: Framing>(
    link: &mut Link<F, u64>,
    socket: &impl WriteNow,
    held: &mut Option<Batch>,
    now: Instant,
) -> Result<bool, Disconnect> {
    let Some(mut batch) = held.take().or_else(|| link.begin_write(now)) else { return Ok(false) };
    let before = batch.written();
    let result = write_batch(socket, &mut batch);
    if let Ok(true) = result {
        let _more = link.end_write(now, batch);
        return Ok(true);
    }
    let written = batch.written();
    *held = Some(batch);
    if written > before {
        link.handle_progress(now, written);
    }
    result.map_err(disconnect)
}
