//! What can go wrong, for those who decide what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use bowline_core::error::Disconnect;
use bowline_core::layer::LayerError;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// A connection could not be secured, or is not any more.
///
/// It is the source of the [`Disconnect`] that a link reports: [`TlsError::of`] finds it there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate cannot be trusted.
    #[error("the peer's certificate {flaw}")]
    Certificate {
        /// Why.
        flaw: CertificateFlaw,
        /// What `rustls` said, with more about it.
        source: rustls::Error,
    },
    /// The client showed no certificate, and this server wants one.
    #[error("the client has no certificate, and has to have one")]
    NoClientCertificate,
    /// The peer wants a certificate of this side, which has none, or none that the peer knows.
    #[error("the peer wants a certificate of this side")]
    CertificateRequired,
    /// Both have no version of TLS in common.
    #[error("no version of TLS that both speak ({0})")]
    Version(VersionMismatch),
    /// Both have nothing else in common that is needed: cipher suites, groups, signatures, application protocols.
    #[error("nothing in common with the peer")]
    Incompatible(#[source] rustls::Error),
    /// What came is no TLS: the peer speaks plain text, or another protocol.
    #[error("the peer does not speak TLS{}", Looks(.looks_like))]
    NotTls {
        /// What it looks like, if that is known.
        looks_like: Option<&'static str>,
    },
    /// The peer ended the connection with an alert.
    #[error("the peer sent the alert {alert:?}")]
    Alert {
        /// Which.
        alert: AlertDescription,
    },
    /// The stream ended, and the peer had not said before that it would: anybody may have cut it.
    #[error("the stream was cut{}", if *.handshaking { " in the handshake" } else { ": the peer did not say that it ends" })]
    Truncated {
        /// The handshake was not done.
        handshaking: bool,
    },
    /// The peer ended the connection before it said anything. So do servers that speak no TLS.
    #[error("the peer ended the connection without a word of TLS: it may not speak it")]
    Silent,
    /// The peer sent more before the handshake was done than it may.
    #[error("a handshake of more than {limit} bytes")]
    LongHandshake {
        /// How much it may be, bytes.
        limit: usize,
    },
    /// Where the connection leads has no name, and the settings say none.
    #[error("no name that the peer's certificate could be for: {place:?}")]
    NoName {
        /// Where it leads.
        place: String,
    },
    /// The peer broke the protocol, or what came was changed on its way.
    #[error("the peer broke TLS")]
    Protocol(#[source] rustls::Error),
}

struct Looks<'a>(&'a Option<&'static str>);

impl fmt::Display for Looks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ": this looks like {name}"),
            None => Ok(()),
        }
    }
}

/// Why a certificate cannot be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CertificateFlaw {
    /// Its time is over.
    Expired,
    /// Its time has not come yet.
    NotYetValid,
    /// It is not for the name that was asked for.
    WrongName,
    /// No root that is trusted issued it.
    UnknownIssuer,
    /// Its issuer took it back.
    Revoked,
    /// No list of revoked certificates covers it, or the list is out of date.
    UnknownRevocation,
    /// It is not signed by the one who should have, or with something that is not trusted.
    BadSignature,
    /// It is for another purpose: a server's certificate shown by a client, say.
    WrongPurpose,
    /// It cannot be read.
    Malformed,
    /// The verifier says no for a reason of its own.
    Other,
}

impl fmt::Display for CertificateFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "has expired",
            Self::NotYetValid => "is not valid yet",
            Self::WrongName => "is for another name",
            Self::UnknownIssuer => "is of an unknown issuer",
            Self::Revoked => "was revoked",
            Self::UnknownRevocation => "may have been revoked: no current list says",
            Self::BadSignature => "has a signature that does not hold",
            Self::WrongPurpose => "is for another purpose",
            Self::Malformed => "cannot be read",
            Self::Other => "was not accepted",
        })
    }
}

/// Who learned that the versions do not meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum VersionMismatch {
    /// The peer offers, or chose, one that this side does not speak.
    Ours,
    /// The peer says that it does not speak this side's.
    Theirs,
}

impl fmt::Display for VersionMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "this side does not speak the peer's",
            Self::Theirs => "the peer does not speak this side's",
        })
    }
}

impl TlsError {
    /// The TLS error that ended a connection, or an attempt to make one, if it was one.
    #[must_use]
    pub fn of(cause: &Disconnect) -> Option<&Self> {
        Self::within(cause)
    }

    /// The TLS error among an error and its sources.
    #[must_use]
    pub fn within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let kept = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Self>();
            if let Some(found) = error.downcast_ref::<Self>().or_else(kept) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Whether another connection may fare better: not where a certificate, a version or the peer's wish for a certificate
    /// stands against it, or the peer speaks no TLS at all.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Certificate { .. }
            | Self::NoClientCertificate
            | Self::CertificateRequired
            | Self::Version(_)
            | Self::Incompatible(_)
            | Self::NotTls { .. }
            | Self::NoName { .. } => false,
            Self::Alert { alert } => is_passing(*alert),
            Self::Truncated { .. } | Self::Silent | Self::LongHandshake { .. } | Self::Protocol(_) => true,
        }
    }
}

/// Whether a peer that sent this alert may say something else the next time.
fn is_passing(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    !matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::HandshakeFailure
            | A::InsufficientSecurity
            | A::UnrecognisedName
            | A::NoApplicationProtocol
    )
}

impl From<TlsError> for LayerError {
    fn from(error: TlsError) -> Self {
        let is_retryable = error.is_retryable();
        Self::new(error, is_retryable)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match &error {
            E::InvalidCertificate(why) => Self::Certificate { flaw: flaw(why), source: error },
            // No list that can be read is one that says nothing.
            E::InvalidCertRevocationList(_) => {
                Self::Certificate { flaw: CertificateFlaw::UnknownRevocation, source: error }
            }
            E::NoCertificatesPresented => Self::NoClientCertificate,
            E::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version(VersionMismatch::Ours),
            E::PeerIncompatible(_) | E::NoApplicationProtocol => Self::Incompatible(error),
            E::AlertReceived(AlertDescription::ProtocolVersion) => Self::Version(VersionMismatch::Theirs),
            E::AlertReceived(AlertDescription::CertificateRequired) => Self::CertificateRequired,
            E::AlertReceived(alert) => Self::Alert { alert: *alert },
            _ => Self::Protocol(error),
        }
    }
}

fn flaw(error: &CertificateError) -> CertificateFlaw {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => CertificateFlaw::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => CertificateFlaw::NotYetValid,
        C::NotValidForName | C::NotValidForNameContext { .. } => CertificateFlaw::WrongName,
        C::UnknownIssuer => CertificateFlaw::UnknownIssuer,
        C::Revoked => CertificateFlaw::Revoked,
        C::UnknownRevocationStatus | C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
            CertificateFlaw::UnknownRevocation
        }
        C::BadSignature
        | C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => CertificateFlaw::BadSignature,
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => CertificateFlaw::WrongPurpose,
        C::BadEncoding | C::UnhandledCriticalExtension => CertificateFlaw::Malformed,
        _ => CertificateFlaw::Other,
    }
}

/// Settings that cannot work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file could not be read.
    #[error("could not read {path}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// What should be PEM has nothing of what is asked for.
    #[error("no {what} in the PEM text")]
    Missing {
        /// What is asked for.
        what: &'static str,
    },
    /// What should be PEM, or DER, is not.
    #[error("the {what} cannot be read: {why}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing is trusted: no root was given.
    #[error("no root certificate is given, so that nobody could be trusted")]
    NoRoots,
    /// A server has no certificate.
    #[error("a server needs a certificate and its key")]
    NoIdentity,
    /// A name that cannot be a host's.
    #[error("{name:?} is no name of a host")]
    Name {
        /// The name.
        name: String,
    },
    /// What `rustls` does not accept: a key that does not belong to its certificate, mostly.
    #[error("these settings do not go together")]
    Rustls(#[from] rustls::Error),
    /// Lists of revoked certificates and the platform's verifier, which has its own, exclude each other.
    #[error("the platform's verifier takes no lists of revoked certificates")]
    PlatformRevocation,
}
