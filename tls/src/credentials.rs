//! Certificates, keys and lists of revoked certificates: PEM or DER, from memory or files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::error::SettingsError;

/// Certificates: trusted roots, or a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates(pub(crate) Vec<CertificateDer<'static>>);

impl Certificates {
    /// All certificates of a PEM text; other items in it are ignored.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, SettingsError> {
        all_of(pem.as_ref(), "certificate").map(Self)
    }

    /// As [`from_pem`](Self::from_pem), from a file.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), or the file cannot be read.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Self::from_pem(read(path.as_ref())?)
    }

    /// Certificates in DER.
    pub fn from_der<C: Into<Vec<u8>>>(certificates: impl IntoIterator<Item = C>) -> Self {
        Self(certificates.into_iter().map(|der| CertificateDer::from(der.into())).collect())
    }

    /// One certificate from a DER file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_der_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Ok(Self::from_der([read(path.as_ref())?]))
    }

    /// The number of certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_roots(self) -> Result<RootCertStore, SettingsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.0 {
            let malformed =
                |error: rustls::Error| SettingsError::Malformed { what: "root", why: error.to_string() };
            roots.add(certificate).map_err(malformed)?;
        }
        Ok(roots)
    }
}

/// A certificate with its chain, and its private key.
#[derive(Debug)]
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Identity {
    /// From PEM: the chain, beginning with the own certificate, and the key (PKCS#8, PKCS#1 or SEC1). Both
    /// may be in the same text.
    ///
    /// # Errors
    /// One of them is missing or cannot be read. Whether the two belong together is checked when settings are
    /// built.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, SettingsError> {
        let chain = all_of(chain.as_ref(), "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(|error| why(error, "private key"))?;
        Ok(Self { chain, key })
    }

    /// As [`from_pem`](Self::from_pem), from two files.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), or a file cannot be read.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Self::from_pem(read(chain.as_ref())?, read(key.as_ref())?)
    }

    /// From DER: the chain, beginning with the own certificate, and the key.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn from_der(chain: Certificates, key: impl Into<Vec<u8>>) -> Result<Self, SettingsError> {
        let malformed = |why: &str| SettingsError::Malformed { what: "private key", why: why.to_owned() };
        let key = PrivateKeyDer::try_from(key.into()).map_err(malformed)?;
        Ok(Self { chain: chain.0, key })
    }
}

/// Lists of revoked certificates (CRLs).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationLists(pub(crate) Vec<CertificateRevocationListDer<'static>>);

impl RevocationLists {
    /// All lists of a PEM text.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, SettingsError> {
        all_of(pem.as_ref(), "list of revoked certificates").map(Self)
    }

    /// As [`from_pem`](Self::from_pem), from a file.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), or the file cannot be read.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Self::from_pem(read(path.as_ref())?)
    }

    /// Lists in DER.
    pub fn from_der<C: Into<Vec<u8>>>(lists: impl IntoIterator<Item = C>) -> Self {
        Self(lists.into_iter().map(|der| CertificateRevocationListDer::from(der.into())).collect())
    }
}

fn all_of<T: PemObject>(pem: &[u8], what: &'static str) -> Result<Vec<T>, SettingsError> {
    let all: Vec<T> = T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| why(error, what))?;
    if all.is_empty() { Err(SettingsError::Missing { what }) } else { Ok(all) }
}

fn why(error: rustls::pki_types::pem::Error, what: &'static str) -> SettingsError {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => SettingsError::Missing { what },
        error => SettingsError::Malformed { what, why: error.to_string() },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path)
        .map_err(|source| SettingsError::File { path: path.display().to_string(), source: Arc::new(source) })
}
