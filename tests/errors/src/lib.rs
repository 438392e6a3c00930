//! The rules for errors, for the tests of every crate that defines some.
//!
//! [`walk!`] takes values of an error type and fails unless every variant is among them and each value follows
//! the rules (see [`check`]). It has to be called in the crate that defines the type: there the compiler refuses
//! a list of variants that is incomplete, although the enum is `non_exhaustive`. The test of this crate,
//! `every_error`, reads the sources and fails if a published crate defines an error that is not walked.
//!
//! ```
//! use std::fmt;
//!
//! #[derive(Debug)]
//! enum Failed {
//!     NotThere { address: &'static str },
//!     TooLate,
//! }
//!
//! impl std::error::Error for Failed {}
//!
//! impl fmt::Display for Failed {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//!         match self {
//!             Self::NotThere { address } => write!(f, "no process listens at {address}"),
//!             Self::TooLate => f.write_str("too late"),
//!         }
//!     }
//! }
//!
//! let values = [Failed::NotThere { address: "127.0.0.1:7001" }, Failed::TooLate];
//! bowline_error_rules::walk!(Failed { NotThere, TooLate }, values);
//! ```

use std::error::Error;

/// What the places of test values consist of: hosts, a port, a path, a name. Values of errors that have a place
/// (address, endpoint, file, node) should have one of these in it, so that [`check`] knows that it is one.
pub const PLACES: [&str; 5] = ["7001", "there.example", "proxy.example", "there.sock", "node-a"];

/// The messages of an error and of its sources.
#[must_use]
pub fn levels(error: &(dyn Error + 'static)) -> Vec<String> {
    let (mut levels, mut next) = (Vec::new(), Some(error));
    while let Some(level) = next {
        levels.push(level.to_string());
        next = level.source();
    }
    levels
}

/// Checks what holds for every error:
///
/// * No level has an empty message, a line break, space around it, or a period at its end.
/// * No level repeats what another one says, so that the chain in one line says nothing twice.
/// * A [place](PLACES) that the error contains is named.
///
/// # Panics
/// If one of them does not hold.
#[track_caller]
pub fn check(error: &(dyn Error + 'static)) {
    let levels = levels(error);
    for message in &levels {
        assert!(!message.is_empty(), "{error:?} has a level without a message: {levels:?}");
        assert_eq!(message.trim(), message, "{error:?}");
        assert!(!message.contains('\n'), "{message:?} has several lines");
        assert!(!message.ends_with('.'), "{message:?} ends with a period");
    }
    for (number, upper) in levels.iter().enumerate() {
        for lower in &levels[number + 1..] {
            assert!(!upper.contains(lower), "{upper:?} repeats its source {lower:?}");
            assert!(!lower.contains(upper), "{lower:?} says what is said above it: {upper:?}");
        }
    }
    let (debug, chain) = (format!("{error:?}"), levels.join(": "));
    for place in PLACES {
        assert!(
            !debug.contains(place) || chain.contains(place),
            "{chain:?} does not name {place:?}: {debug}"
        );
    }
}

/// Checks that the message of an error says that a message may have been delivered exactly if it may have been,
/// and that such an error is not retryable: a repetition could deliver the message twice.
///
/// # Panics
/// If one of them does not hold.
#[track_caller]
pub fn check_delivery(error: &(dyn Error + 'static), may_be_delivered: bool, is_retryable: bool) {
    let message = error.to_string();
    assert_eq!(message.contains("may have been"), may_be_delivered, "{message:?}");
    assert!(!(may_be_delivered && is_retryable), "{message:?} is retryable");
}

/// [`check`]s all of them; the names are those of their variants. For [`walk!`].
///
/// # Panics
/// If one breaks a rule, or a variant is missing.
#[track_caller]
pub fn check_every<'e>(
    name: &str,
    variants: &[&'static str],
    errors: &mut dyn Iterator<Item = (&'static str, &'e (dyn Error + 'static))>,
) {
    let mut seen = Vec::new();
    for (variant, error) in errors {
        check(error);
        seen.push(variant);
    }
    has_every(name, variants, &mut seen.into_iter());
}

/// Checks that all variants were seen. For [`cover!`].
///
/// # Panics
/// If one was not.
#[track_caller]
pub fn has_every(name: &str, variants: &[&'static str], seen: &mut dyn Iterator<Item = &'static str>) {
    let seen: Vec<_> = seen.collect();
    assert!(!seen.is_empty(), "there is no value of {name}");
    for variant in variants {
        assert!(seen.contains(variant), "there is no value of {name}::{variant}");
    }
}

/// Checks every value of an error type, and that each variant is among them: `walk!(Type { Variant, … }, values)`,
/// or `walk!(Type, values)` for a struct. See the [crate's documentation](crate).
#[macro_export]
macro_rules! walk {
    ($name:ident { $($variant:ident),+ $(,)? }, $values:expr) => {{
        let values = $values;
        $crate::check_every(
            stringify!($name),
            &[$(stringify!($variant)),+],
            &mut values.iter().map(|error| {
                // Without a wildcard: a new variant does not compile before it is listed.
                let variant = match error {
                    $($name::$variant { .. } => stringify!($variant),)+
                };
                (variant, error as &(dyn ::core::error::Error + 'static))
            }),
        );
    }};
    ($name:ident $(<$($argument:ty),+>)?, $values:expr) => {{
        let values = $values;
        $crate::check_every(
            stringify!($name),
            &[],
            &mut values.iter().map(|error| {
                let error: &$name $(<$($argument),+>)? = error;
                ("", error as &(dyn ::core::error::Error + 'static))
            }),
        );
    }};
}

/// Checks that each variant is among the values, which are no errors themselves: what a message consists of.
#[macro_export]
macro_rules! cover {
    ($name:ident { $($variant:ident),+ $(,)? }, $values:expr) => {{
        let values = $values;
        $crate::has_every(
            stringify!($name),
            &[$(stringify!($variant)),+],
            // Without a wildcard: a new variant does not compile before it is listed.
            &mut values.iter().map(|value| match value {
                $($name::$variant { .. } => stringify!($variant),)+
            }),
        );
    }};
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Self>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0.split('|').next().unwrap_or_default())
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|below| below as _)
        }
    }

    fn chain(levels: &[&'static str]) -> Level {
        let mut below = None;
        for level in levels.iter().rev() {
            below = Some(Box::new(Level(level, below)));
        }
        *below.expect("a level")
    }

    fn breaks(message: &str, rule: impl FnOnce() + std::panic::UnwindSafe) {
        let panic = std::panic::catch_unwind(rule).expect_err("the rule is broken");
        let said = panic.downcast_ref::<String>().expect("a text");
        assert!(said.contains(message), "{said}");
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        check(&chain(&["no connection to 127.0.0.1:7001", "refused"]));
        breaks("without a message", || check(&chain(&["a", ""])));
        breaks("left", || check(&chain(&["a", "b "])));
        breaks("several lines", || check(&chain(&["a\nb"])));
        breaks("period", || check(&chain(&["b."])));
        breaks("repeats its source", || check(&chain(&["no connection: refused", "reset", "refused"])));
        breaks("is said above it", || check(&chain(&["no connection", "no connection to 127.0.0.1:7001"])));
        breaks("does not name \"7001\"", || check(&chain(&["no connection|127.0.0.1:7001", "refused"])));
        let lost = chain(&["it may have been delivered"]);
        check_delivery(&lost, true, false);
        breaks("is retryable", || check_delivery(&chain(&["it may have been delivered"]), true, true));
        breaks("may have been", || check_delivery(&chain(&["it may have been delivered"]), false, false));
        breaks("lost", || check_delivery(&chain(&["it is lost"]), true, false));
    }

    #[test]
    fn a_missing_variant_is_found() {
        walk!(Level, [chain(&["a", "b"])]);
        cover!(Option { Some, None }, [Some(1), None]);
        breaks("Option::None", || cover!(Option { Some, None }, [Some(1)]));
        breaks("no value of Level", || walk!(Level, [Level("", None); 0]));
    }
}
