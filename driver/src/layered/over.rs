//! The layer of one connection, its handshake, and the incoming side.

use std::io;

use bowline_core::layer::{Layer, LayerError};

use super::outgoing::Output;
use super::scratch::{Use, with_scratch};
use super::{Progress, is_for_now, layer_error};
use crate::runtime::Wire;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// Bytes that are read from the socket at once: at least one record.
pub(super) const READ: std::ops::RangeInclusive<usize> = 18 * 1024..=64 * 1024;

/// A layer, and the bytes that wait on both of its sides. The locks are taken in the order of the fields.
pub(super) struct Over {
    pub(super) input: Mutex<Input>,
    pub(super) output: Mutex<Output>,
    pub(super) layer: Mutex<Box<dyn Layer>>,
    /// Memory of the input and the layer, and of the output, in bytes: known without their locks.
    held_in: AtomicUsize,
    held_out: AtomicUsize,
}

#[derive(Default)]
pub(super) struct Input {
    /// Received bytes that the layer did not take yet, from position `at` on.
    pub(super) bytes: Vec<u8>,
    at: usize,
    /// Why the layer takes nothing more: reported when everything before it was read.
    failed: Option<LayerError>,
}

impl Over {
    /// A layer whose handshake is not done. `came` are bytes of the layer that were read already.
    pub(super) fn new(layer: Box<dyn Layer>, came: &[u8]) -> Self {
        let input = Input { bytes: came.to_vec(), ..Input::default() };
        let held_in = AtomicUsize::new(input.bytes.capacity() + layer.held());
        let (input, output, layer) = (Mutex::new(input), Mutex::default(), Mutex::new(layer));
        Self { input, output, layer, held_in, held_out: AtomicUsize::new(0) }
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.held_in.load(Ordering::Relaxed) + self.held_out.load(Ordering::Relaxed)
    }

    /// The output has changed.
    pub(super) fn note_output(&self, out: &Output) {
        self.held_out.store(out.memory(), Ordering::Relaxed);
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.layer.lock().is_handshaking()
    }

    /// See [`Layered::handshake_step`](super::Layered::handshake_step).
    pub(super) fn handshake_step(&self, inner: &impl Wire) -> io::Result<Option<Progress>> {
        self.transmit(inner)?;
        if !self.is_handshaking() {
            return Ok(Some(Progress::Done));
        }
        match self.read(inner, &mut [], |room| inner.read_now(room)) {
            Ok(_) => {
                // No further bytes may be processed before the handshake is known to be done.
                self.transmit(inner)?;
                let mut layer = self.layer.lock();
                if !layer.is_handshaking() {
                    return Ok(Some(Progress::Done));
                }
                if layer.is_peer_closed() {
                    layer.end_of_stream().map_err(layer_error)?;
                }
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) if is_for_now(&error) => {
                let is_pending = self.output.lock().is_pending();
                Ok(Some(if is_pending { Progress::Writes } else { Progress::Reads }))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads received bytes into `buf`, or, if it is empty, continues the handshake by one piece.
    pub(super) fn read(
        &self,
        inner: &impl Wire,
        buf: &mut [u8],
        mut read_inner: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut input = self.input.lock();
        if input.at < input.bytes.len() {
            let bytes = std::mem::take(&mut input.bytes);
            let at = std::mem::take(&mut input.at);
            if let Some(read) = self.digest(inner, &mut input, &bytes[at..], buf)? {
                return Ok(read);
            }
        } else if let Some(read) = self.digest(inner, &mut input, &[], buf)? {
            return Ok(read);
        }
        with_scratch(Use::Incoming, |room| {
            let want = (buf.len() + buf.len() / 8).clamp(*READ.start(), *READ.end());
            if room.len() < want {
                room.resize(want, 0);
            }
            loop {
                let count = read_inner(&mut room[..want])?;
                if count == 0 {
                    self.layer.lock().end_of_stream().map_err(layer_error)?;
                    return Ok(0);
                }
                if let Some(read) = self.digest(inner, &mut input, &room[..count], buf)? {
                    return Ok(read);
                }
                if buf.is_empty() {
                    return Ok(0);
                }
                if self.output.lock().is_closing {
                    // After this side's close nothing is processed. The bytes are counted, so that a peer
                    // that continues to send keeps no reader busy.
                    let count = count.min(buf.len());
                    buf[..count].fill(0);
                    return Ok(count);
                }
            }
        })
    }

    /// Passes received bytes to the layer, and reads its plain bytes. `None`: none yet. Bytes that the layer
    /// does not take while `buf` is full are kept.
    fn digest(
        &self,
        inner: &impl Wire,
        input: &mut Input,
        mut came: &[u8],
        buf: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut read = 0;
        let mut layer = self.layer.lock();
        loop {
            read += layer.read(&mut buf[read..]);
            if came.is_empty() || input.failed.is_some() || (read == buf.len() && layer.has_plain()) {
                break;
            }
            match layer.receive(came) {
                Ok(0) if !layer.has_plain() => {
                    let error = io::Error::other("the layer takes nothing, and gives nothing");
                    return Err(error);
                }
                Ok(taken) => came = &came[taken..],
                Err(error) => input.failed = Some(error),
            }
        }
        let (wants_transmit, is_closed, held) =
            (layer.wants_transmit(), layer.is_peer_closed(), layer.held());
        if is_closed && read == 0 && !buf.is_empty() {
            // The peer's close is answered, as long as the socket can be written to.
            layer.close();
        }
        drop(layer);
        if input.failed.is_none() && !came.is_empty() {
            (input.bytes, input.at) = (came.to_vec(), 0);
        }
        self.held_in.store(input.bytes.capacity() + held, Ordering::Relaxed);
        if wants_transmit || (is_closed && read == 0) {
            // An alert, or an answer. If the socket failed, received bytes are read first, and the failure is
            // found again later.
            let transmitted = self.transmit(inner);
            if read == 0 && input.failed.is_none() && !is_closed {
                transmitted?;
            }
        }
        if read > 0 {
            return Ok(Some(read));
        }
        if let Some(error) = &input.failed {
            return Err(layer_error(error.clone()));
        }
        Ok(is_closed.then_some(0))
    }

    /// Whether a read would return something without the socket.
    pub(super) fn has_input(&self) -> bool {
        let input = self.input.lock();
        if input.at < input.bytes.len() || input.failed.is_some() {
            return true;
        }
        let layer = self.layer.lock();
        layer.has_plain() || layer.is_peer_closed()
    }
}
