//! TLS combined with proxies and with authentication.

use std::sync::{Arc, Mutex};

use bowline_core::auth::{Grant, Identity};
use bowline_core::config::Config;
use bowline_core::proxy::Proxy;
use bowline_driver::runtime::Runtime;
use bowline_links::auth::BearerToken;
use bowline_links::{Client, Exclusive};
use bowline_tls::{TlsClient, TlsServer};

use crate::proxies::Server as ProxyServer;
use crate::wire::{Wire, body};
use crate::world::{NAME, World, done, echoing, named, serving, start, world};

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
            let shown = attempt.connection().peer_certificates.clone();
            kept.lock().expect("not poisoned").push(shown.map_or(0, |certificates| certificates.len()));
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
