//! The outcomes of an append.

use crate::error::AppendError;
use crate::position::Position;

/// The outcome of each record of an append, in order.
#[derive(Clone, Debug)]
#[must_use = "a record may not have been appended"]
pub struct Appended<P> {
    outcomes: Vec<Result<P, AppendError>>,
}

impl<P: Position> Appended<P> {
    /// For implementations of [`Log`](crate::Log): one outcome for each record.
    pub fn new(outcomes: Vec<Result<P, AppendError>>) -> Self {
        Self { outcomes }
    }

    /// The same error for each record.
    pub fn failed(records: usize, error: AppendError) -> Self {
        Self { outcomes: vec![Err(error); records] }
    }

    /// The outcomes, one for each record.
    pub fn outcomes(&self) -> &[Result<P, AppendError>] {
        &self.outcomes
    }

    /// The outcomes, one for each record.
    pub fn into_outcomes(self) -> Vec<Result<P, AppendError>> {
        self.outcomes
    }

    /// The positions of the records, if all were appended.
    ///
    /// # Errors
    /// The first error; it also says which records were appended and which may have been.
    pub fn all(self) -> Result<Vec<P>, PartlyAppended<P>> {
        match self.outcomes.iter().position(Result::is_err) {
            None => Ok(self.outcomes.into_iter().filter_map(Result::ok).collect()),
            Some(index) => {
                let (records, first) = (self.outcomes.len(), self.outcomes[index].as_ref().err().cloned());
                let first = first.unwrap_or(AppendError::Closed);
                Err(PartlyAppended { index, records, first, appended: self })
            }
        }
    }
}

/// Not all records of an append are known to be appended.
#[derive(Clone, Debug, thiserror::Error)]
#[error("record {index} of {records} (counted from 0)")]
#[non_exhaustive]
pub struct PartlyAppended<P: Position> {
    /// The index of the first record without a position, counted from 0.
    pub index: usize,
    /// The number of records.
    pub records: usize,
    /// The error of the first record without a position.
    #[source]
    pub first: AppendError,
    /// The outcome of each record.
    pub appended: Appended<P>,
}

impl<P: Position> PartlyAppended<P> {
    /// The indexes of the records that may be in the log without a known position, counted from 0.
    pub fn maybe_appended(&self) -> impl Iterator<Item = usize> + '_ {
        let outcomes = self.appended.outcomes.iter().enumerate();
        outcomes.filter(|(_, o)| o.as_ref().is_err_and(AppendError::may_be_appended)).map(|(index, _)| index)
    }

    /// Whether appending every record without a position again may succeed, and cannot store one twice.
    pub fn is_retryable(&self) -> bool {
        self.appended
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .all(AppendError::is_retryable)
    }
}
