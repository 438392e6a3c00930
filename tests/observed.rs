//! What `tracing`, `metrics` and `serde` see of a link.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bowline::tokio::{Client, Server};
use bowline::{CallOptions, Monitor};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Adds everything up, by name and label.
#[derive(Clone, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

struct Sum(Sums, String);

impl Sum {
    fn change(&self, f: impl FnOnce(&mut f64)) {
        f(self.0.0.lock().expect("not poisoned").entry(self.1.clone()).or_default());
    }
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.change(|sum| *sum += value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|sum| *sum = value as f64);
    }
}

impl GaugeFn for Sum {
    fn increment(&self, value: f64) {
        self.change(|sum| *sum += value);
    }

    fn decrement(&self, value: f64) {
        self.change(|sum| *sum -= value);
    }

    fn set(&self, value: f64) {
        self.change(|sum| *sum = value);
    }
}

impl HistogramFn for Sum {
    fn record(&self, _: f64) {
        self.change(|sum| *sum += 1.0);
    }
}

impl Sums {
    fn of(&self, key: &Key) -> Arc<Sum> {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{labels:?}", key.name()) };
        Arc::new(Sum(self.clone(), name))
    }

    fn get(&self, name: &str) -> f64 {
        self.0.lock().expect("not poisoned").get(name).copied().unwrap_or(f64::NAN)
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

/// Keeps the messages of events.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Heard {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().expect("not poisoned").push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "bowline"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

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

                let json = serde_json::to_value(monitor.snapshot()).expect("plain data");
                assert_eq!(json["open"], serde_json::json!({ "dialed": 1, "served": 1 }));
                let links = json["links"].as_array().expect("a list");
                let dialed = links.iter().find(|link| link["label"] == "dialed").expect("there");
                assert_eq!(dialed["stats"]["state"], "Ready");
                assert_eq!(dialed["stats"]["counters"]["calls"], 51);

                client.close().await;
                server.shutdown().await;
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
    assert_eq!(sums.get("bowline_calls[\"dialed\"]"), 51.0);
    assert_eq!(sums.get("bowline_links_open[\"served\"]"), 1.0);
    assert_eq!(sums.get("bowline_round_trip_seconds[\"dialed\"]"), 1.0);
}
