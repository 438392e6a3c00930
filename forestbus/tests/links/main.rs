//! Links that speak CBOR RPC: with recordings on the other end, and with each other.

mod end;
mod pair;
#[path = "../common/record.rs"]
#[allow(dead_code, reason = "the replay uses all of it")]
mod record;
mod recordings;
