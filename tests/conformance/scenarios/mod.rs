pub mod calls;
pub mod failures;
pub mod garbage;
pub mod messages;
