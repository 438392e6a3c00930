//! A link through a SOCKS5 proxy to a server that requires a greeting first.
//!
//! The proxy and the gateway in front of the server are part of the example; only they know the name
//! `inner.example`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bowline::blocking::{Client, Server};
use bowline::preamble::{Exchange, Preamble};
use bowline::{Config, Proxy, ReconnectPolicy};

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
    server.start()?;
    let inside = server.local_addr().to_string().parse()?;
    let door = listen(move |outside| doorkeeper(outside, inside))?;
    let proxy = listen(move |outside| socks(outside, door))?;

    let preamble = Preamble::new(|opening| {
        println!(
            "greeting {} on connection {}",
            opening.endpoint.expect("it was dialed"),
            opening.epoch.get()
        );
        Exchange::new("HELLO links\n", "WELCOME\n").or_refused()
    });
    let config = Config::builder()
        .proxy(Proxy::socks5(&proxy.to_string())?.timeout(Duration::from_secs(5)))
        .preamble(preamble.timeout(Duration::from_secs(5)))
        .build()?;
    let client = Client::with_config("inner.example:7001", config.clone()).connect()?;
    let reply = client.call(1, b"through both")?;
    println!("a reply: {}", String::from_utf8_lossy(&reply.body));
    client.close();

    // An error names the place of the failure.
    let never = config.to_builder().reconnect(ReconnectPolicy::never()).build()?;
    let error = Client::with_config("unknown.example:7001", never).connect().expect_err("nobody knows it");
    println!("and otherwise: {}", bowline::error::Chain(&error));
    server.shutdown();
    Ok(())
}

/// Serves each connection on a thread.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

/// Requires a greeting, and then forwards the connection.
fn doorkeeper(mut outside: TcpStream, inside: SocketAddr) -> io::Result<()> {
    let mut greeting = [0; b"HELLO links\n".len()];
    outside.read_exact(&mut greeting)?;
    if &greeting != b"HELLO links\n" {
        return outside.write_all(b"GO AWAY\n");
    }
    outside.write_all(b"WELCOME\n")?;
    join(outside, TcpStream::connect(inside)?)
}

/// A minimal SOCKS5 server.
fn socks(mut outside: TcpStream, door: SocketAddr) -> io::Result<()> {
    outside.read_exact(&mut [0; 3])?;
    outside.write_all(&[5, 0])?;
    let mut request = [0; 5];
    outside.read_exact(&mut request)?;
    let mut name = vec![0; usize::from(request[4]) + 2];
    outside.read_exact(&mut name)?;
    let known = name.starts_with(b"inner.example");
    // Success or "host unreachable", and no bound address.
    outside.write_all(&[5, if known { 0 } else { 4 }, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if known { join(outside, TcpStream::connect(door)?) } else { Ok(()) }
}

/// Copies in both directions until one side ends.
fn join(outside: TcpStream, inside: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (inside.try_clone()?, outside.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let (mut from, mut to) = (outside, inside);
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
