//! Bowline on tokio: `cargo run --example on_tokio`
//!
//! The same program as for the other runtimes; only the module differs.

use bowline::tokio::{Client, Pool, Server};
use bowline::{CallOptions, Policy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut servers = Vec::new();
    for number in 1..=2 {
        let server = Server::builder()
            .on_request(move |request| async move {
                Ok(format!("server {number} got {} bytes", request.body().len()))
            })
            .bind("127.0.0.1:0")
            .await?;
        server.start()?;
        servers.push(server);
    }

    // One link to one server.
    let client = Client::connect(&servers[0].local_addr().to_string()).await?;
    println!("{}", String::from_utf8_lossy(&client.call(1, b"hello").await?));
    client.close().await;

    // One pool over both.
    let mut pool = Pool::builder().policy(Policy::PowerOfTwo);
    for server in &servers {
        pool = pool.endpoint(server.local_addr().to_string());
    }
    let pool = pool.open()?;
    pool.ready().await?;
    for key in ["red", "green", "red"] {
        // All calls with one key go to one server.
        let reply = pool.call_for(key, CallOptions::new(1), key).await?;
        println!("{key}: {}", String::from_utf8_lossy(&reply));
    }
    pool.close().await;
    for server in servers {
        server.shutdown().await;
    }
    Ok(())
}
