//! What the owner of an exclusive connection does with what comes in.

use bowline_core::error::{CallError, Failure, Status};
use bowline_core::link::CallId;

use crate::handler::{MessageRef, ReplyBuf, RequestRef};

/// What the owner of an exclusive connection does with what comes in.
///
/// Everything is lent as it lies in the receive buffer. `&mut self`: there is one owner, and no
/// need for locks or atomics inside.
pub trait Handler {
    /// A message that wants no answer.
    fn message(&mut self, message: MessageRef<'_>) {
        let _ = message;
    }

    /// A request; the answer goes straight into what will be written.
    ///
    /// # Errors
    /// The failure that the caller gets. By default: there is no handler.
    fn request(&mut self, request: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        let _ = (request, reply);
        Err(Failure::new(Status::NO_HANDLER, "no handler for requests"))
    }

    /// The reply to a call of ours, which is over with it.
    fn reply(&mut self, call: CallId, body: &[u8]) {
        let _ = (call, body);
    }

    /// A call of ours is over, and there is no reply.
    fn failed(&mut self, call: CallId, error: CallError) {
        let _ = (call, error);
    }
}

/// Nothing is done with anything: for those who only send.
impl Handler for () {}
