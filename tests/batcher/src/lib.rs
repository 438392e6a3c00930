//! Batchers and fail-over on all runtimes: see `tests/`. Apart from the other tests because it needs little of
//! what they need.
