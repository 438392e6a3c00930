//! What TLS takes of memory for each idle connection, beside what rustls itself takes, by an allocator that counts.
//!
//! `cargo test -p bowline-tls-tests --test memory -- --nocapture` prints the figures.

#[path = "../../../tls/tests/common/mod.rs"]
mod certificates;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline_core::config::Config;
use bowline_counting::{Counting, Side, held};
use bowline_links::{Client, Server};
use bowline_tls::{TlsClient, TlsServer, rustls};
use bowline_tokio::Tokio;
use certificates::Authority;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Enough that what there is once does not count.
const LINKS: usize = 200;
const HEARTBEAT: Duration = Duration::from_millis(100);
const NAME: &str = "localhost";
/// What the layer may take above rustls, for each connection and side.
const MOST: i64 = 1024;

type Tls<'a> = Option<&'a (TlsServer, TlsClient)>;

/// Bytes of the server and of the client, for each connection.
type Each = [i64; 2];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("descriptors")
}

/// The least that each side is seen to hold within some heartbeats.
async fn least() -> Each {
    let mut least = [i64::MAX; 2];
    let begun = Instant::now();
    while begun.elapsed() < 6 * HEARTBEAT {
        tokio::time::sleep(HEARTBEAT / 20).await;
        for (least, side) in least.iter_mut().zip([Side::A, Side::B]) {
            *least = (*least).min(held(side).bytes);
        }
    }
    least
}

fn each(before: Each, after: Each) -> Each {
    [0, 1].map(|side| (after[side] - before[side]) / LINKS as i64)
}

/// Idle links.
fn links(tls: Tls<'_>) -> Each {
    let config = Config::builder().heartbeat(HEARTBEAT).build().expect("sound");
    let (serving, dialing) = match tls {
        None => (config.clone(), config),
        Some((server, client)) => (config.clone().tls(server), config.tls(client)),
    };
    let (told, address) = mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _side = Side::A.enter();
        runtime().block_on(async move {
            let server = Server::<Tokio, _>::with_config(serving)
                .on_request(|request| async move { Ok(request.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("a free port");
            server.start().expect("a runtime");
            told.send(server.local_addr().port()).expect("heard");
            ended.await.expect("told");
            server.shutdown_within(Duration::ZERO).await;
        });
    });
    let address = format!("{NAME}:{}", address.recv().expect("bound"));
    let _side = Side::B.enter();
    let each = runtime().block_on(async {
        let connect = || Client::<Tokio, _>::with_config(&address, dialing.clone()).connect();
        let first = connect().await.expect("it listens");
        let before = least().await;
        let mut clients = Vec::with_capacity(LINKS);
        for _ in 0..LINKS {
            clients.push(connect().await.expect("it listens"));
        }
        let each = each(before, least().await);
        drop((first, clients));
        each
    });
    end.send(()).expect("it runs");
    thread.join().expect("no panic");
    each
}

/// Waits for bytes, as little as a task can do.
async fn wait(mut stream: impl AsyncRead + Unpin) {
    while let Ok(1..) = stream.read(&mut [0; 64]).await {}
}

/// Idle connections of tokio with a task each, with TLS by tokio-rustls or without.
fn by_hand(tls: Tls<'_>) -> Each {
    let (acceptor, connector) = match tls {
        None => (None, None),
        Some((server, client)) => {
            (Some(TlsAcceptor::from(server.config())), Some(TlsConnector::from(client.config())))
        }
    };
    let (told, address) = mpsc::channel();
    let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _side = Side::A.enter();
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            told.send(listener.local_addr().expect("bound")).expect("heard");
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection"),
                    _ = &mut ended => return,
                };
                match &acceptor {
                    None => drop(tokio::spawn(wait(stream))),
                    Some(acceptor) => {
                        drop(tokio::spawn(wait(acceptor.accept(stream).await.expect("a handshake"))));
                    }
                }
            }
        });
    });
    let address: SocketAddr = address.recv().expect("bound");
    let _side = Side::B.enter();
    let each = runtime().block_on(async {
        let connect = async || {
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            match &connector {
                None => drop(tokio::spawn(wait(stream))),
                Some(connector) => {
                    let name = rustls::pki_types::ServerName::try_from(NAME).expect("a name");
                    let stream = connector.connect(name, stream).await.expect("a handshake");
                    drop(tokio::spawn(wait(stream)));
                }
            }
        };
        connect().await;
        let before = least().await;
        for _ in 0..LINKS {
            connect().await;
        }
        each(before, least().await)
    });
    end.send(()).expect("it runs");
    thread.join().expect("no panic");
    each
}

/// One test, because what is held is counted for the whole process.
#[test]
fn a_layer_takes_little_more_than_rustls_itself() {
    let ca = Authority::new("the root");
    let server = TlsServer::builder().identity(ca.issue(&[NAME])).build().expect("sound");
    let client = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let tls = (server, client);
    let [bare, rustls] = [by_hand(None), by_hand(Some(&tls))];
    let [plain, secured] = [links(None), links(Some(&tls))];
    for (side, name) in ["server", "client"].into_iter().enumerate() {
        let own = rustls[side] - bare[side];
        let layer = secured[side] - plain[side];
        println!(
            "{name}: rustls {own} bytes ({} − {}), a layer {layer} ({} − {}), {} more",
            rustls[side],
            bare[side],
            secured[side],
            plain[side],
            layer - own
        );
        assert!(layer - own <= MOST, "{name}");
    }
}
