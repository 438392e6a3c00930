//! Forms of addresses, and servers that are found by name.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bowline::blocking::{Client, Manager, Server};
use bowline::error::TransportKind;
use bowline::{CallOptions, Config, ConnectError, LinkEvent, ManagerError};

fn echo() -> bowline::blocking::ServerBuilder {
    Server::builder().on_request_inline(|_, request, reply| {
        reply.extend_from_slice(request.body);
        Ok(())
    })
}

/// All interfaces when listening, this host when dialing.
#[test]
fn a_port_alone() {
    let server = echo().bind(":0").expect("a free port");
    server.start().expect("a thread");
    let port = server.local_addr().port();
    for address in [
        format!(":{port}"),
        format!("tcp://:{port}"),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
    ] {
        let client = Client::connect(&address).expect(&address);
        assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"hello", "{address}");
        let remote = client.remote_addr().expect("connected");
        assert!(remote.ip().is_some_and(|ip| ip.is_loopback()), "{remote}");
        client.close();
    }
    server.shutdown();
    for wrong in [":", ":x", ":70000", "tcp://:"] {
        assert!(echo().bind(wrong).is_err(), "{wrong}");
        assert!(matches!(Client::connect(wrong).map(drop), Err(ConnectError::Config(_))), "{wrong}");
    }
}

#[test]
fn a_manager_knows_its_listeners_by_both_names() {
    let manager = Manager::new();
    let free = std::net::TcpListener::bind("localhost:0").expect("a free port");
    let resolved = free.local_addr().expect("bound").to_string();
    let name = format!("localhost:{}", free.local_addr().expect("bound").port());
    drop(free);
    manager.listen(&name, echo()).expect("the port is free");
    assert!(manager.server(&name).is_some() && manager.server(&resolved).is_some());
    for again in [&name, &resolved] {
        let error = manager.listen(again, echo()).map(drop);
        assert!(matches!(error, Err(ManagerError::AlreadyOpened(_))), "{error:?}");
    }
    manager.close_listener(&name).expect("found by its name");
    assert!(matches!(manager.close_listener(&resolved), Err(ManagerError::NotOpened(_))));
    manager.listen(&name, echo()).expect("the port is free again");
    manager.close_listener(&resolved).expect("found by its address");
}

/// A Unix socket that does not exist.
#[cfg(unix)]
#[test]
fn a_missing_unix_socket() {
    let path = std::env::temp_dir().join(format!("bowline-missing-{}", std::process::id()));
    let address = format!("unix://{}", path.display());
    let error = Client::connect(&address).map(drop).expect_err("nobody listens");
    let ConnectError::Failed(failure) = &error else { panic!("{error}") };
    let bowline::error::Disconnect::Transport(cause) = &failure.cause else { panic!("{failure}") };
    assert_eq!(cause.kind(), TransportKind::NotFound);
    assert_eq!(cause.to_string(), format!("{address} does not exist"));
}

/// The error of a call to a closed port when its deadline passes, and the events before it.
#[test]
fn a_closed_port() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let client = Client::connect_lazy(&address).expect("begun");
    loop {
        match client.next_event().expect("an event") {
            LinkEvent::ConnectFailed { address: dialed, attempt: 1, .. } => {
                assert_eq!(dialed.map(|dialed| dialed.to_string()), Some(address.clone()));
            }
            LinkEvent::Connecting { .. } => {}
            LinkEvent::Retrying { cause, .. } => {
                assert_eq!(cause.to_string(), format!("{address} refused the connection"));
                assert_eq!(client.last_disconnect(), Some(cause));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let options = bowline::CallOptions::new(1).timeout(std::time::Duration::from_millis(20));
    let error = client.call_with(options, "").expect_err("nobody there");
    let said = format!("not connected: {address} refused the connection, ");
    assert!(error.to_string().contains(&said), "{error}");
    client.close();
}

/// Longer than anything in these tests takes.
const PATIENT: Duration = Duration::from_secs(60);

/// A manager gives its links the time limit of its own close, whatever they are configured for: here, more.
#[test]
fn a_manager_closes_within_the_longer_time_that_it_is_given() {
    let server = Server::builder()
        .on_request(|request| {
            // Answers when the caller has begun to close.
            let peer = request.peer();
            while !matches!(peer.next_event().expect("an event"), LinkEvent::GoAway { .. }) {}
            Ok("done")
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let manager = Manager::new();
    let config = Config::builder().linger(Duration::ZERO).build().expect("sound");
    let client = manager.dial(server.local_addr(), config).expect("it listens");
    let call = client.start_call(CallOptions::new(1), "takes longer").expect("room");
    assert!(manager.close_and_wait(PATIENT).undelivered.is_empty());
    assert_eq!(&call.wait().expect("there was time")[..], b"done");
    server.shutdown();
}

/// Here, less: the handler of a message does not return before the manager is closed.
#[test]
fn a_manager_closes_within_the_shorter_time_that_it_is_given() {
    let pushing = Server::builder()
        .on_connect(|peer| assert!(peer.try_cast(1, "work").is_ok()))
        .bind("127.0.0.1:0")
        .expect("a free port");
    pushing.start().expect("a thread");
    let (told, began) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let config = Config::builder().linger(100 * PATIENT).build().expect("sound");
    let builder = Client::with_config(pushing.local_addr(), config).on_message(move |_, _| {
        let _ = told.send(());
        let _ = released.lock().expect("no panic").recv();
    });
    let manager = Manager::new();
    let _client = manager.dial_with(builder).expect("it listens");
    began.recv_timeout(PATIENT).expect("a message");
    let (closed, is_closed) = mpsc::channel();
    let closing = std::thread::spawn(move || {
        manager.close_and_wait(Duration::from_millis(100));
        let _ = closed.send(());
    });
    is_closed.recv_timeout(PATIENT).expect("it waits for no handler longer than it is told to");
    drop(release);
    closing.join().expect("no panic");
    pushing.shutdown();
}
