//! Bytes of a hostile peer, decoded by every framing.

use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::frame::native::{Hello, Native, parse_extensions};
use bowline_core::frame::raw::Raw;
use bowline_core::frame::tcpstream::Tcpstream;
use bowline_core::frame::{Framing, Kind, Meta, Step};

use crate::Input;

/// Allowance for headers and extensions besides the largest message.
const OVERHEAD: usize = 128 * 1024;

/// The result of decoding some bytes: metas and bodies, and how it ended.
type Decoded = (Vec<(Meta, Vec<u8>)>, bool);

/// Decodes everything; `split` returns the number of bytes that arrive next.
fn decode<F: Framing>(mut framing: F, bytes: &[u8], mut split: impl FnMut() -> usize) -> Decoded {
    let (mut at, mut end) = (0, 0);
    let mut frames = Vec::new();
    loop {
        let unread = &bytes[at..end];
        match framing.next_frame(unread) {
            Ok(Step::Frame { meta, extensions, body, consumed }) => {
                assert!(consumed > 0 && consumed <= unread.len(), "consumed {consumed} of {}", unread.len());
                assert!(body.end <= consumed && extensions.end <= consumed);
                assert!(body.len() <= framing.max_message() + OVERHEAD);
                for extension in parse_extensions(&unread[extensions]) {
                    assert!(extension.is_ok(), "extensions are checked with their frame");
                }
                frames.push((meta, unread[body].to_vec()));
                at += consumed;
            }
            Ok(Step::Need(need)) => {
                assert!(need > unread.len(), "needs what it has");
                assert!(need <= framing.max_message() + OVERHEAD, "needs more than its limit: {need}");
                if end == bytes.len() {
                    let ended = framing.end_of_stream(unread).is_ok();
                    return (frames, ended);
                }
                end = (end + split().max(1)).min(bytes.len());
            }
            Err(_) => return (frames, false),
        }
    }
}

/// Decoded frames are equal after encoding and decoding them again.
fn round_trip<F: Framing>(framing: &F, reader: &F, frames: &[(Meta, Vec<u8>)]) {
    let mut out = Vec::new();
    let mut kept = Vec::new();
    for (meta, body) in frames {
        let before = out.len();
        let encoded = framing.begin(&mut out, meta, &[]).and_then(|mark| {
            out.extend_from_slice(body);
            framing.finish(&mut out, mark, 0)
        });
        match encoded {
            Ok(()) => kept.push((*meta, body.clone())),
            Err(_) => assert_eq!(out.len(), before, "an error leaves the buffer as it was"),
        }
    }
    let (again, _) = decode(reader.clone(), &out, || usize::MAX / 2);
    assert_eq!(again, kept);
}

fn whole_and_split<F: Framing>(framing: &F, bytes: &[u8]) -> Vec<(Meta, Vec<u8>)> {
    let whole = decode(framing.clone(), bytes, || usize::MAX / 2);
    let single = decode(framing.clone(), bytes, || 1);
    if framing.profile().atomic {
        assert_eq!(whole.0, single.0, "a split changes the messages");
        assert_eq!(whole.1, single.1, "a split changes the end");
    } else {
        let join =
            |frames: &[(Meta, Vec<u8>)]| frames.iter().flat_map(|(_, b)| b.clone()).collect::<Vec<u8>>();
        assert_eq!(join(&whole.0), join(&single.0));
    }
    whole.0
}

/// Raw bytes.
pub fn raw(data: &[u8]) {
    whole_and_split(&Raw::new(), data);
}

/// Length-prefixed, with settings from the input.
pub fn length_prefixed(data: &[u8]) {
    let mut input = Input(data);
    let mut builder = LengthPrefixed::builder();
    builder = match input.byte() % 12 {
        0 => builder.varint(),
        width => builder.length_field_length(usize::from(width)),
    };
    let flags = input.byte();
    if flags & 1 == 1 {
        builder = builder.little_endian();
    }
    builder = builder
        .length_field_offset(usize::from(flags >> 1 & 7))
        .length_adjustment(i64::from(input.byte()) - 128)
        .max_frame_length(1 + usize::from(input.byte()) * 16);
    if flags & 16 == 16 {
        builder = builder.num_skip(usize::from(flags >> 5));
    }
    if let Ok(framing) = builder.build() {
        whole_and_split(&framing, input.rest());
    }
}

/// buffstreams, with the largest message from the input.
pub fn buffstreams(data: &[u8]) {
    let mut input = Input(data);
    let mut framing = Buffstreams::new();
    let max = 1_usize << (input.byte() % 20);
    if framing.set_max_message(max).is_ok() {
        let frames = whole_and_split(&framing, input.rest());
        round_trip(&framing, &framing, &frames);
    }
}

/// tcpstream.
pub fn tcpstream(data: &[u8]) {
    let framing = Tcpstream::new();
    let frames = whole_and_split(&framing, data);
    round_trip(&framing, &framing, &frames);
}

/// A decoder that has read a hello.
fn past_hello() -> Native {
    let mut native = Native::new();
    let mut out = Vec::new();
    let mark = native.begin(&mut out, &Meta::new(Kind::Hello, 0), &[]).expect("a hello");
    Hello::new().encode(&mut out);
    native.finish(&mut out, mark, 0).expect("a hello");
    assert!(matches!(native.next_frame(&out), Ok(Step::Frame { .. })));
    native
}

/// Native: as the first bytes of a connection, and after a hello.
pub fn native(data: &[u8]) {
    // A new clone begins before the hello: only the whole input is checked.
    for (_, body) in decode(Native::new(), data, || usize::MAX / 2).0 {
        if let Ok(hello) = Hello::decode(&body) {
            let _ = Hello::new().agree(&hello);
        }
    }
    let once = decode_after_hello(data, usize::MAX / 2);
    assert_eq!(once, decode_after_hello(data, 1));
}

fn decode_after_hello(data: &[u8], step: usize) -> Decoded {
    let mut native = past_hello();
    let (mut at, mut end, mut frames) = (0, 0, Vec::new());
    loop {
        match native.next_frame(&data[at..end]) {
            Ok(Step::Frame { meta, body, consumed, .. }) => {
                frames.push((meta, data[at..end][body].to_vec()));
                at += consumed;
            }
            Ok(Step::Need(need)) => {
                assert!(need > end - at && need <= native.max_message() + OVERHEAD);
                if end == data.len() {
                    return (frames, true);
                }
                end = end.saturating_add(step).min(data.len());
            }
            Err(_) => return (frames, false),
        }
    }
}

/// Any framing, split as the input says: the same result as unsplit.
pub fn chunked(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte();
    let sizes: Vec<usize> = (0..8).map(|_| usize::from(input.byte())).collect();
    let mut next = sizes.iter().cycle();
    let mut split = || next.next().copied().unwrap_or(1);
    let bytes = input.rest();
    match which % 4 {
        0 => {
            let framing = Buffstreams::new();
            assert_eq!(decode(framing.clone(), bytes, &mut split), decode(framing, bytes, || usize::MAX / 2));
        }
        1 => {
            let framing = Tcpstream::new();
            assert_eq!(decode(framing.clone(), bytes, &mut split), decode(framing, bytes, || usize::MAX / 2));
        }
        2 => {
            let framing = LengthPrefixed::new();
            assert_eq!(decode(framing.clone(), bytes, &mut split), decode(framing, bytes, || usize::MAX / 2));
        }
        _ => assert_eq!(decode_after_hello(bytes, split().max(1)), decode_after_hello(bytes, usize::MAX / 2)),
    }
}
