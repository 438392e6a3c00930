//! The settings of those who name none.

use std::sync::OnceLock;

use bowline_core::config::Config;
use bowline_core::frame::native::Native;

/// [`Config::default`], made once: all who ask share its memory.
#[must_use]
pub(crate) fn default_config() -> Config<Native> {
    static CONFIG: OnceLock<Config<Native>> = OnceLock::new();
    CONFIG.get_or_init(Config::default).clone()
}
