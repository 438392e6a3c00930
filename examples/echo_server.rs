//! A server that echoes requests, and a client of it: `cargo run --example echo_server`
//!
//! With an address (`cargo run --example echo_server -- 127.0.0.1:7001`, or `unix:///tmp/echo.sock`) it
//! serves there until it is interrupted or its standard input ends, and then drains.

use std::time::Duration;

use bowline::tokio::{Client, Server};
use bowline::{AcceptLimits, Config, Monitor, ServerEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let mut limits = AcceptLimits::default();
    limits.connections = 1_000;
    limits.idle = Some(Duration::from_secs(300));
    let monitor = Monitor::new();
    let server = Server::with_config(Config::builder().accept_limits(limits).build()?)
        .monitor(&monitor, "echo")
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .on_message_inline(|context, message| {
            context.try_cast(message.method(), message.body).map(drop).map_err(|e| e.to_string())
        })
        .on_event(|event| match event {
            ServerEvent::Refused { from, why } => eprintln!("refused {from}: {why:?}"),
            event => eprintln!("{event:?}"),
        })
        .bind(address.as_deref().unwrap_or("127.0.0.1:0"))
        .await?;
    server.start()?;
    println!("listening at {}", server.local_addr());

    if address.is_some() {
        // Until the input ends.
        tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    } else {
        let client = Client::connect(&server.local_addr().to_string()).await?;
        println!("the answer is {:?}", String::from_utf8(client.call(1, b"hello").await?.to_vec())?);
        println!("open links: {:?}", monitor.snapshot().open);
        client.close().await;
    }
    let drained = server.shutdown().await;
    println!("{} connections drained, {} cut short", drained.connections, drained.cut.len());
    Ok(())
}
