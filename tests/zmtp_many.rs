//! Many ZeroMQ sockets: opened and closed repeatedly and concurrently, beside others that continue.
//!
//! The tests run one after another: they count resources of the whole process, as reported by Linux.
#![cfg(target_os = "linux")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::{Style, Wait};
use bowline::zmtp::{Buffer, kinds};
use bowline_zmtp_driver::{Socket, channel};

#[path = "machines/watchdog.rs"]
mod watchdog;

const LIMIT: Duration = Duration::from_secs(240);
const CYCLES: u32 = 10_000;
/// Messages without a peer keep their socket open for this long.
const LINGER: Duration = Duration::from_secs(1);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> impl Future<Output = Fut::Output> {
    R::Style::awaited::<Fut>(waited)
}

/// Descriptors of the process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a list").count()
}

/// Names of the process's threads, but for those of tests and their watchdogs.
fn threads() -> Vec<String> {
    let named = std::fs::read_dir("/proc/self/task").expect("a list").filter_map(|entry| {
        // One that ended meanwhile has no name.
        std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()
    });
    let mut threads: Vec<_> = named.map(|name| name.trim().to_owned()).collect();
    threads.retain(|name| {
        ["bowline", "tokio", "async", "smol", "blocking"].iter().any(|own| name.starts_with(own))
    });
    threads
}

/// Waits until the condition holds: closing ends in the background.
fn soon(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// TCP sockets that are in use all the time.
struct Beside<R: Runtime> {
    req: Socket<R, kinds::Req>,
    rep: Socket<R, kinds::Rep>,
}

impl<R: Runtime> Beside<R> {
    async fn new() -> Self {
        let (req, rep) = (Socket::<R, kinds::Req>::new(), Socket::<R, kinds::Rep>::new());
        done::<R, _>(req.connect_ready(&rep.bind("tcp://127.0.0.1:*").expect("it is free")))
            .await
            .expect("it listens");
        Self { req, rep }
    }

    async fn goes_on(&self) {
        done::<R, _>(self.req.send("question")).await.expect("its turn");
        done::<R, _>(self.rep.recv()).await.expect("a question");
        done::<R, _>(self.rep.send("answer")).await.expect("its turn");
        done::<R, _>(self.req.recv()).await.expect("an answer");
    }
}

/// The subject of zmq-async's third issue: sockets behind channels that are opened, used or not, and closed
/// in every way, repeatedly.
async fn cycles<R: Runtime>() {
    let beside = Beside::<R>::new().await;
    let name = std::any::type_name::<R>().replace("::", "-");
    let directory = std::env::temp_dir().join(format!("bowline-cycles-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    beside.goes_on().await;
    let mut before = None;
    for number in 0..CYCLES {
        // A name is free again when its socket is closed, in the background.
        let endpoint = match number / 4 % 10 {
            0 => "tcp://127.0.0.1:*".to_owned(),
            1..5 => format!("ipc://{}/{number}", directory.display()),
            _ => format!("inproc://{number}-{name}"),
        };
        let endpoint = endpoint.as_str();
        let pull = Socket::<R, kinds::Pull>::builder().linger(LINGER).open().expect("sound");
        let push = Socket::<R, kinds::Push>::builder().linger(LINGER).open().expect("sound");
        let bound = pull.bind(endpoint).expect("it is free");
        push.connect(&bound).expect("an endpoint");
        let (sender, requests) = channel::<R>(Buffer::fixed(2));
        let (replies, mut receiver) = channel::<R>(Buffer::fixed(2));
        let registration = push.register(requests, None).expect("a PUSH sends");
        let pulling = pull.clone().register(None, replies).expect("a PULL receives");
        match number % 4 {
            // Used, and closed from the side that sends.
            0 => {
                done::<R, _>(sender.send("one")).await.expect("open");
                done::<R, _>(receiver.recv()).await.expect("open");
                drop(sender);
                assert!(done::<R, _>(registration.closed()).await.is_empty());
                drop(receiver);
            }
            // With a message that no one receives.
            1 => {
                sender.try_send("unread").expect("there is room");
                drop((sender, receiver));
            }
            // Never used.
            2 => drop((receiver, sender)),
            // By the socket's own handle.
            _ => {
                done::<R, _>(pull.close()).await;
                done::<R, _>(receiver.recv()).await.expect_err("it is closed");
                sender.close();
            }
        }
        drop((pulling, registration));
        if number % 100 == 0 {
            beside.goes_on().await;
        }
        if number == 100 {
            before = Some((descriptors(), threads()));
        }
    }
    beside.goes_on().await;
    let (most_descriptors, most_threads) = before.expect("there were so many");
    soon("no more descriptors than after a hundred", || descriptors() <= most_descriptors);
    soon("no more threads than after a hundred", || threads().len() <= most_threads.len());
    let files = || std::fs::read_dir(&directory).expect("a directory").count();
    soon("no file is left", || files() == 0);
    std::fs::remove_dir(&directory).expect("it is empty");
    done::<R, _>(beside.req.close()).await;
    done::<R, _>(beside.rep.close()).await;
    // Messages without a peer are kept, and dialed for, until now: sockets of the next test may get the same
    // ports.
    std::thread::sleep(LINGER + LINGER / 4);
}

#[test]
fn ten_thousand_cycles_on_tokio() {
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime")
    };
    let _alone = alone();
    // The first runtime of a process opens two sockets for signals, which stay open: if tokio's feature for them is on.
    drop(runtime());
    let open = descriptors();
    {
        let runtime = runtime();
        runtime.block_on(watchdog::within(LIMIT, cycles::<bowline::tokio::Tokio>()));
        soon("no task is left", || runtime.metrics().num_alive_tasks() == 0);
    }
    soon("no descriptor is left", || descriptors() <= open);
}

#[test]
fn ten_thousand_cycles_on_smol() {
    let _alone = alone();
    smol::block_on(watchdog::within(LIMIT, cycles::<bowline::smol::Smol>()));
}

#[test]
fn ten_thousand_cycles_on_async_std() {
    let _alone = alone();
    async_std::task::block_on(watchdog::within(LIMIT, cycles::<bowline::async_std::AsyncStd>()));
}

#[test]
fn ten_thousand_cycles_on_threads() {
    let _alone = alone();
    bowline::blocking::block_on(watchdog::within(LIMIT, cycles::<bowline::blocking::Threads>()));
    // The group's thread ends with its last task.
    soon("no thread is left", || !threads().iter().any(|name| name.starts_with("bowline")));
}

/// What a thread of a group holds does not depend on the lengths of its waits.
#[test]
fn a_group_holds_the_same_descriptors_after_waits_of_every_length() {
    let _alone = alone();
    let group = bowline::blocking::IoGroup::manual().expect("descriptors");
    let open = descriptors();
    for waited in [Duration::from_micros(50), Duration::from_micros(500), Duration::from_millis(2)] {
        group.turn(Some(waited)).expect("it waits");
        assert_eq!(descriptors(), open, "after {waited:?}");
    }
}

#[test]
fn five_hundred_sockets_on_threads_share_the_threads_of_their_group() {
    use bowline::blocking::IoGroup;
    use bowline::blocking::zmtp::{Dealer, Proxy, Pull, Push, Router, channel};

    const IO_THREADS: usize = 2;

    let _alone = alone();
    let group = IoGroup::new(IO_THREADS).expect("threads");
    let entered = group.enter();
    let mut sockets = Vec::new();
    for number in 0..245_u32 {
        let (pull, push) = (Pull::new(), Push::new());
        let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
        let (sender, requests) = channel(Buffer::fixed(2));
        let (replies, receiver) = channel(Buffer::fixed(2));
        push.connect(&bound).expect("an endpoint");
        push.register(requests, None).expect("a PUSH sends");
        pull.register(None, replies).expect("a PULL receives");
        sockets.push((number, sender, receiver));
    }
    let proxies: Vec<_> = (0..5)
        .map(|_| {
            let (front, back) = (Router::new(), Dealer::new());
            front.bind("tcp://127.0.0.1:*").expect("it is free");
            back.bind("tcp://127.0.0.1:*").expect("it is free");
            Proxy::builder(&front, &back).start().expect("they fit")
        })
        .collect();
    for _ in 0..3 {
        for (number, sender, receiver) in &mut sockets {
            sender.send(&number.to_be_bytes()).expect("open");
            assert_eq!(receiver.recv().expect("open")[0][..], number.to_be_bytes());
        }
        let own: Vec<_> = threads().into_iter().filter(|name| name.starts_with("bowline")).collect();
        assert!(own.len() <= IO_THREADS + 2, "{own:?}");
    }
    drop((sockets, proxies));
    drop(entered);
    drop(group);
    soon("no thread is left", || !threads().iter().any(|name| name.starts_with("bowline")));
}
