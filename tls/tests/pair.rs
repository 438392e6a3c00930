//! Both ends of the layer in memory, with every defect of a certificate.

mod common;

use bowline_core::layer::{Layer, Secured};
use bowline_core::supervisor::Endpoint;
use bowline_tls::{
    CertificateFlaw, Certificates, SettingsError, TlsClient, TlsError, TlsLayer, TlsServer, rustls,
};
use common::{Authority, Says};
use proptest::prelude::*;

/// The result of a handshake at each end.
struct Pair {
    client: TlsLayer,
    server: TlsLayer,
}

fn place(text: &str) -> Endpoint {
    text.parse().expect("an address")
}

impl Pair {
    fn new(client: &TlsClient, server: &TlsServer) -> Self {
        let client = client.layer(&place("server.test:1")).expect("a name");
        Self { client, server: server.layer().expect("sound") }
    }

    /// Exchanges bytes until neither side has any, in pieces of the sizes of `cut`. Returns the first error
    /// of each side.
    fn settle(&mut self, mut cut: impl FnMut() -> usize) -> [Option<TlsError>; 2] {
        let mut errors = [None, None];
        loop {
            let mut any = false;
            for forth in [true, false] {
                let (from, to) = match forth {
                    true => (&mut self.client, &mut self.server),
                    false => (&mut self.server, &mut self.client),
                };
                let mut bytes = Vec::new();
                from.transmit(&mut bytes);
                any |= !bytes.is_empty();
                if errors[usize::from(forth)].is_some() {
                    continue;
                }
                if let Err(error) = feed(to, &bytes, &mut cut) {
                    errors[usize::from(forth)] = Some(error);
                }
            }
            if !any {
                return errors;
            }
        }
    }

    /// The same without splitting. Returns the errors of client and server.
    fn handshake(&mut self) -> [Option<TlsError>; 2] {
        self.settle(|| usize::MAX)
    }
}

/// Passes in all bytes, in pieces.
fn feed(to: &mut TlsLayer, mut bytes: &[u8], cut: &mut impl FnMut() -> usize) -> Result<(), TlsError> {
    while !bytes.is_empty() {
        let piece = &bytes[..cut().clamp(1, bytes.len())];
        let taken = to.receive(piece).map_err(tls_error)?;
        assert!(taken > 0 || to.has_plain(), "nothing is taken, and nothing is to be read");
        if taken == 0 {
            return Ok(());
        }
        bytes = &bytes[taken..];
    }
    Ok(())
}

fn tls_error(error: bowline_core::layer::LayerError) -> TlsError {
    let retryable = error.is_retryable();
    let inner = error.into_inner();
    let found = TlsError::within(&*inner).expect("it is of TLS").clone();
    assert_eq!(found.is_retryable(), retryable);
    found
}

struct World {
    ca: Authority,
    server: TlsServer,
    client: TlsClient,
}

fn world() -> World {
    let ca = Authority::new("the root");
    let server = TlsServer::builder().identity(ca.issue(&["server.test"])).build().expect("sound");
    let client = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    World { ca, server, client }
}

/// The client's error with a server that has this certificate.
fn refused_by_client(client: &TlsClient, server: &TlsServer) -> TlsError {
    let mut pair = Pair::new(client, server);
    let [client, server] = pair.handshake();
    assert!(matches!(server, Some(TlsError::Alert { .. })), "it is told why: {server:?}");
    client.expect("refused")
}

fn flaw(error: &TlsError) -> CertificateFlaw {
    assert!(!error.is_retryable());
    match error {
        TlsError::Certificate { flaw, .. } => *flaw,
        other => panic!("{other:?}"),
    }
}

#[test]
fn text_goes_both_ways_and_ends_are_told() {
    let world = world();
    let mut pair = Pair::new(&world.client, &world.server);
    assert!(matches!(pair.handshake(), [None, None]));
    let secured = pair.server.secured().expect("done");
    assert_eq!(secured.server_name.as_deref(), Some("server.test"));
    assert_eq!((secured.version, secured.certificates.len()), ("TLSv1.3", 0));
    assert_eq!(pair.client.secured().expect("done").certificates.len(), 1);

    let text: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    let (mut sent, mut got, mut out) = (0, Vec::new(), Vec::new());
    while sent < text.len() {
        let count = pair.client.write(&text[sent..], &mut out).expect("open");
        assert!(count > 0 && count <= 16 * 1024, "one record");
        sent += count;
    }
    let mut rest = &out[..];
    while !rest.is_empty() {
        rest = &rest[pair.server.receive(rest).expect("sound")..];
        let mut room = [0; 777];
        loop {
            match pair.server.read(&mut room) {
                0 => break,
                count => got.extend_from_slice(&room[..count]),
            }
        }
    }
    assert!(got == text && !pair.server.has_plain());

    // An end that was not announced.
    let cut = tls_error(pair.server.end_of_stream().expect_err("the client said nothing"));
    assert!(matches!(cut, TlsError::Truncated { handshaking: false }) && cut.is_retryable());
    // An end that was announced, by either side.
    pair.client.close();
    assert!(matches!(pair.handshake(), [None, None]));
    assert!(pair.server.is_peer_closed());
    pair.server.end_of_stream().expect("it was said");
    let mut out = Vec::new();
    assert_eq!(
        pair.client.write(b"late", &mut out).expect("no error"),
        0,
        "it said that it has nothing more"
    );
    // Bytes after the peer's last message are discarded.
    assert_eq!(pair.server.write(b"bye", &mut out).expect("open"), 3);
    out.extend_from_slice(b"and no record");
    assert_eq!(pair.client.receive(&out).expect("it is not looked at"), out.len());
    assert!(!pair.client.has_plain() && !pair.client.wants_transmit());
    pair.client.end_of_stream().expect("it waits for nothing else");
}

#[test]
fn certificates_that_do_not_hold_are_named() {
    let World { ca, client, .. } = world();
    let with = |names: &[&str], says| {
        let server = TlsServer::builder().identity(ca.issue_with(names, says)).build().expect("sound");
        flaw(&refused_by_client(&client, &server))
    };
    let says = |from, to| Says { years: Some((from, to)), serial: 0 };
    assert_eq!(with(&["server.test"], says(2000, 2001)), CertificateFlaw::Expired);
    assert_eq!(with(&["server.test"], says(2200, 2201)), CertificateFlaw::NotYetValid);
    assert_eq!(with(&["other.test"], Says::default()), CertificateFlaw::WrongName);
    let stranger = Authority::new("another root");
    let server = TlsServer::builder().identity(stranger.issue(&["server.test"])).build().expect("sound");
    assert_eq!(flaw(&refused_by_client(&client, &server)), CertificateFlaw::UnknownIssuer);

    let server = |serial| {
        let identity = ca.issue_with(&["server.test"], Says { years: None, serial });
        TlsServer::builder().identity(identity).build().expect("sound")
    };
    let lists = ca.revoked(&[7]);
    let client = TlsClient::builder().roots(ca.roots()).revocation_lists(lists).build().expect("sound");
    assert_eq!(flaw(&refused_by_client(&client, &server(7))), CertificateFlaw::Revoked);
    assert!(matches!(Pair::new(&client, &server(8)).handshake(), [None, None]));
}

#[test]
fn both_sides_show_certificates() {
    let World { ca, .. } = world();
    let server = |lists: &[u64]| {
        let mut builder = TlsServer::builder().identity(ca.issue(&["server.test"])).client_roots(ca.roots());
        if !lists.is_empty() {
            builder = builder.revocation_lists(ca.revoked(lists));
        }
        builder.build().expect("sound")
    };
    let client = |identity| {
        let builder = TlsClient::builder().roots(ca.roots());
        match identity {
            Some(identity) => builder.identity(identity).build().expect("sound"),
            None => builder.build().expect("sound"),
        }
    };
    let mut pair = Pair::new(&client(Some(ca.issue(&["client.test"]))), &server(&[]));
    assert!(matches!(pair.handshake(), [None, None]));
    assert_eq!(pair.server.secured().expect("done").certificates.len(), 1);

    // What is a DNS name is known, in the order of the certificate.
    let identity = ca.issue(&["client.test", "127.0.0.1", "*.Wild.test"]);
    let mut pair = Pair::new(&client(Some(identity)), &server(&[]));
    assert!(matches!(pair.handshake(), [None, None]));
    assert_eq!(pair.server.secured().expect("done").names, ["client.test", "*.Wild.test"]);
    assert_eq!(pair.client.secured().expect("done").names, ["server.test"]);

    let [told, refused] = Pair::new(&client(None), &server(&[])).handshake();
    assert!(matches!(refused, Some(TlsError::NoClientCertificate)), "{refused:?}");
    assert!(matches!(told, Some(TlsError::CertificateRequired)), "{told:?}");
    assert!(!told.expect("one").is_retryable());

    let stranger = Authority::new("another root");
    let [told, refused] =
        Pair::new(&client(Some(stranger.issue(&["client.test"]))), &server(&[])).handshake();
    // A client presents only a certificate whose issuer the server has named.
    assert_eq!(refused.as_ref().map(flaw), Some(CertificateFlaw::UnknownIssuer), "{told:?}");

    let revoked = ca.issue_with(&["client.test"], Says { years: None, serial: 9 });
    let [_, refused] = Pair::new(&client(Some(revoked)), &server(&[9])).handshake();
    assert_eq!(refused.as_ref().map(flaw), Some(CertificateFlaw::Revoked));
}

#[test]
fn versions_and_protocols_have_to_meet() {
    let World { ca, client, .. } = world();
    let old = TlsServer::builder()
        .identity(ca.issue(&["server.test"]))
        .versions([&rustls::version::TLS12])
        .build()
        .expect("sound");
    let mut pair = Pair::new(&client, &old);
    assert!(matches!(pair.handshake(), [None, None]));
    assert_eq!(pair.client.secured().expect("done").version, "TLSv1.2");
    let new =
        TlsClient::builder().roots(ca.roots()).versions([&rustls::version::TLS13]).build().expect("sound");
    let [told, refused] = Pair::new(&new, &old).handshake();
    assert!(matches!(refused, Some(TlsError::Version(_))), "{refused:?}");
    assert!(matches!(told, Some(TlsError::Version(_))), "{told:?}");

    let server = TlsServer::builder()
        .identity(ca.issue(&["server.test"]))
        .alpn(["one", "two"])
        .build()
        .expect("sound");
    let client = |protocols: &[&str]| {
        let protocols = protocols.iter().map(|&protocol| protocol.as_bytes());
        TlsClient::builder().roots(ca.roots()).alpn(protocols).build().expect("sound")
    };
    let mut pair = Pair::new(&client(&["two", "three"]), &server);
    assert!(matches!(pair.handshake(), [None, None]));
    assert_eq!(pair.client.secured().expect("done").protocol.as_deref(), Some(&b"two"[..]));
    let [_, refused] = Pair::new(&client(&["three"]), &server).handshake();
    assert!(matches!(refused, Some(TlsError::Incompatible(_))), "{refused:?}");
}

#[test]
fn plain_text_is_named() {
    let World { client, server, .. } = world();
    for (text, looks) in [
        (&b"GET / HTTP/1.1\r\n"[..], Some("HTTP")),
        (&[1, 0, 0, 0, 0, 0, 0, 56], Some("Bowline's own protocol")),
        (b"SSH-2.0", Some("SSH")),
        (b"\xff\0\0\0", Some("ZeroMQ")),
        (b"\xfe\0\0\0", None),
    ] {
        for mut layer in [server.layer().expect("sound"), client.layer(&place("a.test:1")).expect("a name")] {
            let mut out = Vec::new();
            layer.transmit(&mut out);
            out.clear();
            let error = tls_error(layer.receive(text).expect_err("no TLS"));
            assert!(matches!(error, TlsError::NotTls { looks_like } if looks_like == looks), "{error:?}");
            // The peer can identify it as well.
            layer.transmit(&mut out);
            assert_eq!(bowline_core::frame::looks_like(&out), Some("TLS"));
        }
    }
}

#[test]
fn after_a_failure_nothing_more_is_said() {
    let World { client, server, .. } = world();
    let mut pair = Pair::new(&client, &server);
    assert!(matches!(pair.handshake(), [None, None]));
    assert!(
        pair.server
            .receive(&[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
            .is_err()
    );
    let mut out = Vec::new();
    pair.server.transmit(&mut out);
    assert!(!out.is_empty(), "an alert");
    pair.server.close();
    pair.server.close();
    assert!(pair.server.refresh_keys().is_err());
    assert_eq!(pair.server.write(b"x", &mut Vec::new()).expect("no error"), 0);
    assert!(!pair.server.wants_transmit() && !pair.server.has_plain());
    assert_eq!(pair.server.receive(b"anything").expect("it is not listened to"), 8);
    let told = tls_error(pair.client.receive(&out).expect_err("it is told"));
    assert!(matches!(told, TlsError::Alert { .. }), "{told:?}");
}

#[test]
fn a_handshake_has_a_limit() {
    let World { server, .. } = world();
    let mut layer = server.layer().expect("sound").with_max_handshake(1_000);
    // A hello of 16 KiB that never ends: the record is announced, and filled.
    let mut hello = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb];
    hello.resize(1_000, 0);
    assert_eq!(layer.receive(&hello).expect("not too much"), 1_000);
    let error = tls_error(layer.receive(&[0]).expect_err("too much"));
    assert!(matches!(error, TlsError::LongHandshake { limit: 1_000 }), "{error:?}");
}

#[test]
fn sessions_resume_until_the_settings_are_exchanged() {
    let World { ca, server, client } = world();
    let once = |server: &TlsServer| -> Secured {
        let mut pair = Pair::new(&client, server);
        assert!(matches!(pair.handshake(), [None, None]));
        Secured::clone(&pair.client.secured().expect("done"))
    };
    assert!(!once(&server).resumed);
    assert!(once(&server).resumed);
    let before = once(&server).certificates;
    let clone = server.clone();
    server.replace(&TlsServer::builder().identity(ca.issue(&["server.test"])).build().expect("sound"));
    let after = once(&clone);
    assert!(!after.resumed && after.certificates != before, "a clone has the new certificate");
}

#[test]
fn keys_are_refreshed() {
    let World { client, server, .. } = world();
    let mut pair = Pair::new(&client, &server);
    assert!(pair.client.refresh_keys().is_err(), "the handshake is not done");
    assert!(matches!(pair.handshake(), [None, None]));
    for round in 0..5_u8 {
        pair.client.refresh_keys().expect("done");
        let mut out = Vec::new();
        pair.client.write(&[round], &mut out).expect("open");
        pair.server.receive(&out).expect("sound");
        let mut room = [9; 2];
        assert_eq!((pair.server.read(&mut room), room[0]), (1, round));
        // Its own new key is sent before its next message.
        let mut out = Vec::new();
        pair.server.write(&[round, 7], &mut out).expect("open");
        pair.client.receive(&out).expect("sound");
        assert_eq!((pair.client.read(&mut room), room), (2, [round, 7]));
    }
}

#[test]
fn settings_that_cannot_work() {
    let ca = Authority::new("the root");
    assert!(matches!(TlsClient::builder().build(), Err(SettingsError::NoRoots)));
    assert!(matches!(TlsServer::builder().build(), Err(SettingsError::NoIdentity)));
    let roots = || ca.roots();
    assert!(matches!(
        TlsClient::builder().roots(roots()).name("no name").build(),
        Err(SettingsError::Name { .. })
    ));
    assert!(matches!(Certificates::from_pem("nothing"), Err(SettingsError::Missing { what: "certificate" })));
    assert!(matches!(Certificates::from_pem_file("/no/such/file"), Err(SettingsError::File { .. })));
    let (chain, _) = ca.issue_pem(&["a.test"], Says::default());
    let (_, key) = ca.issue_pem(&["a.test"], Says::default());
    let other = bowline_tls::Identity::from_pem(chain, key).expect("both can be read");
    assert!(matches!(TlsServer::builder().identity(other).build(), Err(SettingsError::Rustls(_))));
    let nameless = TlsClient::builder().roots(roots()).build().expect("sound");
    assert!(matches!(nameless.layer(&place("unix:///x")), Err(TlsError::NoName { .. })));
    let named = TlsClient::builder().roots(roots()).name("a.test").build().expect("sound");
    named.layer(&place("unix:///x")).expect("it has a name");
}

/// A changed bit causes an error, or a wait for the rest of a longer record. The first three bytes
/// of a record (the outer type and the version) are not authenticated by TLS 1.3 (RFC 8446, 5.2),
/// and rustls ignores some of their values: the text is the same then.
#[test]
fn what_is_changed_on_its_way_is_found() {
    let World { client, server, .. } = world();
    let mut length = 1;
    let mut at = 0;
    while at < length {
        for bit in 0..8_u8 {
            let mut pair = Pair::new(&client, &server);
            assert!(matches!(pair.handshake(), [None, None]));
            let mut out = Vec::new();
            pair.client.write(b"exactly this", &mut out).expect("open");
            length = out.len();
            out[at] ^= 1 << bit;
            let received = pair.server.receive(&out);
            let mut room = [0; 64];
            let count = pair.server.read(&mut room);
            let is_same = at < 3 && &room[..count] == b"exactly this";
            assert!(count == 0 || is_same, "bit {bit} of byte {at} of {length}: {received:?}");
        }
        at += 1;
    }
    assert!(length > 5 + 12 + 16, "a header, the text and its tag");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the bytes are split, the handshake succeeds and the text is the same.
    #[test]
    fn any_split_is_the_same(cuts in proptest::collection::vec(1..600_usize, 1..50), sizes in proptest::collection::vec(0..20_000_usize, 1..6)) {
        let World { client, server, .. } = world();
        let mut pair = Pair::new(&client, &server);
        let mut cuts = cuts.into_iter().cycle();
        let mut cut = || cuts.next().unwrap_or(1);
        prop_assert!(matches!(pair.settle(&mut cut), [None, None]));
        prop_assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
        for size in sizes {
            let text: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let (mut out, mut sent, mut got) = (Vec::new(), 0, Vec::new());
            while sent < text.len() {
                sent += pair.client.write(&text[sent..], &mut out).expect("open");
            }
            let mut rest = &out[..];
            while !rest.is_empty() || pair.server.has_plain() {
                let piece = &rest[..cut().min(rest.len())];
                rest = &rest[pair.server.receive(piece).expect("sound")..];
                let mut room = [0; 512];
                let count = pair.server.read(&mut room);
                got.extend_from_slice(&room[..count]);
            }
            prop_assert!(got == text);
        }
    }

    /// Any bytes may come first: the result is an error, or a wait for more. No panic.
    #[test]
    fn garbage_is_an_error_or_a_wait(mut bytes in proptest::collection::vec(any::<u8>(), 0..3_000), is_tls in any::<bool>()) {
        if is_tls && bytes.len() > 2 {
            (bytes[0], bytes[1]) = (0x16, 3);
        }
        let World { client, server, .. } = world();
        for mut layer in [server.layer().expect("sound"), client.layer(&place("a.test:1")).expect("a name")] {
            let _ = feed(&mut layer, &bytes, &mut || 100);
            prop_assert!(layer.is_handshaking() && !layer.has_plain());
            prop_assert!(layer.end_of_stream().is_err());
        }
    }
}
