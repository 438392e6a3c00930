//! Links with CBOR RPC: against recordings, and against each other.

mod end;
mod pair;
#[path = "../common/record.rs"]
#[allow(dead_code, reason = "the replay uses all of it")]
mod record;
mod recordings;
