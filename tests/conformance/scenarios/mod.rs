pub mod calls;
pub mod delivery;
pub mod failures;
pub mod fairness;
pub mod garbage;
pub mod messages;
pub mod sessions;
