//! TLS on all runtimes, and beside other implementations: see `tests/`. Apart from the other tests because of what it
//! needs: certificates, and peers.
