//! Recordings of a real cluster, replayed in both roles: the requests of its clients and the answers of its
//! nodes.

mod calls;
mod cuts;
mod lax;
#[path = "../common/record.rs"]
mod record;
