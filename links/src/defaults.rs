//! The default settings.

use std::sync::OnceLock;

use bowline_core::config::Config;
use bowline_core::frame::native::Native;

/// [`Config::default`], made once and shared.
#[must_use]
pub(crate) fn default_config() -> Config<Native> {
    static CONFIG: OnceLock<Config<Native>> = OnceLock::new();
    CONFIG.get_or_init(Config::default).clone()
}
