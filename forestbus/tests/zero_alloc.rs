//! Allocations of the wire format do not grow with the number of messages, and framing a call allocates
//! nothing.

use bowline_core::frame::{Framing, Kind, Meta, Step};
use bowline_counting::{Counting, allocations};
use bowline_forestbus::protocol::{Received, Reply, Request, Send, Sent};
use bowline_forestbus::wire::{CborRpc, Codec, Method};
use bytes::Bytes;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = allocations();
    let done = work();
    (allocations() - before, done)
}

fn messages(count: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; 110]); count]
}

#[test]
fn a_call_is_framed_and_read_without_allocating() {
    let mut body = Vec::new();
    let request = Request::Send(Send { messages: messages(200), ..Send::default() });
    Codec::new().write_request(&request, &mut body).unwrap();
    let mut out = Vec::with_capacity(64 * 1024);
    let mut framing = CborRpc::new();
    let name = Method::Send.name().as_bytes();
    for id in 0..3 {
        let (count, ()) = counted(|| {
            out.clear();
            let meta = Meta { method: Method::Send.number(), ..Meta::new(Kind::Request, id) };
            framing.encode(&mut out, &meta, &[], &body).unwrap();
            framing.encode(&mut out, &Meta::new(Kind::Reply, id), name, &body).unwrap();
            let mut rest = &out[..];
            for kind in [Kind::Request, Kind::Reply] {
                // In pieces, too.
                assert!(matches!(framing.next_frame(&rest[..1000]), Ok(Step::Need(_))));
                let Ok(Step::Frame { meta, consumed, .. }) = framing.next_frame(rest) else { panic!() };
                assert_eq!((meta.kind, meta.method), (kind, Method::Send.number()));
                rest = &rest[consumed..];
            }
        });
        assert_eq!(count, 0);
    }
}

#[test]
fn bodies_take_one_list_however_many_messages_they_have() {
    let codec = Codec::new();
    for count in [1, 500, 20_000] {
        let received = Received { messages: messages(count), next_id: 1, ..Received::default() };
        let reply = Reply::Received(received);
        let mut body = Vec::new();
        // The room is counted first.
        let (written, ()) = counted(|| codec.write_reply(&reply, &mut body).unwrap());
        assert_eq!(written, 1, "{count} messages");
        let body = Bytes::from(body);
        // The list; and once for the body, when it is shared for the first time.
        let (read, again) = counted(|| codec.read_reply(Method::Receive, &body).unwrap());
        assert!(read <= 2, "{read} allocations for {count} messages");
        assert_eq!(again, reply);
    }
    let sent = Reply::Sent(Sent { ids: (1..=5000).collect(), ..Sent::default() });
    let mut body = Vec::with_capacity(32 * 1024);
    let (written, ()) = counted(|| codec.write_reply(&sent, &mut body).unwrap());
    assert_eq!(written, 0);
    let body = Bytes::from(body);
    assert_eq!(counted(|| codec.read_reply(Method::Send, &body).unwrap()).0, 1);
}
