//! [`bowline_log::Log`] over a stream of NATS JetStream, on tokio.
//!
//! A log is a whole stream, whatever its subjects are; what is appended goes to one of them. A record's position is its
//! sequence in the stream, from 1, and its append is done when the server has acknowledged it: with several replicas,
//! when the majority has it. Records get message ids, so that those whose acknowledgement was lost are sent again, and
//! stored once, within the stream's window (`duplicate_window`).
//!
//! ```no_run
//! use bowline_jetstream::JetStreamLog;
//! use bowline_log::{Following, Log, Record};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = async_nats::connect("127.0.0.1:4222").await?;
//! let log = JetStreamLog::open(async_nats::jetstream::new(client), "events", "events").await?;
//! let positions = log.append(vec![Record::new("one"), Record::new("two")]).await.all()?;
//! let mut records = log.follow(positions[0]);
//! while let Some(entry) = records.next_entry().await {
//!     println!("{:?}", entry?);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod append;
mod config;
mod error;
mod follow;
mod jetstream_log;
mod message;
mod read;
mod stored;

pub use config::JetStreamConfig;
pub use error::OpenError;
pub use follow::JetStreamFollow;
pub use jetstream_log::JetStreamLog;
