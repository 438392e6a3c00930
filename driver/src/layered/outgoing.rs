//! The outgoing side: plain bytes are encoded as records, and count as written when their record was written
//! completely.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::over::Over;
use super::pile::RECORD;
use super::scratch::{Use, with_scratch};
use super::{is_for_now, layer_error, would_block};
use crate::runtime::Wire;

/// Plain bytes that are encoded for one write.
pub(super) const BATCH: usize = 64 * 1024;
/// A rest of the batch up to this length is encoded as well: otherwise it would need its own system call.
const REST: usize = 4 * 1024;
/// The maximum number of pieces that are combined for one record.
const PIECES: usize = 16;

/// The state of the outgoing side.
#[derive(Default)]
pub(super) struct Output {
    /// Bytes that the socket did not take yet, from position `left` on.
    pub(super) bytes: Vec<u8>,
    left: usize,
    /// For the current batch: where each record ends in `bytes`, and how many plain bytes it contains.
    pub(super) records: VecDeque<(usize, usize)>,
    pub(super) is_closing: bool,
    is_closed: bool,
}

impl Output {
    pub(super) fn is_pending(&self) -> bool {
        self.left < self.bytes.len() || self.is_closing != self.is_closed
    }

    /// The number of plain bytes in completely written records.
    fn take_written(&mut self) -> usize {
        let mut written = 0;
        while let Some(&(end, text)) = self.records.front()
            && end <= self.left
        {
            written += text;
            self.records.pop_front();
        }
        written
    }

    /// Memory that it takes, in bytes. The positions of the few records of a batch do not count.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Frees the buffer while nothing waits.
    fn release(&mut self) {
        if self.records.is_empty() && self.left == self.bytes.len() {
            (self.bytes, self.left) = (Vec::new(), 0);
        }
    }
}

impl Over {
    /// Writes waiting bytes to the socket.
    pub(super) fn flush(&self, inner: &impl Wire, out: &mut Output) -> io::Result<()> {
        while out.left < out.bytes.len() {
            match inner.write_now(&[IoSlice::new(&out.bytes[out.left..])]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => out.left += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if out.is_closing && !out.is_closed {
            inner.shutdown_write()?;
            out.is_closed = true;
        }
        Ok(())
    }

    /// Writes the layer's own bytes. What the socket does not take waits.
    pub(super) fn transmit(&self, inner: &impl Wire) -> io::Result<()> {
        let mut out = self.output.lock();
        {
            let mut layer = self.layer.lock();
            if layer.wants_transmit() {
                layer.transmit(&mut out.bytes);
            }
        }
        self.flush_for_now(inner, &mut out)
    }

    /// As [`flush`](Self::flush); a full socket is not an error. Records of the current batch are written by
    /// its writer only: otherwise they would be counted too late, if the connection ends before the batch is
    /// passed again.
    pub(super) fn flush_for_now(&self, inner: &impl Wire, out: &mut Output) -> io::Result<()> {
        if !out.records.is_empty() {
            self.note_output(out);
            return Ok(());
        }
        let flushed = match self.flush(inner, out) {
            Err(error) if !is_for_now(&error) => Err(error),
            _ => Ok(()),
        };
        out.release();
        self.note_output(out);
        flushed
    }

    /// Writes plain bytes; returns how many of them are in records that were written completely. The caller
    /// passes the others again, unchanged.
    pub(super) fn write(&self, inner: &impl Wire, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_handshaking() {
            while self.handshake_step(inner)?.is_none() {}
            if self.is_handshaking() {
                return Err(would_block());
            }
        }
        let mut out = self.output.lock();
        let written = self.write_out(inner, &mut out, slices);
        self.note_output(&out);
        written
    }

    fn write_out(&self, inner: &impl Wire, out: &mut Output, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if out.is_closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !out.records.is_empty() {
            let lent: usize = slices.iter().map(|slice| slice.len()).sum();
            let held: usize = out.records.iter().map(|(_, text)| text).sum();
            if lent < held {
                return Err(io::Error::other("what is in a record already was not lent again"));
            }
            let flushed = self.flush(inner, out);
            let written = out.take_written();
            out.release();
            return finished(written, flushed);
        }
        // No record contains bytes of the current batch.
        self.flush(inner, out)?;
        with_scratch(Use::Outgoing, |bytes| {
            bytes.clear();
            std::mem::swap(bytes, &mut out.bytes);
            out.left = 0;
            let made = self.make_records(out, slices);
            let flushed = made.and_then(|()| self.flush(inner, out));
            let written = out.take_written();
            std::mem::swap(bytes, &mut out.bytes);
            let left = std::mem::take(&mut out.left);
            // The rest is kept by the connection, in a buffer of its own size.
            out.bytes = bytes[left..].to_vec();
            out.records.iter_mut().for_each(|(end, _)| *end -= left);
            finished(written, flushed)
        })
    }

    /// Encodes the batch as records, after the contents of `out`.
    fn make_records(&self, out: &mut Output, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut layer = self.layer.lock();
        if layer.wants_transmit() {
            layer.transmit(&mut out.bytes);
        }
        let Output { bytes, records, .. } = out;
        let mut text = Text { slices, taken: 0 };
        let lent: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut left = if lent <= BATCH + REST { lent } else { BATCH };
        while left > 0 {
            let mut pieces = [&[][..]; PIECES];
            let filled = text.front(&mut pieces, left.min(RECORD));
            let taken = layer.write_pieces(&pieces[..filled], bytes).map_err(layer_error)?;
            if taken == 0 {
                break;
            }
            records.push_back((bytes.len(), taken));
            text.advance(taken);
            left = left.saturating_sub(taken);
        }
        Ok(())
    }

    /// This side has nothing more to send: notifies the peer, and ends the writing side of the stream.
    pub(super) fn shutdown_write(&self, inner: &impl Wire) -> io::Result<()> {
        let mut out = self.output.lock();
        {
            let mut layer = self.layer.lock();
            layer.close();
            layer.transmit(&mut out.bytes);
        }
        out.is_closing = true;
        self.flush_for_now(inner, &mut out)
    }
}

/// The result of a write of which `written` bytes were written.
fn finished(written: usize, flushed: io::Result<()>) -> io::Result<usize> {
    match flushed {
        _ if written > 0 => Ok(written),
        Ok(()) => Err(would_block()),
        Err(error) => Err(error),
    }
}

/// Plain bytes in slices, from which records are taken at the front.
struct Text<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first slice that are in a record already.
    taken: usize,
}

impl<'a> Text<'a> {
    /// Fills `pieces` with the first `most` bytes, or fewer if these are in too many slices. Returns the number of
    /// pieces, none of which is empty.
    fn front(&self, pieces: &mut [&'a [u8]; PIECES], most: usize) -> usize {
        let (mut filled, mut skipped, mut left) = (0, self.taken, most);
        for slice in self.slices {
            let piece = &slice[skipped..];
            skipped = 0;
            if left == 0 || filled == PIECES {
                break;
            }
            if !piece.is_empty() {
                pieces[filled] = &piece[..piece.len().min(left)];
                left -= pieces[filled].len();
                filled += 1;
            }
        }
        filled
    }

    /// So many bytes are in a record.
    fn advance(&mut self, bytes: usize) {
        self.taken += bytes;
        while let Some((first, rest)) = self.slices.split_first()
            && self.taken >= first.len()
        {
            self.taken -= first.len();
            self.slices = rest;
        }
    }
}
