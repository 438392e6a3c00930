//! What is known of a connection besides what its protocol says.

use bowline_core::address::Address;

use crate::sync::Arc;

/// The certificates that a peer showed, DER, its own first, and those that vouch for it behind.
pub type PeerCertificates = Arc<[Vec<u8>]>;

/// What is known of a connection besides what its protocol says: for those who decide whether its peer is
/// let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The other end's address.
    pub remote: Option<Address>,
    /// This end's address.
    pub local: Option<Address>,
    /// What the peer showed below the protocol, and was found to be good there: `None` where there is no such
    /// layer, or the peer showed none. See
    /// [`Application::peer_certificates`](crate::app::Application::peer_certificates).
    pub peer_certificates: Option<PeerCertificates>,
}
