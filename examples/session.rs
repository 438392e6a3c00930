//! A session outlives its connections: `cargo run --example session`
//!
//! A client casts numbers while its connection is cut again and again. The server receives each number once,
//! and in order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::error::Outcome;
use bowline::tokio::{Client, Server};
use bowline::{Config, Delivery, LinkEvent, ReconnectPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .delivery(Delivery::Session)
        .reconnect(ReconnectPolicy::fixed(Duration::from_millis(1)))
        .build()?;

    let came = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&came);
    let server = Server::builder()
        .config(config.clone())
        .on_message(move |_, message| {
            if let (Ok(mut came), Ok(bytes)) = (keep.lock(), message[..].try_into()) {
                came.push(u32::from_be_bytes(bytes));
            }
            async {}
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let client = Client::with_config(server.local_addr().to_string(), config).connect().await?;
    for number in 0..2_000_u32 {
        let _ = client.cast(1, &number.to_be_bytes()).await?;
        if number % 100 == 50 {
            client.reconnect_now();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // The outcome of the last one reports that it has arrived, and therefore all earlier ones have too.
    let outcome = client.cast_and_wait(1, &2_000_u32.to_be_bytes()).await?;
    assert_eq!(outcome, Outcome::Acked);

    let counters = client.counters();
    let came = came.lock().map_err(|_| "a handler panicked")?.clone();
    assert_eq!(came, (0..=2_000).collect::<Vec<_>>());
    println!(
        "{} connections, {} frames sent again, {} messages: each once, in order",
        counters.connections,
        counters.replayed,
        came.len()
    );
    client.begin_close();
    while let Ok(event) = client.next_event().await {
        if let LinkEvent::SessionLost { unacknowledged } = event {
            println!("the session is over, {unacknowledged} frames unacknowledged");
        }
    }
    server.shutdown().await;
    Ok(())
}
