//! The wire format: Go's `net/rpc` over CBOR, and the bodies of Forest Bus's calls.
//!
//! [`CborRpc`] is the framing for a link. It splits the stream into requests and responses with a [`Walker`]
//! and parses their headers, but not their bodies. [`Codec`] converts bodies to
//! [`Request`](crate::protocol::Request) and [`Reply`](crate::protocol::Reply) and back, for clients and for
//! nodes. [`Sent::check`](crate::protocol::Sent::check) and
//! [`Received::check`](crate::protocol::Received::check) verify that a reply matches its request.
//!
//! A method is a number in the link ([`Method::number`]) and text on the wire. A response repeats the text:
//! the text is the request's extensions and is returned with the answer, so that the refusal of an unknown
//! method names it ([`refusal`]).
//!
//! `docs/forestbus.md` specifies the bytes that are written and read, and the differences from the Go
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
