//! Every failure is reported with its proxy, its target and its cause.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::error::{Chain, Disconnect, TransportKind};
use bowline::links::Exclusive;
use bowline::proxy::{ProxyFault, SocksReply};
use bowline::step::Interrupted;
use bowline::{Config, ConnectError, DialFailure, LinkEvent, Proxy, ReconnectPolicy};

use crate::servers::Server;
use crate::through::{Client, config, connects, echo, socks};
use crate::{done, until};

const TARGET: &str = "target.invalid:77";

/// The failure of connecting a client, and of connecting with one owner: they are the same.
async fn failure<R: Runtime>(config: Config) -> DialFailure {
    let dialed = |error: ConnectError| match error {
        ConnectError::Failed(failure) => *failure,
        other => panic!("{other}"),
    };
    let client = Client::<R>::with_config(TARGET, config.clone());
    let failure = dialed(done::<R, _>(client.connect()).await.expect_err("no way through"));
    let owner = Exclusive::<R>::connect_with(TARGET, config);
    assert_eq!(dialed(done::<R, _>(owner).await.expect_err("no way through")), failure);
    assert_eq!(failure.endpoint.to_string(), TARGET);
    failure
}

/// The behavior of the proxy; the failure names both it and the target.
async fn fault<R: Runtime>(server: &Server, config: Config) -> ProxyFault {
    let failure = failure::<R>(config).await;
    assert_eq!(failure.via.as_ref().map(ToString::to_string).as_deref(), Some(&*server.address));
    let text = Chain(&failure).to_string();
    assert!(text.contains(TARGET) && text.contains(&server.address), "{text}");
    let Disconnect::Proxy(error) = failure.cause else { panic!("{text}") };
    assert_eq!(error.proxy.to_string(), server.address);
    error.fault
}

pub(crate) async fn a_target_that_the_proxy_does_not_reach<R: Runtime>() {
    let (one, other) = (Server::socks5(), Server::http());
    let found = fault::<R>(&one, config(socks(&one))).await;
    assert_eq!(found, ProxyFault::Socks(SocksReply::HostUnreachable));
    let found = fault::<R>(&other, config(connects(&other))).await;
    assert_eq!(found, ProxyFault::Status { status: 502, reason: "Bad Gateway".into() });
}

pub(crate) async fn every_reply_code_is_told<R: Runtime>() {
    for code in 1..=9 {
        let server = Server::says(&[5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        let reply = SocksReply::from_code(code).expect("none of success");
        assert_eq!(fault::<R>(&server, config(socks(&server))).await, ProxyFault::Socks(reply));
    }
}

pub(crate) async fn a_proxy_that_is_not_there<R: Runtime>() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let failure = failure::<R>(config(Proxy::socks5(&gone.to_string()).expect("an address"))).await;
    let Disconnect::Transport(error) = &failure.cause else { panic!("{failure:?}") };
    assert_eq!(
        (error.kind(), error.place().map(ToString::to_string)),
        (TransportKind::Refused, Some(gone.to_string()))
    );
    assert_eq!(failure.to_string(), format!("could not connect to {TARGET} through the proxy {gone}"));
}

pub(crate) async fn a_proxy_whose_name_is_unknown<R: Runtime>() {
    let failure = failure::<R>(config(Proxy::http_connect("proxy.invalid:3128").expect("an address"))).await;
    let Disconnect::Transport(error) = &failure.cause else { panic!("{failure:?}") };
    assert_eq!(error.kind(), TransportKind::Resolve);
    assert_eq!(
        error.place().map(ToString::to_string).as_deref(),
        Some("proxy.invalid:3128"),
        "not the target's"
    );
}

pub(crate) async fn answers_that_are_cut_at_every_byte<R: Runtime>() {
    let answer = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";
    for len in 0..answer.len() {
        let server = Server::says(&answer[..len]);
        let proxy = socks(&server).credentials("me", "secret").expect("sound");
        let found = fault::<R>(&server, config(proxy)).await;
        assert!(matches!(found, ProxyFault::Interrupted(Interrupted::Closed { .. })), "{len}: {found}");
    }
    let answer = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
    for len in 0..answer.len() {
        let server = Server::says(&answer[..len]);
        let found = fault::<R>(&server, config(connects(&server))).await;
        assert!(matches!(found, ProxyFault::Interrupted(Interrupted::Closed { .. })), "{len}: {found}");
    }
}

pub(crate) async fn garbage_and_floods<R: Runtime>() {
    let server = Server::says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let looks_like = Some("HTTP");
    let wanted = ProxyFault::NotSocks { at: 0, found: b'H', looks_like };
    assert_eq!(fault::<R>(&server, config(socks(&server))).await, wanted);
    let server = Server::says(b"SSH-2.0-OpenSSH_9.2\r\n");
    let wanted = ProxyFault::NotHttp { at: 0, found: b'S', looks_like: Some("SSH") };
    assert_eq!(fault::<R>(&server, config(connects(&server))).await, wanted);
    let flood = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 100_000]].concat();
    let server = Server::says(&flood);
    let found = fault::<R>(&server, config(connects(&server))).await;
    assert_eq!(found, ProxyFault::HeadTooLong { limit: 16 * 1024 });
}

pub(crate) async fn a_proxy_that_never_answers<R: Runtime>() {
    let server = Server::silent();
    let limit = Duration::from_millis(30);
    let found = fault::<R>(&server, config(socks(&server).timeout(limit))).await;
    assert_eq!(found, ProxyFault::Interrupted(Interrupted::TimedOut { limit }));
    // The time for all of connecting has the same end.
    let config = config(connects(&server)).to_builder().connect_timeout(limit).build().expect("sound");
    let failure = failure::<R>(config).await;
    assert_eq!(failure.cause, Disconnect::ConnectTimeout { limit });
    assert_eq!(failure.via.map(|via| via.to_string()).as_deref(), Some(&*server.address));
}

pub(crate) async fn refused_credentials_end_dialing_unless_told_otherwise<R: Runtime>() {
    let (echoes, address) = echo::<R>().await;
    for with_http in [false, true] {
        let (server, wrong) = match with_http {
            false => {
                let server = Server::socks5().wanting("me", "secret");
                let wrong = socks(&server).credentials("me", "guess").expect("sound");
                (server, wrong)
            }
            true => {
                let server = Server::http().wanting("Basic", "bWU6c2VjcmV0");
                let wrong = connects(&server);
                (server, wrong)
            }
        };
        server.learns("target.invalid", &address);
        let client = Client::<R>::with_config(TARGET, config(wrong.clone())).connect_lazy().expect("sound");
        let error = done::<R, _>(client.ready()).await.expect_err("refused for good");
        assert!(error.cause().is_some_and(Disconnect::is_denial) && !error.is_retryable(), "{error}");
        let asked = server.asked().len();
        assert_eq!(asked, 1, "once was enough: {:?}", server.asked());

        let policy = ReconnectPolicy::fixed(Duration::from_millis(1)).retry_when_denied();
        let config = config(wrong).to_builder().reconnect(policy).build().expect("sound");
        let client = Client::<R>::with_config(TARGET, config).connect_lazy().expect("sound");
        until(|| server.asked().len() >= asked + 3);
        // The rules change.
        let server = match with_http {
            false => server.wanting("me", "guess"),
            true => server.wanting_nothing(),
        };
        done::<R, _>(client.ready()).await.expect("it is let in now");
        done::<R, _>(client.close()).await;
        drop(server);
    }
    done::<R, _>(echoes.shutdown()).await;
}

pub(crate) async fn closing_does_not_wait_for_a_silent_proxy<R: Runtime>() {
    let server = Server::silent();
    let client = Client::<R>::with_config(TARGET, config(socks(&server))).connect_lazy().expect("sound");
    until(|| !server.asked().is_empty());
    let _queued = done::<R, _>(client.cast(1, b"waits")).await.expect("room");
    let linger = Duration::from_millis(20);
    let short = config(socks(&server)).to_builder().linger(linger).build().expect("sound");
    let other = Client::<R>::with_config(TARGET, short).connect_lazy().expect("sound");
    let _queued = done::<R, _>(other.cast(1, b"comes back")).await.expect("room");
    let left = done::<R, _>(other.close()).await;
    assert_eq!(left.len(), 1, "{left:?}");
    client.abort();
    done::<R, _>(client.ready()).await.expect_err("it is over");
}

pub(crate) async fn other_endpoints_are_tried<R: Runtime>() {
    let (echoes, address) = echo::<R>().await;
    let server = Server::socks5().knows("there.invalid", &address);
    let client = Client::<R>::with_config(TARGET, config(socks(&server))).endpoint("there.invalid:78");
    let client = done::<R, _>(client.connect()).await.expect("one of both");
    assert_eq!(server.asked(), ["target.invalid 77", "there.invalid 78"]);
    let event = done::<R, _>(client.next_event()).await.expect("open");
    let LinkEvent::Connecting { address: dialed, attempt: 1 } = event else { panic!("{event:?}") };
    assert_eq!(dialed.to_string(), server.address);
    let event = done::<R, _>(client.next_event()).await.expect("open");
    let LinkEvent::ConnectFailed { endpoint, address: at, attempt: 1, cause } = event else {
        panic!("{event:?}")
    };
    assert_eq!(endpoint.to_string(), TARGET);
    assert_eq!(at.map(|at| at.to_string()).as_deref(), Some(&*server.address));
    assert!(matches!(cause, Disconnect::Proxy(_)), "{cause}");
    done::<R, _>(client.close()).await;
    done::<R, _>(echoes.shutdown()).await;
}
