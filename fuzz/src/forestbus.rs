//! Forest Bus: items, bodies and streams of a hostile node or client.

use bowline_core::frame::{Framing, Kind, Meta, Step};
use bowline_forestbus::protocol::{Reply, Request};
use bowline_forestbus::wire::{
    CborRpc, Codec, Empty, ItemError, KeyOrder, MAX_HEADER, Method, Walk, Walker, text_of,
};
use bytes::Bytes;

use crate::Input;

/// Longest body: inputs are not much longer.
const LONGEST: usize = 4096;

/// The end of an item is the same in one piece, in two, and byte by byte. Errors may differ: an incomplete
/// head may be too long before its type is known.
pub fn forestbus_walker(data: &[u8]) {
    let mut input = Input(data);
    let (limit, cut) = (1 + 16 * usize::from(input.byte()), usize::from(input.byte()));
    let bytes = input.rest();
    let mut whole = Walker::new(limit);
    let found = whole.walk(bytes);
    assert!(whole.heads() <= bytes.len() as u64 + 1, "{} heads", whole.heads());
    let mut two = Walker::new(limit);
    let first = two.walk(&bytes[..cut.min(bytes.len())]);
    let second = if let Ok(Walk::Need(_)) = first { two.walk(bytes) } else { first };
    assert_eq!(second.ok(), found.ok(), "in two pieces");
    let mut bytewise = Walker::new(limit);
    let mut last = bytewise.walk(&[]);
    for end in 1..=bytes.len() {
        let Ok(Walk::Need(need)) = last else { break };
        assert!(need >= end && need <= limit, "{need} at {end} of {limit}");
        last = bytewise.walk(&bytes[..end]);
    }
    assert_eq!(last.ok(), found.ok(), "byte by byte");
    // An incomplete head is read again with each byte.
    assert!(bytewise.heads() <= 2 * bytes.len() as u64 + 1);
    match found {
        Ok(Walk::Whole(len)) => {
            assert!(len > 0 && len <= bytes.len().min(limit));
            assert_eq!(Walker::new(len).walk(&bytes[..len]), found, "its own length is limit enough");
            assert!(!matches!(Walker::new(limit).walk(&bytes[..len - 1]), Ok(Walk::Whole(_))));
        }
        Ok(Walk::Need(need)) => assert!(need > bytes.len() && need <= limit),
        Err(ItemError::TooLong { limit: left, .. }) => assert!(left <= limit as u64),
        Err(_) => {}
    }
}

/// Bodies and streams of both sides: decoded values are equal after encoding and decoding them again.
pub fn forestbus_reply(data: &[u8]) {
    let mut input = Input(data);
    let (choice, piece) = (input.byte(), 1 + usize::from(input.byte()));
    let method = Method::ALL[usize::from(choice % 4)];
    let order = if choice & 4 == 0 { KeyOrder::Declared } else { KeyOrder::Alphabetical };
    let empty = if choice & 8 == 0 { Empty::Null } else { Empty::Array };
    let codec = Codec::new().with_order(order).with_empty(empty).with_max_items(1000);
    let bytes = input.rest();
    bodies(&codec, method, &Bytes::copy_from_slice(bytes));
    let mut framing = CborRpc::new().with_order(order);
    framing.set_max_message(LONGEST).expect("within bounds");
    let frames = read(framing.clone(), bytes, bytes.len().max(1));
    assert_eq!(read(framing.clone(), bytes, piece), frames, "in other pieces");
    for frame in &frames {
        again(&framing, frame);
        if let Some(method) = Method::from_number(frame.meta.method) {
            bodies(&codec, method, &Bytes::copy_from_slice(&frame.body));
        }
    }
}

/// A body that is decoded, as arguments and as results, is equal after encoding and decoding it again.
fn bodies(codec: &Codec, method: Method, body: &Bytes) {
    let mut out = Vec::new();
    if let Ok(request) = codec.read_request(method, body) {
        codec.write_request(&request, &mut out).expect("as many items as were read");
        assert_eq!(codec.read_request(method, &out.clone().into()), Ok(request.clone()));
        if let (Request::Send(send), Ok(Reply::Sent(sent))) = (&request, codec.read_reply(method, body)) {
            let _ = sent.check(send);
        }
        if let (Request::Receive(receive), Ok(Reply::Received(received))) =
            (&request, codec.read_reply(method, body))
        {
            let _ = received.check(receive);
        }
    }
    out.clear();
    if let Ok(reply) = codec.read_reply(method, body) {
        codec.write_reply(&reply, &mut out).expect("as many items as were read");
        assert_eq!(codec.read_reply(method, &out.into()), Ok(reply));
    }
}

#[derive(PartialEq, Eq, Debug)]
struct Frame {
    meta: Meta,
    extensions: Vec<u8>,
    body: Vec<u8>,
}

/// The frames of a stream that arrives in pieces of that size, up to the first error.
fn read(mut framing: CborRpc, stream: &[u8], piece: usize) -> Vec<Frame> {
    let (mut frames, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        let unread = &stream[at..end];
        match framing.next_frame(unread) {
            Ok(Step::Frame { meta, extensions, body, consumed }) => {
                assert!(consumed > 0 && consumed <= unread.len());
                assert!(body.end <= consumed && extensions.end <= consumed);
                let (extensions, body) = (unread[extensions].to_vec(), unread[body].to_vec());
                frames.push(Frame { meta, extensions, body });
                at += consumed;
            }
            Ok(Step::Need(need)) => {
                assert!(need > unread.len() && need <= MAX_HEADER + LONGEST, "it needs {need}");
                if end == stream.len() {
                    return frames;
                }
                end = stream.len().min(end + piece);
            }
            Err(_) => return frames,
        }
    }
}

/// A received frame can be written, and is read again unchanged.
fn again(framing: &CborRpc, frame: &Frame) {
    let Frame { meta, extensions, body } = frame;
    let mut out = Vec::new();
    let name = text_of(extensions).into_owned();
    let written = framing.encode(&mut out, meta, name.as_bytes(), body);
    if meta.kind == Kind::Request && name.is_empty() {
        // Ill-formed: it is answered, and never written by this side.
        assert!(written.is_err() && out.is_empty());
        return;
    }
    written.expect("what came can be written");
    let back = read(framing.clone(), &out, out.len());
    let [back] = &back[..] else { panic!("{} frames of one", back.len()) };
    assert_eq!((back.meta.kind, back.meta.id), (meta.kind, meta.id));
    assert_eq!((back.meta.method, back.meta.status), (meta.method, meta.status));
    assert_eq!(back.extensions, name.as_bytes());
    assert_eq!(text_of(&back.body), text_of(body), "an error's text, or a body");
    if meta.kind != Kind::ErrorReply {
        assert_eq!(&back.body, body);
    }
}
