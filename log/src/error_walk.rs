//! Every error of this crate follows the rules for errors.

use std::io;

use bowline_error_rules::{check_delivery, walk};

use crate::{AppendError, Appended, Cause, PartlyAppended, ReadError, Refusal};

fn causes() -> [Cause; 3] {
    let system = || io::Error::from_raw_os_error(111);
    [
        Cause::transient("node-a is away"),
        Cause::transient(io::Error::other(system())),
        Cause::lasting(system()),
    ]
}

fn refusals() -> Vec<Refusal> {
    let mut refusals = vec![
        Refusal::TooLarge { size: 3, limit: 2 },
        Refusal::TooMany { records: 3, limit: 2 },
        Refusal::Id,
        Refusal::Headers,
        Refusal::Header { name: "one".into() },
    ];
    refusals.extend(causes().map(Refusal::Server));
    refusals
}

fn appends() -> Vec<AppendError> {
    let mut errors = vec![AppendError::Closed];
    errors.extend(causes().map(AppendError::NotAppended));
    errors.extend(causes().map(AppendError::MaybeAppended));
    errors.extend(refusals().into_iter().map(AppendError::Refused));
    errors
}

/// In each, the record of number 1 is the first one without a position.
fn partly_appended() -> Vec<PartlyAppended<u64>> {
    let of = |error| Appended::new(vec![Ok(7), Err(error)]).all().expect_err("one failed");
    appends().into_iter().map(of).collect()
}

#[test]
fn every_error_follows_the_rules() {
    walk!(Cause, causes());
    walk!(Refusal { TooLarge, TooMany, Id, Headers, Header, Server }, refusals());
    walk!(AppendError { NotAppended, MaybeAppended, Refused, Closed }, appends());
    walk!(PartlyAppended<u64>, partly_appended());
    let mut reads = vec![
        ReadError::Trimmed { from: 1_u64, to: 2 },
        ReadError::Truncated { from: 2, end: 1 },
        ReadError::Closed,
    ];
    reads.extend(causes().map(ReadError::Unavailable));
    walk!(ReadError { Trimmed, Truncated, Unavailable, Closed }, reads);
}

#[test]
fn a_message_says_whether_the_record_may_have_been_appended() {
    for error in appends() {
        check_delivery(&error, error.may_be_appended(), error.is_retryable());
    }
    for error in partly_appended() {
        let may_be_appended = error.maybe_appended().next().is_some();
        assert!(!(may_be_appended && error.is_retryable()), "{error:?}");
        assert_eq!(error.is_retryable(), error.first.is_retryable());
    }
}

#[cfg(feature = "conformance")]
#[test]
fn a_violation_follows_the_rules() {
    use crate::conformance::Violation;
    walk!(Violation, [Violation { what: "a record is missing".into() }]);
}
