//! The write position in a chunk.

use super::chunk::Chunk;

/// A position between two bytes on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Position in the chunk's own bytes.
    at: usize,
    /// The next external body.
    external: usize,
    /// The position in that body.
    in_external: usize,
}

impl Chunk {
    /// The bytes on the wire after `cursor`, as slices; returns how many slices of `out` were filled.
    pub(crate) fn slices<'a>(&'a self, cursor: &Cursor, out: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        let mut at = cursor.at;
        let mut skip = cursor.in_external;
        let mut externals = self.externals[cursor.external..].iter();
        let mut next = externals.next();
        while filled < out.len() {
            match next {
                Some(external) if external.at == at => {
                    out[filled] = &external.body[skip..];
                    skip = 0;
                    next = externals.next();
                }
                _ => {
                    let until = next.map_or(self.bytes.len(), |external| external.at);
                    if at == until {
                        break;
                    }
                    out[filled] = &self.bytes[at..until];
                    at = until;
                }
            }
            filled += 1;
        }
        filled
    }

    /// Moves `cursor` over `n` bytes on the wire.
    pub(crate) fn advance(&self, cursor: &mut Cursor, mut n: usize) {
        while n > 0 {
            match self.externals.get(cursor.external) {
                Some(external) if external.at == cursor.at => {
                    let left = external.body.len() - cursor.in_external;
                    if n < left {
                        cursor.in_external += n;
                        return;
                    }
                    n -= left;
                    cursor.external += 1;
                    cursor.in_external = 0;
                }
                next => {
                    let until = next.map_or(self.bytes.len(), |external| external.at);
                    let step = n.min(until - cursor.at);
                    assert!(step > 0, "more bytes written than the batch has");
                    cursor.at += step;
                    n -= step;
                }
            }
        }
    }
}
