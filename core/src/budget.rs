//! What keeps second attempts from becoming a storm.

/// Tokens in tenths: each retry, or second attempt, takes one token, each success gives a tenth
/// back, and at half or less there are none (gRPC's retry throttling, gRFC A6).
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

    /// Takes a token, if there may be one more attempt.
    pub fn take(&mut self) -> bool {
        let allowed = self.tenths > Self::FULL / 2;
        if allowed {
            self.tenths -= 10;
        }
        allowed
    }

    /// Something succeeded: a tenth of a token back.
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
