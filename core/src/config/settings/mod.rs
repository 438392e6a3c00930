//! Settings from outside of the program: from a file through serde, from environment variables, or one by one.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{Config, ConfigBuilder};
use crate::error::ConfigError;
use crate::frame::Framing;

#[cfg(feature = "serde")]
mod de;
mod draft;
mod error;
mod keys;
#[cfg(test)]
mod tests;
mod value;

pub use error::SettingsError;

use draft::Draft;
use error::Wrong;
use keys::{KEYS, Key};
use value::Raw;

/// Settings of a [`Config`] that an operator gives: in a file, in environment variables, or on a command line.
///
/// Every setting is optional. A setting that is not given leaves the builder's value as it is. The keys are the names of
/// the methods of [`ConfigBuilder`]; what belongs together is a table (`write_queue.bytes`, `accept_limits.idle`,
/// `sockets.nodelay`, `reconnect.cap`). [`keys`](Self::keys) lists them.
///
/// | value | written as |
/// |---|---|
/// | time | `"250ms"`, `"10s"`, `"5min"`, `"2h"`, `"1d"`; a plain number is in milliseconds |
/// | bytes | `"64KiB"`, `"4MiB"`, `"1GiB"` (powers of 1,024), `"64kB"`, `"4MB"`, `"1GB"` (powers of 1,000); a plain number is in bytes |
/// | number | a plain number |
/// | switch | `true`, `false` |
/// | choice | the name in lower case, such as `"drop_oldest"` |
/// | what may be absent | `"none"`, or the format's null |
///
/// A key that does not exist, a value that cannot be read, and a value outside of its limits are errors that name the
/// key as it was written, the value and the limit.
///
/// ```
/// use bowline_core::config::{Config, settings::Settings};
/// use core::time::Duration;
///
/// let mut settings = Settings::default();
/// settings.set("call_timeout", "2s")?;
/// settings.set("write_queue.bytes", "64KiB")?;
/// let config = settings.build(Config::builder())?;
/// assert_eq!(config.call_timeout(), Duration::from_secs(2));
///
/// settings.set("call_timeout", "0s")?;
/// let error = settings.build(Config::builder()).unwrap_err();
/// assert_eq!(error.to_string(), r#"call_timeout is "0s", must be between 1 ms and 30 days"#);
/// # Ok::<(), bowline_core::config::settings::SettingsError>(())
/// ```
///
/// With the feature `serde` it is `Deserialize`, for self-describing formats such as TOML, JSON and YAML: as a field of
/// the program's own configuration, or alone. `from_env` reads environment variables and needs no feature but
/// `std`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// At most one for each key.
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    key: &'static Key,
    /// What it was called where it was given.
    name: String,
    raw: Raw,
}

impl Entry {
    fn wrong(&self, wrong: Wrong) -> SettingsError {
        SettingsError::new(&self.name, &self.raw, wrong)
    }
}

impl fmt::Debug for Settings {
    /// Without the credentials of a proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|entry| (&entry.name, entry.raw.to_string()))).finish()
    }
}

impl Settings {
    /// The names of all settings, in the order of the documentation.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|key| key.name)
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets one, such as `accept_limits.idle` to `5min`. It replaces what was set before.
    ///
    /// # Errors
    /// There is no such setting, or the value cannot be read as one of its kind.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        let found = find(key).ok_or_else(|| unknown(key, key))?;
        self.put(found, key.to_string(), Raw::Text(value.to_string()))
    }

    /// Checks a value and keeps it.
    fn put(&mut self, key: &'static Key, name: String, raw: Raw) -> Result<(), SettingsError> {
        let entry = Entry { key, name, raw };
        (key.put)(&mut Draft::default(), &entry.raw).map_err(|wrong| entry.wrong(wrong))?;
        match self.entries.iter_mut().find(|other| other.key.name == key.name) {
            Some(before) => *before = entry,
            None => self.entries.push(entry),
        }
        Ok(())
    }

    /// Settings from variables: the prefix and then the key in upper case, with `_` for `.`. With the prefix `SHOP_`,
    /// `SHOP_ACCEPT_LIMITS_IDLE=5min` sets `accept_limits.idle`. Variables without the prefix are left alone, and so
    /// are those that are empty.
    ///
    /// # Errors
    /// A variable with the prefix that names no setting (the prefix belongs to these settings alone), or a value that cannot
    /// be read.
    ///
    /// ```
    /// use bowline_core::config::settings::Settings;
    ///
    /// let variables = [("SHOP_CALL_TIMEOUT", "soon"), ("PATH", "/bin")];
    /// let error = Settings::from_variables("SHOP_", variables).unwrap_err();
    /// assert!(error.to_string().starts_with(r#"SHOP_CALL_TIMEOUT is "soon", must be a time"#));
    /// ```
    pub fn from_variables<K: AsRef<str>, V: AsRef<str>>(
        prefix: &str,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            if value.is_empty() {
                continue;
            }
            let key = KEYS.iter().find(|key| is_variable(key.name, rest));
            let key = key.ok_or_else(|| unknown(name, rest))?;
            settings.put(key, name.to_string(), Raw::Text(value.to_string()))?;
        }
        Ok(settings)
    }

    /// [`from_variables`](Self::from_variables) of the process's environment. Nothing else reads it: without this
    /// call the environment changes nothing.
    ///
    /// # Errors
    /// As there; and a variable with the prefix that is not Unicode.
    #[cfg(feature = "std")]
    pub fn from_env(prefix: &str) -> Result<Self, SettingsError> {
        extern crate std;
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else { continue };
            let not_unicode = || SettingsError::NotUnicode { key: name.to_string() };
            variables.push((name.to_string(), value.into_string().map_err(|_| not_unicode())?));
        }
        Self::from_variables(prefix, variables)
    }

    /// Both together. Where both set a key, the value of `others` counts: for a file that the environment overrides.
    #[must_use]
    pub fn overridden_by(mut self, others: Self) -> Self {
        self.entries.retain(|entry| others.entries.iter().all(|other| other.key.name != entry.key.name));
        self.entries.extend(others.entries);
        self
    }

    /// Sets them in a builder. What is not given stays as it is there.
    ///
    /// # Errors
    /// Settings that do not go together, such as `reconnect.delay` without the policy `fixed`. Limits are checked by
    /// [`build`](Self::build).
    pub fn apply<F: Framing>(&self, builder: ConfigBuilder<F>) -> Result<ConfigBuilder<F>, SettingsError> {
        let ConfigBuilder { framing, max_message, settings } = builder;
        let mut draft = Draft::new(max_message, settings);
        for entry in &self.entries {
            (entry.key.put)(&mut draft, &entry.raw).map_err(|wrong| entry.wrong(wrong))?;
        }
        draft.finish().map_err(|error| self.explain(error))?;
        let Draft { max_message, settings, .. } = draft;
        Ok(ConfigBuilder { framing, max_message, settings })
    }

    /// [`apply`](Self::apply) and [`ConfigBuilder::build`]. Errors name the setting as it was written: the key of the file,
    /// the variable of the environment.
    ///
    /// # Errors
    /// As `apply`; and the first setting that cannot work.
    pub fn build<F: Framing>(&self, builder: ConfigBuilder<F>) -> Result<Config<F>, SettingsError> {
        self.apply(builder)?.build().map_err(|error| self.explain(error))
    }

    /// An error of the builder, with the setting's key and value as they were written, if it was set here.
    #[must_use]
    pub fn explain(&self, error: ConfigError) -> SettingsError {
        let (ConfigError::OutOfRange { field, .. } | ConfigError::Conflict { field, .. }) = &error else {
            return error.into();
        };
        let Some(entry) = self.entries.iter().find(|entry| is_field(entry.key.name, field)) else {
            return error.into();
        };
        entry.wrong(match error {
            ConfigError::OutOfRange { must, .. } => Wrong::Must(must.to_string()),
            other => Wrong::Config(other),
        })
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether a variable, without the prefix, stands for that key.
fn is_variable(key: &str, variable: &str) -> bool {
    let upper = |byte: u8| if byte == b'.' { b'_' } else { byte.to_ascii_uppercase() };
    key.len() == variable.len() && key.bytes().map(upper).eq(variable.bytes())
}

/// Whether a builder's field is what that key sets.
fn is_field(key: &str, field: &str) -> bool {
    match field {
        "reconnect" => matches!(key, "reconnect.base" | "reconnect.cap"),
        "max_rounds" => key == "reconnect.max_rounds",
        "targets without a proxy" => key == "no_proxy",
        field => key == field,
    }
}

/// Whether keys begin with that and a dot.
#[cfg(feature = "serde")]
fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(table, _)| table == name))
}

/// There is no setting `name`. A key that is nearly `like`, in the spelling of files or of variables, may be meant.
fn unknown(name: &str, like: &str) -> SettingsError {
    let plain = |name: &str| name.replace('.', "_").to_ascii_lowercase();
    let meant = KEYS.iter().find(|key| value::is_nearly(&plain(like), &plain(key.name)));
    SettingsError::Unknown { key: name.to_string(), meant: meant.map(|key| key.name) }
}
