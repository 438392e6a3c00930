//! The memory that `rustls` holds of one connection, which it does not report itself.
//!
//! It is derived from the bytes that `rustls` was given and the plain bytes that it has decoded: the records
//! are parsed as far as their lengths.

/// The number of bytes that `rustls` reads at once. Its buffer for received bytes always has that size; what
/// it has beyond that is due to the peer.
const READ: usize = 4 * 1024;
/// `rustls` keeps no more than this of handshake messages that are incomplete.
const MOST: usize = 64 * 1024;
/// The length of a record's header; its last two bytes are the length of the rest.
const HEADER: usize = 5;
/// Bytes of memory for each decoded record and each certificate besides its contents: an entry of a list,
/// and an allocation.
pub(crate) const ENTRY: usize = 64;
/// `rustls` keeps its list of decoded records, which has entries of this size, for as long as the connection
/// lasts.
const LISTED: usize = 24;
/// No more is decoded while there are plain bytes of so many records. One read may add 180 short ones.
const MANY: usize = 64;

/// The memory of one connection.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// At most this many received bytes are not decoded.
    raw: usize,
    /// The size of the buffer for them.
    buffer: usize,
    /// The number of bytes of the current record that have arrived, and of those that are missing: of the
    /// header, if that is incomplete.
    inside: usize,
    missing: usize,
    /// The number of records whose plain bytes were not all read, and the most that there were.
    records: usize,
    most_records: usize,
    /// Memory of the peer's certificates.
    certificates: usize,
}

impl Holds {
    /// `rustls` is about to read.
    pub(crate) fn reads(&mut self) {
        let need = (self.raw + READ).min(MOST);
        if self.raw == 0 {
            // It shrinks its buffer when that is empty.
            self.buffer = need;
        } else if need > self.buffer {
            // As a vector grows.
            self.buffer = need.max(2 * self.buffer);
        }
    }

    /// It has read these bytes, and decoded what it could; before and now so many plain bytes were not read.
    pub(crate) fn decoded(&mut self, bytes: &[u8], before: usize, now: usize) {
        let ended = self.advance(bytes);
        self.records = if now > 0 { self.records + ended } else { 0 };
        self.most_records = self.most_records.max(self.records);
        // Where there are new plain bytes, no part of a handshake message waits.
        self.raw = if now > before { self.inside } else { (self.raw + bytes.len()).min(MOST) };
    }

    /// Whether plain bytes have to be read first: their records are many, however short they are.
    pub(crate) fn has_many(&self) -> bool {
        self.records >= MANY
    }

    /// The handshake is done; this is what `rustls` keeps of it.
    pub(crate) fn end_handshake(&mut self, certificates: usize) {
        (self.raw, self.certificates) = (self.inside, certificates);
    }

    /// All plain bytes were read.
    pub(crate) fn emptied(&mut self) {
        self.records = 0;
    }

    /// Bytes of memory, besides the plain bytes that were not read.
    pub(crate) fn bytes(&self) -> usize {
        let list = if self.most_records > 0 { self.most_records.next_power_of_two() * LISTED } else { 0 };
        self.buffer.saturating_sub(READ) + self.records * ENTRY + list + self.certificates
    }

    /// Follows the records to the end of these bytes. Returns how many records ended.
    fn advance(&mut self, mut bytes: &[u8]) -> usize {
        let mut ended = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.inside < HEADER {
                match self.inside {
                    3 => self.missing = usize::from(first) << 8,
                    4 => self.missing |= usize::from(first),
                    _ => {}
                }
                self.inside += 1;
                bytes = rest;
            } else {
                let some = bytes.len().min(self.missing);
                self.inside += some;
                self.missing -= some;
                bytes = &bytes[some..];
            }
            if self.inside >= HEADER && self.missing == 0 {
                self.inside = 0;
                ended += 1;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let mut record = vec![0x17, 3, 3];
        record.extend_from_slice(&length.to_be_bytes());
        record.resize(HEADER + usize::from(length), 7);
        record
    }

    #[test]
    fn records_are_followed_however_they_are_cut() {
        let bytes = [record(0), record(1), record(300), record(16_000), record(0)].concat();
        for piece in [1, 2, 3, 5, 7, 299, 4_096, bytes.len()] {
            let mut holds = Holds::default();
            let ended: usize = bytes.chunks(piece).map(|piece| holds.advance(piece)).sum();
            assert_eq!((ended, holds.inside), (5, 0), "in pieces of {piece}");
        }
        let mut holds = Holds::default();
        assert_eq!(holds.advance(&bytes[..10]), 1);
        assert_eq!(holds.inside, 5);
    }

    #[test]
    fn what_is_not_decoded_counts_until_it_is() {
        let bytes = record(16_000);
        let mut holds = Holds::default();
        let (mut peak, pieces) = (0, bytes.chunks(READ).count());
        for (at, piece) in bytes.chunks(READ).enumerate() {
            holds.reads();
            holds.decoded(piece, 0, if at + 1 == pieces { 16_000 } else { 0 });
            peak = peak.max(holds.bytes());
        }
        assert!(peak >= 12_000, "{peak}");
        assert_eq!((holds.raw, holds.records), (0, 1));
        holds.emptied();
        holds.reads();
        assert_eq!(holds.bytes(), LISTED, "an empty buffer shrinks when it is used again");
        // Parts of handshake messages have no plain bytes, and wait.
        for _ in 0..4 {
            holds.reads();
            holds.decoded(&record(4_000), 0, 0);
        }
        assert!(holds.bytes() >= 12_000, "{}", holds.bytes());
    }

    #[test]
    fn records_without_text_do_not_wait_to_be_read_and_short_ones_do() {
        let mut holds = Holds::default();
        (0..1_000).for_each(|_| holds.decoded(&record(17), 0, 0));
        assert!(!holds.has_many() && holds.bytes() == 0);
        (0..MANY).for_each(|at| holds.decoded(&record(18), at, at + 1));
        assert!(holds.has_many() && holds.bytes() == MANY * (ENTRY + LISTED));
        holds.emptied();
        assert!(!holds.has_many() && holds.bytes() == MANY * LISTED, "the list stays");
    }
}
