//! The server calls its clients, over the connections that they made: `cargo run --example two_way`
//!
//! Both sides may call at once and as often as they like; the ids of their calls never collide.

use bowline::CallOptions;
use bowline::tokio::{Client, Request, Server};

const WORK: u32 = 1;
const ASK: u32 = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .on_request(|request: Request| async move {
            // The server calls back while it handles a request.
            let name = request.peer().call(ASK, b"your name?").await.map_err(|error| error.to_string())?;
            Ok(format!("done for {}", String::from_utf8_lossy(&name)))
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let mut clients = Vec::new();
    for name in ["one", "two", "three"] {
        let client = Client::builder(server.local_addr().to_string())
            .on_request(move |_| async move { Ok(name) })
            .connect()
            .await?;
        clients.push(client);
    }
    for client in &clients {
        println!("{}", String::from_utf8_lossy(&client.call(WORK, b"please").await?));
    }
    // The server calls all clients at once, without a request.
    let mut calls = Vec::new();
    for peer in server.hub().peers() {
        calls.push(peer.start_call(CallOptions::new(ASK), b"still there?").await?);
    }
    for call in calls {
        println!("{} is still there", String::from_utf8_lossy(&call.await?));
    }
    for client in clients {
        client.close().await;
    }
    server.shutdown().await;
    Ok(())
}
