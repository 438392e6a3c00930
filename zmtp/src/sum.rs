//! A limit over all pipes of a socket, one for each direction.
//!
//! Each pipe draws a share of the limit in steps, and gives back what it no longer needs, so that most
//! messages touch no memory that other pipes touch. The first 4 KiB of a pipe are not drawn.
//!
//! A limit that was reached counts as spent until half of it is free; then the waiting senders or pipes are
//! woken once.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Bytes of a pipe that are not counted.
pub(crate) const FREE: usize = 4 * 1024;
/// Bytes that larger pipes draw at a time.
const STEP: usize = 64 * 1024;

/// The limits of one socket.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub(crate) sent: Option<Arc<Sum>>,
    pub(crate) received: Option<Arc<Sum>>,
}

impl Sums {
    pub(crate) fn new(sent: usize, received: usize) -> Self {
        Self { sent: Some(Arc::new(Sum::new(sent))), received: Some(Arc::new(Sum::new(received))) }
    }

    /// Bytes that the pipes have drawn: of the send limit and of the receive limit.
    #[must_use]
    pub fn drawn(&self) -> [usize; 2] {
        [&self.sent, &self.received].map(|sum| sum.as_ref().map_or(0, |sum| sum.drawn.load(SeqCst)))
    }
}

/// The limit of all pipes together.
#[derive(Debug)]
pub(crate) struct Sum {
    limit: usize,
    drawn: AtomicUsize,
    /// The limit was reached, and a sender or pipe waits for half of it to be free.
    awaited: AtomicBool,
    /// Half of it is free again, and the waiting senders or pipes have not been woken yet.
    eased: AtomicBool,
}

impl Sum {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            drawn: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            eased: AtomicBool::new(false),
        }
    }

    /// Whether nothing more may be drawn. Then the caller waits, and is woken when the limit has eased.
    ///
    /// The flag is set before the amount is read again, and a thread that gives back lowers the amount before
    /// it reads the flag: so at least one of the two sees the other's write.
    fn is_spent(&self) -> bool {
        let drawn = self.drawn.load(SeqCst);
        if drawn >= self.limit {
            self.awaited.store(true, SeqCst);
            return self.drawn.load(SeqCst) > self.limit / 2;
        }
        drawn > self.limit / 2 && self.awaited.load(SeqCst)
    }

    fn draw(&self, bytes: usize) {
        self.drawn.fetch_add(bytes, SeqCst);
    }

    /// Returns true if the limit has eased and something waits for that.
    fn give_back(&self, bytes: usize) -> bool {
        let left = self.drawn.fetch_sub(bytes, SeqCst) - bytes;
        let eased = left <= self.limit / 2 && self.awaited.swap(false, SeqCst);
        if eased {
            self.eased.store(true, SeqCst);
        }
        eased
    }

    /// Whether the limit has eased since the last call.
    pub(crate) fn take_eased(&self) -> bool {
        self.eased.load(SeqCst) && self.eased.swap(false, SeqCst)
    }
}

/// One pipe's share of a limit.
#[derive(Debug, Default)]
pub(crate) struct Share {
    sum: Option<Arc<Sum>>,
    drawn: usize,
}

/// The bytes to draw for that many held bytes: at most twice as many.
fn rounded(held: usize) -> usize {
    if held <= FREE {
        0
    } else if held <= STEP {
        held.next_power_of_two()
    } else {
        held.next_multiple_of(STEP)
    }
}

impl Share {
    pub(crate) fn of(sum: Option<Arc<Sum>>) -> Self {
        Self { sum, drawn: 0 }
    }

    /// Whether the limit is spent and the pipe must not hold that much, because it exceeds the uncounted
    /// part.
    #[inline]
    pub(crate) fn is_short(&self, held: usize) -> bool {
        held > FREE && self.sum.as_ref().is_some_and(|sum| sum.is_spent())
    }

    /// Updates the share to the held bytes. Returns true if so much was given back that those waiting for the
    /// limit have to be woken.
    #[inline]
    pub(crate) fn settle(&mut self, held: usize) -> bool {
        // Usually there is nothing to do: it is within the drawn bytes, and not far below.
        if held <= self.drawn.max(FREE) && (self.drawn == 0 || held > self.drawn / 4) {
            return false;
        }
        self.redraw(held)
    }

    #[cold]
    fn redraw(&mut self, held: usize) -> bool {
        let Some(sum) = &self.sum else { return false };
        let (before, want) = (self.drawn, rounded(held));
        self.drawn = want;
        if want > before {
            sum.draw(want - before);
            return false;
        }
        want < before && sum.give_back(before - want)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn shares(limit: usize, count: usize) -> (Arc<Sum>, Vec<Share>) {
        let sum = Arc::new(Sum::new(limit));
        let shares = (0..count).map(|_| Share::of(Some(Arc::clone(&sum)))).collect();
        (sum, shares)
    }

    #[test]
    fn little_is_free_and_more_is_drawn_in_steps() {
        let (sum, mut shares) = shares(1 << 20, 100);
        for share in &mut shares {
            assert!(!share.settle(FREE));
        }
        assert_eq!(sum.drawn.load(SeqCst), 0);
        for (held, drawn) in
            [(FREE + 1, 8192), (8192, 8192), (8193, 16_384), (65_537, 131_072), (40_000, 131_072)]
        {
            assert!(!shares[0].settle(held));
            assert_eq!(shares[0].drawn, drawn, "{held}");
        }
        assert!(!shares[0].settle(30_000), "given back, and nobody waits");
        assert_eq!((shares[0].drawn, sum.drawn.load(SeqCst)), (32_768, 32_768));
        shares.clear();
        assert_eq!(sum.drawn.load(SeqCst), 0, "all of it comes back");
    }

    #[test]
    fn a_sum_that_was_reached_is_spent_until_half_of_it_is_free() {
        let (sum, mut shares) = shares(100_000, 3);
        assert!(!shares[0].settle(60_000) && !shares[1].settle(40_000));
        assert!(sum.drawn.load(SeqCst) >= 100_000);
        assert!(shares[2].is_short(FREE + 1) && !shares[2].is_short(FREE), "what is free stays so");
        assert!(!shares[1].settle(10_000) && shares[2].is_short(FREE + 1), "not half of it yet");
        assert!(!sum.take_eased());
        assert!(shares[0].settle(0), "who waits is told");
        assert!(!shares[2].is_short(FREE + 1));
        assert!(sum.take_eased() && !sum.take_eased(), "once");
        assert!(!shares[1].settle(0), "and only if somebody waits");
    }
}
