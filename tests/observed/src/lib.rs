//! What `tracing`, `metrics` and `serde` see: see `tests/`. Apart from the other tests because of what it needs.
