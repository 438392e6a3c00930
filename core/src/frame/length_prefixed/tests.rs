use alloc::vec;

use super::*;
use crate::frame::Kind;

fn built(set: impl FnOnce(Builder) -> Builder) -> LengthPrefixed {
    set(LengthPrefixed::builder()).build().unwrap()
}

fn refused(set: impl FnOnce(Builder) -> Builder) -> ConfigError {
    set(LengthPrefixed::builder()).build().unwrap_err()
}

fn encode(framing: &LengthPrefixed, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![9];
    let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
    out.extend_from_slice(body);
    let done = framing.finish(&mut out, mark, 0);
    assert_eq!(out.remove(0), 9);
    if done.is_err() {
        assert!(out.is_empty());
    }
    done.map(|()| out)
}

fn next(framing: &LengthPrefixed, unread: &[u8]) -> Result<Step, FrameError> {
    framing.clone().next_frame(unread)
}

fn frame(body: core::ops::Range<usize>) -> Result<Step, FrameError> {
    let consumed = body.end;
    Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body, consumed })
}

fn too_long(value: u64, limit: u64) -> Result<Step, FrameError> {
    Err(FrameError::TooLong { field: "length", value, limit })
}

fn too_short(value: u64, limit: u64) -> Result<Step, FrameError> {
    Err(FrameError::TooShort { field: "length", value, limit })
}

fn overflow(value: u64, adjustment: i64) -> Result<Step, FrameError> {
    Err(FrameError::LengthOverflow { field: "length", value, adjustment })
}

#[test]
fn the_default_is_four_bytes_big_endian() {
    for framing in [LengthPrefixed::new(), LengthPrefixed::default(), built(|b| b)] {
        assert_eq!(encode(&framing, b"abc").unwrap(), b"\0\0\0\x03abc");
        for have in 0..7 {
            let need = if have < 4 { 4 } else { 7 };
            assert_eq!(next(&framing, &b"\0\0\0\x03abc"[..have]), Ok(Step::Need(need)));
        }
        assert_eq!(next(&framing, b"\0\0\0\x03abc"), frame(4..7));
        assert_eq!(next(&framing, b"\0\0\0\x03abcdef"), frame(4..7));
        assert_eq!(next(&framing, b"\0\0\0\0"), frame(4..4));
        assert_eq!(framing.max_message(), 8_388_608);
    }
}

#[test]
fn every_width_in_both_orders() {
    for len in 1..=8 {
        let big = built(|b| b.length_field_length(len));
        let mut bytes = vec![0; len - 1];
        bytes.extend_from_slice(b"\x03abc");
        assert_eq!(encode(&big, b"abc").unwrap(), bytes);
        assert_eq!(next(&big, &bytes), frame(len..len + 3));
        bytes.extend_from_slice(&[0xff; 9]);
        assert_eq!(next(&big, &bytes), frame(len..len + 3));

        let little = built(|b| b.length_field_length(len).little_endian());
        let mut bytes = vec![3];
        bytes.resize(len, 0);
        bytes.extend_from_slice(b"abc");
        assert_eq!(encode(&little, b"abc").unwrap(), bytes);
        assert_eq!(next(&little, &bytes), frame(len..len + 3));
        bytes.extend_from_slice(&[0xff; 9]);
        assert_eq!(next(&little, &bytes), frame(len..len + 3));
    }
}

#[test]
fn the_order_of_the_bytes_of_a_length() {
    let body = &[7; 0x0102];
    for len in 2..=8 {
        let big = encode(&built(|b| b.length_field_length(len)), body).unwrap();
        assert_eq!((big[len - 2], big[len - 1]), (1, 2));
        let little = encode(&built(|b| b.little_endian().length_field_length(len)), body).unwrap();
        assert_eq!((little[0], little[1]), (2, 1));
        let again = built(|b| b.little_endian().big_endian().length_field_length(len));
        assert_eq!(encode(&again, body).unwrap(), big);
    }
}

#[test]
fn the_limit_is_exact() {
    let framing = built(|b| b.length_field_length(2).max_frame_length(300));
    assert_eq!(next(&framing, &[1, 44]), Ok(Step::Need(302)));
    assert_eq!(next(&framing, &[1, 45]), too_long(301, 300));
    assert!(encode(&framing, &[7; 300]).is_ok());
    assert_eq!(encode(&framing, &[7; 301]), Err(EncodeError::TooLarge { len: 301, max: 300 }));
    let mut out = Vec::new();
    let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
    assert_eq!(framing.finish(&mut out, mark, 300), Ok(()));
    assert_eq!(framing.finish(&mut out, mark, 301), Err(EncodeError::TooLarge { len: 301, max: 300 }));
}

#[test]
fn a_length_is_too_long_as_soon_as_its_bytes_say_so() {
    let big = built(|b| b.length_field_offset(1).max_frame_length(300));
    assert_eq!(next(&big, &[9, 1]), too_long(0x0100_0000, 300));
    assert_eq!(next(&big, &[9, 0, 0, 1]), Ok(Step::Need(5)));
    assert_eq!(next(&big, &[9, 0, 0, 2]), too_long(512, 300));
    assert_eq!(next(&big, &[9]), Ok(Step::Need(5)));
    assert_eq!(next(&big, &[]), Ok(Step::Need(5)));
    let little = built(|b| b.little_endian().max_frame_length(300));
    assert_eq!(next(&little, &[44, 1]), Ok(Step::Need(4)));
    assert_eq!(next(&little, &[45, 1]), too_long(301, 300));
}

#[test]
fn a_length_that_counts_its_header() {
    let framing = built(|b| b.length_field_length(2).length_adjustment(-2));
    assert_eq!(encode(&framing, b"abc").unwrap(), b"\0\x05abc");
    assert_eq!(next(&framing, b"\0\x05abc"), frame(2..5));
    assert_eq!(next(&framing, &[0, 2]), frame(2..2));
    assert_eq!(next(&framing, &[0, 1]), too_short(1, 2));
    assert_eq!(next(&framing, &[0, 0]), too_short(0, 2));
    assert_eq!(framing.max_message(), 65_533);
    assert_eq!(next(&framing, &[0xff, 0xff]), Ok(Step::Need(65_535)));
}

#[test]
fn a_length_that_does_not_count_all() {
    // The length does not count the two bytes of trailer: they are part of the body here.
    let framing = built(|b| b.length_field_length(1).length_adjustment(2));
    assert_eq!(encode(&framing, b"abcXY").unwrap(), b"\x03abcXY");
    assert_eq!(next(&framing, b"\x03abcXY"), frame(1..6));
    let short = EncodeError::Unsupported { what: "a body shorter than the length adjustment" };
    assert_eq!(encode(&framing, b"X"), Err(short));
    assert_eq!(encode(&framing, b"XY").unwrap(), b"\0XY");
    assert_eq!(framing.max_message(), 257);
}

#[test]
fn a_prefix_is_written_and_not_looked_at() {
    let zeros = built(|b| b.length_field_length(2).length_field_offset(2));
    assert_eq!(encode(&zeros, b"abc").unwrap(), b"\0\0\0\x03abc");
    let given = built(|b| b.length_field_length(2).header_prefix(b"hi"));
    assert_eq!(encode(&given, b"abc").unwrap(), b"hi\0\x03abc");
    assert_eq!(next(&given, b"??\0\x03abc"), frame(4..7));
}

#[test]
fn a_header_that_is_kept() {
    // As in tokio-util's example: prefix and length stay in front of the body.
    let framing = built(|b| {
        b.header_prefix(b"\xca").length_field_length(2).length_adjustment(3).num_skip(0).max_frame_length(13)
    });
    let bytes = b"\xca\0\x0bhello world";
    assert_eq!(next(&framing, bytes), too_long(14, 13));
    let mut framing = framing;
    framing.set_max_message(14).unwrap();
    assert_eq!(next(&framing, bytes), frame(0..14));
    assert_eq!(encode(&framing, b"hello world").unwrap(), bytes);
    // Frames that the receiver would refuse are not written.
    assert_eq!(encode(&framing, b"hello world!"), Err(EncodeError::TooLarge { len: 15, max: 14 }));
}

#[test]
fn a_frame_that_ends_in_its_header_is_an_error() {
    let framing = built(|b| b.length_field_length(2).num_skip(0));
    assert_eq!(next(&framing, &[0, 0]), too_short(0, 2));
    assert_eq!(next(&framing, &[0, 1]), too_short(1, 2));
    assert_eq!(next(&framing, &[0, 2]), frame(0..2));
    assert_eq!(encode(&framing, b"").unwrap(), [0, 2]);
    let half = built(|b| b.length_field_length(2).num_skip(1).length_adjustment(-4));
    assert_eq!(next(&half, &[0, 4]), too_short(4, 5));
    assert_eq!(next(&half, &[0, 5]), frame(1..2));
    assert_eq!(encode(&half, b"").unwrap(), [0, 5]);
}

#[test]
fn more_than_the_length_is_skipped() {
    let framing = built(|b| b.length_field_length(1).num_skip(3));
    assert_eq!(encode(&framing, b"ab").unwrap(), b"\x02\0\0ab");
    assert_eq!(next(&framing, b"\x02??ab"), frame(3..5));
    assert_eq!(next(&framing, b"\x02"), Ok(Step::Need(5)));
    assert_eq!(next(&framing, b"\0"), Ok(Step::Need(3)));
    assert_eq!(next(&framing, b"\0??"), frame(3..3));
}

#[test]
fn sums_that_overflow() {
    let framing = built(|b| b.length_field_length(8).length_adjustment(10));
    assert_eq!(next(&framing, &[0xff; 8]), overflow(u64::MAX, 10));
    assert_eq!(next(&framing, &(u64::MAX - 10).to_be_bytes()), too_long(u64::MAX, 8_388_608));
    let framing = built(|b| b.length_field_length(8));
    assert_eq!(next(&framing, &[0xff; 8]), too_long(u64::MAX, 8_388_608));
    let framing = built(|b| b.length_field_length(8).length_adjustment(i64::MIN));
    assert_eq!(next(&framing, &[0; 8]), too_short(0, 1 << 63));
    assert_eq!(next(&framing, &(1_u64 << 63).to_be_bytes()), frame(8..8));
    assert_eq!(next(&framing, &[0xff; 8]), too_long(i64::MAX as u64, 8_388_608));
    let bytes = encode(&framing, b"ab").unwrap();
    assert_eq!(bytes, b"\x80\0\0\0\0\0\0\x02ab");
}

#[test]
fn varints_are_written_in_their_shortest_form() {
    let framing = built(|b| b.varint().header_prefix(b"p").max_frame_length(1 << 21));
    let headers: [(usize, &[u8]); 8] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 1]),
        (2_097_151, &[0xff, 0xff, 0x7f]),
        (2_097_152, &[0x80, 0x80, 0x80, 1]),
    ];
    for (len, header) in headers {
        let body: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let bytes = encode(&framing, &body).unwrap();
        assert_eq!(bytes[0], b'p');
        assert_eq!(&bytes[1..=header.len()], header);
        assert!(bytes[1 + header.len()..] == body, "{len}");
        assert_eq!(next(&framing, &bytes), frame(1 + header.len()..bytes.len()));

        let mut out = Vec::new();
        let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
        framing.finish(&mut out, mark, len).unwrap();
        assert_eq!(&out[1..], header);
    }
}

#[test]
fn varints_are_read_byte_by_byte() {
    let framing = built(|b| b.varint().length_field_offset(1));
    assert_eq!(next(&framing, &[]), Ok(Step::Need(2)));
    assert_eq!(next(&framing, &[0]), Ok(Step::Need(2)));
    assert_eq!(next(&framing, &[0, 0x81]), Ok(Step::Need(3)));
    assert_eq!(next(&framing, &[0, 0x81, 1]), Ok(Step::Need(132)));
    // Needless bytes, up to ten in all.
    assert_eq!(next(&framing, b"\0\x81\x80\0a"), frame(4..5));
    assert_eq!(next(&framing, b"\0\x81\x80\x80\x80\x80\x80\x80\x80\x80\0a"), frame(11..12));
    assert_eq!(next(&framing, b"\0\x81\x80\x80\x80\x80\x80\x80\x80\x80"), Ok(Step::Need(11)));
}

#[test]
fn varints_that_are_too_much() {
    let framing = built(|b| b.varint());
    let no_end = Err(FrameError::UnterminatedVarint { field: "length", limit: 10 });
    assert_eq!(next(&framing, &[0x80; 10]), no_end);
    assert_eq!(next(&framing, &[0x80; 11]), no_end);
    assert_eq!(next(&framing, &[0x80; 9]), Ok(Step::Need(10)));
    let mut bytes = [0x80; 10];
    bytes[9] = 1;
    assert_eq!(next(&framing, &bytes), too_long(1 << 63, 8_388_608));
    bytes[9] = 2;
    assert_eq!(next(&framing, &bytes), overflow(u64::MAX, 0));
    bytes[9] = 0x82;
    assert_eq!(next(&framing, &bytes), no_end);
    // The excessive length is known before the last byte.
    assert_eq!(next(&framing, &[0x80, 0x80, 0x80, 0x84]), Ok(Step::Need(5)));
    assert_eq!(next(&framing, &[0x81, 0x80, 0x80, 0x84]), too_long(8_388_609, 8_388_608));
    assert_eq!(next(&framing, &[0xff; 4]), too_long(268_435_455, 8_388_608));
}

#[test]
fn an_adjusted_varint() {
    let framing = built(|b| b.varint().length_adjustment(-1));
    assert_eq!(encode(&framing, b"ab").unwrap(), b"\x03ab");
    assert_eq!(next(&framing, b"\x03ab"), frame(1..3));
    assert_eq!(next(&framing, &[0]), too_short(0, 1));
}

#[test]
fn limits_the_field_cannot_express_are_refused() {
    let error = |value, must| ConfigError::OutOfRange { field: "max_message", value, must };
    let express = "within what the length field can express";
    assert_eq!(built(|b| b.length_field_length(2)).max_message(), 65_535);
    assert_eq!(built(|b| b.length_field_length(3)).max_message(), 8_388_608);
    assert_eq!(refused(|b| b.length_field_length(2).max_frame_length(65_536)), error(65_536, express));
    assert_eq!(refused(|b| b.length_field_length(1).length_adjustment(-300)), error(0, express));
    assert_eq!(
        refused(|b| b.length_adjustment(5).max_frame_length(4)),
        error(4, "at least the length adjustment")
    );
    assert_eq!(
        refused(|b| b.num_skip(1).max_frame_length(2)),
        error(2, "at least the bytes of the header that are kept")
    );
    let space = "less than the address space less a header";
    assert_eq!(refused(|b| b.varint().max_frame_length(usize::MAX)), error(usize::MAX as u64, space));

    let mut framing = built(|b| b.length_field_length(2));
    assert_eq!(framing.set_max_message(65_536), Err(error(65_536, express)));
    assert_eq!(framing.max_message(), 65_535);
    assert_eq!(framing.set_max_message(10), Ok(()));
    assert_eq!(next(&framing, &[0, 11]), too_long(11, 10));
    assert_eq!(LengthPrefixed::new().with_max_message(7).unwrap().max_message(), 7);
}

#[test]
fn headers_that_cannot_be() {
    for value in [0, 9] {
        let error = refused(|b| b.length_field_length(value as usize));
        assert_eq!(error, ConfigError::OutOfRange { field: "length_field_length", value, must: "1 to 8" });
    }
    let must = "within a header of 65535 bytes";
    let error = |field, value| ConfigError::OutOfRange { field, value, must };
    assert_eq!(refused(|b| b.length_field_offset(65_532)), error("length_field_offset", 65_532));
    assert_eq!(refused(|b| b.header_prefix(&[0; 65_532])), error("header_prefix", 65_532));
    assert_eq!(refused(|b| b.num_skip(65_536)), error("num_skip", 65_536));
    built(|b| b.length_field_offset(65_531));
    let why = "a varint is always skipped whole";
    assert_eq!(refused(|b| b.varint().num_skip(0)), ConfigError::Conflict { field: "num_skip", why });
}

#[test]
fn only_plain_messages() {
    let mut out = vec![9];
    let error = LengthPrefixed::new().begin(&mut out, &Meta::new(Kind::Reply, 1), &[]);
    assert_eq!(error, Err(EncodeError::Unsupported { what: "anything but casts" }));
    assert_eq!(out, [9]);
}

#[test]
fn a_stream_may_not_end_inside_a_frame() {
    let cut = |unread: &[u8]| LengthPrefixed::new().end_of_stream(unread);
    assert_eq!(cut(&[]), Ok(()));
    assert_eq!(cut(&[0]), Err(FrameError::Truncated { have: 1, need: 4 }));
    assert_eq!(cut(&[0, 0, 0, 2, 7]), Err(FrameError::Truncated { have: 5, need: 6 }));
}
