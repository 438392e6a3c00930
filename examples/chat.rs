//! Chat rooms: broadcast to groups. `cargo run --example chat`

use std::time::Duration;

use bowline::tokio::Hub;
use bowline::tokio::{Client, Server};
use bowline::{Config, Overflow};

/// Method numbers.
const JOIN: u32 = 1;
const SAY: u32 = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A client that does not read loses messages, and delays no one.
    let config = Config::builder().write_overflow(Overflow::DropOldest).build()?;
    let hub = Hub::new();
    let rooms = hub.clone();
    let server = Server::with_config(config)
        .hub(&hub)
        .on_request_inline(move |context, request, _| {
            // The body is the room's name.
            let room = std::str::from_utf8(request.body).map_err(|error| error.to_string())?;
            match request.method() {
                JOIN => {
                    rooms.join(room, context.peer_id());
                    Ok(())
                }
                other => Err(format!("no method {other}").into()),
            }
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;
    let address = server.local_addr().to_string();

    let mut members = Vec::new();
    for (name, room) in [("ada", "engines"), ("bob", "engines"), ("cyd", "knots")] {
        let client = Client::connect(&address).await?;
        client.call(JOIN, room).await?;
        members.push((name, client));
    }
    for (room, text) in [("engines", "weaving algebraical patterns"), ("knots", "a bowline holds")] {
        let sent = hub.publish(room, SAY, text);
        println!("to {room}: {} heard it, {} missed it", sent.queued, sent.missed.len());
    }
    println!("to all: {:?}", hub.broadcast(SAY, "good night"));
    for (name, client) in members {
        while let Some(message) = client.receive_timeout(Duration::from_millis(100)).await? {
            println!("{name} hears: {}", String::from_utf8_lossy(&message.body));
        }
        client.close().await;
    }
    server.shutdown().await;
    Ok(())
}
