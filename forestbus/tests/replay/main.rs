//! Recordings of a real cluster, played again in both roles: what its clients wrote and what its nodes
//! answered.

mod calls;
mod cuts;
mod lax;
#[path = "../common/record.rs"]
mod record;
