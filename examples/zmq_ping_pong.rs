//! ZeroMQ sockets behind channels, as in zmq-async's quick start:
//! `cargo run --features zmtp --example zmq_ping_pong`
//!
//! The program uses only four channels. Each is bounded, and a socket closes when its sending channel is
//! dropped.

use bowline::tokio::zmtp::{Rep, Req, channel};
use bowline::zmtp::Buffer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (n, address) = (3, "inproc://ping-pong");
    let new_channel = || channel(Buffer::sliding(64));

    let ((s_in, requests), (replies, mut s_out)) = (new_channel(), new_channel());
    let server = Rep::register_new(|socket| socket.bind(address).map(drop), requests, replies)?;
    let ((c_in, requests), (replies, mut c_out)) = (new_channel(), new_channel());
    let client = Req::register_new(|socket| socket.connect(address), requests, replies)?;

    let serving = tokio::spawn(async move {
        for _ in 0..n {
            println!("{}", String::from_utf8_lossy(&s_out.recv().await?[0]));
            s_in.send("pong").await?;
        }
        // Dropping `s_in` closes the socket after its content has been sent.
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    for _ in 0..n {
        c_in.send("ping").await?;
        println!("{}", String::from_utf8_lossy(&c_out.recv().await?[0]));
    }
    c_in.close();

    serving.await?.map_err(|error| error.to_string())?;
    for registration in [server, client] {
        assert!(registration.closed().await.is_empty(), "every message was sent");
        assert_eq!(registration.stats().sent, n);
    }
    Ok(())
}
