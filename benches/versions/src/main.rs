//! Casts, calls and bursts over loopback, both ends in one process; and two builds of this program in turn.
//!
//! `bowline-versions run RUNTIME WORK COUNT` prints messages a second. `bowline-versions compare OLD NEW` runs two
//! such programs in turn and prints the median of the ratios, with the 95 % interval of that median.
//! `compare.sh` builds them.

mod compare;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const BODY: [u8; 110] = [7; 110];
/// Tasks or threads that call at a time.
const CALLERS: u64 = 256;
/// Connections of bursts, and messages of a burst: the last one is a call.
const CONNECTIONS: u64 = 1_000;
const BURST: u64 = 32;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", runtime, work, count] => {
            let count = count.parse().expect("a number of messages");
            let rate = match *runtime {
                "tokio" => on_tokio::run(work, count),
                "smol" => on_smol::run(work, count),
                _ => on_threads(count),
            };
            println!("{rate:.0}");
        }
        ["compare", old, new] => compare::run(old, new),
        _ => eprintln!(
            "bowline-versions run (tokio|smol|threads) (casts|calls|bursts) COUNT | compare OLD NEW"
        ),
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

fn block_on_tokio<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn spawn_on_tokio(task: Task) {
    tokio::spawn(task);
}

fn spawn_on_smol(task: Task) {
    smol::spawn(task).detach();
}

// The runtimes' modules have the same names, but no common trait in every commit that is compared.
macro_rules! runtime {
    ($module:ident, $runtime:ident, $block_on:path, $spawn:path) => {
        mod $module {
            use super::*;
            use bowline::$runtime::{Client, Server};

            pub fn run(work: &str, count: u64) -> f64 {
                $block_on(async {
                    let heard = Arc::new(AtomicU64::new(0));
                    let server = server(Arc::clone(&heard)).await;
                    let address = server.local_addr().to_string();
                    match work {
                        "casts" => casts(&address, count, &heard).await,
                        "calls" => calls(&address, count).await,
                        _ => bursts(&address, count).await,
                    }
                })
            }

            async fn server(heard: Arc<AtomicU64>) -> Server {
                let builder = Server::builder().on_request_inline(|_, request, reply| {
                    reply.extend_from_slice(request.body);
                    Ok(())
                });
                let count = move |bytes: usize| {
                    heard.store(heard.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
                };
                #[cfg(feature = "before_inline")]
                let builder = builder.on_message(move |_, message| count(message.body.len()));
                #[cfg(not(feature = "before_inline"))]
                let builder = builder.on_message_inline(move |_, message| count(message.body.len()));
                let server = builder.bind("127.0.0.1:0").await.expect("a free port");
                server.start().expect("a runtime");
                server
            }

            async fn connect(address: &String) -> Client {
                let client = Client::connect(address).await.expect("it listens");
                client.call(1, &BODY[..]).await.expect("a reply");
                client
            }

            async fn casts(address: &String, count: u64, heard: &AtomicU64) -> f64 {
                let client = connect(address).await;
                let start = Instant::now();
                for _ in 0..count {
                    let _ = client.cast(1, std::hint::black_box(&BODY[..])).await.expect("connected");
                }
                // The last in order: everything before it is there.
                client.call(1, &BODY[..]).await.expect("a reply");
                assert_eq!(heard.load(Ordering::Relaxed), count * BODY.len() as u64);
                count as f64 / start.elapsed().as_secs_f64()
            }

            async fn calls(address: &String, count: u64) -> f64 {
                let client = connect(address).await;
                let start = Instant::now();
                let calls = |_| {
                    let client = client.clone();
                    async move {
                        for _ in 0..count / CALLERS {
                            std::hint::black_box(client.call(1, &BODY[..]).await.expect("a reply"));
                        }
                    }
                };
                in_tasks((0..CALLERS).map(calls)).await;
                count as f64 / start.elapsed().as_secs_f64()
            }

            async fn bursts(address: &String, count: u64) -> f64 {
                let mut clients = Vec::new();
                for _ in 0..CONNECTIONS {
                    clients.push(connect(address).await);
                }
                let start = Instant::now();
                let bursts = |client: Client| async move {
                    for _ in 0..count / CONNECTIONS / BURST {
                        for _ in 1..BURST {
                            let _ = client.cast(1, &BODY[..]).await.expect("connected");
                        }
                        client.call(1, &BODY[..]).await.expect("a reply");
                    }
                };
                in_tasks(clients.into_iter().map(bursts)).await;
                count as f64 / start.elapsed().as_secs_f64()
            }

            async fn in_tasks<F: Future<Output = ()> + Send + 'static>(tasks: impl Iterator<Item = F>) {
                let mut running = Vec::new();
                for task in tasks {
                    let (done, ended) = futures::channel::oneshot::channel::<()>();
                    $spawn(Box::pin(async move {
                        task.await;
                        drop(done);
                    }));
                    running.push(ended);
                }
                for ended in running {
                    let _ = ended.await;
                }
            }
        }
    };
}

runtime!(on_tokio, tokio, block_on_tokio, spawn_on_tokio);
runtime!(on_smol, smol, smol::block_on, spawn_on_smol);

/// A call at a time from each of many threads.
fn on_threads(count: u64) -> f64 {
    use bowline::blocking::{Client, Server};
    let builder = Server::builder().on_request_inline(|_, request, reply| {
        reply.extend_from_slice(request.body);
        Ok(())
    });
    let server = builder.bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    let client = Client::connect(&server.local_addr().to_string()).expect("it listens");
    client.call(1, &BODY[..]).expect("a reply");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..count / CALLERS {
                    client.call(1, &BODY[..]).expect("a reply");
                }
            });
        }
    });
    count as f64 / start.elapsed().as_secs_f64()
}
