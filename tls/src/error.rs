//! Errors of TLS and of its settings.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use bowline_core::error::Disconnect;
use bowline_core::layer::LayerError;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// A connection could not be secured, or is no longer secure.
///
/// It is the source of the [`Disconnect`] that a link reports: [`TlsError::of`] finds it there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate is not trusted.
    #[error("the peer's certificate {flaw}")]
    Certificate {
        /// The reason.
        flaw: CertificateFlaw,
        /// The error of `rustls`, with details.
        source: rustls::Error,
    },
    /// The client sent no certificate, and this server requires one.
    #[error("the client sent no certificate, which is required")]
    NoClientCertificate,
    /// The peer requires a certificate of this side, which has none, or none that the peer accepts.
    #[error("the peer wants a certificate of this side")]
    CertificateRequired,
    /// There is no common version of TLS.
    #[error("no version of TLS that both speak ({0})")]
    Version(VersionMismatch),
    /// There is no common cipher suite, key exchange group, signature algorithm or application protocol.
    #[error("no parameters in common with the peer")]
    Incompatible(#[source] rustls::Error),
    /// The received bytes are not TLS: the peer speaks plain text, or another protocol.
    #[error("the peer does not speak TLS{}", Looks(.looks_like))]
    NotTls {
        /// The protocol that the bytes belong to, if it is known.
        looks_like: Option<&'static str>,
    },
    /// The peer ended the connection with an alert.
    #[error("the peer sent the alert {alert:?}")]
    Alert {
        /// The alert.
        alert: AlertDescription,
    },
    /// The stream ended without the peer's close_notify: it may have been truncated by an attacker.
    #[error("the stream was cut{}", if *.handshaking { " in the handshake" } else { ": the peer did not announce its end" })]
    Truncated {
        /// The handshake was not done.
        handshaking: bool,
    },
    /// The peer closed the connection without sending anything. Servers that do not speak TLS do so, too.
    #[error("the peer closed the connection without sending TLS: it may not speak it")]
    Silent,
    /// The peer sent more bytes before the end of the handshake than allowed.
    #[error("a handshake of more than {limit} bytes")]
    LongHandshake {
        /// The limit, bytes.
        limit: usize,
    },
    /// The endpoint has no name, and the settings have none.
    #[error("{place:?} has no name to verify the peer's certificate for")]
    NoName {
        /// The endpoint.
        place: String,
    },
    /// The peer broke the protocol, or the bytes were changed on their way.
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

/// Why a certificate is not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CertificateFlaw {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is not valid for the expected name.
    WrongName,
    /// It was not issued by a trusted root.
    UnknownIssuer,
    /// It was revoked.
    Revoked,
    /// No list of revoked certificates covers it, or the list is out of date.
    UnknownRevocation,
    /// Its signature is invalid, or uses an algorithm that is not accepted.
    BadSignature,
    /// It is for another purpose: for example a server's certificate used by a client.
    WrongPurpose,
    /// It cannot be read.
    Malformed,
    /// The verifier refused it for another reason.
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

/// The side that found that there is no common version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum VersionMismatch {
    /// The peer offers, or chose, a version that this side does not speak.
    Ours,
    /// The peer reported that it does not speak this side's versions.
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
    /// The TLS error that ended a connection, or an attempt to connect, if there is one.
    #[must_use]
    pub fn of(cause: &Disconnect) -> Option<&Self> {
        Self::within(cause)
    }

    /// The TLS error in an error and its sources.
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

    /// Whether another connection may succeed: not after errors of certificates or versions, nor if the peer
    /// requires a certificate or does not speak TLS.
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

/// Whether a peer that sent this alert may succeed the next time.
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
            // An unreadable list counts as no information.
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

/// Invalid settings.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file could not be read.
    #[error("could not read {path}")]
    File {
        /// The path.
        path: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The PEM text does not contain the requested item.
    #[error("no {what} in the PEM text")]
    Missing {
        /// The item.
        what: &'static str,
    },
    /// The text is not valid PEM, or the bytes are not valid DER.
    #[error("the {what} cannot be read: {why}")]
    Malformed {
        /// The expected item.
        what: &'static str,
        /// The reason.
        why: String,
    },
    /// There are no trusted roots.
    #[error("no root certificate is given, so that no peer could be verified")]
    NoRoots,
    /// A server has no certificate.
    #[error("a server needs a certificate and its key")]
    NoIdentity,
    /// An invalid host name.
    #[error("{name:?} is not a valid host name")]
    Name {
        /// The name.
        name: String,
    },
    /// `rustls` refused the settings: usually because a key does not belong to its certificate.
    #[error("these settings exclude each other")]
    Rustls(#[from] rustls::Error),
    /// Lists of revoked certificates cannot be combined with the platform's verifier, which has its own.
    #[error("the platform's verifier does not support lists of revoked certificates")]
    PlatformRevocation,
}
