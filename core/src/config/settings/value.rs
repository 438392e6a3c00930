//! Values as they are written in files and variables.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::error::Wrong;

/// A value as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "variables are text only"))]
pub(super) enum Raw {
    Text(String),
    Number(u64),
    Flag(bool),
    /// A null.
    Nothing,
    /// What no setting takes, in words: a negative number, a list.
    Other(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => match hidden(text) {
                Some(shown) => write!(f, "{shown:?}"),
                None => write!(f, "{text:?}"),
            },
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Nothing => f.write_str("null"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A text with credentials in it, without them. Only the URL of a proxy may have some.
fn hidden(text: &str) -> Option<String> {
    let (_, place) = text.rsplit_once('@')?;
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    Some(if scheme.is_empty() { format!("...@{place}") } else { format!("{scheme}://...@{place}") })
}

impl Raw {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            _ => None,
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Nothing) || self.text() == Some("none")
    }
}

fn must(what: &str) -> Wrong {
    Wrong::Must(what.to_string())
}

/// Whole numbers.
pub(super) trait Whole: TryFrom<u64> {
    const LARGEST: u64;
}

macro_rules! whole {
    ($($type:ty)*) => {
        $(impl Whole for $type {
            const LARGEST: u64 = <$type>::MAX as u64;
        })*
    };
}

whole!(u8 u32 u64 usize);

fn fit<T: Whole>(number: u64) -> Result<T, Wrong> {
    T::try_from(number).map_err(|_| must(&format!("at most {}", T::LARGEST)))
}

/// A number and the unit behind it, both without spaces; `None`: it does not begin with a number.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// A number times its unit.
fn measure(raw: &Raw, units: &[(&str, u64)], what: &str) -> Result<u64, Wrong> {
    let measured = match raw {
        Raw::Number(number) => Some(*number),
        raw => raw.text().and_then(split).and_then(|(number, unit)| {
            if unit.is_empty() {
                return Some(number);
            }
            let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
            number.checked_mul(*size)
        }),
    };
    measured.ok_or_else(|| must(what))
}

const TIMES: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const TIME: &str = r#"a time: "250ms", "10s", "5min", "2h", "1d", or a number of milliseconds"#;

pub(super) fn time(raw: &Raw) -> Result<Duration, Wrong> {
    measure(raw, &TIMES, TIME).map(Duration::from_millis)
}

const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];
const SIZE: &str = r#"a number of bytes: "64KiB", "4MiB", "1GiB", "64kB", "4MB", "1GB", or a plain number"#;

pub(super) fn bytes<T: Whole>(raw: &Raw) -> Result<T, Wrong> {
    fit(measure(raw, &SIZES, SIZE)?)
}

pub(super) fn number<T: Whole>(raw: &Raw) -> Result<T, Wrong> {
    fit(measure(raw, &[], "a whole number, without a unit")?)
}

pub(super) fn flag(raw: &Raw) -> Result<bool, Wrong> {
    match (raw, raw.text()) {
        (Raw::Flag(flag), _) => Ok(*flag),
        (_, Some("true")) => Ok(true),
        (_, Some("false")) => Ok(false),
        _ => Err(must("true or false")),
    }
}

pub(super) fn text(raw: &Raw) -> Result<&str, Wrong> {
    raw.text().ok_or_else(|| must("text"))
}

/// One of some names.
pub(super) fn choice<T: Copy>(raw: &Raw, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let chosen = raw.text().and_then(|text| choices.iter().find(|(name, _)| *name == text));
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        must(&format!("one of {}", names.join(", ")))
    })
}

fn optional<'a, T>(raw: &'a Raw, read: fn(&'a Raw) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if raw.is_none() {
        return Ok(None);
    }
    read(raw).map(Some).map_err(|wrong| match wrong {
        Wrong::Must(what) => Wrong::Must(format!("{what}; or \"none\"")),
        other => other,
    })
}

pub(super) fn time_or_none(raw: &Raw) -> Result<Option<Duration>, Wrong> {
    optional(raw, time)
}

pub(super) fn bytes_or_none<T: Whole>(raw: &Raw) -> Result<Option<T>, Wrong> {
    optional(raw, bytes)
}

pub(super) fn number_or_none<T: Whole>(raw: &Raw) -> Result<Option<T>, Wrong> {
    optional(raw, number)
}

pub(super) fn address_or_none(raw: &Raw) -> Result<Option<SocketAddr>, Wrong> {
    if raw.is_none() {
        return Ok(None);
    }
    let address = text(raw)?.parse();
    address.map(Some).map_err(|_| must(r#"an address: "10.0.0.1:0", "[::1]:0"; or "none""#))
}

/// Whether two names differ in one character, or in two that are next to each other: added, missing, other, swapped.
pub(super) fn is_nearly(given: &str, name: &str) -> bool {
    let (given, name) = (given.as_bytes(), name.as_bytes());
    let front = given.iter().zip(name).take_while(|(a, b)| a == b).count();
    let (given, name) = (&given[front..], &name[front..]);
    let back = given.iter().rev().zip(name.iter().rev()).take_while(|(a, b)| a == b).count();
    let (given, name) = (given.len() - back, name.len() - back);
    given <= 2 && name <= 2 && given + name <= 4 && front + back >= 2
}
