//! Bowline in one run: a server and a client on this machine, calls from many tasks over one connection, the
//! server calling the client, a connection that is cut while calls are under way, and the outcome of every
//! call; first on tokio, then on plain threads.
//!
//! Exits non-zero if any call has no outcome.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::error::CallError;
use bowline::{Config, ReconnectPolicy, Reply};

const CALLS: u32 = 1_000;
const CALLERS: u32 = 16;
/// The connection is cut after this many calls.
const CUT_AT: u32 = 400;
const ADD_ONE: u32 = 1;
const WHO_ARE_YOU: u32 = 2;

fn main() -> ExitCode {
    let runtime = ::tokio::runtime::Runtime::new().expect("a tokio runtime");
    let on_tokio = runtime.block_on(on_tokio()).expect("the tokio half");
    on_tokio.print("tokio: 16 tasks");
    let on_threads = on_threads().expect("the blocking half");
    on_threads.print("plain threads: 16 threads");
    if on_tokio.adds_up() && on_threads.adds_up() {
        println!("\nEvery call has an outcome.");
        ExitCode::SUCCESS
    } else {
        println!("\nSome calls have no outcome!");
        ExitCode::FAILURE
    }
}

async fn on_tokio() -> Result<Summary, Box<dyn std::error::Error>> {
    use bowline::tokio::{Client, Peer, Request, Server};

    let answers = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answers);
    let server = Server::builder()
        .on_request(|request: Request| async move {
            // Simulates work.
            ::tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(add_one(request.body()))
        })
        .on_connect(move |peer: &Peer| {
            // The server calls the client, over the same connection.
            let (peer, told) = (peer.clone(), Arc::clone(&told));
            ::tokio::spawn(async move {
                let answer = peer.call(WHO_ARE_YOU, b"").await;
                told.lock().expect("not poisoned").push(text(answer));
            });
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let proxy = Proxy::start(server.local_addr().socket_addr().expect("TCP"))?;
    let client = Client::builder(proxy.address.to_string())
        .config(config()?)
        .on_request(|_: Request| async { Ok("a client on tokio") })
        .connect()
        .await?;

    let start = Instant::now();
    let tally = Arc::new(Tally::new(proxy));
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let (client, tally) = (client.clone(), Arc::clone(&tally));
        tasks.push(::tokio::spawn(async move {
            for number in share(caller) {
                let result = client.call(ADD_ONE, &number.to_be_bytes()).await;
                tally.note(number, &result);
            }
        }));
    }
    for task in tasks {
        task.await?;
    }
    let took = start.elapsed();
    let counters = client.counters();
    client.close().await;
    server.shutdown().await;
    let answers = answers.lock().expect("not poisoned").clone();
    Ok(tally.summary(took, counters.connections, answers))
}

fn on_threads() -> Result<Summary, Box<dyn std::error::Error>> {
    use bowline::blocking::{Client, Peer, Request, Server};

    let answers = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answers);
    let server = Server::builder()
        .on_request(|request: Request| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(add_one(request.body()))
        })
        .on_connect(move |peer: &Peer| {
            let (peer, told) = (peer.clone(), Arc::clone(&told));
            std::thread::spawn(move || {
                let answer = peer.call(WHO_ARE_YOU, b"");
                told.lock().expect("not poisoned").push(text(answer));
            });
        })
        .bind("127.0.0.1:0")?;
    server.start()?;

    let proxy = Proxy::start(server.local_addr().socket_addr().expect("TCP"))?;
    let client = Client::builder(proxy.address.to_string())
        .config(config()?)
        .on_request(|_: Request| Ok("a client on plain threads"))
        .connect()?;

    let start = Instant::now();
    let tally = Arc::new(Tally::new(proxy));
    let threads: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (client, tally) = (client.clone(), Arc::clone(&tally));
            std::thread::spawn(move || {
                for number in share(caller) {
                    let result = client.call(ADD_ONE, &number.to_be_bytes());
                    tally.note(number, &result);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a caller panicked")?;
    }
    let took = start.elapsed();
    let counters = client.counters();
    client.close();
    server.shutdown();
    let answers = answers.lock().expect("not poisoned").clone();
    Ok(tally.summary(took, counters.connections, answers))
}

fn config() -> Result<Config, bowline::error::ConfigError> {
    let reconnect = ReconnectPolicy::backoff(Duration::from_millis(5), Duration::from_millis(50));
    Config::builder().reconnect(reconnect).call_timeout(Duration::from_secs(3)).build()
}

/// The numbers that one of the callers requests.
fn share(caller: u32) -> impl Iterator<Item = u32> {
    (0..CALLS).filter(move |number| number % CALLERS == caller)
}

fn add_one(body: &[u8]) -> Vec<u8> {
    let number = body.try_into().map_or(0, u32::from_be_bytes);
    (number + 1).to_be_bytes().to_vec()
}

fn text(answer: Result<Reply, CallError>) -> String {
    match answer {
        Ok(reply) => String::from_utf8_lossy(&reply).into_owned(),
        Err(error) => format!("no answer: {error}"),
    }
}

/// Counts the outcomes of the calls, and cuts the connection in the middle.
struct Tally {
    proxy: Proxy,
    done: AtomicU32,
    outcomes: Mutex<BTreeMap<String, u32>>,
}

impl Tally {
    fn new(proxy: Proxy) -> Self {
        Self { proxy, done: AtomicU32::new(0), outcomes: Mutex::new(BTreeMap::new()) }
    }

    fn note(&self, number: u32, result: &Result<Reply, CallError>) {
        let outcome = match result {
            Ok(reply) if reply[..] == (number + 1).to_be_bytes() => "replied".to_owned(),
            Ok(_) => "replied, WRONGLY".to_owned(),
            Err(error) => format!("{:?}: {error}", error.outcome()),
        };
        *self.outcomes.lock().expect("not poisoned").entry(outcome).or_default() += 1;
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == CUT_AT {
            self.proxy.cut();
        }
    }

    fn summary(&self, took: Duration, connections: u64, answers: Vec<String>) -> Summary {
        let outcomes = self.outcomes.lock().expect("not poisoned").clone();
        Summary { outcomes, took, connections, answers }
    }
}

struct Summary {
    outcomes: BTreeMap<String, u32>,
    took: Duration,
    connections: u64,
    answers: Vec<String>,
}

impl Summary {
    fn print(&self, title: &str) {
        println!("\n{title}, {CALLS} calls, connection cut after {CUT_AT}");
        for (outcome, count) in &self.outcomes {
            println!("  {count:>5}  {outcome}");
        }
        println!("  {:>5}  in all, in {:.0?}", self.total(), self.took);
        println!("  {:>5}  connections were used", self.connections);
        for answer in &self.answers {
            println!("         the server called the client, who said: {answer}");
        }
    }

    fn total(&self) -> u32 {
        self.outcomes.values().sum()
    }

    fn adds_up(&self) -> bool {
        let wrong = self.outcomes.keys().any(|outcome| outcome.contains("WRONGLY"));
        self.total() == CALLS && !wrong && self.connections == 2 && self.answers.len() == 2
    }
}

/// A small proxy between client and server, so that a real connection can be cut.
struct Proxy {
    address: SocketAddr,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sockets);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                        std::thread::spawn(move || carry(from, to));
                    }
                }
                kept.lock().expect("not poisoned").extend([client, server]);
            }
        });
        Ok(Self { address, sockets })
    }

    /// Closes all its connections at once.
    fn cut(&self) {
        for socket in self.sockets.lock().expect("not poisoned").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buf = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        if to.write_all(&buf[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
