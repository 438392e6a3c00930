//! Peers that are refused, and the causes.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::{ConfigError, Disconnect, FrameError, PeerError, TransportKind};
use bowline_core::link::State;
use bowline_core::supervisor::ReconnectPolicy;
use bowline_driver::runtime::Runtime;
use bowline_driver::{BindError, ConnectError, ServerEvent};
use bowline_links::{Client, Server};
use bowline_tls::{CertificateFlaw, TlsClient, TlsError, TlsServer, rustls};

use crate::certificates::{Authority, Says};
use crate::wire::Wire;
use crate::world::{NAME, World, connect, done, echoing, named, serving, start, until, world};

fn cause(error: &ConnectError) -> &Disconnect {
    error.cause().expect("it was tried")
}

fn flaw(cause: &Disconnect) -> Option<CertificateFlaw> {
    match TlsError::of(cause)? {
        TlsError::Certificate { flaw, .. } => Some(*flaw),
        _ => None,
    }
}

/// The defect of each server, and the client's error for it.
fn flawed(ca: &Authority) -> Vec<(TlsServer, CertificateFlaw)> {
    let server = |ca: &Authority, name: &str, years, serial| {
        let identity = ca.issue_with(&[name], Says { years, serial });
        TlsServer::builder().identity(identity).build().expect("sound")
    };
    vec![
        (server(ca, NAME, Some((2000, 2001)), 0), CertificateFlaw::Expired),
        (server(ca, NAME, Some((2200, 2201)), 0), CertificateFlaw::NotYetValid),
        (server(ca, "other.test", None, 0), CertificateFlaw::WrongName),
        (server(&Authority::new("another root"), NAME, None, 0), CertificateFlaw::UnknownIssuer),
        (server(ca, NAME, None, 7), CertificateFlaw::Revoked),
    ]
}

pub(crate) async fn a_certificate_that_does_not_hold_ends_dialing<R: Runtime>() {
    let ca = Authority::new("the root");
    let lists = ca.revoked(&[7]);
    let client = TlsClient::builder().roots(ca.roots()).revocation_lists(lists).build().expect("sound");
    for (tls, expected) in flawed(&ca) {
        let server = serving::<R>(&tls).await;
        let wire = Wire::to(server.local_addr().port());
        let error = connect::<R>(&wire.address(), &client).await.expect_err("it cannot be trusted");
        assert_eq!(flaw(cause(&error)), Some(expected), "{error:?}");
        assert!(!error.is_retryable());
        let shown = bowline_core::error::Chain(&error).to_string();
        assert!(
            shown.contains(NAME) && shown.contains(&expected.to_string()),
            "the peer and the reason: {shown}"
        );

        // A link in the background gives up, though its policy would go on for ever.
        let dialed = wire.connections();
        let link = Client::<R>::builder(wire.address()).tls(&client).connect_lazy().expect("a runtime");
        done::<R, _>(link.ready()).await.expect_err("there will be no further attempt");
        until(|| link.state() == State::Closed);
        let addresses = wire.connections() - dialed;
        assert!(addresses <= 2, "each address once: {addresses}");
        until(|| server.accept_counters().insecure >= 1);
        assert!(server.peers().is_empty());
        wire.assert_secret();
        done::<R, _>(server.shutdown()).await;
    }
}

pub(crate) async fn dialing_goes_on_where_the_policy_says_so<R: Runtime>() {
    let World { ca, server: good, client } = world();
    let expired = ca.issue_with(&[NAME], Says { years: Some((2000, 2001)), serial: 0 });
    let tls = TlsServer::builder().identity(expired).build().expect("sound");
    let server = serving::<R>(&tls).await;
    let policy = ReconnectPolicy::fixed(Duration::from_millis(5)).retry_insecure();
    let config = Config::builder().reconnect(policy).tls(&client).build().expect("sound");
    let link = Client::<R, _>::with_config(named(&server), config).connect_lazy().expect("a runtime");
    until(|| server.accept_counters().insecure >= 3);
    // Renewed meanwhile.
    tls.replace(&good);
    done::<R, _>(link.ready()).await.expect("it is connected now");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    done::<R, _>(link.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn a_client_without_a_certificate<R: Runtime>() {
    let ca = Authority::new("the root");
    let tls = TlsServer::builder().identity(ca.issue(&[NAME])).client_roots(ca.roots());
    let tls = tls.revocation_lists(ca.revoked(&[9])).build().expect("sound");
    let causes: Arc<Mutex<Vec<Disconnect>>> = Arc::default();
    let told = Arc::clone(&causes);
    let server = echoing::<R, _>(Config::builder()).tls(&tls).on_event(move |event| {
        if let ServerEvent::Insecure { cause, from } = event {
            assert!(from.ip().is_some_and(|ip| ip.is_loopback()));
            told.lock().expect("not poisoned").push(cause.clone());
        }
    });
    let server = start(server).await;
    let wire = Wire::to(server.local_addr().port());
    let client = || TlsClient::builder().roots(ca.roots());
    let with = |identity| client().identity(identity).build().expect("sound");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let none = client().versions([version]).build().expect("sound");
        let error = connect::<R>(&wire.address(), &none).await.expect_err("it has to have one");
        let why = TlsError::of(cause(&error)).unwrap_or_else(|| panic!("{error:?}"));
        // The older version has no words for it.
        let is_named = matches!(why, TlsError::CertificateRequired)
            || (version.version == rustls::ProtocolVersion::TLSv1_2 && matches!(why, TlsError::Alert { .. }));
        assert!(is_named && !error.is_retryable(), "{error:?}");
    }
    until(|| causes.lock().expect("not poisoned").len() >= 2);
    for cause in causes.lock().expect("not poisoned").drain(..) {
        assert!(matches!(TlsError::of(&cause), Some(TlsError::NoClientCertificate)), "{cause:?}");
    }
    let revoked = ca.issue_with(&["client.test"], Says { years: None, serial: 9 });
    let error = connect::<R>(&wire.address(), &with(revoked)).await.expect_err("it was revoked");
    assert!(!error.is_retryable(), "{error:?}");
    until(|| causes.lock().expect("not poisoned").first().and_then(flaw) == Some(CertificateFlaw::Revoked));
    let link = connect::<R>(&wire.address(), &with(ca.issue(&["client.test"]))).await.expect("it has one");
    done::<R, _>(link.close()).await;
    assert!(server.accept_counters().insecure >= 3);
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}

pub(crate) async fn plain_text_is_named_on_both_sides<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let causes: Arc<Mutex<Vec<Disconnect>>> = Arc::default();
    let told = Arc::clone(&causes);
    let server = echoing::<R, _>(Config::builder().tls(&tls)).on_event(move |event| {
        if let ServerEvent::Insecure { cause, .. } = event {
            told.lock().expect("not poisoned").push(cause.clone());
        }
    });
    let server = start(server).await;
    // A plain client at a TLS port.
    let plain = done::<R, _>(Client::<R>::connect(server.local_addr())).await.expect_err("it wants TLS");
    let names_tls = |cause: &Disconnect| {
        matches!(
            cause,
            Disconnect::Protocol(PeerError::Frame(FrameError::OtherProtocol { looks_like: "TLS", .. }))
        )
    };
    assert!(names_tls(cause(&plain)), "{plain:?}");
    until(|| !causes.lock().expect("not poisoned").is_empty());
    let seen = causes.lock().expect("not poisoned").remove(0);
    let looks_like = match TlsError::of(&seen) {
        Some(TlsError::NotTls { looks_like }) => *looks_like,
        _ => panic!("{seen:?}"),
    };
    assert_eq!(looks_like, Some("Bowline's own protocol"));
    done::<R, _>(server.shutdown()).await;

    // A TLS client at a plain port.
    let builder = echoing::<R, _>(Config::builder());
    let server: Server<R> = start(builder).await;
    let address = format!("tls://{NAME}:{}", server.local_addr().port());
    let error = connect::<R>(&address, &client).await.expect_err("it speaks plain text");
    // That side says its hello, or closes before it does, or resets what it did not read.
    let is_named = match TlsError::of(cause(&error)) {
        Some(TlsError::NotTls { looks_like }) => *looks_like == Some("Bowline's own protocol"),
        Some(TlsError::Silent) => true,
        _ => matches!(cause(&error), Disconnect::Transport(error) if error.kind() == TransportKind::Reset),
    };
    assert!(is_named, "{error:?}");
    done::<R, _>(server.shutdown()).await;

    // And one that speaks first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("tls://{NAME}:{}", listener.local_addr().expect("bound").port());
    let speaks = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one comes");
        stream.write_all(b"SSH-2.0-something\r\n").expect("room");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let error = connect::<R>(&address, &client).await.expect_err("it speaks something else");
    assert!(
        matches!(TlsError::of(cause(&error)), Some(TlsError::NotTls { looks_like: Some("SSH") })),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    speaks.join().expect("no panic");
}

pub(crate) async fn tls_is_never_left_out<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let conflict = |error: &ConfigError| matches!(error, ConfigError::Conflict { field: "tls", .. });
    // Without settings, and with those of the other side.
    let wrong = Config::builder().tls(&tls).build().expect("sound");
    for config in [Config::default(), wrong] {
        let client = Client::<R, _>::with_config("tls://localhost:1", config);
        let error = done::<R, _>(client.connect()).await.expect_err("no settings");
        assert!(matches!(&error, ConnectError::Config(error) if conflict(error)), "{error:?}");
    }
    let plain_address = Client::<R>::builder("localhost:1").tls(&tls);
    let error = done::<R, _>(plain_address.connect()).await.expect_err("a server's settings");
    assert!(matches!(&error, ConnectError::Config(error) if conflict(error)), "{error:?}");
    let unset = echoing::<R, _>(Config::builder());
    let error = done::<R, _>(unset.bind("tls://127.0.0.1:0")).await.expect_err("no settings");
    assert!(matches!(&error, BindError::Config(error) if conflict(error)), "{error:?}");
    for address in ["127.0.0.1:0", "tls://127.0.0.1:0"] {
        let wrong = echoing::<R, _>(Config::builder().tls(&client));
        let error = done::<R, _>(wrong.bind(address)).await.expect_err("a client's settings");
        assert!(matches!(&error, BindError::Config(error) if conflict(error)), "{error:?}");
    }
    // With settings every address is secured, whatever it looks like.
    let server = done::<R, _>(echoing::<R, _>(Config::builder().tls(&tls)).bind("tls://127.0.0.1:0")).await;
    let server = server.expect("a free port");
    server.start().expect("a runtime");
    let wire = Wire::to(server.local_addr().port());
    for address in [wire.address(), format!("{NAME}:{}", wire.port), format!("tcp://{NAME}:{}", wire.port)] {
        let link = connect::<R>(&address, &client).await.expect("it listens");
        done::<R, _>(link.call(1, crate::wire::body(100))).await.expect("an answer");
        done::<R, _>(link.close()).await;
    }
    wire.assert_secret();
    done::<R, _>(server.shutdown()).await;
}
