//! TLS combined with proxies and with authentication.

use std::sync::{Arc, Mutex};

use bowline_core::auth::{Grant, Identity, RefusalCode};
use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::proxy::Proxy;
use bowline_driver::ServerEvent;
use bowline_driver::runtime::Runtime;
use bowline_links::auth::{BearerToken, CertificateNames};
use bowline_links::{Client, Exclusive};
use bowline_tls::{TlsClient, TlsServer};

use crate::proxies::Server as ProxyServer;
use crate::wire::{Wire, body};
use crate::world::{NAME, World, connect, done, echoing, named, serving, start, until, world};

/// The proxy connects to a wire that sees nothing but TLS; the name is asked for as it was dialed.
pub(crate) async fn through_a_proxy<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let server = serving::<R>(&tls).await;
    let wire = Wire::to(server.local_addr().port());
    let (socks5, http) = (ProxyServer::socks5(), ProxyServer::http());
    let settings = [Proxy::socks5(&socks5.address), Proxy::http_connect(&http.address)];
    for (proxy, settings) in [socks5, http].into_iter().zip(settings) {
        let settings = settings.expect("an address");
        // The name is the proxy's to look up; the certificate has to be for it all the same.
        proxy.learns(NAME, &wire.address().replace(&format!("tls://{NAME}"), "127.0.0.1"));
        let config = Config::builder().tls(&client).proxy(settings).build().expect("sound");
        let link = done::<R, _>(Client::<R, _>::with_config(wire.address(), config.clone()).connect())
            .await
            .expect("the proxy connects");
        let reply = done::<R, _>(link.call(1, body(50_000))).await.expect("an answer");
        assert!(reply[..] == body(50_000)[..]);
        assert!(link.secured().is_some());
        done::<R, _>(link.close()).await;
        let owned = done::<R, _>(Exclusive::<R, _>::connect_with(wire.address(), config)).await;
        assert!(owned.expect("the proxy connects").secured().is_some());
        assert_eq!(proxy.asked().len(), 2, "{:?}", proxy.asked());
    }
    wire.assert_secret();
    done::<R, _>(server.shutdown()).await;
}

/// The authenticator sees the certificate that the peer presented, before any message is delivered.
pub(crate) async fn a_verifier_sees_the_certificate<R: Runtime>() {
    let World { ca, .. } = world();
    let tls = TlsServer::builder().identity(ca.issue(&[NAME])).client_roots(ca.roots()).build();
    let client = TlsClient::builder().roots(ca.roots()).identity(ca.issue(&["client.test"])).build();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let builder =
        echoing::<R, _>(Config::builder().tls(tls.expect("sound"))).verifier_inline(move |attempt| {
            kept.lock().expect("not poisoned").push(attempt.connection().peer_certificates().len());
            Ok(Grant::new(Identity::new("known")))
        });
    let server = start(builder).await;
    let config = Config::builder()
        .tls(client.expect("sound"))
        .credentials(BearerToken::new("token").expect("short"))
        .build()
        .expect("sound");
    let link =
        done::<R, _>(Client::<R, _>::with_config(named(&server), config).connect()).await.expect("let in");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    assert_eq!(*seen.lock().expect("not poisoned"), [1]);
    done::<R, _>(link.close()).await;
    done::<R, _>(server.shutdown()).await;
}

/// The name of a client's certificate is who it is; it needs no other credentials.
pub(crate) async fn a_certificate_says_who_a_client_is<R: Runtime>() {
    let World { ca, .. } = world();
    let tls = TlsServer::builder().identity(ca.issue(&[NAME])).client_roots(ca.roots());
    let tls = tls.client_certificate_optional().build().expect("sound");
    let names = CertificateNames::new().with("reader.test", Identity::new("reader"));
    let denied: Arc<Mutex<Vec<RefusalCode>>> = Arc::default();
    let told = Arc::clone(&denied);
    let server = echoing::<R, _>(Config::builder().tls(&tls))
        .verifier_inline(move |attempt| names.verify(attempt))
        .on_event(move |event| {
            if let ServerEvent::Denied { refusal, .. } = event {
                told.lock().expect("not poisoned").push(refusal.code);
            }
        });
    let server = start(server).await;
    let trusting = || TlsClient::builder().roots(ca.roots());
    let with = |names: &[&str]| trusting().identity(ca.issue(names)).build().expect("sound");
    let link = connect::<R>(&named(&server), &with(&["other.test", "READER.test"])).await.expect("let in");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    let who = server.peers()[0].identity().map(|who| who.name().to_owned());
    assert_eq!(who.as_deref(), Some("reader"));
    done::<R, _>(link.close()).await;
    let nobody = trusting().build().expect("sound");
    for (tls, code) in [
        (with(&["other.test"]), RefusalCode::FORBIDDEN),
        (with(&["*.test"]), RefusalCode::FORBIDDEN),
        (nobody, RefusalCode::MISSING),
    ] {
        let error = connect::<R>(&named(&server), &tls).await.expect_err("not let in");
        let Some(Disconnect::Refused(refusal)) = error.cause() else { panic!("{error:?}") };
        assert_eq!(refusal.code, code);
        assert!(!error.is_retryable());
    }
    until(|| denied.lock().expect("not poisoned").len() == 3);
    let codes = [RefusalCode::FORBIDDEN, RefusalCode::FORBIDDEN, RefusalCode::MISSING];
    assert_eq!(*denied.lock().expect("not poisoned"), codes);
    assert_eq!(server.accept_counters().denied, 3);
    done::<R, _>(server.shutdown()).await;
}
