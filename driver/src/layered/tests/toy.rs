//! A layer for tests, without cryptography.

use bowline_core::layer::{Layer, LayerError, Secured};

use crate::sync::Arc;

/// A greeting of one byte in each direction, then records: their length, and the inverted bytes. A record of
/// length 0 is the end, one of length 0xffff an error.
#[derive(Debug, Default)]
pub(crate) struct Toy {
    said: bool,
    heard: bool,
    came: Vec<u8>,
    plain: Vec<u8>,
    closing: Option<bool>,
    peer_closed: bool,
    alert: bool,
}

pub(crate) const GREETING: u8 = 0x47;

#[derive(Debug, thiserror::Error)]
#[error("a toy broke")]
pub(super) struct Broken;

impl Layer for Toy {
    fn is_handshaking(&self) -> bool {
        !self.heard || !self.said
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<usize, LayerError> {
        if !self.heard {
            if bytes[0] != GREETING {
                self.alert = true;
                return Err(LayerError::new(Broken, false));
            }
            self.heard = true;
            return Ok(1);
        }
        if self.plain.len() >= 20_000 {
            return Ok(0);
        }
        let taken = bytes.len().min(5_000);
        self.came.extend_from_slice(&bytes[..taken]);
        while let Some(length) = self.came.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            match length {
                0 => self.peer_closed = true,
                0xffff => return Err(LayerError::new(Broken, true)),
                _ if self.came.len() < 2 + length => break,
                _ => {}
            }
            self.plain.extend(self.came.drain(..2 + length).skip(2).map(|byte| !byte));
        }
        Ok(taken)
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.plain.len());
        buf[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        count
    }

    fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, LayerError> {
        if self.is_handshaking() || self.closing.is_some() {
            return Ok(0);
        }
        let plain = &plain[..plain.len().min(12_345)];
        let length = u16::try_from(plain.len()).expect("a record");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend(plain.iter().map(|byte| !byte));
        Ok(plain.len())
    }

    fn write_pieces(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<usize, LayerError> {
        assert!(!pieces.is_empty() && pieces.iter().all(|piece| !piece.is_empty()));
        self.write(&pieces.concat(), out)
    }

    fn wants_transmit(&self) -> bool {
        !self.said || self.closing == Some(false) || self.alert
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.alert) {
            out.push(b'!');
            return;
        }
        if !std::mem::replace(&mut self.said, true) {
            out.push(GREETING);
        }
        if self.closing == Some(false) {
            self.closing = Some(true);
            out.extend_from_slice(&[0, 0]);
        }
    }

    fn close(&mut self) {
        self.closing.get_or_insert(false);
    }

    fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    fn end_of_stream(&mut self) -> Result<(), LayerError> {
        if self.peer_closed { Ok(()) } else { Err(LayerError::new(Broken, true)) }
    }

    fn held(&self) -> usize {
        self.came.len() + self.plain.len()
    }

    fn secured(&self) -> Option<Arc<Secured>> {
        None
    }
}
