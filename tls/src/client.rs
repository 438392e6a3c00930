//! TLS settings of the dialing side.

use std::sync::Arc;

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
use crate::settings::{Common, Shared, common_methods, no_verifier};

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
    settings: Shared<Settings>,
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
            common: Common::default(),
            roots: None,
            anchors: Vec::new(),
            verifier: Verifier::Roots,
            name: None,
        }
    }

    /// Uses settings of `rustls` itself.
    #[must_use]
    pub fn of(config: impl Into<Arc<ClientConfig>>) -> Self {
        let settings = Settings { config: config.into(), name: None, max_handshake: MAX_HANDSHAKE };
        Self { settings: Shared::new(settings) }
    }

    /// Replaces the settings, here and in all clones. New connections use the new settings, existing ones
    /// keep theirs.
    pub fn replace(&self, with: &Self) {
        self.settings.replace(&with.settings);
    }

    /// The present settings of `rustls`.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.settings.current().config
    }

    /// The layer of one connection, to an endpoint as it was given.
    ///
    /// # Errors
    /// [`TlsError::NoName`] without a name to verify.
    pub fn layer(&self, to: &Endpoint) -> Result<TlsLayer, TlsError> {
        let Settings { config, name, max_handshake } = self.settings.current();
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
    common: Common,
    roots: Option<Certificates>,
    /// Roots of built-in lists.
    anchors: Vec<TrustAnchor<'static>>,
    verifier: Verifier,
    name: Option<String>,
}

common_methods! {
    TlsClientBuilder,
    identity = "Sets the certificate for servers that ask for one. Default: none.",
    lists = "Refuses certificates on these lists.",
    alpn = "Sets the application protocols to offer (ALPN), the preferred one first. Default: none.",
    resumption = "Sets whether later connections resume earlier sessions, which saves sending certificates. \
                  Default: yes, with the tickets of 256 servers in memory.",
    peer = "server",
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

    /// Sets the server's name, whatever is dialed: its certificate must be valid for it, and it is sent to
    /// the server (SNI). Required if the endpoint has no name: for Unix sockets and streams of the program.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
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
        let Common { provider, versions, lists, identity, alpn, resumes, max_handshake } = self.common;
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions)?;
        let verified = match self.verifier {
            Verifier::Roots => {
                let roots = roots(self.roots, self.anchors)?;
                if lists.0.is_empty() {
                    builder.with_root_certificates(roots)
                } else {
                    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                        .with_crls(lists.0)
                        .enforce_revocation_expiration()
                        .build()
                        .map_err(no_verifier)?;
                    builder.with_webpki_verifier(verifier)
                }
            }
            #[cfg(feature = "platform-verifier")]
            Verifier::Platform => {
                if !lists.0.is_empty() {
                    return Err(SettingsError::PlatformRevocation);
                }
                let verifier = platform_verifier(self.roots.unwrap_or_default(), provider)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match identity {
            Some(Identity { chain, key }) => verified.with_client_auth_cert(chain, key)?,
            None => verified.with_no_client_auth(),
        };
        config.alpn_protocols = alpn;
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        let settings = Settings { config: config.into(), name, max_handshake };
        Ok(TlsClient { settings: Shared::new(settings) })
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
