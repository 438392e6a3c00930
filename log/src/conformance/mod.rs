//! The scenarios that every log has to pass.
//!
//! A [`Fixture`] makes fresh logs, and changes them as far as it can: trim, delete, restart, cut. Each
//! scenario is a function of a fixture and returns what it did, or the [`Violation`] that it found; [`all`]
//! runs them one after another, and [`conformance_tests!`](crate::conformance_tests) makes a test of each.
//! The guarantees in the log's [`Capabilities`](crate::Capabilities) are checked as well.
//!
//! ```
//! use bowline_log::conformance::{self, Fixture};
//! use bowline_log::memory::MemoryLog;
//! use bowline_log::{Park, Waiter};
//!
//! struct Memory;
//!
//! impl Fixture for Memory {
//!     type Log = MemoryLog;
//!
//!     async fn fresh(&self) -> MemoryLog {
//!         MemoryLog::new()
//!     }
//! }
//!
//! let report = Park.wait(conformance::all(&Memory));
//! assert!(report.violations().next().is_none(), "{report}");
//! ```

mod appends;
mod changes;
mod reads;
mod tools;

use std::fmt;
use std::future::Future;

use crate::log::Log;

pub use appends::{cancelled_appends, concurrent_appenders, deduplication, headers, order, refused};
pub use changes::{gaps, restarts, trimmed, trimmed_while_following, truncated};
pub use reads::{behind_the_end, bounds, cancelled_reads, empty_records, large_batch, limits, long_poll};

/// Makes logs for the scenarios, and changes them as far as it can. Operations that it does not support
/// return `false`: the scenario is then skipped, and reports that.
pub trait Fixture {
    /// The type of its logs.
    type Log: Log;

    /// A new log without records. Earlier ones may be dropped.
    fn fresh(&self) -> impl Future<Output = Self::Log>;

    /// Removes every record before a position, as retention does.
    fn trim(&self, _: &Self::Log, _to: <Self::Log as Log>::Position) -> impl Future<Output = bool> {
        async { false }
    }

    /// Removes one record.
    fn delete(&self, _: &Self::Log, _position: <Self::Log as Log>::Position) -> impl Future<Output = bool> {
        async { false }
    }

    /// Makes the log unreachable for a while. It must keep every confirmed record.
    fn restart(&self, _: &Self::Log) -> impl Future<Output = bool> {
        async { false }
    }

    /// Removes every record from a position on, as a fail-over can.
    fn truncate(&self, _: &Self::Log, _end: <Self::Log as Log>::Position) -> impl Future<Output = bool> {
        async { false }
    }
}

/// The result of a scenario without a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ran {
    /// Everything was checked.
    Done,
    /// The fixture, or the log, does not support the operation.
    Skipped(&'static str),
}

/// A violation of the guarantees by a log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
#[non_exhaustive]
pub struct Violation {
    /// Its description.
    pub what: String,
}

/// The result of a scenario.
pub type Outcome = Result<Ran, Violation>;

/// The scenarios and their results.
#[derive(Debug)]
pub struct Report {
    scenarios: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// The scenarios that found a violation, by name.
    pub fn violations(&self) -> impl Iterator<Item = (&'static str, &Violation)> {
        self.scenarios.iter().filter_map(|(name, outcome)| outcome.as_ref().err().map(|v| (*name, v)))
    }

    /// The scenarios that were skipped, with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.scenarios.iter().filter_map(|(name, outcome)| match outcome {
            Ok(Ran::Skipped(why)) => Some((*name, *why)),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.scenarios {
            match outcome {
                Ok(Ran::Done) => writeln!(f, "{name}: passed")?,
                Ok(Ran::Skipped(why)) => writeln!(f, "{name}: skipped, {why}")?,
                Err(violation) => writeln!(f, "{name}: {violation}")?,
            }
        }
        Ok(())
    }
}

/// Gives the names of all scenarios to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_scenario {
    ({$($then:tt)+} => $($rest:tt)*) => {
        $($then)+! {
            [order bounds behind_the_end long_poll limits large_batch empty_records refused headers deduplication
             concurrent_appenders cancelled_appends cancelled_reads trimmed trimmed_while_following gaps restarts
             truncated]
            $($rest)*
        }
    };
}

/// A test for each scenario: `conformance_tests!(fixture, run)`, with an expression that makes a
/// [`Fixture`](crate::conformance::Fixture), and a function that runs a future to its end.
#[macro_export]
macro_rules! conformance_tests {
    ([$($name:ident)*] @tests $fixture:expr, $run:expr) => {
        $crate::conformance_tests! { @each [$($name)*] ($fixture) ($run) }
    };
    (@each [] $fixture:tt $run:tt) => {};
    (@each [$name:ident $($others:ident)*] ($fixture:expr) ($run:expr)) => {
        #[test]
        fn $name() {
            let outcome = $run(async { $crate::conformance::$name(&$fixture).await });
            match outcome {
                Ok(ran) => println!("{ran:?}"),
                Err(violation) => panic!("{violation}"),
            }
        }
        $crate::conformance_tests! { @each [$($others)*] ($fixture) ($run) }
    };
    ($fixture:expr, $run:expr) => {
        $crate::for_each_scenario! { {$crate::conformance_tests} => @tests $fixture, $run }
    };
}

macro_rules! run_all {
    ([$($name:ident)*] $fixture:ident) => {
        vec![$((stringify!($name), $name($fixture).await)),*]
    };
}

/// Runs every scenario, one after another.
pub async fn all<F: Fixture>(fixture: &F) -> Report {
    Report { scenarios: for_each_scenario! { {run_all} => fixture } }
}
