//! Runs steps over one connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Interrupted, MAX_OUTPUT, Step};
use crate::recv_buf::RecvBuf;

/// Runs steps, one after another. It holds at most [`MAX_OUTPUT`] bytes to be written, and at most the
/// received bytes that the current step may leave unconsumed.
///
/// The driver calls [`begin`](Self::begin), writes the [output](Self::output), reads into
/// [`spare`](Self::spare) when there is none, and so on until [`is_done`](Self::is_done).
pub struct Steps<S: Step> {
    /// The first one is the current step.
    steps: VecDeque<S>,
    buf: RecvBuf,
    out: Vec<u8>,
    written: usize,
}

impl<S: Step> core::fmt::Debug for Steps<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Steps")
            .field("left", &self.steps.len())
            .field("to_write", &self.output().len())
            .finish_non_exhaustive()
    }
}

impl<S: Step> Steps<S> {
    /// These steps, over a connection; `buf` contains the bytes that were read from it already.
    pub fn new(steps: impl IntoIterator<Item = S>, buf: RecvBuf) -> Self {
        Self { steps: steps.into_iter().collect(), buf, out: Vec::new(), written: 0 }
    }

    /// Calls the first step. Must be called once, before anything else.
    ///
    /// # Errors
    /// A step failed.
    pub fn begin(&mut self) -> Result<(), S::Error> {
        self.advance()
    }

    /// The current step, or the one that failed.
    #[must_use]
    pub fn current(&self) -> Option<&S> {
        self.steps.front()
    }

    /// Room to read into, at most what the current step may leave unconsumed. Empty once all steps are done.
    pub fn spare(&mut self) -> &mut [u8] {
        let limit = self.steps.front().map_or(0, |step| step.max_pending().max(1));
        let room = limit.saturating_sub(self.buf.unread().len());
        if room == 0 {
            return &mut [];
        }
        let spare = self.buf.spare();
        let room = room.min(spare.len());
        &mut spare[..room]
    }

    /// Reports that `n` bytes were read into the last [`spare`](Self::spare).
    ///
    /// # Errors
    /// A step failed.
    ///
    /// # Panics
    /// If `n` exceeds that room.
    pub fn filled(&mut self, n: usize) -> Result<(), S::Error> {
        self.buf.filled(n);
        self.advance()
    }

    /// The other side ended the stream: returns the error of the current step.
    #[must_use]
    pub fn eof(&self) -> S::Error {
        Interrupted::Closed { pending: self.buf.unread().len() }.into()
    }

    /// The bytes to write next.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Reports that this many bytes of [`output`](Self::output) were written.
    pub fn wrote(&mut self, n: usize) {
        self.written = self.out.len().min(self.written + n);
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    /// Whether every step is done, and everything is written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.is_empty() && self.output().is_empty()
    }

    /// The bytes after the last step, for the machine.
    #[must_use]
    pub fn into_rest(self) -> RecvBuf {
        self.buf
    }

    fn advance(&mut self) -> Result<(), S::Error> {
        while let Some(step) = self.steps.front_mut() {
            let limit = step.max_pending().max(1);
            let unread = self.buf.unread();
            // A step sees no more than its limit, so that the result does not depend on how many bytes arrive
            // at once.
            let received = &unread[..unread.len().min(limit)];
            let progress = step.advance(received, &mut self.out)?;
            let (consumed, received) = (progress.consumed(), received.len());
            if consumed > received {
                return Err(Interrupted::Overrun { consumed, received }.into());
            }
            let value = self.output().len();
            if value > MAX_OUTPUT {
                return Err(Interrupted::TooMuch { value, limit: MAX_OUTPUT }.into());
            }
            self.buf.consume(consumed);
            if progress.is_done() {
                self.steps.pop_front();
            } else if consumed == 0 && received == limit {
                return Err(Interrupted::TooLong { limit }.into());
            } else if consumed == 0 || self.buf.unread().is_empty() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::step::Progress;

    type AnyStep = Box<dyn Step<Error = Interrupted>>;

    /// Needs this many bytes, each time.
    struct Takes {
        each: usize,
        times: usize,
        limit: usize,
    }

    impl Step for Takes {
        type Error = Interrupted;

        fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, Interrupted> {
            if received.len() < self.each {
                return Ok(Progress::more(0));
            }
            out.push(b'.');
            self.times -= 1;
            Ok(if self.times == 0 { Progress::done(self.each) } else { Progress::more(self.each) })
        }

        fn max_pending(&self) -> usize {
            self.limit
        }
    }

    fn takes(each: usize, times: usize, limit: usize) -> AnyStep {
        Box::new(Takes { each, times, limit })
    }

    /// Reports a wrong number.
    struct Says(Progress, usize);

    impl Step for Says {
        type Error = Interrupted;

        fn advance(&mut self, _: &[u8], out: &mut Vec<u8>) -> Result<Progress, Interrupted> {
            out.resize(self.1, 0);
            Ok(self.0)
        }
    }

    fn feed(steps: &mut Steps<AnyStep>, mut bytes: &[u8], at_once: usize) -> Result<usize, Interrupted> {
        while !bytes.is_empty() && steps.current().is_some() {
            let spare = steps.spare();
            let n = spare.len().min(bytes.len()).min(at_once);
            spare[..n].copy_from_slice(&bytes[..n]);
            steps.filled(n)?;
            bytes = &bytes[n..];
        }
        Ok(bytes.len())
    }

    #[test]
    fn steps_follow_each_other_and_keep_what_is_left_over() {
        for at_once in 1..16 {
            let mut steps = Steps::new([takes(2, 2, 8), takes(3, 1, 8)], RecvBuf::new());
            steps.begin().unwrap();
            let not_read = feed(&mut steps, b"aabbccccrest", at_once).unwrap();
            assert_eq!(steps.output(), b"...");
            assert!(!steps.is_done(), "there is something to write");
            steps.wrote(2);
            assert_eq!(steps.output(), b".");
            steps.wrote(1);
            assert!(steps.is_done() && steps.spare().is_empty());
            let rest = steps.into_rest();
            assert_eq!(rest.unread().len() + not_read, 5, "{at_once}");
            assert!(b"crest".starts_with(rest.unread()));
        }
    }

    #[test]
    fn what_was_read_before_is_taken_first() {
        let mut buf = RecvBuf::new();
        buf.spare()[..7].copy_from_slice(b"aabbrst");
        buf.filled(7);
        let mut steps = Steps::new([takes(2, 2, 2)], buf);
        steps.begin().unwrap();
        steps.wrote(2);
        assert!(steps.is_done());
        assert_eq!(steps.into_rest().unread(), b"rst");
    }

    #[test]
    fn a_step_that_is_never_satisfied_fails_at_its_limit_however_the_bytes_come() {
        for at_once in 1..20 {
            let mut steps = Steps::new([takes(9, 1, 8)], RecvBuf::new());
            steps.begin().unwrap();
            assert_eq!(feed(&mut steps, &[0; 7], at_once), Ok(0));
            assert_eq!(steps.eof(), Interrupted::Closed { pending: 7 });
            assert_eq!(feed(&mut steps, &[0; 7], at_once), Err(Interrupted::TooLong { limit: 8 }));
        }
    }

    #[test]
    fn a_step_that_breaks_its_contract_fails_and_does_not_panic() {
        let begin = |says: Says| Steps::new([Box::new(says) as AnyStep], RecvBuf::new()).begin();
        let overrun = begin(Says(Progress::done(1), 0));
        assert_eq!(overrun, Err(Interrupted::Overrun { consumed: 1, received: 0 }));
        let flood = begin(Says(Progress::more(0), MAX_OUTPUT + 1));
        assert_eq!(flood, Err(Interrupted::TooMuch { value: MAX_OUTPUT + 1, limit: MAX_OUTPUT }));
        assert_eq!(begin(Says(Progress::done(0), MAX_OUTPUT)), Ok(()));
    }

    #[test]
    fn no_step_at_all_is_done() {
        let mut steps = Steps::<AnyStep>::new([], RecvBuf::new());
        steps.begin().unwrap();
        assert!(steps.is_done());
    }
}
