//! A link over a child process's standard input and output: no port, no address, and the same calls.
//!
//! The program starts itself as the child. When the child dies, the link starts another.
//!
//! `cargo run --example child_process`

use std::io;
use std::process::{Command, Stdio};

use bowline::blocking::{Client, Server, stream};
use bowline::{Address, CallOptions};

/// The stream's name at both ends.
fn name() -> Address {
    Address::Inproc("child".into())
}

/// The child: serves one link on its standard input and output until the parent ends.
fn serve() -> io::Result<()> {
    let server = Server::builder()
        .on_request(|request| match request.method() {
            1 => Ok(request.body().to_ascii_uppercase()),
            _ => std::process::exit(1),
        })
        .bind("inproc://never-dialed")
        .map_err(io::Error::other)?;
    server.start().map_err(io::Error::other)?;
    server.serve_stream(stream(io::stdin(), io::stdout(), name())?, &name())?;
    while !server.peers().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|argument| argument == "--child") {
        return Ok(serve()?);
    }
    let client = Client::builder("inproc://child")
        .connector(|_| {
            let mut child = Command::new(std::env::current_exe()?)
                .arg("--child")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            println!("started a child");
            // Waits for the child, so that no zombie process remains.
            std::thread::spawn(move || child.wait());
            stream(output, input, name())
        })
        .connect()?;
    let reply = client.call(1, "a message to the child")?;
    println!("{}", String::from_utf8_lossy(&reply));

    // The second child answers the calls that are made after the first one died.
    let error = client.call(2, "die").expect_err("it dies before it answers");
    println!("the child died: {error}");
    let reply = client.call_with(CallOptions::new(1), "and to the next")?;
    println!("{}", String::from_utf8_lossy(&reply));
    client.close();
    Ok(())
}
