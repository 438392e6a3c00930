//! On a runtime with one thread, a cheap call does not wait for all the heavy work that is ready before it.
//! Measured by counting, not by time.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline::frame::native::{Hello, Native};
use bowline::frame::{Class, Framing, Kind, Meta};
use bowline::tokio::{Client, Server};
use tokio::sync::Semaphore;

const MIB: usize = 1 << 20;
/// Methods.
const LONG: u32 = 1;
const SHORT: u32 = 2;

fn on_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

/// Lets all ready tasks run, until `done`.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

fn hello() -> Vec<u8> {
    let (mut out, mut body) = (Vec::new(), Vec::new());
    Hello::new().encode(&mut body);
    let mark = Native::new().begin(&mut out, &Meta::new(Kind::Hello, 0), &[]).expect("a frame");
    out.extend_from_slice(&body);
    Native::new().finish(&mut out, mark, 0).expect("a frame");
    out
}

#[test]
fn a_short_answer_does_not_wait_for_all_long_ones() {
    const CLIENTS: usize = 10;
    const EACH: usize = 30;
    on_one_thread(async {
        // All handlers wait for the same event and continue at the same time.
        let (gate, started, made) =
            (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let made_before = Arc::<AtomicUsize>::default();
        let server = Server::builder()
            .on_request({
                let (gate, started, made) = (Arc::clone(&gate), Arc::clone(&started), Arc::clone(&made));
                let made_before = Arc::clone(&made_before);
                move |request| {
                    let (gate, made, made_before) =
                        (Arc::clone(&gate), Arc::clone(&made), Arc::clone(&made_before));
                    started.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let _pass = gate.acquire().await;
                        if request.method() == SHORT {
                            made_before.store(made.load(Ordering::Relaxed), Ordering::Relaxed);
                            return Ok(vec![7; 10]);
                        }
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok(vec![7; MIB])
                    }
                }
            })
            .bind("127.0.0.1:0")
            .await
            .expect("a free port");
        server.start().expect("a runtime");
        let address = server.local_addr().to_string();
        let mut hostile = Vec::new();
        for _ in 0..CLIENTS {
            let mut bytes = hello();
            for id in 1..=EACH as u64 {
                let meta = Meta { method: LONG, ..Meta::new(Kind::Request, id) };
                Native::new().encode(&mut bytes, &meta, &[], b"").expect("a frame");
            }
            let mut stream = TcpStream::connect(&address).expect("it listens");
            stream.write_all(&bytes).expect("there is room");
            hostile.push(stream);
        }
        until(|| started.load(Ordering::Relaxed) == CLIENTS * EACH).await;
        let client = Client::connect(&*address).await.expect("it listens");
        let call = tokio::spawn(async move { client.call(SHORT, &b""[..]).await });
        until(|| started.load(Ordering::Relaxed) == CLIENTS * EACH + 1).await;
        gate.add_permits(Semaphore::MAX_PERMITS);
        assert!(call.await.expect("it does not panic").is_ok());
        let before = made_before.load(Ordering::Relaxed);
        assert!(before <= 5, "{before} long answers were made before a short one");
        drop(hostile);
    });
}

#[test]
fn a_short_call_does_not_wait_for_all_long_messages() {
    const CLIENTS: usize = 40;
    on_one_thread(async {
        let server = Server::builder()
            .on_request_inline(|_, _, out| {
                out.extend_from_slice(b"pong");
                Ok(())
            })
            .bind("127.0.0.1:0")
            .await
            .expect("a free port");
        server.start().expect("a runtime");
        let address = server.local_addr().to_string();
        let client = Client::connect(&*address).await.expect("it listens");
        assert!(client.call(SHORT, &b""[..]).await.is_ok());
        // Casts of 1 MiB without their last bytes. They wait in the system while nothing else runs here.
        let mut whole = Vec::new();
        Native::new()
            .encode(&mut whole, &Meta { class: Class::Bulk, ..Meta::new(Kind::Cast, 0) }, &[], &vec![1; MIB])
            .expect("a frame");
        let mut bytes = hello();
        for piece in whole[..MIB].chunks(16 * 1024) {
            let meta = Meta { class: Class::Bulk, ..Meta::new(Kind::Fragment, 1) };
            Native::new().encode(&mut bytes, &meta, &[], piece).expect("a frame");
        }
        let hostile: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| {
                let mut stream = TcpStream::connect(&address).expect("it listens");
                stream.set_nonblocking(true).expect("an option");
                let mut rest = &bytes[..];
                while let Ok(n) = stream.write(rest)
                    && n > 0
                {
                    rest = &rest[n..];
                }
                assert!(rest.len() < MIB / 2, "the system takes most of it");
                stream
            })
            .collect();
        until(|| server.peers().len() == CLIENTS + 1).await;
        let read = || -> u64 { server.peers().iter().map(|peer| peer.stats().counters.bytes_in).sum() };
        let before = read();
        assert!(client.call(SHORT, &b""[..]).await.is_ok());
        let (meanwhile, all) = (read() - before, (CLIENTS * MIB) as u64);
        println!("{before} before, {meanwhile} meanwhile, of {all}");
        assert!(
            before + meanwhile < all / 4,
            "{meanwhile} bytes of long messages were read before a short one"
        );
        drop(hostile);
    });
}
