//! A proxy that can cut its connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Proxy {
    pub address: String,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    upstream: Arc<Mutex<String>>,
}

impl Proxy {
    pub fn start(upstream: &str) -> Self {
        Self::slow(upstream, Duration::ZERO)
    }

    /// A proxy that pauses after every 16 KiB.
    pub fn slow(upstream: &str, rest: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let upstream = Arc::new(Mutex::new(upstream.to_owned()));
        let (kept, leads_to) = (Arc::clone(&sockets), Arc::clone(&upstream));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to = leads_to.lock().expect("not poisoned").clone();
                let Ok(server) = TcpStream::connect(to) else { continue };
                record_and_join(&kept, client, server, rest);
            }
        });
        Self { address, sockets, upstream }
    }

    /// Joins every two clients that connect to one another.
    pub fn meeting() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sockets);
        std::thread::spawn(move || {
            let mut incoming = listener.incoming().flatten();
            while let (Some(one), Some(other)) = (incoming.next(), incoming.next()) {
                record_and_join(&kept, one, other, Duration::ZERO);
            }
        });
        Self { address, sockets, upstream: Arc::default() }
    }

    /// Directs new connections to another address.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut self.upstream.lock().expect("not poisoned"));
    }

    /// Closes every connection. Returns whether there was one.
    pub fn cut(&self) -> bool {
        let mut sockets = self.sockets.lock().expect("not poisoned");
        let any = !sockets.is_empty();
        for socket in sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        any
    }
}

/// Recorded before the first byte is carried, so that a test that has seen a connection can cut it.
fn record_and_join(sockets: &Mutex<Vec<TcpStream>>, one: TcpStream, other: TcpStream, rest: Duration) {
    let mut sockets = sockets.lock().expect("not poisoned");
    join(&one, &other, rest);
    sockets.extend([one, other]);
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
