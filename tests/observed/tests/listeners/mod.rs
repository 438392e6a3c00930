//! What listens to `tracing` and `metrics` in tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Adds everything up, by name and label.
#[derive(Clone, Default)]
pub(crate) struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

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

    pub(crate) fn get(&self, name: &str) -> f64 {
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
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<String>>>);

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
