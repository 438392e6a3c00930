//! Bowline on plain threads, without any runtime: `cargo run --example on_threads`

use bowline::CallOptions;
use bowline::blocking::{Client, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Handlers run on a pool of threads, and may block.
    let server = Server::builder()
        .on_request(|request| Ok(format!("{} bytes", request.body().len())))
        .bind("127.0.0.1:0")?;
    server.start()?;

    let client = Client::connect(server.local_addr().to_string())?;
    println!("{}", String::from_utf8_lossy(&client.call(1, b"hello")?));
    // Many calls under way from one thread.
    let calls: Vec<_> =
        (0..5).map(|n| client.start_call(CallOptions::new(1), vec![0; n * 100])).collect::<Result<_, _>>()?;
    for call in calls {
        println!("{}", String::from_utf8_lossy(&call.wait()?));
    }
    client.close();
    server.shutdown();
    Ok(())
}
