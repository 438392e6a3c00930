//! The way of clj-tcp: raw bytes over a link that reconnects, writes that are repeated up to a limit, an
//! error stream, and a monitor. `cargo run --example clj_tcp_style`
//!
//! | clj-tcp | here |
//! |---|---|
//! | `client` with `:retry-limit`, `:write-buff`, … | the configuration below |
//! | `write!` | `cast` |
//! | `read!` and the read channel | `receive` |
//! | the error channel, which blocks the link when it is full | `next_errored`, which drops its oldest |
//! | `close-all`, `close-and-wait` | `begin_close`, `close` |
//! | `clj-tcp.monitor` | `Monitor` |

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bowline::blocking::Client;
use bowline::frame::raw::Raw;
use bowline::{Config, Delivery, Monitor, QueueLimit, ReconnectPolicy, SocketOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Like clj-tcp's echo server: it answers once and closes the connection.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().take(3).flatten() {
            let mut buf = [0; 64];
            if let Ok(n) = stream.read(&mut buf) {
                let _ = stream.write_all(&buf[..n]);
            }
        }
        // From here on the listener is gone.
    });

    let mut sockets = SocketOptions::default();
    sockets.receive_buffer = Some(5 << 20);
    let buffer = QueueLimit { messages: 100, bytes: 1 << 20 };
    let config = Config::with_framing(Raw::new())
        .delivery(Delivery::AtLeastOnce { retry_limit: 5 })
        .write_queue(buffer)
        .read_queue(buffer)
        .errored_queue(buffer)
        .reconnect(ReconnectPolicy::fixed(Duration::from_millis(10)).max_rounds(1_000))
        .linger(Duration::from_millis(200))
        .sockets(sockets)
        .build()?;
    let monitor = Monitor::new();
    let client = Client::with_config(&address, config).monitor(&monitor, "echo").connect()?;
    for (text, connection) in ["one", "two", "three"].into_iter().zip(1..) {
        // The link finds the connection closed, reconnects, and sends what is queued.
        let _ = client.cast(0, text)?;
        println!("read {:?}", String::from_utf8_lossy(&client.receive()?.body));
        // The server closes the connection. Raw bytes have no acknowledgement: bytes that the system accepts
        // before the close is noticed are lost with the connection (or kept by `resend_window`, and sent
        // twice if they were not lost).
        while client.state() == bowline::State::Ready && client.counters().connections == connection {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    println!("{:?}, {} connections", monitor.snapshot().open, client.counters().connections);

    // The server is gone: a message that cannot be written is returned, with the reason.
    let _ = client.cast(0, "into the void")?;
    for errored in client.close() {
        println!(
            "not delivered: {:?} ({:?}: {})",
            String::from_utf8_lossy(&errored.body),
            errored.outcome,
            errored.reason
        );
    }
    println!("open links: {}", monitor.open());
    Ok(())
}
