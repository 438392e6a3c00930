//! Raw sockets, which everything else is compared with.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::{CAST_BYTES, REQUEST_BYTES, on_tokio};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// What two raw sockets move in blocks of 64 KiB, in casts' worth of bytes.
pub(crate) fn one_way(time: Duration) -> f64 {
    let (listener, address) = listener();
    let reader = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
        while let Ok(n @ 1..) = socket.read(&mut block) {
            black_box(&block[..n]);
            bytes += n as u64;
        }
        bytes
    });
    let mut socket = TcpStream::connect(address).expect("it listens");
    let block = vec![7; 64 * 1024];
    let start = Instant::now();
    while start.elapsed() < time {
        socket.write_all(&block).expect("room");
    }
    drop(socket);
    let bytes = reader.join().expect("a count");
    (bytes / CAST_BYTES) as f64 / start.elapsed().as_secs_f64()
}

fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("an option");
        let mut message = [0; REQUEST_BYTES];
        while socket.read_exact(&mut message).is_ok() && socket.write_all(&message).is_ok() {}
    });
}

pub(crate) fn ping(time: Duration) -> f64 {
    let (listener, address) = listener();
    echo(listener);
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).expect("room");
        socket.read_exact(&mut message).expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

pub(crate) async fn ping_tokio(time: Duration) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            address_of.send(listener.local_addr().expect("bound")).expect("heard");
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("an option");
            let mut message = [0; REQUEST_BYTES];
            while socket.read_exact(&mut message).await.is_ok() {
                if socket.write_all(&message).await.is_err() {
                    break;
                }
            }
        });
    });
    let address = address.recv().expect("told");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

pub(crate) async fn ping_smol(time: Duration) -> f64 {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        smol::block_on(async move {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            address_of.send(listener.local_addr().expect("bound")).expect("heard");
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("an option");
            let mut message = [0; REQUEST_BYTES];
            while socket.read_exact(&mut message).await.is_ok() {
                if socket.write_all(&message).await.is_err() {
                    break;
                }
            }
        });
    });
    let address = address.recv().expect("told");
    let mut socket = smol::net::TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

pub(crate) async fn connects(time: Duration) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            if address_of.send(listener.local_addr().expect("bound")).is_err() {
                return;
            }
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut message = [0; REQUEST_BYTES];
                    while socket.read_exact(&mut message).await.is_ok() {
                        if socket.write_all(&message).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    let address = address.recv().expect("told");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("an option");
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}
