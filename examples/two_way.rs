//! The server calls its clients, over the connection they made: `cargo run --example two_way`
//!
//! Both sides call at once, as often as they like; the numbers of their calls never meet.

use bowline::CallOptions;
use bowline::tokio::{Client, Request, Server};

const WORK: u32 = 1;
const ASK: u32 = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .on_request(|request: Request| async move {
            // In the middle of its answer the server asks back.
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
    // And unasked, all of them at once.
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
