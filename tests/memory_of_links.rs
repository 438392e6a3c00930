//! Memory of a link, measured by a counting allocator: idle, and after a call.
//!
//! `cargo test --test memory_of_links -- --nocapture` prints the blocks of each.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::{Config, Delivery};
use bowline_counting::{Counting, Held, Side, held};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Enough that one-time allocations do not count.
const LINKS: i64 = 200;
/// Memory that a call leaves behind, bytes: a list of wakers in the reading half.
const WAKERS: i64 = 100;
const HEARTBEAT: Duration = Duration::from_millis(100);

fn config(delivery: Delivery) -> Config {
    Config::builder().heartbeat(HEARTBEAT).delivery(delivery).build().expect("sound")
}

/// The smallest memory of each side while `pass` lets time pass: during some heartbeats and, on a busy
/// machine, during more until it is `enough`.
fn least(mut pass: impl FnMut(Duration), enough: impl Fn(&[Held; 2]) -> bool) -> [Held; 2] {
    let mut least = [Side::A, Side::B].map(held);
    let begun = Instant::now();
    while begun.elapsed() < 4 * HEARTBEAT || (!enough(&least) && begun.elapsed() < 100 * HEARTBEAT) {
        pass(HEARTBEAT / 20);
        for (least, side) in least.iter_mut().zip([Side::A, Side::B]) {
            let now = held(side);
            if now.bytes < least.bytes {
                *least = now;
            }
        }
    }
    least
}

/// The limits of links.
struct Most {
    what: &'static str,
    delivery: Delivery,
    /// Memory of an empty task, which is not counted.
    bare: i64,
    /// Bytes that one may hold, of a server and of a client.
    bytes: [i64; 2],
}

impl Most {
    fn holds(&self, before: &[Held; 2], now: &[Held; 2], besides: i64) -> bool {
        let each = |side: usize| (now[side].bytes - before[side].bytes) / LINKS - self.bare;
        (0..2).all(|side| each(side) <= self.bytes[side] + besides)
    }

    /// Idle, and after a call.
    fn check(&self, mut pass: impl FnMut(Duration), before: &[Held; 2], call: impl FnOnce()) {
        let idle = least(&mut pass, |now| self.holds(before, now, 0));
        report(self.what, "idle", before, &idle);
        assert!(self.holds(before, &idle, 0), "{}, idle: at most {:?}", self.what, self.bytes);
        call();
        let called = least(&mut pass, |now| self.holds(before, now, WAKERS));
        report(self.what, "after a call", before, &called);
        assert!(self.holds(before, &called, WAKERS), "{}, after a call: at most {:?}", self.what, self.bytes);
    }
}

fn report(what: &str, when: &str, before: &[Held; 2], after: &[Held; 2]) -> [i64; 2] {
    let mut each = [0; 2];
    for (index, side) in ["server", "client"].into_iter().enumerate() {
        let more = after[index].since(&before[index]);
        each[index] = more.bytes / LINKS;
        println!(
            "{what} {side} {when}: {} bytes, {} with overhead",
            each[index],
            more.with_overhead() / LINKS
        );
        for (size, count) in more.by_size.iter().rev() {
            if *count >= LINKS / 2 || *size as i64 * count > 4 * LINKS {
                println!("    {:>6} × {:.2}", size, *count as f64 / LINKS as f64);
            }
        }
    }
    each
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("descriptors")
}

fn on_tokio(most: &Most) {
    let delivery = most.delivery;
    let (told, address) = mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let _side = Side::A.enter();
        tokio_runtime().block_on(async move {
            let server = bowline::tokio::Server::with_config(config(delivery))
                .on_request(|request| async move { Ok(request.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("free");
            server.start().expect("a runtime");
            told.send(server.local_addr().to_string()).expect("it listens");
            ended.await.expect("told");
            server.shutdown_within(Duration::ZERO).await;
        });
    });
    let (address, config) = (address.recv().expect("bound"), config(delivery));
    let _side = Side::B.enter();
    let runtime = tokio_runtime();
    let pass = |time| runtime.block_on(async { tokio::time::sleep(time).await });
    let open = |count: i64| {
        runtime.block_on(async {
            let mut clients = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let client = bowline::tokio::Client::with_config(&address, config.clone()).connect();
                clients.push(client.await.expect("it listens"));
            }
            clients
        })
    };
    let call = |clients: &[bowline::tokio::Client]| {
        runtime.block_on(async {
            for client in clients {
                assert_eq!(&client.call(1, &b"hello"[..]).await.expect("it answers")[..], b"hello");
            }
        });
    };
    let first = open(1);
    call(&first);
    let before = least(pass, |_| true);
    let clients = open(LINKS);
    most.check(pass, &before, || call(&clients));
    end.send(()).expect("it runs");
    drop((first, clients));
    server.join().expect("no panic");
}

/// One test, because memory is counted for the whole process.
#[test]
fn links_hold_little_and_give_back_what_a_call_took() {
    let bare = on_bare_tokio();
    let (plain, session) = (Delivery::default(), Delivery::Session);
    on_tokio(&Most { what: "tokio", delivery: plain, bare, bytes: [2_590, 2_840] });
    on_tokio(&Most { what: "tokio, sessions", delivery: session, bare, bytes: [3_400, 3_110] });
    on_threads(&Most { what: "threads", delivery: plain, bare: 0, bytes: [3_072, 3_270] });
    on_threads(&Most { what: "threads, sessions", delivery: session, bare: 0, bytes: [3_880, 3_540] });
}

/// One task each, which waits for its socket.
fn on_bare_tokio() -> i64 {
    let _side = Side::B.enter();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound");
    let runtime = tokio_runtime();
    let pass = |time| runtime.block_on(async { tokio::time::sleep(time).await });
    let before = least(pass, |_| true);
    let mut others = Vec::with_capacity(LINKS as usize);
    let more = runtime.block_on(async {
        for _ in 0..LINKS {
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            others.push(listener.accept().expect("it connects").0);
            tokio::spawn(async move {
                while stream.readable().await.is_ok() {
                    match stream.try_read(&mut [0; 64]) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                }
            });
        }
        tokio::time::sleep(HEARTBEAT).await;
        held(Side::B)
    });
    let [_, bare] = report("a bare task of tokio", "", &before, &[before[0].clone(), more]);
    bare
}

fn on_threads(most: &Most) {
    use bowline::blocking::{Client, IoGroup, Server};
    let delivery = most.delivery;
    let (told, address) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let _side = Side::A.enter();
        let group = IoGroup::manual().expect("descriptors");
        let _entered = group.enter();
        let server = Server::with_config(config(delivery)).on_request_inline(|_, request, out| {
            out.extend_from_slice(request.body);
            Ok(())
        });
        let server = server.bind("127.0.0.1:0").expect("free");
        server.start().expect("a thread");
        told.send(server.local_addr().to_string()).expect("it listens");
        while ended.try_recv().is_err() {
            group.turn(Some(HEARTBEAT / 10)).expect("it turns");
        }
        server.shutdown_within(Duration::ZERO);
    });
    let (address, config) = (address.recv().expect("bound"), config(delivery));
    let _side = Side::B.enter();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let pass = |time| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            group.turn(Some(HEARTBEAT / 20)).expect("it turns");
        }
    };
    let open = |count: i64| {
        let mut clients = Vec::with_capacity(count as usize);
        for _ in 0..count {
            clients.push(Client::with_config(&address, config.clone()).connect().expect("it listens"));
        }
        clients
    };
    let call = |clients: &[Client]| {
        for client in clients {
            assert_eq!(&client.call(1, &b"hello"[..]).expect("it answers")[..], b"hello");
        }
    };
    let first = open(1);
    call(&first);
    let before = least(pass, |_| true);
    let clients = open(LINKS);
    most.check(pass, &before, || call(&clients));
    end.send(()).expect("it runs");
    drop((first, clients, entered));
    server.join().expect("no panic");
}
