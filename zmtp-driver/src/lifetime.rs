//! The parts of a socket, its running tasks, and its owner.

use std::time::Duration;

use bowline_driver::sync::Arc;
use bowline_zmtp::options::Options;
use bowline_zmtp::socket_type::SocketType;

use crate::auth::Authenticator;
use crate::core::SocketCore;

/// The parts of which a socket is made.
pub(crate) struct Setup {
    pub(crate) options: Arc<Options>,
    pub(crate) kind: SocketType,
    pub(crate) linger: Duration,
    pub(crate) name: String,
    pub(crate) authenticator: Option<Authenticator>,
}

/// A socket for models: without authenticator, with a long linger time.
#[cfg(test)]
pub(crate) fn for_tests(options: Options) -> Arc<SocketCore> {
    let seat = crate::context::default_of(std::any::TypeId::of::<()>()).reserve().expect("no limit");
    let kind = options.kind();
    let (options, linger) = (options.build().expect("sound"), Duration::from_secs(3600));
    SocketCore::new(Setup { options, kind, linger, name: String::new(), authenticator: None }, 1, seat)
}

/// Closes a socket together with its listeners.
pub(crate) trait CloseAll: Send + Sync {
    fn close_all(&self, linger: Duration);
}

/// A running part of a socket, while it is kept: a driven pipe, an accept loop, a pending decision about a
/// peer.
pub(crate) struct Running(Arc<SocketCore>);

impl Running {
    pub(crate) fn new(core: &Arc<SocketCore>) -> Self {
        core.begin_run();
        Self(Arc::clone(core))
    }
}

impl std::ops::Deref for Running {
    type Target = Arc<SocketCore>;

    fn deref(&self) -> &Arc<SocketCore> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end_run();
    }
}
