//! The conversion of a handler's result into an answer is user code and may panic: the request is answered
//! nevertheless, and no thread or task that handles requests is lost.

use std::time::Duration;

use bowline::error::{CallError, Status};
use bowline::{Answer, Config, blocking, tokio};

struct Broken;

impl From<Broken> for Answer {
    fn from(_: Broken) -> Self {
        // A panic without its message on the terminal.
        std::panic::resume_unwind(Box::new(()));
    }
}

/// One request at a time, so that a lost place is noticed; a deadline within which that shows.
fn config() -> Config<bowline::frame::native::Native> {
    let config = Config::builder().max_inbound(1).call_timeout(Duration::from_secs(5));
    config.build().expect("sound")
}

fn check<T>(result: &Result<T, CallError>) {
    assert!(
        matches!(result, Err(CallError::Failed(failure)) if failure.status == Status::PANICKED),
        "{:?}",
        result.as_ref().err()
    );
}

#[test]
fn on_threads() {
    let server = blocking::Server::with_config(config()).handler_threads(1).on_request(|_| Ok(Broken));
    let server = server.bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    let address = server.local_addr().to_string();
    let client =
        blocking::Client::with_config(&address, config()).handler_threads(1).connect().expect("it listens");
    for _ in 0..3 {
        check(&client.call(1, b"x"));
    }
    client.close();
    server.shutdown();
}

#[test]
fn in_a_task() {
    let runtime = ::tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = tokio::Server::with_config(config()).on_request(|_| async {
            // Not ready at once: it becomes a task.
            ::tokio::task::yield_now().await;
            Ok(Broken)
        });
        let server = server.bind("127.0.0.1:0").await.expect("a free port");
        server.start().expect("a runtime");
        let address = server.local_addr().to_string();
        let client = tokio::Client::with_config(&address, config()).connect().await.expect("it listens");
        for _ in 0..3 {
            check(&client.call(1, b"x").await);
        }
        client.close().await;
        server.shutdown().await;
    });
}
