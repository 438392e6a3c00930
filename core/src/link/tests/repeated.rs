//! Answers of a protocol whose replies contain the extensions of their requests.

use alloc::vec;

use super::*;
use crate::error::{ConfigError, EncodeError, Failure, FrameError};
use crate::frame::{Calls, Kind, Meta, Profile, Step};

/// A frame: kind, id, length of the name, name, length of the body (two bytes), body. Replies repeat the
/// name.
#[derive(Clone, Debug)]
struct Named;

const KINDS: [(Kind, u8); 3] = [(Kind::Request, b'?'), (Kind::Reply, b'='), (Kind::ErrorReply, b'!')];

impl Framing for Named {
    fn profile(&self) -> Profile {
        let profile = Profile::messages("named").with_calls(Calls::ByKind).with_repeated_extensions();
        Profile { error_reply: true, ..profile }
    }
    fn max_message(&self) -> usize {
        60_000
    }
    fn set_max_message(&mut self, _: usize) -> Result<(), ConfigError> {
        Ok(())
    }
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let Some(&[kind, id, name]) = unread.first_chunk() else { return Ok(Step::Need(3)) };
        let body = 3 + usize::from(name) + 2;
        let Some(len) = unread.get(body - 2..body) else { return Ok(Step::Need(body)) };
        let end = body + usize::from(u16::from_be_bytes([len[0], len[1]]));
        if unread.len() < end {
            return Ok(Step::Need(end));
        }
        let kind = KINDS.iter().find(|(_, byte)| *byte == kind);
        let &(kind, _) = kind.ok_or_else(|| FrameError::other("an unknown kind"))?;
        let meta = Meta::new(kind, u64::from(id));
        Ok(Step::Frame { meta, extensions: 3..body - 2, body: body..end, consumed: end })
    }
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        let mark = out.len();
        let kind = KINDS.iter().find(|(kind, _)| *kind == meta.kind).map_or(b'.', |(_, byte)| *byte);
        out.extend_from_slice(&[kind, meta.id as u8, extensions.len() as u8]);
        out.extend_from_slice(extensions);
        out.extend_from_slice(&[0, 0]);
        Ok(mark)
    }
    fn finish(&self, out: &mut Vec<u8>, mark: usize, _: usize) -> Result<(), EncodeError> {
        let body = mark + 3 + usize::from(out[mark + 2]) + 2;
        let len = out.len() - body;
        out[body - 2..body].copy_from_slice(&(len as u16).to_be_bytes());
        Ok(())
    }
}

fn frame(kind: Kind, id: u64, name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Named.encode(&mut out, &Meta::new(kind, id), name.as_bytes(), body).unwrap();
    out
}

fn request(id: u64, name: &str) -> Vec<u8> {
    frame(Kind::Request, id, name, b"body")
}

fn end() -> End<Named> {
    End::new(&Config::with_framing(Named).build().unwrap(), Role::Accepting)
}

#[test]
fn answers_on_the_spot_repeat_the_name_of_their_request() {
    let mut end = end();
    end.input(Instant::ZERO, &[request(1, "Log.Append"), request(2, ""), request(3, "Log.Read")].concat())
        .unwrap();
    let replies = [("Log.Append", 1), ("", 2), ("Log.Read", 3)];
    let replies: Vec<u8> =
        replies.iter().flat_map(|(name, id)| frame(Kind::Reply, *id, name, b"body")).collect();
    assert_eq!(end.output(Instant::ZERO), replies);

    end.answer = false;
    end.input(Instant::ZERO, &request(4, "Log.Trim")).unwrap();
    end.reader.fail(4, &Failure::new(Status::FAILED, "no")).unwrap();
    end.pass(Instant::ZERO, 0).unwrap();
    assert_eq!(end.output(Instant::ZERO), frame(Kind::ErrorReply, 4, "Log.Trim", b"no"));
}

#[test]
fn answers_of_handlers_repeat_it_too_whichever_is_done_first() {
    let mut end = end();
    end.handle = true;
    end.input(Instant::ZERO, &[request(1, "Log.Append"), request(2, "Log.Read")].concat()).unwrap();
    let [first, second] = end.handled[..] else { panic!() };
    end.link.answer(second, Ok(b"two".into()));
    end.link.answer(first, Err(Failure::new(Status::FAILED, "one")));
    let answers =
        [frame(Kind::Reply, 2, "Log.Read", b"two"), frame(Kind::ErrorReply, 1, "Log.Append", b"one")];
    assert_eq!(end.output(Instant::ZERO), answers.concat());
}

#[test]
fn answers_that_wait_for_room_repeat_it() {
    let limit = QueueLimit { messages: 4, bytes: 100 };
    let config = Config::with_framing(Named).write_queue(limit).build().unwrap();
    let mut end = End::new(&config, Role::Accepting);
    end.handle = true;
    let names = ["a", "bb", "ccc"];
    let requests: Vec<u8> = (1..).zip(names).flat_map(|(id, name)| request(id, name)).collect();
    end.input(Instant::ZERO, &requests).unwrap();
    let mut answers = Vec::new();
    for (at, inbound) in core::mem::take(&mut end.handled).into_iter().enumerate() {
        end.link.answer(inbound, Ok(vec![7; 90].into()));
        answers.extend(frame(Kind::Reply, at as u64 + 1, names[at], &[7; 90]));
    }
    assert!(end.link.counters().answers_held > 0);
    assert_eq!(end.output(Instant::ZERO), answers);
}
