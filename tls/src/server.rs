//! TLS settings of the accepting side.

use std::sync::Arc;

use bowline_core::layer::{AcceptLayer, Layer, LayerError, Layers};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::credentials::{Certificates, Identity, RevocationLists};
use crate::error::{SettingsError, TlsError};
use crate::layer::{MAX_HANDSHAKE, TlsLayer};
use crate::settings::{Common, Shared, common_methods, no_verifier};

/// TLS for accepted connections: the server's certificate, and whether clients need certificates.
///
/// Cheap to clone; clones share the settings, which [`replace`](Self::replace) exchanges while servers run: a
/// renewed certificate, other roots, a newer list of revoked certificates.
///
/// ```
/// use bowline_tls::{Certificates, Identity, TlsServer};
///
/// # fn example(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<(), bowline_tls::SettingsError> {
/// // Both sides show certificates.
/// let tls = TlsServer::builder()
///     .identity(Identity::from_pem(chain, key)?)
///     .client_roots(Certificates::from_pem(ca)?)
///     .build()?;
/// # drop(tls);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TlsServer {
    settings: Shared<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    config: Arc<ServerConfig>,
    max_handshake: usize,
}

impl TlsServer {
    /// A builder, which needs an [`identity`](TlsServerBuilder::identity).
    pub fn builder() -> TlsServerBuilder {
        TlsServerBuilder {
            common: Common::default(),
            client_roots: Certificates::default(),
            is_optional: false,
        }
    }

    /// Uses settings of `rustls` itself.
    #[must_use]
    pub fn of(config: impl Into<Arc<ServerConfig>>) -> Self {
        let settings = Settings { config: config.into(), max_handshake: MAX_HANDSHAKE };
        Self { settings: Shared::new(settings) }
    }

    /// Replaces the settings, here and in all clones. New connections use the new settings, existing ones
    /// keep theirs. Earlier sessions are not resumed, so that every client is verified anew.
    pub fn replace(&self, with: &Self) {
        self.settings.replace(&with.settings);
    }

    /// The present settings of `rustls`.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.settings.current().config
    }

    /// The layer of one connection.
    ///
    /// # Errors
    /// The settings are invalid.
    pub fn layer(&self) -> Result<TlsLayer, TlsError> {
        let Settings { config, max_handshake } = self.settings.current();
        Ok(TlsLayer::from(ServerConnection::new(config)?).with_max_handshake(max_handshake))
    }
}

impl AcceptLayer for TlsServer {
    fn accept(&self) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(self.layer()?))
    }
}

impl From<TlsServer> for Layers {
    fn from(server: TlsServer) -> Self {
        Self::accepting(server)
    }
}

impl From<&TlsServer> for Layers {
    fn from(server: &TlsServer) -> Self {
        Self::accepting(server.clone())
    }
}

/// Builds a [`TlsServer`].
#[derive(Debug)]
#[must_use]
pub struct TlsServerBuilder {
    common: Common,
    client_roots: Certificates,
    is_optional: bool,
}

common_methods! {
    TlsServerBuilder,
    identity = "Sets the certificate for all clients, and its key.",
    lists = "Refuses clients' certificates on these lists.",
    alpn = "Sets the application protocols (ALPN), the preferred one first. A client that offers only others is \
            refused, one that offers none is accepted. Default: none.",
    resumption = "Sets whether clients may resume earlier sessions, which saves sending certificates. Default: \
                  yes, with tickets that only this process can read; their key is renewed every six hours.",
    peer = "client",
}

impl TlsServerBuilder {
    /// Requires clients to have a certificate that these roots issued. Default: clients are not asked for
    /// one.
    pub fn client_roots(mut self, roots: Certificates) -> Self {
        self.client_roots.0.extend(roots.0);
        self
    }

    /// Asks clients for a certificate, but lets them in without one.
    pub fn client_certificate_optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    /// There is no identity, a certificate cannot be read, or a key does not belong to its certificate.
    pub fn build(self) -> Result<TlsServer, SettingsError> {
        let Common { provider, versions, lists, identity, alpn, resumes, max_handshake } = self.common;
        let Identity { chain, key } = identity.ok_or(SettingsError::NoIdentity)?;
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions)?;
        let asked = if self.client_roots.is_empty() {
            if self.is_optional || !lists.0.is_empty() {
                return Err(SettingsError::NoRoots);
            }
            builder.with_no_client_auth()
        } else {
            let roots = Arc::new(self.client_roots.into_roots()?);
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            if !lists.0.is_empty() {
                verifier = verifier.with_crls(lists.0).enforce_revocation_expiration();
            }
            if self.is_optional {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(no_verifier)?)
        };
        let mut config = asked.with_single_cert(chain, key)?;
        config.alpn_protocols = alpn;
        if resumes {
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let settings = Settings { config: config.into(), max_handshake };
        Ok(TlsServer { settings: Shared::new(settings) })
    }
}
