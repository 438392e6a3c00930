//! Inline answers, encoded without the lock of the link.

use alloc::vec::Vec;

use super::Reader;
use crate::arena::{LocalFrames, Sent};
use crate::body::Payload;
use crate::config::OnFailure;
use crate::error::{EncodeError, Failure, Status};
use crate::frame::{Class, Framing};
use crate::link::Link;
use crate::link::inbound::{told_failure, unsendable};
use crate::machine::Access;

/// The report of the reader to the link at the end of a pass.
#[derive(Debug, Default)]
pub(super) struct KeptBack {
    pub(super) frames: LocalFrames,
    pub(super) answers: u64,
    pub(super) failures: Vec<Status>,
    /// A failure that its caller cannot be told of, and that ends the connection.
    pub(super) unanswered: Option<Status>,
}

impl KeptBack {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.failures.is_empty()
    }
}

impl<F: Framing> Reader<F> {
    /// The answer to the request that came now repeats its extensions.
    pub(super) fn repeat_extensions(&mut self, extensions: &[u8]) {
        match &mut self.repeated {
            None if extensions.is_empty() => {}
            kept => {
                let kept = kept.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(extensions);
            }
        }
    }

    /// Answers the request with that id at once.
    ///
    /// # Errors
    /// The answer cannot be encoded; if the protocol has error replies, the caller gets one.
    pub fn answer(&mut self, id: u64, payload: Payload<'_>) -> Result<(), EncodeError> {
        self.answer_with(id, |out| {
            out.extend_from_slice(payload.as_slice());
            Ok(())
        })
    }

    /// Answers at once with a body that `fill` appends in place, after the frame's header; `fill` must not
    /// change earlier bytes of the buffer. A failure is sent as an error reply.
    ///
    /// # Errors
    /// The answer cannot be encoded (too large, or a failure on a framing without error replies); if the
    /// protocol has error replies, the caller gets one.
    pub fn answer_with(
        &mut self,
        id: u64,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), EncodeError> {
        self.answer_as(id, |out| fill(out).map(|()| 0))
    }

    /// [`answer_with`](Self::answer_with); `fill` returns the method (message type) of the answer, which must
    /// be 0 unless the framing can carry one.
    ///
    /// # Errors
    /// As [`answer_with`](Self::answer_with).
    #[inline]
    pub fn answer_as(
        &mut self,
        id: u64,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<u32, Failure>,
    ) -> Result<(), EncodeError> {
        self.note_over();
        let max = self.longest_answer;
        let KeptBack { frames: local, answers, .. } = &mut **self.local.get_or_insert_default();
        local.chunk.reserve(256);
        let start = local.chunk.own_len();
        // Asked of the framing, which the compiler knows, instead of the length.
        let repeats = self.framing.profile().repeats_extensions;
        let repeated = if repeats { self.repeated.as_deref().map_or(&[][..], Vec::as_slice) } else { &[] };
        let pushed = local.chunk.push_reply(&self.framing, id, repeated, |out| {
            let before = out.len();
            let method = fill(out)?;
            if method != 0 {
                self.framing.set_method(&mut out[start..], method).map_err(|error| unsendable(&error))?;
            }
            let len = out.len() - before;
            if len > max {
                let error = EncodeError::TooLarge { len: len as u64, max: max as u64 };
                return Err(unsendable(&error));
            }
            Ok(())
        });
        let (failure, error) = match pushed {
            Ok(Ok(bytes)) => {
                *answers += 1;
                if bytes > self.fragment {
                    self.framing.set_class(local.chunk.own_from(start), Class::Bulk);
                    local.split_last(start);
                }
                return Ok(());
            }
            Ok(Err(error)) => (unsendable(&error), error),
            Err(failure) => (failure, EncodeError::Unsupported { what: "an error reply" }),
        };
        self.tell_failure(id, &failure).map_err(|_| error)
    }

    /// Whether at least this many bytes of answers are buffered in the reader.
    #[inline]
    pub(in crate::link) fn is_piling_up(&self, bytes: usize) -> bool {
        self.kept_back() >= bytes
    }

    /// Moves the buffered answers to the link. Returns whether they can be written now.
    #[inline(never)]
    pub(in crate::link) fn flush_early<T: Send + 'static>(
        &mut self,
        access: &mut impl Access<Link<F, T>>,
    ) -> bool {
        let link = access.machine();
        self.flush(link);
        self.answer_rooms = link.answer_rooms();
        link.can_write()
    }

    /// Answers with a failure.
    ///
    /// # Errors
    /// The framing has no error replies, and [`OnFailure`] names no other answer.
    pub fn fail(&mut self, id: u64, failure: &Failure) -> Result<(), EncodeError> {
        self.note_over();
        self.tell_failure(id, failure)
    }

    /// A request was answered at once: its handler ended, and another one may start in its place without
    /// asking the link. Its answer counts with those buffered.
    #[inline]
    fn note_over(&mut self) {
        self.starts += 1;
    }

    fn tell_failure(&mut self, id: u64, failure: &Failure) -> Result<(), EncodeError> {
        let KeptBack { frames, answers, failures, unanswered } = &mut **self.local.get_or_insert_default();
        failures.push(failure.status);
        let error_reply = self.framing.profile().error_reply;
        let Some(meta) = told_failure(error_reply, self.on_failure, id, failure) else {
            if self.on_failure == OnFailure::Disconnect {
                unanswered.get_or_insert(failure.status);
            }
            return Err(EncodeError::Unsupported { what: "an error reply" });
        };
        // Text that is too long for the peer is truncated: the status matters.
        let body = Payload::Borrowed(&failure.body[..failure.body.len().min(self.longest_answer)]);
        let repeated = self.repeated.as_deref().map_or(&[][..], Vec::as_slice);
        frames.chunk.push(&self.framing, Sent::Answer(id), &meta, repeated, body, false)?;
        *answers += 1;
        Ok(())
    }

    /// A request remains without an answer: counted and reported.
    pub fn note_unanswered<T: Send + 'static>(&mut self, access: &mut impl Access<Link<F, T>>, id: u64) {
        access.machine().drop_answer(id);
    }
}
