//! What links without settings or handlers of their own share.

use std::any::Any;
use std::sync::OnceLock;

use bowline_core::config::Config;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::sync::Arc;

use crate::handler::Handlers;

/// [`Config::default`], made once and shared.
#[must_use]
pub(crate) fn default_config() -> Config<Native> {
    static CONFIG: OnceLock<Config<Native>> = OnceLock::new();
    CONFIG.get_or_init(Config::default).clone()
}

/// No handlers. Native links share them: many clients have none.
#[must_use]
pub(crate) fn no_handlers<F: Framing>() -> Arc<Handlers<F>> {
    static NONE: OnceLock<Arc<Handlers<Native>>> = OnceLock::new();
    let native: &dyn Any = NONE.get_or_init(Arc::default);
    native.downcast_ref::<Arc<Handlers<F>>>().map_or_else(Arc::default, Arc::clone)
}

#[cfg(test)]
mod tests {
    use bowline_core::frame::tcpstream::Tcpstream;

    use super::*;

    #[test]
    fn native_links_share_their_lack_of_handlers() {
        assert!(no_handlers::<Native>().are_none() && no_handlers::<Tcpstream>().are_none());
        assert!(Arc::ptr_eq(&no_handlers::<Native>(), &no_handlers::<Native>()));
    }
}
