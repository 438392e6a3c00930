//! The accepting side's settings.

use std::sync::{Arc, PoisonError, RwLock};

use bowline_core::layer::{AcceptLayer, Layer, LayerError, Layers};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::credentials::{Certificates, Identity, RevocationLists};
use crate::error::{SettingsError, TlsError};
use crate::layer::{MAX_HANDSHAKE, TlsLayer};

/// TLS for connections that are accepted: what to show, and whether clients have to show something, too.
///
/// Cheap to clone; clones share the settings, which [`replace`](Self::replace) exchanges while servers run: a renewed
/// certificate, other roots, a newer list of revoked certificates.
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
    /// A builder: it needs an [`identity`](TlsServerBuilder::identity).
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

    /// Of settings of `rustls` itself.
    #[must_use]
    pub fn of(config: impl Into<Arc<ServerConfig>>) -> Self {
        let settings = Settings { config: config.into(), max_handshake: MAX_HANDSHAKE };
        Self { settings: Arc::new(RwLock::new(settings)) }
    }

    /// Other settings from now on, here and in all clones: connections that come later have them, those that are there go
    /// on with theirs. Sessions of before are not resumed, so that every client is looked at anew.
    pub fn replace(&self, with: &Self) {
        let new = with.current();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The settings of `rustls` as they are now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current().config
    }

    fn current(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One connection's layer.
    ///
    /// # Errors
    /// The settings do not work.
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
    /// The certificate that is shown to every client, and its key.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Clients have to show a certificate that these issued. Default: clients are not asked.
    pub fn client_roots(mut self, roots: Certificates) -> Self {
        self.client_roots.0.extend(roots.0);
        self
    }

    /// Clients are asked for a certificate, and let in without one.
    pub fn client_certificate_optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Clients' certificates on these lists are refused. Every certificate of a chain has to be covered by a list.
    pub fn revocation_lists(mut self, lists: RevocationLists) -> Self {
        self.lists.0.extend(lists.0);
        self
    }

    /// Application protocols that are spoken (ALPN), the preferred one first. A client that offers only others is refused,
    /// one that offers none is not. Default: none.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Whether clients may resume earlier sessions, which saves the certificates. Default: yes, with tickets that only this
    /// process can read; their key is made anew every six hours.
    pub fn resumption(mut self, resumes: bool) -> Self {
        self.resumes = resumes;
        self
    }

    /// The versions that are spoken. Default: 1.3 and 1.2.
    pub fn versions(mut self, versions: impl IntoIterator<Item = &'static SupportedProtocolVersion>) -> Self {
        self.versions = versions.into_iter().collect();
        self
    }

    /// Other cryptography than *ring*'s.
    pub fn provider(mut self, provider: impl Into<Arc<CryptoProvider>>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Most bytes that a client may send before the handshake is done. Default 64 KiB.
    pub fn max_handshake(mut self, bytes: usize) -> Self {
        self.max_handshake = bytes;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// No identity, a certificate that cannot be read, a key that does not belong to its certificate.
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
