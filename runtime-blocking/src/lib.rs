//! Bowline on plain threads.
