//! One limit over all pipes of a socket, each way.
//!
//! Each pipe keeps a share of a sum: it draws what it needs in steps, and gives back what it no longer needs, so
//! that most messages touch no memory that other pipes touch. What a pipe holds up to 4 KiB is not drawn.
//!
//! A sum that was reached counts as spent until half of it is free: those who wait for it are then told once.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a pipe holds beside the sum, bytes.
pub(crate) const FREE: usize = 4 * 1024;
/// What larger pipes draw at a time, bytes.
const STEP: usize = 64 * 1024;

/// The sums of one socket.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub(crate) sent: Option<Arc<Sum>>,
    pub(crate) received: Option<Arc<Sum>>,
}

impl Sums {
    pub(crate) fn new(sent: usize, received: usize) -> Self {
        Self { sent: Some(Arc::new(Sum::new(sent))), received: Some(Arc::new(Sum::new(received))) }
    }

    /// Bytes that the pipes have drawn: to be sent, and received.
    #[must_use]
    pub fn drawn(&self) -> [usize; 2] {
        [&self.sent, &self.received].map(|sum| sum.as_ref().map_or(0, |sum| sum.drawn.load(SeqCst)))
    }
}

/// What all pipes together may hold.
#[derive(Debug)]
pub(crate) struct Sum {
    limit: usize,
    drawn: AtomicUsize,
    /// It was reached, and somebody waits for half of it to be free.
    awaited: AtomicBool,
    /// Half of it is free again, and those who waited were not told yet.
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

    /// Whether nothing more is to be drawn. Then the caller waits, and is told when the sum has eased.
    ///
    /// The flag is set before the amount is looked at again, and whoever gives back lowers the amount before it looks
    /// at the flag: one of the two sees what the other did.
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

    /// True: it has eased, and somebody waits for that.
    fn give_back(&self, bytes: usize) -> bool {
        let left = self.drawn.fetch_sub(bytes, SeqCst) - bytes;
        let eased = left <= self.limit / 2 && self.awaited.swap(false, SeqCst);
        if eased {
            self.eased.store(true, SeqCst);
        }
        eased
    }

    /// Whether it has eased since this was asked last.
    pub(crate) fn take_eased(&self) -> bool {
        self.eased.load(SeqCst) && self.eased.swap(false, SeqCst)
    }
}

/// What one pipe has drawn of a sum.
#[derive(Debug, Default)]
pub(crate) struct Share {
    sum: Option<Arc<Sum>>,
    drawn: usize,
}

/// What is drawn for so many bytes: at most twice as much, and little for little.
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

    /// Whether the sum is spent, and the pipe is not to hold so much, because it is more than what is free.
    #[inline]
    pub(crate) fn is_short(&self, held: usize) -> bool {
        held > FREE && self.sum.as_ref().is_some_and(|sum| sum.is_spent())
    }

    /// The pipe holds so much now. True: so much was given back that those who wait for the sum are to be told.
    #[inline]
    pub(crate) fn settle(&mut self, held: usize) -> bool {
        // Mostly nothing is to be done: it is within what was drawn, and not far below.
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
