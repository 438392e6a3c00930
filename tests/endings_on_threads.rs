//! Connections that end at once: none prevents its server from ending.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use bowline::blocking::Server;

#[test]
fn a_connection_that_ends_at_once_is_over() {
    let server = Server::builder().bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    let address = server.local_addr().socket_addr().expect("TCP");
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                std::thread::spawn(move || {
                    for _ in 0..300 {
                        let mut stream = TcpStream::connect(address).expect("it listens");
                        // Garbage: the server closes the connection.
                        let _ = stream.write_all(b"garbage");
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        server.shutdown();
        done.send(()).expect("heard");
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("a connection never ended");
}
