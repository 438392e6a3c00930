//! A proxy whose connections can be cut for real.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Proxy {
    pub address: String,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn start(upstream: &str) -> Self {
        Self::slow(upstream, Duration::ZERO)
    }

    /// One that rests after every 16 KiB.
    pub fn slow(upstream: &str, rest: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let (kept, upstream) = (Arc::clone(&sockets), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                join(&client, &server, rest);
                kept.lock().expect("not poisoned").extend([client, server]);
            }
        });
        Self { address, sockets }
    }

    /// Joins every two that connect to one another.
    pub fn meeting() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sockets);
        std::thread::spawn(move || {
            let mut incoming = listener.incoming().flatten();
            while let (Some(one), Some(other)) = (incoming.next(), incoming.next()) {
                join(&one, &other, Duration::ZERO);
                kept.lock().expect("not poisoned").extend([one, other]);
            }
        });
        Self { address, sockets }
    }

    /// Closes every connection.
    pub fn cut(&self) {
        for socket in self.sockets.lock().expect("not poisoned").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn join(one: &TcpStream, other: &TcpStream, rest: Duration) {
    for (from, to) in [(one, other), (other, one)] {
        let from = from.try_clone().expect("a descriptor");
        let to = to.try_clone().expect("a descriptor");
        std::thread::spawn(move || carry(from, to, rest));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, rest: Duration) {
    let mut buf = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        if to.write_all(&buf[..n]).is_err() {
            break;
        }
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
