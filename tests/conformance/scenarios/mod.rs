pub mod calls;
pub mod failures;
pub mod fairness;
pub mod garbage;
pub mod messages;
