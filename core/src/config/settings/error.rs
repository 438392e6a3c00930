//! What is wrong with settings from outside.

use alloc::string::{String, ToString};

use super::value::Raw;
use crate::error::ConfigError;

/// A setting from outside of the program that cannot be used: which one, what it was set to, and what it has to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no setting of that name.
    #[error("there is no setting {key}{}", .meant.map(|meant| alloc::format!("; is {meant} meant?")).unwrap_or_default())]
    Unknown {
        /// The name.
        key: String,
        /// A setting whose name is nearly that.
        meant: Option<&'static str>,
    },
    /// A value that cannot be read, or that is outside of its limits.
    #[error("{key} is {value}, must be {must}")]
    Value {
        /// The setting, as it was named: a key of a file, a variable of the environment.
        key: String,
        /// The value, as it was written (text in quotation marks). Without the credentials of a proxy.
        value: String,
        /// What it has to be, in words.
        must: String,
    },
    /// A setting that does not go with another one, or that the framing has no room for.
    #[error("{key} is {value}: {why}")]
    Conflict {
        /// The setting, as it was named.
        key: String,
        /// The value, as it was written.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// The same setting was given twice.
    #[error("{key} is given twice")]
    Twice {
        /// The setting.
        key: String,
    },
    /// A variable whose value is not Unicode.
    #[error("{key} is not Unicode")]
    NotUnicode {
        /// The variable.
        key: String,
    },
    /// What the program itself set in the builder cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SettingsError {
    /// What is wrong with that setting.
    pub(super) fn new(key: &str, raw: &Raw, wrong: Wrong) -> Self {
        let (key, value) = (key.to_string(), raw.to_string());
        match wrong {
            Wrong::Must(must) => Self::Value { key, value, must },
            Wrong::Config(ConfigError::OutOfRange { must, .. }) => {
                Self::Value { key, value, must: must.into() }
            }
            Wrong::Config(ConfigError::Conflict { why, .. }) => Self::Conflict { key, value, why },
            Wrong::Config(ConfigError::Address(_)) => Self::Value { key, value, must: "an address".into() },
        }
    }
}

/// Why a value will not do.
#[derive(Debug)]
pub(super) enum Wrong {
    /// What it has to be.
    Must(String),
    /// What the part of the configuration says that reads it.
    Config(ConfigError),
}
