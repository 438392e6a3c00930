//! Runs steps over bytes that arrive in pieces, for tests of steps.

use alloc::vec::Vec;

use super::{Step, Steps};

/// The result of the steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Came<E> {
    /// The bytes that the steps sent.
    pub(crate) said: Vec<u8>,
    /// Whether all steps are done.
    pub(crate) result: Result<bool, E>,
    /// The bytes that no step consumed.
    pub(crate) rest: Vec<u8>,
}

/// Runs the steps; `bytes` arrive in pieces of those lengths, in turn. What the steps send is written at once.
pub(crate) fn arrive<S: Step>(mut steps: Steps<S>, bytes: &[u8], cuts: &[usize]) -> Came<S::Error> {
    let (mut left, mut said) = (bytes, Vec::new());
    let mut cuts = cuts.iter().cycle();
    let mut result = steps.begin();
    loop {
        said.extend_from_slice(steps.output());
        let n = steps.output().len();
        steps.wrote(n);
        if result.is_err() || steps.is_done() || left.is_empty() {
            break;
        }
        let spare = steps.spare();
        let n = spare.len().min(left.len()).min(*cuts.next().unwrap_or(&1));
        spare[..n].copy_from_slice(&left[..n]);
        left = &left[n..];
        result = steps.filled(n);
    }
    let result = result.map(|()| steps.is_done());
    Came { said, result, rest: [steps.into_rest().unread(), left].concat() }
}
