//! Properties of a connection other than those of its protocol.

use bowline_core::address::Address;
use bowline_core::layer::Secured;

use crate::sync::Arc;

/// Properties of a connection other than those of its protocol, for the decision whether its peer is let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address of the other side.
    pub remote: Option<Address>,
    /// The address of this side.
    pub local: Option<Address>,
    /// The properties of the peer in a layer such as TLS; `None` without such a layer. See
    /// [`Application::secured`](crate::app::Application::secured).
    pub secured: Option<Arc<Secured>>,
}

impl ConnectionInfo {
    /// The certificates that the peer showed in a layer such as TLS, which has verified them: in DER, its own
    /// first. Empty without such a layer, or if the peer showed none.
    #[must_use]
    pub fn peer_certificates(&self) -> &[Vec<u8>] {
        self.secured.as_deref().map_or(&[], |secured| &secured.certificates)
    }

    /// The DNS names of the peer's own certificate; empty if it showed none.
    #[must_use]
    pub fn certificate_names(&self) -> &[String] {
        self.secured.as_deref().map_or(&[], |secured| &secured.names)
    }
}
