//! A certificate made on the spot, and the settings of both sides: the same for every contender.

use bowline::tls::{Certificates, Identity, TlsClient, TlsServer, rustls};
use rcgen::{CertificateParams, KeyPair};

/// The name that the certificate is for.
pub(crate) const NAME: &str = "localhost";

/// TLS 1.3, with the cipher suite that rustls prefers.
#[derive(Clone)]
pub(crate) struct Security {
    pub(crate) server: TlsServer,
    pub(crate) client: TlsClient,
}

impl Security {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("randomness");
        let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("sound").pem();
        let identity = Identity::from_pem(&certificate, key.serialize_pem()).expect("both are there");
        let roots = Certificates::from_pem(&certificate).expect("a certificate");
        let version = || [&rustls::version::TLS13];
        let server = TlsServer::builder().identity(identity).versions(version()).build().expect("sound");
        let client = TlsClient::builder().roots(roots).name(NAME).versions(version());
        Self { server, client: client.build().expect("sound") }
    }
}
