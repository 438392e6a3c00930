//! Batchers and fail-over on all runtimes: see `tests/`. A separate package, because it needs few
//! dependencies.
