//! REQ and REP (RFC 28): the peer that was asked or asked, and whose turn it is.

use super::PipeId;
use crate::message::Message;

/// State of a REQ: one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Req {
    /// The request that was sent and has no reply.
    pub(crate) pending: Option<Pending>,
    /// The number of the next request, if requests are numbered.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// The peer that was asked; `None`: the request came back and waits for another peer.
    pub(crate) peer: Option<PipeId>,
    /// The pipe that the request came back from, if it did.
    pub(crate) came_back: Option<PipeId>,
    /// The pipe under whose number messages of the peer are kept after its connection ended.
    pub(crate) left: Option<PipeId>,
    /// Little-endian on the wire, as in libzmq on most machines; the peer does not interpret it.
    number: Option<u32>,
    /// Whether the peer disconnected after it had been sent the request.
    pub(crate) lost: bool,
}

impl Req {
    pub(crate) fn new(seed: u32) -> Self {
        Self { pending: None, next: seed }
    }

    /// The number of the next request.
    pub(crate) fn number(&self) -> u32 {
        self.next
    }

    /// Records that a request with that number was sent.
    pub(crate) fn asked(&mut self, peer: PipeId, number: Option<u32>) {
        if number.is_some() {
            self.next = self.next.wrapping_add(1);
        }
        self.pending = Some(Pending { peer: Some(peer), came_back: None, left: None, number, lost: false });
    }

    /// Removes the envelope of a message of the peer that was asked. Returns false if it is not the reply.
    pub(crate) fn open(&self, message: &mut Message) -> bool {
        let Some(pending) = &self.pending else { return false };
        let mut front = 0;
        if let Some(number) = pending.number {
            if message.get(0).is_none_or(|part| part.as_slice() != number.to_le_bytes()) {
                return false;
            }
            front = 1;
        }
        if message.get(front).is_none_or(|part| !part.is_empty()) || message.len() < front + 2 {
            return false;
        }
        message.remove_front(front + 1);
        true
    }
}

/// State of a REP: one request at a time, whose envelope is sent back with the reply.
#[derive(Debug, Default)]
pub(crate) struct Rep {
    /// The peer that sent the request.
    pub(crate) asking: Option<PipeId>,
    /// Whether its connection has ended: the next peer of that pipe has sent no request.
    pub(crate) has_left: bool,
    /// The parts in front of the reply. Their memory is reused.
    pub(crate) envelope: Message,
}

impl Rep {
    /// Removes the envelope of a request: everything up to the first empty part. Returns false if it is not a
    /// request.
    pub(crate) fn open(&mut self, from: PipeId, message: &mut Message) -> bool {
        let Some(delimiter) = message.iter().position(|part| part.is_empty()) else { return false };
        if delimiter + 1 == message.len() {
            return false;
        }
        self.envelope.clear();
        message.iter().take(delimiter + 1).for_each(|part| self.envelope.push(part.clone()));
        message.remove_front(delimiter + 1);
        (self.asking, self.has_left) = (Some(from), false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&[u8]]) -> Message {
        parts.iter().map(|part| part.to_vec()).collect()
    }

    #[test]
    fn a_reply_has_the_number_of_its_request_and_a_delimiter() {
        let mut req = Req::new(u32::MAX);
        let number = req.number();
        req.asked(PipeId(1), Some(number));
        assert_eq!((number, req.number()), (u32::MAX, 0), "numbers go round");
        for wrong in [
            &[&b"\0\0\0\0"[..], b"", b"x"][..],
            &[b"\xff\xff\xff\xff", b"x"],
            &[b"\xff\xff\xff\xff", b""],
            &[b"", b"x"],
        ] {
            assert!(!req.open(&mut message(wrong)), "{wrong:?}");
        }
        let mut reply = message(&[b"\xff\xff\xff\xff", b"", b"a", b"b"]);
        assert!(req.open(&mut reply));
        assert_eq!(reply, message(&[b"a", b"b"]));
        req.asked(PipeId(1), None);
        assert!(!req.open(&mut message(&[b"x"])) && !req.open(&mut message(&[b""])));
        assert!(req.open(&mut message(&[b"", b""])));
    }

    #[test]
    fn a_request_has_everything_up_to_its_first_empty_part_as_its_envelope() {
        let mut rep = Rep::default();
        for wrong in [&[&b"x"[..]][..], &[b"id", b""], &[b""]] {
            assert!(!rep.open(PipeId(1), &mut message(wrong)), "{wrong:?}");
        }
        let mut request = message(&[b"a", b"b", b"", b"body", b""]);
        assert!(rep.open(PipeId(7), &mut request));
        assert_eq!(request, message(&[b"body", b""]));
        assert_eq!(rep.asking, Some(PipeId(7)));
        assert_eq!(rep.envelope, message(&[b"a", b"b", b""]));
    }
}
