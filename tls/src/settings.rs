//! What the settings of both sides have in common.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

use crate::credentials::{Identity, RevocationLists};
use crate::error::SettingsError;
use crate::layer::MAX_HANDSHAKE;

/// Settings that clones share, and that are exchanged while connections are made.
#[derive(Clone, Debug)]
pub(crate) struct Shared<S>(Arc<RwLock<S>>);

impl<S: Clone> Shared<S> {
    pub(crate) fn new(settings: S) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }

    pub(crate) fn current(&self) -> S {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the present settings of the other, here and in all clones.
    pub(crate) fn replace(&self, with: &Self) {
        let new = with.current();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

/// What the builders of both sides set.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) lists: RevocationLists,
    pub(crate) identity: Option<Identity>,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) resumes: bool,
    pub(crate) max_handshake: usize,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            provider: crate::default_provider(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            lists: RevocationLists::default(),
            identity: None,
            alpn: Vec::new(),
            resumes: true,
            max_handshake: MAX_HANDSHAKE,
        }
    }
}

/// A verifier of certificates could not be made.
pub(crate) fn no_verifier(error: impl std::fmt::Display) -> SettingsError {
    SettingsError::Rustls(rustls::Error::General(error.to_string()))
}

/// The methods of a builder with `common` that set what both sides have, with the texts that differ.
macro_rules! common_methods {
    ($builder:ident, identity = $identity:literal, lists = $lists:literal, alpn = $alpn:literal,
     resumption = $resumption:literal, peer = $peer:literal $(,)?) => {
        impl $builder {
            #[doc = $identity]
            pub fn identity(mut self, identity: Identity) -> Self {
                self.common.identity = Some(identity);
                self
            }

            #[doc = $lists]
            /// Every certificate of a chain must be covered by a list.
            pub fn revocation_lists(mut self, lists: RevocationLists) -> Self {
                self.common.lists.0.extend(lists.0);
                self
            }

            #[doc = $alpn]
            pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
                self.common.alpn = protocols.into_iter().map(Into::into).collect();
                self
            }

            #[doc = $resumption]
            pub fn resumption(mut self, resumes: bool) -> Self {
                self.common.resumes = resumes;
                self
            }

            /// Sets the protocol versions. Default: 1.3 and 1.2.
            pub fn versions(
                mut self,
                versions: impl IntoIterator<Item = &'static SupportedProtocolVersion>,
            ) -> Self {
                self.common.versions = versions.into_iter().collect();
                self
            }

            /// Sets the cryptography provider. Default: *ring*.
            pub fn provider(mut self, provider: impl Into<Arc<CryptoProvider>>) -> Self {
                self.common.provider = provider.into();
                self
            }

            #[doc = concat!("Sets the maximum number of bytes from a ", $peer, " before the handshake is")]
            /// done. Default 64 KiB.
            pub fn max_handshake(mut self, bytes: usize) -> Self {
                self.common.max_handshake = bytes;
                self
            }
        }
    };
}

pub(crate) use common_methods;
