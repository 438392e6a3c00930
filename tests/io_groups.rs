//! I/O groups: which threads run them, and when they end.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use bowline::blocking::{Client, Exclusive, IoGroup, Server};
use bowline::error::{CallError, Disconnect};
use bowline::frame::length_prefixed::LengthPrefixed;
use bowline::{Config, ConnectError, ReceiveError};

/// The tests count the process's threads: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Threads of I/O groups.
#[cfg(target_os = "linux")]
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("bowline-io")).count()
}

#[cfg(target_os = "linux")]
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn echo_server() -> Server {
    let server = Server::builder()
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    server
}

#[test]
#[cfg(target_os = "linux")]
fn the_shared_thread_ends_with_the_last_link() {
    let _alone = alone();
    until("those of other tests end", || io_threads() == 0);
    let server = echo_server();
    let clients: Vec<_> =
        (0..20).map(|_| Client::connect(server.local_addr()).expect("it listens")).collect();
    for client in &clients {
        assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"hello");
    }
    assert_eq!(io_threads(), 1, "one thread for all links");
    for client in clients {
        client.close();
    }
    server.shutdown();
    until("the thread ends", || io_threads() == 0);
    // Another one is started when it is needed.
    let server = echo_server();
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert_eq!(&client.call(1, "again").expect("a reply")[..], b"again");
    client.close();
    server.shutdown();
}

#[test]
#[cfg(target_os = "linux")]
fn a_group_of_several_threads_serves_and_ends() {
    let _alone = alone();
    until("those of other tests end", || io_threads() == 0);
    let group = IoGroup::new(3).expect("threads");
    let entered = group.enter();
    let server = echo_server();
    drop(entered);
    drop(group);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let address = server.local_addr();
            std::thread::spawn(move || {
                let client = Client::connect(address).expect("it listens");
                for number in 0..200_u32 {
                    let reply = client.call(1, number.to_le_bytes().to_vec()).expect("a reply");
                    assert_eq!(reply[..], number.to_le_bytes());
                }
                client.close();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    server.shutdown();
    until("all threads end", || io_threads() == 0);
}

#[test]
fn a_manual_group_starts_no_thread() {
    let _alone = alone();
    #[cfg(target_os = "linux")]
    until("those of other tests end", || io_threads() == 0);
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let server = echo_server();
    let client = Client::connect(server.local_addr()).expect("it listens");
    for number in 0..50_u32 {
        let reply = client.call(1, number.to_le_bytes().to_vec()).expect("a reply");
        assert_eq!(reply[..], number.to_le_bytes());
    }
    assert!(client.receive_timeout(Duration::from_millis(5)).expect("it is open").is_none());
    #[cfg(target_os = "linux")]
    assert_eq!(io_threads(), 0);
    client.close();
    server.shutdown();
    drop(entered);
}

#[test]
fn a_manual_group_is_turned_by_its_program() {
    static CAME: AtomicUsize = AtomicUsize::new(0);
    let _alone = alone();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let server = Server::builder()
        .on_message_inline(|_, _| {
            CAME.fetch_add(1, Ordering::Relaxed);
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("no thread is needed");
    let client = Client::connect(server.local_addr()).expect("it listens");
    drop(entered);
    for _ in 0..10 {
        let _ = client.try_cast(1, "hello").expect("there is room");
    }
    let start = Instant::now();
    while CAME.load(Ordering::Relaxed) < 10 {
        assert!(group.turn(Some(Duration::from_millis(10))).expect("it waits"), "it has no threads");
        assert!(start.elapsed() < Duration::from_secs(10), "never: ten messages");
    }
    let sent = group.run(async { client.try_cast(1, "more") }).expect("it waits");
    assert!(sent.is_ok());
    // Its links end with it, since no thread would run them.
    drop(group);
    assert!(client.call(1, "nobody answers").is_err());
}

#[test]
fn what_would_park_an_io_thread_says_so_at_once() {
    let _alone = alone();
    let (told, outcome) = std::sync::mpsc::channel();
    let server = Server::builder()
        .on_message_inline(move |context, _| {
            let peer = context.peer();
            let call = peer.call(1, "back").map(drop);
            let receive = peer.receive().map(drop);
            // There is room: nothing has to wait.
            let cast = peer.cast(1, "noted").map(drop);
            let _ = told.send((call, receive, cast));
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert!(client.cast(1, "hello").is_ok());
    let (call, receive, cast) = outcome.recv_timeout(Duration::from_secs(10)).expect("it was called");
    assert_eq!(call, Err(CallError::WouldPark));
    assert_eq!(receive, Err(ReceiveError::WouldPark));
    assert!(cast.is_ok());
    assert_eq!(&client.receive().expect("a message").body[..], b"noted");
    client.close();
    server.shutdown();
}

/// The caller of a single call reads itself, and calls inline handlers: they must not wait there either.
#[test]
fn what_would_park_a_caller_that_reads_says_so_at_once() {
    let _alone = alone();
    let (told, outcome) = std::sync::mpsc::channel();
    let server = Server::builder()
        .on_request_inline(|context, _, reply| {
            let _ = context.peer().try_cast(1, "before the answer");
            reply.extend_from_slice(b"the answer");
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = Client::builder(server.local_addr())
        .on_message_inline(move |context, _| {
            let options = bowline::CallOptions::new(1).timeout(Duration::from_secs(2));
            let _ = told.send(context.peer().call_with(options, "back").map(drop));
        })
        .connect()
        .expect("it listens");
    for _ in 0..10 {
        assert_eq!(&client.call(1, "x").expect("an answer")[..], b"the answer");
        assert_eq!(outcome.recv_timeout(Duration::from_secs(10)), Ok(Err(CallError::WouldPark)));
    }
    // The thread itself may wait again.
    assert!(client.cast(1, "noted").is_ok());
    client.close();
    server.shutdown();
}

#[test]
fn an_owner_does_not_wait_on_an_io_thread() {
    let _alone = alone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = listener.local_addr().expect("it listens");
    let (told, outcome) = std::sync::mpsc::channel();
    let server = Server::builder()
        .on_message_inline(move |_, _| {
            let connected = Exclusive::connect(silent).map(drop);
            let stream = std::net::TcpStream::connect(silent).expect("it listens");
            let over =
                Exclusive::over(stream.try_clone().expect("a descriptor"), Config::default()).map(drop);
            let mut link = Exclusive::accept(stream, Config::default()).expect("it takes the options");
            let _ = told.send((connected, over, link.turn(&mut (), None), link.close(&mut ()).len()));
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert!(client.cast(1, "hello").is_ok());
    let (connected, over, turned, left) =
        outcome.recv_timeout(Duration::from_secs(5)).expect("nothing of it waits");
    assert_eq!(connected, Err(ConnectError::WouldPark));
    assert!(matches!(over, Err(Disconnect::Transport(_))), "{over:?}");
    assert_eq!((turned, left), (Ok(false), 0), "a turn does what can be done at once");
    client.close();
    server.shutdown();
}

#[test]
fn a_lone_answer_does_not_wait_for_the_thread_that_reads() {
    let _alone = alone();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let (begins, begun) = mpsc::channel();
    let (goes_on, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let server = Server::builder()
        .on_request(move |request| {
            begins.send(()).map_err(|_| "the test is over")?;
            may_go_on.lock().map_err(|_| "the test is over")?.recv().map_err(|_| "the test is over")?;
            Ok(request.into_body())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("no thread is needed");
    drop(entered);
    let address = server.local_addr().to_string();
    let caller = std::thread::spawn(move || Client::connect(&*address).expect("it listens").call(1, "hello"));
    while begun.try_recv().is_err() {
        assert!(group.turn(Some(Duration::from_millis(10))).expect("it waits"), "it has no threads");
    }
    // From here on no thread runs the server's group.
    goes_on.send(()).expect("the handler waits");
    assert_eq!(&caller.join().expect("no panic").expect("a reply")[..], b"hello");
}

/// With hundreds of connections, a cheap task waits for a turn of each.
#[test]
fn a_connection_that_has_much_to_read_takes_short_turns() {
    const KIB: usize = 1024;
    static READ: AtomicUsize = AtomicUsize::new(0);
    let _alone = alone();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let config = Config::with_framing(LengthPrefixed::new()).build().expect("sound");
    let server = Server::with_config(config)
        .on_message_inline(|_, message| {
            READ.fetch_add(message.body.len(), Ordering::Relaxed);
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("no thread is needed");
    let mut frames = Vec::new();
    while frames.len() < 64 * KIB {
        frames.extend_from_slice(&1020_u32.to_be_bytes());
        frames.extend_from_slice(&[7; 1020]);
    }
    let address: std::net::SocketAddr = server.local_addr().to_string().parse().expect("an address");
    let mut peer = std::net::TcpStream::connect(address).expect("it listens");
    peer.set_nonblocking(true).expect("an option");
    let (mut sent, mut most, mut before) = (0, 0, 0);
    while before < 16 * KIB * KIB {
        // As much as the system accepts.
        while let Ok(n) = peer.write(&frames[sent % frames.len()..]) {
            sent += n;
        }
        group.turn(Some(Duration::from_millis(10))).expect("it waits");
        let now = READ.load(Ordering::Relaxed);
        most = most.max(now - before);
        before = now;
    }
    // A turn of the group is at most two of the connection.
    assert!(most <= 1200 * KIB, "{} KiB in one turn", most / KIB);
    drop(entered);
}

#[test]
fn two_threads_share_a_manual_group() {
    let _alone = alone();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let server = echo_server();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (group, address) = (group.clone(), server.local_addr());
            std::thread::spawn(move || {
                let _entered = group.enter();
                let client = Client::connect(address).expect("it listens");
                for number in 0..50_u32 {
                    let reply = client.call(1, number.to_le_bytes().to_vec()).expect("a reply");
                    assert_eq!(reply[..], number.to_le_bytes());
                }
                client.close();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    server.shutdown();
    drop(entered);
}

#[test]
fn a_group_is_not_turned_from_within() {
    let _alone = alone();
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let (told, turned) = std::sync::mpsc::channel();
    let within = group.clone();
    let server = Server::builder()
        .on_message_inline(move |_, _| {
            let _ = told.send(within.turn(Some(Duration::ZERO)).map_err(|error| error.kind()));
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("no thread is needed");
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert!(client.cast(1, "hello").is_ok());
    let start = Instant::now();
    let turned = loop {
        if let Ok(turned) = turned.try_recv() {
            break turned;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "never: a message");
        group.turn(Some(Duration::from_millis(10))).expect("it waits");
    };
    assert_eq!(turned, Err(std::io::ErrorKind::Deadlock));
    client.close();
    server.shutdown();
    drop(entered);
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_and_a_client_have_groups_of_their_own() {
    let _alone = alone();
    until("those of other tests end", || io_threads() == 0);
    let group = IoGroup::new(3).expect("threads");
    let server = Server::builder()
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .io_group(&group)
        .bind("127.0.0.1:0")
        .expect("a free port");
    drop(group);
    server.start().expect("its threads are there");
    // A thread sets its name shortly after its start.
    until("its three threads are there", || io_threads() == 3);
    let group = IoGroup::new(2).expect("threads");
    let client = Client::builder(server.local_addr()).io_group(&group).connect().expect("it listens");
    drop(group);
    assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"hello");
    until("two more are there, and the shared one is not", || io_threads() == 5);
    client.close();
    until("the client's end with it", || io_threads() == 3);
    server.shutdown();
    drop(server);
    until("the server's end with it", || io_threads() == 0);
}

#[test]
fn a_client_connects_in_a_group_without_threads() {
    let _alone = alone();
    let server = echo_server();
    let group = IoGroup::manual().expect("descriptors");
    let client = Client::builder(server.local_addr()).io_group(&group).connect().expect("it is turned");
    let entered = group.enter();
    assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"hello");
    client.close();
    drop(entered);
    server.shutdown();
}
