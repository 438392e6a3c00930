//! Properties of a connection other than those of its protocol.

use bowline_core::address::Address;

use crate::sync::Arc;

/// The certificates that a peer showed, in DER: its own first, then the chain.
pub type PeerCertificates = Arc<[Vec<u8>]>;

/// Properties of a connection other than those of its protocol, for the decision whether its peer is let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address of the other side.
    pub remote: Option<Address>,
    /// The address of this side.
    pub local: Option<Address>,
    /// The certificates that the peer showed in a layer such as TLS, which has verified them; `None` without
    /// such a layer, or if the peer showed none. See
    /// [`Application::peer_certificates`](crate::app::Application::peer_certificates).
    pub peer_certificates: Option<PeerCertificates>,
}
