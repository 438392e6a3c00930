//! TLS settings of the dialing side.

use std::sync::{Arc, PoisonError, RwLock};

use bowline_core::address::Address;
use bowline_core::layer::{DialLayer, Layer, LayerError, Layers};
use bowline_core::supervisor::Endpoint;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, TrustAnchor};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::credentials::{Certificates, Identity, RevocationLists};
use crate::error::{SettingsError, TlsError};
use crate::layer::{MAX_HANDSHAKE, TlsLayer};

/// TLS for dialed connections: trusted roots, the own certificate, the expected name.
///
/// Cheap to clone; clones share the settings, which [`replace`](Self::replace) exchanges while links run. The
/// peer's certificate must be valid for the host as it was dialed (a name, or an address), unless
/// [`name`](TlsClientBuilder::name) sets another one.
///
/// ```
/// use bowline_tls::{Certificates, Identity, TlsClient};
///
/// # fn example(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<(), bowline_tls::SettingsError> {
/// let tls = TlsClient::builder()
///     .roots(Certificates::from_pem(ca)?)
///     .identity(Identity::from_pem(chain, key)?)
///     .build()?;
/// # drop(tls);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TlsClient {
    settings: Arc<RwLock<Settings>>,
}

#[derive(Clone, Debug)]
struct Settings {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    max_handshake: usize,
}

impl TlsClient {
    /// A builder, without trusted roots yet.
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder {
            provider: crate::default_provider(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            roots: None,
            anchors: Vec::new(),
            verifier: Verifier::Roots,
            lists: RevocationLists::default(),
            identity: None,
            name: None,
            alpn: Vec::new(),
            resumes: true,
            max_handshake: MAX_HANDSHAKE,
        }
    }

    /// Uses settings of `rustls` itself.
    #[must_use]
    pub fn of(config: impl Into<Arc<ClientConfig>>) -> Self {
        let settings = Settings { config: config.into(), name: None, max_handshake: MAX_HANDSHAKE };
        Self { settings: Arc::new(RwLock::new(settings)) }
    }

    /// Replaces the settings, here and in all clones. New connections use the new settings, existing ones
    /// keep theirs.
    pub fn replace(&self, with: &Self) {
        let new = with.current();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The present settings of `rustls`.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.current().config
    }

    fn current(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The layer of one connection, to an endpoint as it was given.
    ///
    /// # Errors
    /// [`TlsError::NoName`] without a name to verify.
    pub fn layer(&self, to: &Endpoint) -> Result<TlsLayer, TlsError> {
        let Settings { config, name, max_handshake } = self.current();
        let name = match name {
            Some(name) => name,
            None => dialed_name(to).ok_or_else(|| TlsError::NoName { place: to.to_string() })?,
        };
        let tls = ClientConnection::new(config, name)?;
        Ok(TlsLayer::from(tls).with_max_handshake(max_handshake))
    }
}

/// The host as it was dialed.
fn dialed_name(to: &Endpoint) -> Option<ServerName<'static>> {
    match to {
        Endpoint::Address(Address::Tcp(address)) => Some(ServerName::from(address.ip())),
        Endpoint::Name { host, .. } => ServerName::try_from(host.clone()).ok(),
        _ => None,
    }
}

impl DialLayer for TlsClient {
    fn dial(&self, to: &Endpoint) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(self.layer(to)?))
    }
}

impl From<TlsClient> for Layers {
    fn from(client: TlsClient) -> Self {
        Self::dialing(client)
    }
}

impl From<&TlsClient> for Layers {
    fn from(client: &TlsClient) -> Self {
        Self::dialing(client.clone())
    }
}

/// How a server's certificate is verified.
#[derive(Debug)]
enum Verifier {
    Roots,
    #[cfg(feature = "platform-verifier")]
    Platform,
}

/// Builds a [`TlsClient`].
#[derive(Debug)]
#[must_use]
pub struct TlsClientBuilder {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    roots: Option<Certificates>,
    /// Roots of built-in lists.
    anchors: Vec<TrustAnchor<'static>>,
    verifier: Verifier,
    lists: RevocationLists,
    identity: Option<Identity>,
    name: Option<String>,
    alpn: Vec<Vec<u8>>,
    resumes: bool,
    max_handshake: usize,
}

impl TlsClientBuilder {
    /// Trusts certificates that these roots issued, in addition to other roots.
    pub fn roots(mut self, roots: Certificates) -> Self {
        self.roots.get_or_insert_default().0.extend(roots.0);
        self
    }

    /// Trusts the roots of Mozilla's list, as of the build of the crate `webpki-roots`.
    #[cfg(feature = "webpki-roots")]
    pub fn webpki_roots(mut self) -> Self {
        self.anchors.extend_from_slice(webpki_roots::TLS_SERVER_ROOTS);
        self
    }

    /// Uses the platform's verifier, with its own roots and rules; other roots are trusted as well if the
    /// platform supports that (not on Android).
    #[cfg(feature = "platform-verifier")]
    pub fn platform_verifier(mut self) -> Self {
        self.verifier = Verifier::Platform;
        self
    }

    /// Refuses certificates on these lists. Every certificate of a chain must be covered by a list.
    pub fn revocation_lists(mut self, lists: RevocationLists) -> Self {
        self.lists.0.extend(lists.0);
        self
    }

    /// Sets the certificate for servers that ask for one. Default: none.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the server's name, whatever is dialed: its certificate must be valid for it, and it is sent to
    /// the server (SNI). Required if the endpoint has no name: for Unix sockets and streams of the program.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the application protocols to offer (ALPN), the preferred one first. Default: none.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether later connections resume earlier sessions, which saves sending certificates. Default:
    /// yes, with the tickets of 256 servers in memory.
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

    /// Sets the maximum number of bytes from a server before the handshake is done. Default 64 KiB.
    pub fn max_handshake(mut self, bytes: usize) -> Self {
        self.max_handshake = bytes;
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    /// There are no roots, a certificate cannot be read, a key does not belong to its certificate, or a name
    /// is invalid.
    pub fn build(self) -> Result<TlsClient, SettingsError> {
        let name = match self.name {
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| SettingsError::Name { name })?),
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)?;
        let verified = match self.verifier {
            Verifier::Roots => {
                let roots = roots(self.roots, self.anchors)?;
                if self.lists.0.is_empty() {
                    builder.with_root_certificates(roots)
                } else {
                    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider)
                        .with_crls(self.lists.0)
                        .enforce_revocation_expiration()
                        .build()
                        .map_err(|error| SettingsError::Rustls(rustls::Error::General(error.to_string())))?;
                    builder.with_webpki_verifier(verifier)
                }
            }
            #[cfg(feature = "platform-verifier")]
            Verifier::Platform => {
                if !self.lists.0.is_empty() {
                    return Err(SettingsError::PlatformRevocation);
                }
                let verifier = platform_verifier(self.roots.unwrap_or_default(), self.provider)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match self.identity {
            Some(Identity { chain, key }) => verified.with_client_auth_cert(chain, key)?,
            None => verified.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        if !self.resumes {
            config.resumption = Resumption::disabled();
        }
        let settings = Settings { config: config.into(), name, max_handshake: self.max_handshake };
        Ok(TlsClient { settings: Arc::new(RwLock::new(settings)) })
    }
}

fn roots(
    given: Option<Certificates>,
    anchors: Vec<TrustAnchor<'static>>,
) -> Result<RootCertStore, SettingsError> {
    let mut roots = given.unwrap_or_default().into_roots()?;
    roots.extend(anchors);
    if roots.is_empty() { Err(SettingsError::NoRoots) } else { Ok(roots) }
}

#[cfg(all(feature = "platform-verifier", not(target_os = "android")))]
fn platform_verifier(
    roots: Certificates,
    provider: Arc<CryptoProvider>,
) -> Result<rustls_platform_verifier::Verifier, SettingsError> {
    Ok(rustls_platform_verifier::Verifier::new_with_extra_roots(roots.0, provider)?)
}

#[cfg(all(feature = "platform-verifier", target_os = "android"))]
fn platform_verifier(
    _: Certificates,
    provider: Arc<CryptoProvider>,
) -> Result<rustls_platform_verifier::Verifier, SettingsError> {
    Ok(rustls_platform_verifier::Verifier::new(provider)?)
}
