//! What `tracing`, `metrics` and `serde` see of a link, and of a batcher.

mod listeners;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline::auth::RefusalCode;
use bowline::batcher::{Batch, Failed, Sink};
use bowline::tokio::{Batcher, Client, Server};
use bowline::{CallOptions, Monitor, ServerEvent};
use listeners::{Heard, Sums};

#[test]
fn changes_of_state_are_told_and_messages_are_not() {
    let (sums, heard, monitor) = (Sums::default(), Heard::default(), Monitor::new());
    // Everything on this thread, where both listen.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&sums, || {
        tracing::subscriber::with_default(heard.clone(), || {
            runtime.block_on(async {
                let server = Server::builder()
                    .monitor(&monitor, "served")
                    .on_request(|request| async move {
                        if request.method() == 2 { Err("no".into()) } else { Ok(request.into_body()) }
                    })
                    .on_message_inline(|_, _| Err::<(), _>("no"))
                    .bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                server.start().expect("a runtime");
                let client = Client::builder(server.local_addr().to_string()).monitor(&monitor, "dialed");
                let client = client.connect().await.expect("it listens");
                for _ in 0..50 {
                    client.call(1, b"hello").await.expect("a reply");
                }
                let _ = client.cast(3, b"x").await.expect("queued");
                client.call_with(CallOptions::new(1), b"behind it").await.expect("a reply");
                monitor.publish();
                assert_eq!(sums.get("bowline_calls[\"dialed\"]"), 51.0);
                assert_eq!(sums.get("bowline_links_open[\"served\"]"), 1.0);

                let json = serde_json::to_value(monitor.snapshot()).expect("plain data");
                assert_eq!(json["open"], serde_json::json!({ "dialed": 1, "served": 1 }));
                let links = json["links"].as_array().expect("a list");
                let dialed = links.iter().find(|link| link["label"] == "dialed").expect("there");
                assert_eq!(dialed["stats"]["state"], "Ready");
                assert_eq!(dialed["stats"]["counters"]["calls"], 51);

                client.close().await;
                server.shutdown().await;
                // The figures of links that are gone do not stay.
                monitor.publish();
            });
        });
    });
    let heard = heard.0.lock().expect("not poisoned").clone();
    let count = |what: &str| heard.iter().filter(|message| *message == what).count();
    assert_eq!((count("dialing"), count("connected"), count("ready"), count("disconnected")), (1, 2, 2, 2));
    assert_eq!(count("a handler failed"), 1);
    assert!(heard.len() < 12, "{heard:?}");

    assert_eq!(sums.get("bowline_connections_total"), 2.0);
    assert_eq!(sums.get("bowline_disconnects_total"), 2.0);
    assert_eq!(sums.get("bowline_links_ready"), 0.0);
    assert_eq!(sums.get("bowline_connection_seconds"), 2.0);
    assert_eq!(sums.get("bowline_handler_failures_total"), 1.0);
    assert_eq!(sums.get("bowline_calls[\"dialed\"]"), 0.0);
    assert_eq!(sums.get("bowline_links_open[\"served\"]"), 0.0);
    assert_eq!(sums.get("bowline_round_trip_seconds[\"dialed\"]"), 1.0);
}

#[test]
fn a_peer_that_is_not_let_in_is_told() {
    let (sums, heard) = (Sums::default(), Heard::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&sums, || {
        tracing::subscriber::with_default(heard.clone(), || {
            runtime.block_on(async {
                let told = Arc::new(AtomicUsize::new(0));
                let counted = Arc::clone(&told);
                let server = Server::builder()
                    .verifier_inline(|_| Err(RefusalCode::FORBIDDEN.into()))
                    .on_event(move |event| {
                        assert!(matches!(event, ServerEvent::Denied { from: Some(_), refusal, .. }
                            if refusal.code == RefusalCode::FORBIDDEN));
                        counted.fetch_add(1, Ordering::Relaxed);
                    })
                    .bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                server.start().expect("a runtime");
                Client::connect(server.local_addr()).await.expect_err("forbidden");
                assert_eq!((server.accept_counters().denied, told.load(Ordering::Relaxed)), (1, 1));
                server.shutdown().await;
            });
        });
    });
    let heard = heard.0.lock().expect("not poisoned").clone();
    assert_eq!(heard.iter().filter(|message| *message == "a peer was not let in").count(), 1, "{heard:?}");
    assert_eq!(sums.get("bowline_peers_denied_total"), 1.0);
}

/// Appends all but what begins with "no".
struct Lines(std::sync::Mutex<usize>);

impl Sink for Lines {
    type Message = String;
    type Position = usize;
    type Error = &'static str;

    fn size(&self, line: &String) -> usize {
        line.len()
    }

    async fn append(&self, batch: &mut Batch<String, usize, &'static str>) {
        let (lines, answers) = batch.parts();
        for (index, line) in lines.iter().enumerate() {
            let mut count = self.0.lock().expect("not poisoned");
            *count += 1;
            let refused = line.starts_with("no");
            answers.answer(index, if refused { Err(Failed::not_appended("refused")) } else { Ok(*count) });
        }
    }
}

#[test]
fn batches_are_told_of_that_failed_and_messages_are_counted() {
    let (sums, heard) = (Sums::default(), Heard::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&sums, || {
        tracing::subscriber::with_default(heard.clone(), || {
            runtime.block_on(async {
                let batcher = Batcher::builder(Lines(0.into())).name("lines").open().expect("a runtime");
                for line in ["a", "b", "no", "c"] {
                    assert_eq!(batcher.send(line).await.is_ok(), line != "no");
                }
                batcher.close().await;
                // Its task tells of the end.
                while heard.0.lock().expect("not poisoned").len() < 2 {
                    tokio::task::yield_now().await;
                }
            });
        });
    });
    let heard = heard.0.lock().expect("not poisoned").clone();
    assert_eq!(heard, ["messages of a batch were not appended", "a batcher was closed"]);
    assert_eq!(sums.get("bowline_batch_attempts_total[\"lines\"]"), 4.0);
    assert_eq!(sums.get("bowline_batch_messages_total[\"lines\", \"appended\"]"), 3.0);
    assert_eq!(sums.get("bowline_batch_messages_total[\"lines\", \"failed\"]"), 1.0);
}
