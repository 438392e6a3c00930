//! A budget that keeps retries from becoming a storm.

/// A retry budget, counted in tenths of a token: each retry, or second attempt, takes one token, each success
/// returns a tenth, and no retry is allowed at half of the tokens or less (the retry throttling of gRPC, gRFC
/// A6).
///
/// ```
/// use bowline_core::budget::RetryBudget;
///
/// let mut budget = RetryBudget::default();
/// let allowed = std::iter::repeat_with(|| budget.take()).take_while(|allowed| *allowed).count();
/// assert_eq!(allowed, 5);
/// (0..10).for_each(|_| budget.give());
/// assert!(budget.take());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    tenths: u32,
}

impl RetryBudget {
    const FULL: u32 = 100;

    /// Takes a token, if one more attempt is allowed.
    pub fn take(&mut self) -> bool {
        let allowed = self.tenths > Self::FULL / 2;
        if allowed {
            self.tenths -= 10;
        }
        allowed
    }

    /// A success: returns a tenth of a token.
    #[inline]
    pub fn give(&mut self) {
        self.tenths = (self.tenths + 1).min(Self::FULL);
    }
}

impl Default for RetryBudget {
    /// Ten tokens.
    fn default() -> Self {
        Self { tenths: Self::FULL }
    }
}
