//! Benchmarks of Bowline: see the files beside `src`, and `docs/performance.md` for the method and the commands. They are a
//! crate of their own, so that their dependencies are built for nothing else.
