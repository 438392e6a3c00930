//! The memory of idle connections.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use crate::other::{CALL, MEMORY, Other, resident, say, tell_memory};
use crate::{BODY, HEARTBEAT, config, tokio_runtime};

pub(crate) fn serve(runtime: &str) {
    match runtime {
        "tokio" => tokio_runtime().block_on(async {
            let server = bowline::tokio::Server::with_config(config());
            let server = server
                .on_request(|r| async move { Ok(r.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("free");
            server.start().expect("a runtime");
            say(server.local_addr());
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "tokio-bare" => tokio_runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free");
            say(listener.local_addr().expect("bound"));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(wait_tokio(stream));
                }
            });
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "smol" => smol::block_on(async {
            let server = bowline::smol::Server::with_config(config());
            let server = server
                .on_request(|r| async move { Ok(r.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("free");
            server.start().expect("a runtime");
            say(server.local_addr());
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "smol-bare" => smol::block_on(async {
            let listener = smol::Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("free");
            say(listener.get_ref().local_addr().expect("bound"));
            smol::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    smol::spawn(wait_smol(stream)).detach();
                }
            })
            .detach();
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "blocking" => {
            let server = bowline::blocking::Server::with_config(config());
            let server = server.on_request_inline(|_, r, out| {
                out.extend_from_slice(r.body);
                Ok(())
            });
            let server = server.bind("127.0.0.1:0").expect("free");
            server.start().expect("a thread");
            say(server.local_addr());
            tell_memory(|| {});
        }
        "blocking-bare" => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("free");
            say(listener.local_addr().expect("bound"));
            std::thread::spawn(move || wait_registered(listener.incoming().flatten()));
            tell_memory(|| {});
        }
        _ => panic!("no such runtime: {runtime}"),
    }
}

/// A task that waits for something to read, with as little as there can be.
async fn wait_tokio(stream: tokio::net::TcpStream) {
    // The first answer is what the runtime guesses.
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// One thread that waits for all of them, with as little as there can be: a registered socket each.
fn wait_registered(streams: impl Iterator<Item = TcpStream>) {
    let mut poll = mio::Poll::new().expect("a selector");
    let mut sockets = Vec::new();
    for stream in streams {
        stream.set_nonblocking(true).expect("an option");
        let (mut socket, token) = (mio::net::TcpStream::from_std(stream), mio::Token(sockets.len()));
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        poll.registry().register(&mut socket, token, both).expect("a place");
        sockets.push(socket);
    }
    let mut events = mio::Events::with_capacity(256);
    while poll.poll(&mut events, None).is_ok() {
        for event in &events {
            let _ = sockets[event.token().0].read(&mut [0; 64]);
        }
    }
}

async fn wait_smol(stream: smol::Async<TcpStream>) {
    let _ = stream.read_with(|mut stream| stream.read(&mut [0; 64])).await;
}

pub(crate) fn connect(runtime: &str, address: &str, count: usize) {
    let address = address.to_owned();
    let plain = || -> std::net::SocketAddr { address.parse().expect("an address") };
    match runtime {
        "tokio" => tokio_runtime().block_on(async {
            say(resident());
            let (mut clients, config) = (Vec::new(), config());
            for _ in 0..count {
                let builder = bowline::tokio::Client::with_config(&address, config.clone());
                clients.push(builder.connect().await.expect("it listens"));
            }
            say("ready");
            let runtime = tokio::runtime::Handle::current();
            let call = move || {
                runtime.block_on(async {
                    for client in &clients {
                        client.call(1, &BODY).await.expect("an answer");
                    }
                });
            };
            tokio::task::spawn_blocking(|| tell_memory(call)).await.expect("no panic");
        }),
        "tokio-bare" => tokio_runtime().block_on(async {
            say(resident());
            for _ in 0..count {
                let stream = tokio::net::TcpStream::connect(plain()).await.expect("it listens");
                tokio::spawn(wait_tokio(stream));
            }
            say("ready");
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "smol" => smol::block_on(async {
            say(resident());
            let (mut clients, config) = (Vec::new(), config());
            for _ in 0..count {
                let builder = bowline::smol::Client::with_config(&address, config.clone());
                clients.push(builder.connect().await.expect("it listens"));
            }
            say("ready");
            let call = move || {
                smol::block_on(async {
                    for client in &clients {
                        client.call(1, &BODY).await.expect("an answer");
                    }
                });
            };
            smol::unblock(|| tell_memory(call)).await;
        }),
        "smol-bare" => smol::block_on(async {
            say(resident());
            for _ in 0..count {
                let stream = smol::Async::<TcpStream>::connect(plain()).await.expect("it listens");
                smol::spawn(wait_smol(stream)).detach();
            }
            say("ready");
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "blocking" => {
            say(resident());
            let config = config();
            let connect = |_| bowline::blocking::Client::with_config(&address, config.clone()).connect();
            let clients: Vec<_> = (0..count).map(|at| connect(at).expect("it listens")).collect();
            say("ready");
            tell_memory(|| {
                for client in &clients {
                    client.call(1, &BODY).expect("an answer");
                }
            });
        }
        "blocking-bare" => {
            say(resident());
            let streams: Vec<_> =
                (0..count).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
            std::thread::spawn(move || wait_registered(streams.into_iter()));
            say("ready");
            tell_memory(|| {});
        }
        _ => panic!("no such runtime: {runtime}"),
    }
}

/// Bytes a connection takes on each side: idle, and some heartbeats after a call on each.
fn idle(runtime: &str, count: usize) -> [[f64; 2]; 2] {
    let mut server = Other::start(&format!("serve {runtime}"));
    let address = server.hear();
    let before = server.ask(MEMORY);
    let mut client = Other::start(&format!("connect {runtime} {address} {count}"));
    let client_before: u64 = client.hear().parse().expect("a number");
    assert_eq!(client.hear(), "ready");
    let measured = [MEMORY, CALL].map(|first| {
        client.ask(first);
        std::thread::sleep(HEARTBEAT * 7 / 2);
        let sides = [(server.ask(MEMORY), before), (client.ask(MEMORY), client_before)];
        sides.map(|(after, before)| after.saturating_sub(before) as f64 / count as f64)
    });
    client.end();
    server.end();
    measured
}

pub(crate) fn memory(count: usize) {
    println!("\nresident memory of a connection, bytes, after three heartbeats");
    println!(
        "{:>10} {:>7}  {:>12}  {:>22}  {:>22}",
        "runtime", "n", "", "server (bare, above)", "client (bare, above)"
    );
    for runtime in ["tokio", "smol", "blocking"] {
        let measured = idle(runtime, count);
        let [[bare_server, bare_client], _] = idle(&format!("{runtime}-bare"), count);
        for (when, [server, client]) in ["idle", "after a call"].into_iter().zip(measured) {
            println!(
                "{runtime:>10} {count:>7}  {when:>12}  {server:>7.0} ({bare_server:.0}, {:.0})  {client:>7.0} ({bare_client:.0}, {:.0})",
                server - bare_server,
                client - bare_client
            );
        }
    }
}
