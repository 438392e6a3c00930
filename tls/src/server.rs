//! TLS settings of the accepting side.

use std::sync::{Arc, PoisonError, RwLock};

use bowline_core::layer::{AcceptLayer, Layer, LayerError, Layers};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::credentials::{Certificates, Identity, RevocationLists};
use crate::error::{SettingsError, TlsError};
use crate::layer::{MAX_HANDSHAKE, TlsLayer};

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
    settings: Arc<RwLock<Settings>>,
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
            provider: crate::default_provider(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            identity: None,
            client_roots: Certificates::default(),
            is_optional: false,
            lists: RevocationLists::default(),
            alpn: Vec::new(),
            resumes: true,
            max_handshake: MAX_HANDSHAKE,
        }
    }

    /// Uses settings of `rustls` itself.
    #[must_use]
    pub fn of(config: impl Into<Arc<ServerConfig>>) -> Self {
        let settings = Settings { config: config.into(), max_handshake: MAX_HANDSHAKE };
        Self { settings: Arc::new(RwLock::new(settings)) }
    }

    /// Replaces the settings, here and in all clones. New connections use the new settings, existing ones
    /// keep theirs. Earlier sessions are not resumed, so that every client is verified anew.
    pub fn replace(&self, with: &Self) {
        let new = with.current();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The present settings of `rustls`.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current().config
    }

    fn current(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The layer of one connection.
    ///
    /// # Errors
    /// The settings are invalid.
    pub fn layer(&self) -> Result<TlsLayer, TlsError> {
        let Settings { config, max_handshake } = self.current();
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
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<Identity>,
    client_roots: Certificates,
    is_optional: bool,
    lists: RevocationLists,
    alpn: Vec<Vec<u8>>,
    resumes: bool,
    max_handshake: usize,
}

impl TlsServerBuilder {
    /// Sets the certificate for all clients, and its key.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

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

    /// Refuses clients' certificates on these lists. Every certificate of a chain must be covered by a list.
    pub fn revocation_lists(mut self, lists: RevocationLists) -> Self {
        self.lists.0.extend(lists.0);
        self
    }

    /// Sets the application protocols (ALPN), the preferred one first. A client that offers only others is
    /// refused, one that offers none is accepted. Default: none.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether clients may resume earlier sessions, which saves sending certificates. Default: yes, with
    /// tickets that only this process can read; their key is renewed every six hours.
    pub fn resumption(mut self, resumes: bool) -> Self {
        self.resumes = resumes;
        self
    }

    /// Sets the protocol versions. Default: 1.3 and 1.2.
    pub fn versions(mut self, versions: impl IntoIterator<Item = &'static SupportedProtocolVersion>) -> Self {
        self.versions = versions.into_iter().collect();
        self
    }

    /// Sets the cryptography provider. Default: *ring*.
    pub fn provider(mut self, provider: impl Into<Arc<CryptoProvider>>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Sets the maximum number of bytes from a client before the handshake is done. Default 64 KiB.
    pub fn max_handshake(mut self, bytes: usize) -> Self {
        self.max_handshake = bytes;
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    /// There is no identity, a certificate cannot be read, or a key does not belong to its certificate.
    pub fn build(self) -> Result<TlsServer, SettingsError> {
        let Identity { chain, key } = self.identity.ok_or(SettingsError::NoIdentity)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)?;
        let asked = if self.client_roots.is_empty() {
            if self.is_optional || !self.lists.0.is_empty() {
                return Err(SettingsError::NoRoots);
            }
            builder.with_no_client_auth()
        } else {
            let roots = Arc::new(self.client_roots.into_roots()?);
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, self.provider);
            if !self.lists.0.is_empty() {
                verifier = verifier.with_crls(self.lists.0).enforce_revocation_expiration();
            }
            if self.is_optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier
                .build()
                .map_err(|error| SettingsError::Rustls(rustls::Error::General(error.to_string())))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = asked.with_single_cert(chain, key)?;
        config.alpn_protocols = self.alpn;
        if self.resumes {
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let settings = Settings { config: config.into(), max_handshake: self.max_handshake };
        Ok(TlsServer { settings: Arc::new(RwLock::new(settings)) })
    }
}
