//! tcpstream's server and synchronous client, with its wire format:
//! `cargo run --example tcpstream_compat`
//!
//! | tcpstream | here |
//! |---|---|
//! | `OnData`, `OnConn`, `OnDisConn` | `on_message`, `on_connect`, `on_disconnect` |
//! | `Send` | `cast`, with a message type |
//! | `SyncSend` and its Seq | `call`: the id is chosen so that both sides' never meet |
//! | `NewSyncFromTcpStream` (the server calls) | `peer.call` |
//! | broadcast to all streams | `server.broadcast` |
//! | reconnect every 5 s | `ReconnectPolicy::fixed` |

use std::time::Duration;

use bowline::frame::tcpstream::Tcpstream;
use bowline::tokio::{Client, Server};
use bowline::{Config, ReconnectPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::with_framing(Tcpstream::new())
        .reconnect(ReconnectPolicy::fixed(Duration::from_secs(5)))
        .build()?;
    let server = Server::with_config(config.clone())
        .on_connect(|peer| println!("connected: {:?}", peer.remote_addr().is_some()))
        .on_message(|_, message| println!("type {}: {} bytes", message.method(), message.body.len()))
        .on_request(|request| async move { Ok(format!("answer to type {}", request.method())) })
        .on_disconnect(|_, cause| println!("disconnected: {cause}"))
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let client = Client::with_config(&server.local_addr().to_string(), config)
        .on_request(|_| async move { Ok("the client's answer") })
        .connect()
        .await?;
    let _ = client.cast(7, b"a message without an answer").await?;
    println!("{}", String::from_utf8_lossy(&client.call(8, b"a question").await?));
    for peer in server.hub().peers() {
        println!("{}", String::from_utf8_lossy(&peer.call(9, b"the server's question").await?));
    }
    let sent = server.broadcast(10, b"to all");
    println!("broadcast to {}: {} bytes came", sent.queued, client.receive().await?.body.len());
    client.close().await;
    server.shutdown().await;
    Ok(())
}
