//! The handles, the pump and the core together, over a stream through memory, on one thread: for counting
//! instructions (`benches/instructions.sh`), which are repeatable where time is not.
//!
//! `BOWLINE_MESSAGES=n BOWLINE_KIND=handle_casts cargo bench -p bowline-benches --bench handles_alone` moves n messages and
//! exits. Kinds: `handle_casts`, `handle_receive` and `handle_receive_128` (casts of 110 and 128 bytes that a
//! task takes with `receive()`), `handle_calls` (256 under way at a time, to an inline handler),
//! `handle_requests` (the same, to an ordinary handler that is ready at once). Without the variables it moves
//! a few of each, so that the bench is known to work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bowline::tokio::{Client, Server};

const BODY: [u8; 110] = [7; 110];
/// Calls under way at a time.
const AT_ONCE: u64 = 256;

/// The peer sends so many messages of that many bytes; each is received.
async fn receive(messages: u64, len: usize) {
    let server = Server::builder()
        .on_request(move |request| async move {
            let peer = request.peer();
            tokio::spawn(async move {
                let body = vec![7; len];
                for _ in 0..messages {
                    let _queued = peer.cast(1, &body[..]).await.expect("connected");
                }
            });
            Ok(request.into_body())
        })
        .bind("inproc://handles-alone-receive")
        .await
        .expect("a free name");
    server.start().expect("a runtime");
    let client = Client::connect("inproc://handles-alone-receive").await.expect("it listens");
    client.call(1, &BODY[..]).await.expect("a reply");
    for _ in 0..messages {
        assert_eq!(client.receive().await.expect("a message").body.len(), len);
    }
    client.close().await;
    server.shutdown().await;
}

/// So many calls, some of them under way at a time.
async fn call(client: &Client, messages: u64) {
    let callers: Vec<_> = (0..AT_ONCE)
        .map(|caller| {
            let client = client.clone();
            let calls = messages / AT_ONCE + u64::from(caller < messages % AT_ONCE);
            tokio::spawn(async move {
                for _ in 0..calls {
                    let reply = client.call(1, &BODY[..]).await.expect("a reply");
                    assert_eq!(reply.len(), BODY.len());
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}

/// So many calls to an ordinary handler.
async fn requests(messages: u64) {
    let server = Server::builder()
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("inproc://handles-alone-requests")
        .await
        .expect("a free name");
    server.start().expect("a runtime");
    let client = Client::connect("inproc://handles-alone-requests").await.expect("it listens");
    call(&client, messages).await;
    client.close().await;
    server.shutdown().await;
}

async fn run(kind: &str, messages: u64) {
    let heard = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&heard);
    let server = Server::builder()
        .on_message_inline(move |_, message| {
            counted.fetch_add(message.body.len() as u64, Ordering::Relaxed);
        })
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("inproc://handles-alone")
        .await
        .expect("a free name");
    server.start().expect("a runtime");
    let client = Client::connect("inproc://handles-alone").await.expect("it listens");
    match kind {
        "handle_receive" => receive(messages, BODY.len()).await,
        "handle_receive_128" => receive(messages, 128).await,
        "handle_casts" => {
            for _ in 0..messages {
                let _queued = client.cast(1, &BODY[..]).await.expect("connected");
            }
            // The last in order: everything before it is there.
            client.call(1, &BODY[..]).await.expect("a reply");
            assert_eq!(heard.load(Ordering::Relaxed), messages * BODY.len() as u64);
        }
        "handle_calls" => call(&client, messages).await,
        "handle_requests" => requests(messages).await,
        other => panic!("no such kind: {other}"),
    }
    client.close().await;
    server.shutdown().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let kind = std::env::var("BOWLINE_KIND").ok();
    let messages = std::env::var("BOWLINE_MESSAGES").ok().and_then(|n| n.parse().ok());
    match (kind, messages) {
        (Some(kind), Some(messages)) => runtime.block_on(run(&kind, messages)),
        _ => {
            for kind in
                ["handle_casts", "handle_receive", "handle_receive_128", "handle_calls", "handle_requests"]
            {
                runtime.block_on(run(kind, 1000));
            }
        }
    }
}
