//! A process that cannot start threads: every operation reports that, and none waits for ever.
//!
//! No test harness, because it would start threads itself. This program runs itself again in an environment
//! in which the stacks of threads are larger than the available memory.

use std::error::Error;
use std::process::Command;

use bowline::blocking::{Client, IoGroup, Server};
use bowline::error::{Chain, TransportKind};
use bowline::{BindError, ConnectError, StartError};

const INNER: &str = "BOWLINE_TEST_WITHOUT_THREADS";

fn main() {
    if std::env::var_os(INNER).is_some() {
        return without_threads();
    }
    let program = std::env::current_exe().expect("this program");
    let stack = (1_u64 << 50).to_string();
    let status = Command::new(program).env(INNER, "1").env("RUST_MIN_STACK", stack).status();
    assert!(status.expect("another process").success());
}

fn without_threads() {
    std::thread::Builder::new().spawn(|| {}).expect_err("stacks are too large");
    let server = Server::builder().bind("127.0.0.1:0").expect("a free port");
    let error = server.start().expect_err("no thread");
    assert!(matches!(error, StartError::Thread(_)));
    let said = Chain(&error).to_string();
    assert!(said.starts_with("could not start a thread: "), "{said}");
    assert!(error.source().is_some());
    let error = BindError::from(error);
    assert_eq!(error.to_string(), "could not start a thread");

    let address = server.local_addr().to_string();
    let error = Client::connect(address.as_str()).map(drop).expect_err("no thread");
    let ConnectError::Resources(inner) = &error else { panic!("{error}") };
    assert_eq!(inner.kind(), TransportKind::Resources);
    let said = Chain(&error).to_string();
    assert!(said.contains("could not start a thread: ") && said.contains(&address), "{said}");
    assert!(error.is_retryable());

    // A group that the program runs itself needs none.
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let server = Server::builder()
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("no thread is needed");
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"hello");
    client.close();
    server.shutdown();
    drop(entered);
}
