//! Successful connections.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::frame::raw::Raw;
use bowline::links::{self, Exclusive, Handler};
use bowline::{Config, Proxy, ReconnectPolicy};

use crate::done;
use crate::servers::Server;

pub(crate) type Client<R> = links::Client<R>;

/// A server that answers each request with its body, and its address.
pub(crate) async fn echo<R: Runtime>() -> (links::Server<R>, String) {
    let server = links::Server::<R>::builder()
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0");
    let server = done::<R, _>(server).await.expect("a free port");
    server.start().expect("a runtime");
    let address = server.local_addr().to_string();
    (server, address)
}

/// Connects again soon.
pub(crate) fn config(proxy: Proxy) -> Config {
    let soon = ReconnectPolicy::fixed(Duration::from_millis(1));
    Config::builder().proxy(proxy).reconnect(soon).build().expect("sound settings")
}

async fn echoes<R: Runtime>(to: &str, proxy: Proxy) -> Client<R> {
    let client = done::<R, _>(Client::<R>::with_config(to, config(proxy)).connect()).await;
    let client = client.expect("the proxy connects");
    let reply = done::<R, _>(client.call(1, b"hello")).await.expect("a reply");
    assert_eq!(&reply[..], b"hello");
    client
}

pub(crate) fn socks(server: &Server) -> Proxy {
    Proxy::socks5(&server.address).expect("an address")
}

pub(crate) fn connects(server: &Server) -> Proxy {
    Proxy::http_connect(&server.address).expect("an address")
}

pub(crate) async fn socks_looks_names_up<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    // No resolver knows that name.
    let proxy = Server::socks5().wanting("me", "secret").knows("target.invalid", &address);
    let with = socks(&proxy).credentials("me", "secret").expect("sound");
    let client = echoes::<R>("target.invalid:77", with).await;
    assert_eq!(proxy.asked(), ["me:secret", "target.invalid 77"]);
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn http_connects<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let proxy = Server::http().wanting("Basic", "bWU6c2VjcmV0").knows("target.invalid", &address);
    let with = connects(&proxy).credentials("me", "secret").and_then(|proxy| proxy.header("X-Team", "links"));
    let client = echoes::<R>("target.invalid:77", with.expect("sound")).await;
    assert_eq!(proxy.asked(), ["X-Team: links", "CONNECT target.invalid:77 HTTP/1.1"]);
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn one_proxy_behind_another<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let last = Server::socks5().knows("target.invalid", &address);
    let first = Server::http().knows("last.invalid", &last.address);
    let behind = Proxy::socks5("last.invalid:1080").expect("an address");
    let client = echoes::<R>("target.invalid:77", connects(&first).then(behind)).await;
    assert_eq!(first.asked(), ["CONNECT last.invalid:1080 HTTP/1.1"]);
    assert_eq!(last.asked(), ["target.invalid 77"]);
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn addresses_are_said_as_such<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let port = address.rsplit_once(':').expect("a port").1;
    let proxy = Server::socks5().knows("2001:db8::1", &address);
    let other = Server::http().knows("2001:db8::1", &address);
    for target in [address.as_str(), "[2001:db8::1]:9"] {
        done::<R, _>(echoes::<R>(target, socks(&proxy)).await.close()).await;
        done::<R, _>(echoes::<R>(target, connects(&other)).await.close()).await;
    }
    assert_eq!(proxy.asked(), [format!("127.0.0.1 {port}"), "2001:db8::1 9".into()]);
    let requests = [format!("CONNECT {address} HTTP/1.1"), "CONNECT [2001:db8::1]:9 HTTP/1.1".into()];
    assert_eq!(other.asked(), requests);
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn what_comes_behind_the_answer_belongs_to_the_link<R: Runtime>() {
    const GREETING: &[(usize, &[u8])] =
        &[(3, &[5, 0]), (4 + 4 + 2, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50early")];
    let proxy = Server::echoes_behind(GREETING);
    let config = Config::with_framing(Raw::new()).proxy(socks(&proxy)).build().expect("sound settings");
    let client = links::Client::<R, Raw>::with_config("10.0.0.1:1", config);
    let client = done::<R, _>(client.connect()).await.expect("the proxy says so");
    let mut received = Vec::new();
    while received.len() < 5 {
        received.extend(done::<R, _>(client.receive()).await.expect("more").body.into_bytes());
    }
    assert_eq!(received, b"early");
    let _queued = done::<R, _>(client.cast(0, b"!")).await.expect("open");
    assert_eq!(&done::<R, _>(client.receive()).await.expect("more").body[..], b"!");
    done::<R, _>(client.close()).await;
}

pub(crate) async fn a_link_connects_again_through_its_proxy<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let proxy = Server::socks5().knows("target.invalid", &address);
    let client = echoes::<R>("target.invalid:77", socks(&proxy)).await;
    for round in 2..5 {
        proxy.cut();
        // Calls wait for the next connection.
        loop {
            match done::<R, _>(client.call(1, b"again")).await {
                Ok(reply) => {
                    assert_eq!(&reply[..], b"again");
                    break;
                }
                // It was on its way when the connection ended.
                Err(error) => assert_eq!(error.outcome(), bowline::error::Outcome::MaybeDelivered, "{error}"),
            }
        }
        crate::until(|| proxy.asked().len() >= round);
    }
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn what_is_excepted_goes_without<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let proxy = Server::socks5();
    let except = socks(&proxy).except("127.0.0.0/8").expect("sound");
    done::<R, _>(echoes::<R>(&address, except).await.close()).await;
    assert!(proxy.asked().is_empty());
    done::<R, _>(server.shutdown()).await;
}

/// Keeps what comes.
#[derive(Default)]
pub(crate) struct Keep(pub(crate) Vec<Vec<u8>>);

impl Handler for Keep {
    fn reply(&mut self, _: bowline::core::link::CallId, body: &[u8]) {
        self.0.push(body.to_vec());
    }

    fn message(&mut self, message: bowline::MessageRef<'_>) {
        self.0.push(message.body.to_vec());
    }
}

pub(crate) async fn a_connection_with_one_owner<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let proxy = Server::http().knows("target.invalid", &address);
    let connect = Exclusive::<R>::connect_with("target.invalid:77", config(connects(&proxy)));
    let mut link = done::<R, _>(connect).await.expect("the proxy connects");
    let mut keep = Keep::default();
    link.call(1, b"hello").expect("room");
    while keep.0.is_empty() {
        done::<R, _>(link.turn(&mut keep, None)).await.expect("connected");
    }
    assert_eq!(keep.0, [b"hello"]);
    assert_eq!(proxy.asked(), ["CONNECT target.invalid:77 HTTP/1.1"]);
    done::<R, _>(link.close(&mut keep)).await;
    done::<R, _>(server.shutdown()).await;
}
