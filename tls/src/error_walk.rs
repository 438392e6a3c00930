//! Every error of this crate follows the rules for errors.

use std::io;
use std::sync::Arc;

use bowline_core::error::{Disconnect, TransportError};
use bowline_core::layer::LayerError;
use bowline_error_rules::{check, cover, walk};
use rustls::{AlertDescription, CertificateError};

use crate::{CertificateFlaw, SettingsError, TlsError, VersionMismatch};

const FLAWS: [CertificateFlaw; 10] = [
    CertificateFlaw::Expired,
    CertificateFlaw::NotYetValid,
    CertificateFlaw::WrongName,
    CertificateFlaw::UnknownIssuer,
    CertificateFlaw::Revoked,
    CertificateFlaw::UnknownRevocation,
    CertificateFlaw::BadSignature,
    CertificateFlaw::WrongPurpose,
    CertificateFlaw::Malformed,
    CertificateFlaw::Other,
];

const VERSIONS: [VersionMismatch; 2] = [VersionMismatch::Ours, VersionMismatch::Theirs];

/// With the errors of `rustls` that become certificate errors.
fn errors() -> Vec<TlsError> {
    let mut errors = vec![
        TlsError::NoClientCertificate,
        TlsError::CertificateRequired,
        TlsError::Incompatible(rustls::Error::NoApplicationProtocol),
        TlsError::NotTls { looks_like: None },
        TlsError::NotTls { looks_like: Some("HTTP") },
        TlsError::Alert { alert: AlertDescription::HandshakeFailure },
        TlsError::Alert { alert: AlertDescription::InternalError },
        TlsError::Truncated { handshaking: true },
        TlsError::Truncated { handshaking: false },
        TlsError::Silent,
        TlsError::LongHandshake { limit: 2 },
        TlsError::NoName { place: "unix:///run/there.sock".into() },
        TlsError::Protocol(rustls::Error::DecryptError),
        TlsError::Protocol(rustls::Error::General("no reason".into())),
    ];
    let source = || rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
    errors.extend(FLAWS.map(|flaw| TlsError::Certificate { flaw, source: source() }));
    errors.extend(VERSIONS.map(TlsError::Version));
    let flaws = [
        CertificateError::Expired,
        CertificateError::NotValidYet,
        CertificateError::NotValidForName,
        CertificateError::UnknownIssuer,
        CertificateError::Revoked,
        CertificateError::UnknownRevocationStatus,
        CertificateError::BadSignature,
        CertificateError::InvalidPurpose,
        CertificateError::BadEncoding,
    ];
    errors.extend(flaws.map(|flaw| TlsError::from(rustls::Error::InvalidCertificate(flaw))));
    errors
}

#[test]
fn every_error_follows_the_rules() {
    walk!(
        TlsError {
            Certificate,
            NoClientCertificate,
            CertificateRequired,
            Version,
            Incompatible,
            NotTls,
            Alert,
            Truncated,
            Silent,
            LongHandshake,
            NoName,
            Protocol,
        },
        errors()
    );
    cover!(
        CertificateFlaw {
            Expired,
            NotYetValid,
            WrongName,
            UnknownIssuer,
            Revoked,
            UnknownRevocation,
            BadSignature,
            WrongPurpose,
            Malformed,
            Other,
        },
        FLAWS
    );
    cover!(VersionMismatch { Ours, Theirs }, VERSIONS);
    walk!(
        SettingsError { File, Missing, Malformed, NoRoots, NoIdentity, Name, Rustls, PlatformRevocation },
        [
            SettingsError::File {
                path: "/etc/there.example.pem".into(),
                source: Arc::new(io::Error::from_raw_os_error(2)),
            },
            SettingsError::Missing { what: "private key" },
            SettingsError::Malformed { what: "private key", why: "it is cut short".into() },
            SettingsError::NoRoots,
            SettingsError::NoIdentity,
            SettingsError::Name { name: "there.example:80".into() },
            SettingsError::Rustls(rustls::Error::NoCertificatesPresented),
            SettingsError::PlatformRevocation,
        ]
    );
}

/// As a link reports it: the peer's address, then what TLS says.
#[test]
fn the_end_of_a_connection_names_the_peer_and_says_why() {
    let place: bowline_core::address::Address = "127.0.0.1:7001".parse().expect("an address");
    for error in errors() {
        let (message, is_retryable) = (error.to_string(), error.is_retryable());
        let cause =
            Disconnect::Transport(TransportError::of_layer(LayerError::from(error)).at(place.clone()));
        check(&cause);
        let levels = bowline_error_rules::levels(&cause);
        assert_eq!(levels[0], "127.0.0.1:7001 could not be talked to securely");
        assert_eq!(levels[1], message);
        assert_eq!(cause.is_retryable(), is_retryable);
    }
}
