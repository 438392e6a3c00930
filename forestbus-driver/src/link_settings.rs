//! The settings of links that clients and nodes have in common.

use std::time::Duration;

use bowline_core::config::{Config, ConfigBuilder, SocketOptions};
use bowline_core::error::ConfigError;
use bowline_core::layer::Layers;
use bowline_forestbus::wire::CborRpc;

/// What the builders of clients and of nodes set.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkSettings {
    pub(crate) sockets: SocketOptions,
    pub(crate) layers: Layers,
    pub(crate) max_message: Option<usize>,
}

impl LinkSettings {
    /// The configuration of a link, with what only one side sets. A link that closes does not linger, because the
    /// cluster, or the node, knows each call and each answer itself.
    pub(crate) fn config(
        self,
        framing: CborRpc,
        with: impl FnOnce(ConfigBuilder<CborRpc>) -> ConfigBuilder<CborRpc>,
    ) -> Result<Config<CborRpc>, ConfigError> {
        let Self { sockets, layers, max_message } = self;
        let mut config =
            Config::with_framing(framing).linger(Duration::ZERO).event_queue(64).sockets(sockets);
        if let Some(bytes) = max_message {
            config = config.max_message(bytes);
        }
        Ok(with(config).build()?.tls(layers))
    }
}
