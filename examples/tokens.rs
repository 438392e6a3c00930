//! Authentication by tokens: `cargo run --example tokens`
//!
//! A server knows two tokens and grants their owners different rights. One token is replaced while its owner
//! is connected, and a wrong one is refused.

use std::sync::{Arc, Mutex, PoisonError};

use bowline::auth::{Challenge, Credentials, Identity, RefusalCode, Tokens};
use bowline::error::{CallError, Disconnect, Status};
use bowline::tokio::{Client, Server};
use bowline::{CallOptions, Config, ConnectError};

const READ: u32 = 1;
const WRITE: u32 = 2;

/// A value that may change while the program runs, on either side.
#[derive(Clone)]
struct Present<T>(Arc<Mutex<T>>);

impl<T: Clone> Present<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reader = || Identity::new("reporting").with("role", "reader");
    let writer = || Identity::new("billing").with("role", "writer");
    let tokens = Present::new(Tokens::new().with("reader's", reader()).with("writer's", writer()));

    let known = tokens.clone();
    let server = Server::builder()
        .verifier_inline(move |attempt| known.get().verify(attempt))
        .authorize(|who, method, _class| match who.and_then(|who| who.attribute("role")) {
            Some("writer") => Ok(()),
            Some("reader") if method == READ => Ok(()),
            _ => Err(Status::FORBIDDEN),
        })
        .on_request(|request| async move {
            let who = request.identity().ok_or("nobody")?;
            Ok(format!("done for {}", who.name()))
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;
    let address = server.local_addr().to_string();

    // Read at each connection, so that it may change.
    let token = Present::new("reader's".to_owned());
    let shown = token.clone();
    let config = Config::builder().credentials(move |_: &Challenge| Credentials::new(shown.get())).build()?;
    let client = Client::with_config(&address, config).connect().await?;
    println!("read: {}", String::from_utf8_lossy(&client.call(READ, "").await?));
    match client.call(WRITE, "").await {
        Err(CallError::Failed(failure)) if failure.status == Status::FORBIDDEN => {
            println!("write: forbidden")
        }
        other => return Err(format!("a reader wrote: {other:?}").into()),
    }

    // Rotation: first the server learns the new token, then the client uses it, then the old one is removed.
    tokens.set(Tokens::new().with("reader's", reader()).with("new", reader()).with("writer's", writer()));
    token.set("new".to_owned());
    tokens.set(Tokens::new().with("new", reader()).with("writer's", writer()));
    assert_eq!(server.withdraw("reporting", RefusalCode::WITHDRAWN), 1);
    // A call under way at that moment may be lost with the connection. This call may be repeated.
    let again = CallOptions::new(READ).idempotent(true);
    println!("read, with a new token: {}", String::from_utf8_lossy(&client.call_with(again, "").await?));

    // The old token is refused, and the client does not retry.
    let config = Config::builder().credentials(|_: &Challenge| Credentials::new(*b"reader's")).build()?;
    match Client::with_config(&address, config).connect().await {
        Err(ConnectError::Failed(failure)) if matches!(failure.cause, Disconnect::Refused(_)) => {
            println!("the old token: {}", failure.cause);
        }
        other => return Err(format!("an old token: {other:?}").into()),
    }
    client.close().await;
    server.shutdown().await;
    Ok(())
}
