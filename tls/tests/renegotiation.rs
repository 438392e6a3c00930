//! Renegotiation (TLS 1.2) is declined once, and then an error; it is never done.

mod common;

use bowline_core::layer::Layer;
use bowline_tls::rustls::crypto::cipher::{AeadKey, MessageEncrypter, OutboundPlainMessage};
use bowline_tls::rustls::{
    self, ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    ServerConnection, SupportedCipherSuite,
};
use bowline_tls::{TlsClient, TlsError, TlsLayer, TlsServer};
use common::Authority;

/// The one cipher suite of these connections: its nonces are not sent.
static SUITE: SupportedCipherSuite =
    rustls::crypto::ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::CryptoProvider { cipher_suites: vec![SUITE], ..rustls::crypto::ring::default_provider() }
}

/// A peer that has done its handshake, and whose keys make records that `rustls` itself would not send.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    /// Of a peer's connection with the layer under test, whose handshake this does.
    fn of(mut peer: Connection, layer: &mut TlsLayer) -> Self {
        while peer.is_handshaking() || layer.is_handshaking() {
            let mut bytes = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut bytes).expect("memory");
            }
            assert_eq!(layer.receive(&bytes).expect("honest"), bytes.len());
            bytes.clear();
            layer.transmit(&mut bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                peer.read_tls(&mut rest).expect("memory");
                peer.process_new_packets().expect("honest");
            }
        }
        assert_eq!(peer.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        let (sequence, secrets) = peer.dangerous_extract_secrets().expect("allowed").tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else { panic!("another suite") };
        let SupportedCipherSuite::Tls12(suite) = SUITE else { panic!("another version") };
        let key = AeadKey::from(<[u8; 32]>::try_from(key.as_ref()).expect("a key"));
        Self { encrypter: suite.aead_alg.encrypter(key, iv.as_ref(), &[]), sequence }
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message =
            OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: payload.into() };
        self.sequence += 1;
        self.encrypter.encrypt(message, self.sequence - 1).expect("a record").encode()
    }

    /// Asks `layer` for another handshake with that message: once it is declined, twice is an error.
    fn asks(mut self, mut layer: TlsLayer, message: &[u8]) {
        let before = layer.secured();
        let request = self.record(ContentType::Handshake, message);
        assert_eq!(layer.receive(&request).expect("declined"), request.len());
        let mut answer = Vec::new();
        layer.transmit(&mut answer);
        assert_eq!(answer.first(), Some(&0x15), "an alert: it declines");
        assert!(!layer.is_handshaking(), "no second handshake");
        // The connection goes on.
        let text = self.record(ContentType::ApplicationData, b"still here");
        assert_eq!(layer.receive(&text).expect("sound"), text.len());
        let mut room = [0; 64];
        let count = layer.read(&mut room);
        assert_eq!(&room[..count], b"still here");
        let mut out = Vec::new();
        assert_eq!(layer.write(b"so am I", &mut out).expect("open"), 7);
        assert_eq!(layer.secured(), before, "the peer is who it was");

        let request = self.record(ContentType::Handshake, message);
        let error = layer.receive(&request).expect_err("it asks again").into_inner();
        assert!(matches!(TlsError::within(&*error), Some(TlsError::Protocol { .. })), "{error:?}");
        assert_eq!(layer.write(b"x", &mut Vec::new()).expect("no error"), 0);
    }
}

#[test]
fn a_server_that_asks_for_another_handshake() {
    let ca = Authority::new("the root");
    let serving = TlsServer::builder()
        .identity(ca.issue(&["server.test"]))
        .provider(provider())
        .versions([&rustls::version::TLS12])
        .build()
        .expect("sound");
    let mut config = rustls::ServerConfig::clone(&serving.config());
    config.enable_secret_extraction = true;
    let dialing = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let mut layer = dialing.layer(&"server.test:1".parse().expect("an address")).expect("a name");
    let peer = ServerConnection::new(config.into()).expect("sound");
    let forger = Forger::of(peer.into(), &mut layer);
    // A hello request has no body.
    forger.asks(layer, &[0, 0, 0, 0]);
}

#[test]
fn a_client_that_asks_for_another_handshake() {
    let ca = Authority::new("the root");
    let serving = TlsServer::builder().identity(ca.issue(&["server.test"])).build().expect("sound");
    let dialing = TlsClient::builder()
        .roots(ca.roots())
        .provider(provider())
        .versions([&rustls::version::TLS12])
        .build()
        .expect("sound");
    let mut config = ClientConfig::clone(&dialing.config());
    config.enable_secret_extraction = true;
    let config = std::sync::Arc::new(config);
    let name = || rustls::pki_types::ServerName::try_from("server.test").expect("a name");
    let peer = ClientConnection::new(std::sync::Arc::clone(&config), name()).expect("sound");
    let mut layer = serving.layer().expect("sound");
    let forger = Forger::of(peer.into(), &mut layer);
    // A new hello, as an honest client would begin with it: behind the head of its record.
    let mut hello = Vec::new();
    let mut another = ClientConnection::new(config, name()).expect("sound");
    another.write_tls(&mut hello).expect("memory");
    forger.asks(layer, &hello[5..]);
}
