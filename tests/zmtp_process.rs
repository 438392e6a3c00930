//! A ZeroMQ context within its process: its threads, and the default context of sockets that were created
//! without one. One test, because both belong to the whole process.

#![cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use bowline::blocking::zmtp::{Context, Pull, Push};
use bowline::zmtp::{ReceiveError, Refusal, kinds};

/// The I/O threads of the process, by their names.
fn io_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("bowline-io")).collect()
}

#[test]
fn contexts_and_their_process() {
    let context = Context::builder().name("own").io_threads(3).open().expect("there are threads");
    let pull = context.socket::<kinds::Pull>().expect("open");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let pushes: Vec<_> = (0..50).map(|_| context.socket::<kinds::Push>().expect("open")).collect();
    for push in &pushes {
        push.connect_ready(&bound).expect("it listens");
        push.send_timeout("hello", Duration::from_secs(20)).expect("a peer is there");
    }
    for _ in 0..50 {
        assert_eq!(&pull.recv_timeout(Duration::from_secs(20)).expect("a message")[0][..], b"hello");
    }
    assert_eq!(pull.recv_timeout(Duration::from_millis(5)), Err(ReceiveError::TimedOut));
    let threads = io_threads();
    assert_eq!(threads.len(), 3, "all of it runs on the context's threads: {threads:?}");
    assert!(context.shutdown().is_empty());
    let until = Instant::now() + Duration::from_secs(20);
    while !io_threads().is_empty() {
        assert!(Instant::now() < until, "they end with the context: {:?}", io_threads());
        std::thread::sleep(Duration::from_millis(5));
    }

    // The default context ends as others do, and there is a new one afterwards.
    let (push, pull) = (Push::new(), Pull::new());
    push.connect_ready(&pull.bind("tcp://127.0.0.1:*").expect("it is free")).expect("it listens");
    let context = Context::default();
    assert_eq!(context.sockets(), 2);
    assert!(context.shutdown().is_empty() && context.socket::<kinds::Push>().is_err());
    assert_eq!(push.send("late").expect_err("it is closed").reason(), &Refusal::Closed);
    assert_eq!(pull.recv(), Err(ReceiveError::Closed));
    let push = Push::new();
    assert!(!Context::default().is_shut_down());
    assert_eq!(Context::default().sockets(), 1);
    assert!(push.close().is_empty());
}
