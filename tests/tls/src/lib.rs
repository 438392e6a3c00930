//! TLS on all runtimes, and with other implementations: see `tests/`. A separate package because of its
//! dependencies on certificates and peers.
