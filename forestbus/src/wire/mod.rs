//! The wire: Go's `net/rpc` over CBOR, and the bodies of Forest Bus's calls.
//!
//! [`CborRpc`] is the framing that a link is given. It cuts the stream into requests and answers with a
//! [`Walker`], knows their headers, and leaves bodies alone. [`Codec`] makes bodies of
//! [`Request`](crate::protocol::Request) and [`Reply`](crate::protocol::Reply) and the other way round, for
//! clients and for nodes. [`Sent::check`](crate::protocol::Sent::check) and
//! [`Received::check`](crate::protocol::Received::check) say whether a reply fits its request.
//!
//! A method is a number for the link ([`Method::number`]) and text on the wire. A response repeats the text:
//! it travels as the request's extensions and comes back with the answer, so that a method which this side does
//! not know is named in its refusal, too ([`refusal`]).
//!
//! `docs/forestbus.md` says what is written and read byte by byte, and where that differs from the Go
//! servers.

mod check;
mod codec;
mod error;
mod head;
mod header;
mod method;
mod read;
mod rpc;
mod walker;
mod write;

pub use codec::{Codec, Empty, KeyOrder, MAX_ITEMS};
pub use error::{DecodeError, Float, TooManyItems, Unfit};
pub use header::{MAX_ERROR, MAX_HEADER, MAX_NAME};
pub use method::{METHODS, Method, refusal, text_of};
pub use rpc::CborRpc;
pub use walker::{ItemError, MAX_DEPTH, Walk, Walker};
