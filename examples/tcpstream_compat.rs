//! tcpstream's server and synchronous client, with its wire format:
//! `cargo run --example tcpstream_compat`
//!
//! | tcpstream | here |
//! |---|---|
//! | `OnData`, `OnConn`, `OnDisConn` | `on_message`, `on_connect`, `on_disconnect` |
//! | `Send` | `cast`, with a message type |
//! | `SyncSend` and its Seq | `call`: the ids of both sides never collide |
//! | the type of the answer's message | `Answer::with_method`; `Reply::method` at the caller |
//! | `NewSyncFromTcpStream` (the server calls) | `peer.call` |
//! | broadcast to all streams | `server.broadcast` |
//! | reconnect every 5 s | `ReconnectPolicy::fixed` |
//!
//! Three things to know. A message that is not received waits in the read queue; if the queue is full and no
//! one has ever received, the newest message is dropped and counted, and replies continue. An answer has type
//! 0 unless its handler sets another. A handler that fails cannot report it in this wire format: by default
//! its caller waits until its deadline, see `on_failure`.

use std::time::Duration;

use bowline::frame::tcpstream::Tcpstream;
use bowline::tokio::{Client, Server};
use bowline::{Answer, Config, OnFailure, QueueLimit, ReconnectPolicy};

/// The types of answers and of answers that report an error.
const ANSWER: u32 = 100;
const FAILED: u32 = 101;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::with_framing(Tcpstream::new())
        .reconnect(ReconnectPolicy::fixed(Duration::from_secs(5)))
        .read_queue(QueueLimit { messages: 100, bytes: 1 << 20 })
        .on_failure(OnFailure::Answer { method: FAILED })
        .build()?;
    let server = Server::with_config(config.clone())
        .on_connect(|peer| println!("connected: {:?}", peer.remote_addr().is_some()))
        .on_message(|_, message| async move {
            println!("type {}: {} bytes", message.method(), message.body.len());
        })
        .on_request(|request| async move {
            let text = std::str::from_utf8(request.body())?;
            Ok(Answer::from(format!("answer to {text}")).with_method(ANSWER))
        })
        .on_disconnect(|_, cause| println!("disconnected: {cause}"))
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let client = Client::with_config(server.local_addr(), config)
        .on_request(|_| async move { Ok("the client's answer") })
        .connect()
        .await?;
    let _ = client.cast(7, b"a message without an answer").await?;
    let reply = client.call(8, b"a question").await?;
    assert_eq!(reply.method, ANSWER);
    println!("{}", String::from_utf8_lossy(&reply));
    let reply = client.call(8, b"\xff is no text").await?;
    assert_eq!(reply.method, FAILED);
    println!("it failed: {}", String::from_utf8_lossy(&reply));

    // Pushes without a receiver: as many as fit are kept, and calls continue.
    for peer in server.hub().peers() {
        for _ in 0..1_000 {
            let _ = peer.cast(10, b"to whom it may concern").await?;
        }
        println!("{}", String::from_utf8_lossy(&peer.call(9, b"the server's question").await?));
    }
    let _ = client.call(8, b"is it still there?").await?;
    println!("{} pushes were dropped", client.counters().messages_dropped);
    println!("the first that was kept: {} bytes", client.receive().await?.body.len());
    client.close().await;
    server.shutdown().await;
    Ok(())
}
