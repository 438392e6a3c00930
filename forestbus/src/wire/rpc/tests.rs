//! The internal state of the framing; `tests/` has the other tests.

use alloc::vec;

use super::*;

fn request(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let meta = Meta { method: 3, ..Meta::new(Kind::Request, 1) };
    CborRpc::new().encode(&mut out, &meta, &[], body).unwrap();
    out
}

#[test]
fn a_frame_that_arrives_byte_by_byte_is_walked_once() {
    let mut body = vec![0xa1, 0x61, b'x', 0x99, 0x27, 0x10];
    body.extend([0x42, 1, 2].repeat(10_000));
    let frame = request(&body);
    let mut framing = CborRpc::new();
    let (mut header, mut most) = (0, 0);
    for end in 0..frame.len() {
        assert!(matches!(framing.next_frame(&frame[..end]), Ok(Step::Need(need)) if need > end));
        if framing.header.is_none() {
            header = framing.walker.heads();
        } else {
            most = framing.walker.heads();
        }
    }
    // Each head once, and once more for each further byte of those that have several. The last of the header is
    // its Seq, with which it is whole.
    assert_eq!((header, most), (5 - 1, 10_003 + 2));
    assert!(
        matches!(framing.next_frame(&frame), Ok(Step::Frame { consumed, .. }) if consumed == frame.len())
    );
}

#[test]
fn a_clone_starts_fresh() {
    let frame = request(b"\xa0");
    let mut framing = CborRpc::new().with_methods(&["A.B"]).with_order(KeyOrder::Alphabetical);
    framing.set_max_message(77).unwrap();
    assert!(matches!(framing.next_frame(&frame[..frame.len() - 1]), Ok(Step::Need(_))));
    let mut clone = framing.clone();
    assert_eq!(
        (clone.methods(), clone.max_message(), clone.order),
        (&["A.B"][..], 77, KeyOrder::Alphabetical)
    );
    let Ok(Step::Frame { meta, .. }) = clone.next_frame(&frame) else { panic!() };
    assert_eq!(meta.method, 0, "it is not in that table");
}

#[test]
fn bodies_are_bounded_exactly_both_ways() {
    let mut framing = CborRpc::new();
    framing.set_max_message(10).unwrap();
    let meta = Meta { method: 1, ..Meta::new(Kind::Request, 1) };
    let mut out = vec![9];
    framing.encode(&mut out, &meta, &[], b"\x81\x48abcdefgh").unwrap();
    assert!(matches!(framing.next_frame(&out[1..]), Ok(Step::Frame { .. })));
    let before = out.clone();
    let error = framing.encode(&mut out, &meta, &[], b"\x81\x49abcdefghi").unwrap_err();
    assert_eq!((error, &out), (EncodeError::TooLarge { len: 11, max: 10 }, &before));
    let long = request(b"\x81\x49abcdefghi");
    let error = FrameError::TooLong { field: "a byte string", value: 9, limit: 8 };
    assert_eq!(framing.next_frame(&long), Err(error));
    for bytes in [0, LARGEST_MESSAGE + 1] {
        assert!(framing.set_max_message(bytes).is_err());
    }
    assert_eq!(framing.max_message(), 10);
}

#[test]
fn headers_and_names_are_bounded() {
    let name = "x".repeat(MAX_NAME + 1);
    let mut header = Vec::new();
    header::write(&mut header, KeyOrder::Declared, &name, 1, None);
    let error = FrameError::TooLong { field: "ServiceMethod", value: 4097, limit: 4096 };
    assert_eq!(CborRpc::new().next_frame(&header), Err(error));
    let mut header = Vec::new();
    header::write(&mut header, KeyOrder::Declared, "", 1, Some(&"x".repeat(MAX_HEADER)));
    let error = CborRpc::new().next_frame(&header);
    assert!(matches!(error, Err(FrameError::TooLong { value: 65_536, .. })), "{error:?}");
    // The longest that is written is read.
    let mut out = Vec::new();
    let name = "x".repeat(MAX_NAME);
    let text = "e".repeat(MAX_ERROR + 1);
    let meta = Meta::new(Kind::ErrorReply, u64::MAX);
    CborRpc::new().encode(&mut out, &meta, name.as_bytes(), text.as_bytes()).unwrap();
    let Ok(Step::Frame { body, consumed, .. }) = CborRpc::new().next_frame(&out) else { panic!() };
    assert_eq!((&out[body], consumed), (&text.as_bytes()[..MAX_ERROR], out.len()));
}
