//! The bytes that the original programs wrote are decoded and encoded again, and the reaction of those
//! programs to invalid headers is compared. `tests/data/*/README.md` names the source of each recording.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bowline_core::error::{EncodeError, FrameError};
use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::frame::tcpstream::{MAX_MESSAGE, Tcpstream};
use bowline_core::frame::{Framing, Kind, Meta, Step};
use serde_json::Value;

fn directory(system: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(system)
}

fn json(system: &str, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory(system).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The two streams of one connection, as the pieces they came in.
struct Recording {
    to_server: Vec<Vec<u8>>,
    to_client: Vec<Vec<u8>>,
}

fn recording(system: &str, name: &str) -> Recording {
    let mut recording = Recording { to_server: Vec::new(), to_client: Vec::new() };
    for line in fs::read_to_string(directory(system).join(name)).unwrap().lines() {
        let chunk: Value = serde_json::from_str(line).unwrap();
        let bytes = hex(chunk["hex"].as_str().unwrap());
        match chunk["dir"].as_str() {
            Some("c2s") => recording.to_server.push(bytes),
            Some("s2c") => recording.to_client.push(bytes),
            other => panic!("{name}: direction {other:?}"),
        }
    }
    recording
}

/// The recordings in a directory, so that none is left out.
fn recordings(system: &str) -> BTreeSet<String> {
    fs::read_dir(directory(system))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect()
}

/// The result of decoding a stream.
#[derive(Debug)]
struct Read {
    frames: Vec<(Meta, Vec<u8>)>,
    /// The bytes of whole frames.
    consumed: Vec<u8>,
    end: Result<(), FrameError>,
}

impl Read {
    fn lengths(&self) -> Vec<usize> {
        self.frames.iter().map(|(_, body)| body.len()).collect()
    }
}

/// Reads a stream in the pieces it came in, to its end.
fn read<F: Framing>(framing: &F, pieces: &[Vec<u8>]) -> Read {
    let mut framing = framing.clone();
    let mut frames = Vec::new();
    let mut bytes = Vec::new();
    let mut from = 0;
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match framing.next_frame(&bytes[from..]) {
                Ok(Step::Need(_)) => break,
                Ok(Step::Frame { meta, body, consumed, .. }) => {
                    frames.push((meta, bytes[from..][body].to_vec()));
                    from += consumed;
                }
                Err(error) => return Read { frames, consumed: bytes[..from].to_vec(), end: Err(error) },
            }
        }
    }
    let end = framing.end_of_stream(&bytes[from..]);
    Read { frames, consumed: bytes[..from].to_vec(), end }
}

fn write<F: Framing>(framing: &F, frames: &[(Meta, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (meta, body) in frames {
        let mark = framing.begin(&mut out, meta, &[]).unwrap();
        out.extend_from_slice(body);
        framing.finish(&mut out, mark, 0).unwrap();
    }
    out
}

mod tcpstream {
    use super::*;

    fn files(entry: &Value) -> Vec<&str> {
        strings(&entry["files"])
    }

    #[test]
    fn every_recording_is_in_the_index() {
        let index = json("tcpstream", "index.json");
        let indexed = index.iter().flat_map(files).map(String::from).collect();
        assert_eq!(recordings("tcpstream"), indexed);
    }

    #[test]
    fn every_recording_is_read_and_written_again() {
        for name in recordings("tcpstream") {
            let Recording { to_server, to_client } = recording("tcpstream", &name);
            for (pieces, hand_made) in [(to_server, name.starts_with("raw_")), (to_client, false)] {
                let read = read(&Tcpstream::new(), &pieces);
                assert_eq!(write(&Tcpstream::new(), &read.frames), read.consumed, "{name}");
                assert!(read.frames.iter().all(|(meta, _)| meta.kind == Kind::Numbered));
                if !hand_made {
                    assert_eq!(read.end, Ok(()), "{name}");
                    assert_eq!(read.consumed, pieces.concat(), "{name}");
                }
            }
        }
    }

    /// The original client printed each reply it took, as
    /// `call "…" type 0: seq 1 type 0 len 11 body "I am server"`.
    #[test]
    fn replies_say_what_the_original_client_saw() {
        let mut seen = 0;
        for entry in json("tcpstream", "index.json") {
            let pieces: Vec<_> =
                files(&entry).iter().map(|name| recording("tcpstream", name).to_client).collect();
            let replies: Vec<_> =
                pieces.iter().flat_map(|pieces| read(&Tcpstream::new(), pieces).frames).collect();
            for line in strings(&entry["client_output"]) {
                let Some((_, reply)) = line.split_once(": seq ") else { continue };
                let known = replies.iter().any(|(meta, body)| {
                    let Meta { id, method, .. } = meta;
                    let text = String::from_utf8_lossy(body);
                    reply == format!("{id} type {method} len {} body {text:?}", body.len())
                });
                assert!(known, "{line}");
                seen += 1;
            }
        }
        assert_eq!(seen, 25);
    }

    #[test]
    fn calls_carry_seq_and_type() {
        let numbers = |name| {
            let read = read(&Tcpstream::new(), &recording("tcpstream", name).to_server);
            read.frames.iter().map(|(meta, _)| (meta.id, meta.method)).collect::<Vec<_>>()
        };
        assert_eq!(numbers("calls3.jsonl"), [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(numbers("types.jsonl"), [(1, 1), (2, 255), (3, 0xdead_beef), (4, u32::MAX)]);
        assert_eq!(numbers("stream.jsonl"), [(0, 0), (0x0102_0304_0506_0708, 0x0a0b_0c0d)]);
        assert_eq!(numbers("raw_seq_max.jsonl"), [(u64::MAX, 0)]);
        let sizes = read(&Tcpstream::new(), &recording("tcpstream", "sizes.jsonl").to_server);
        assert_eq!(sizes.lengths(), [1, 17, 18, 255, 256, 4096, 5000]);
    }

    #[test]
    fn hand_made_streams_end_as_the_original_ended_them() {
        let bad_magic = |found| Err(FrameError::BadMagic { found, expected: 0xad12 });
        let too_long = |value| Err(FrameError::TooLong { field: "length", value, limit: 8_388_608 });
        let truncated = |have, need| Err(FrameError::Truncated { have, need });
        let cases: [(&str, &[&str], Result<(), FrameError>); 9] = [
            ("raw_bad_magic", &[], bad_magic(0x12ad)),
            ("raw_bad_magic_second", &["ok"], bad_magic(0xad13)),
            ("raw_len_over_max", &[], too_long(8_388_609)),
            ("raw_len_u32_max", &[], too_long(0xffff_ffff)),
            // Accepted: the rest of the body is waited for.
            ("raw_len_max_header_only", &[], truncated(18, 18 + MAX_MESSAGE as u64)),
            ("raw_split_header", &["hello"], Ok(())),
            ("raw_two_in_one", &["one", "two"], Ok(())),
            ("raw_seq_max", &["x"], Ok(())),
            ("raw_truncated", &[], truncated(21, 28)),
        ];
        for (name, bodies, end) in &cases {
            let read = read(&Tcpstream::new(), &recording("tcpstream", &format!("{name}.jsonl")).to_server);
            let read_bodies: Vec<_> =
                read.frames.iter().map(|(_, body)| str::from_utf8(body).unwrap()).collect();
            assert_eq!((&read_bodies[..], &read.end), (*bodies, end), "{name}");
        }
        let all = recordings("tcpstream").iter().filter(|name| name.starts_with("raw_")).count();
        assert_eq!(all, cases.len());
    }
}

mod buffstreams {
    use super::*;

    fn with_max(max: &Value) -> Buffstreams {
        Buffstreams::new().with_max_message(number(max)).unwrap()
    }

    fn index() -> Vec<Value> {
        json("buffstreams", "index.json")
    }

    fn file(entry: &Value) -> &str {
        entry["file"].as_str().unwrap()
    }

    #[test]
    fn every_recording_is_in_the_index() {
        let indexed = index().iter().map(file).map(String::from).collect();
        assert_eq!(recordings("buffstreams"), indexed);
    }

    #[test]
    fn every_written_stream_is_read_and_written_again() {
        let mut streams = 0;
        for entry in index() {
            let Some(lengths) = entry["lengths_sent"].as_array() else { continue };
            streams += 1;
            let framing = with_max(&entry["max"]);
            assert_eq!(framing.header_width(), number(&entry["header_width"]), "{entry}");
            let Recording { to_server, to_client } = recording("buffstreams", file(&entry));
            let read = read(&framing, &to_server);
            assert_eq!(read.end, Ok(()), "{entry}");
            assert_eq!(read.lengths(), lengths.iter().map(number).collect::<Vec<_>>(), "{entry}");
            for (_, body) in &read.frames {
                assert!(body.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % 251), "{entry}");
            }
            assert!(write(&framing, &read.frames) == to_server.concat(), "{entry}");
            assert!(to_client.concat().is_empty(), "the listener never answers");
        }
        assert_eq!(streams, 14);
    }

    #[test]
    fn every_header_is_the_originals_or_refused() {
        let cases = json("buffstreams", "headers.json");
        assert_eq!(cases.len(), 178);
        for case in cases {
            let (max, len) = (number(&case["max"]), number(&case["len"]));
            let mut framing = with_max(&case["max"]);
            let width = number(&case["width"]);
            assert_eq!(framing.header_width(), width, "{case}");

            let mut out = Vec::new();
            let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
            let written = framing.finish(&mut out, mark, len);
            let header = hex(case["header"].as_str().unwrap());
            if len <= max {
                assert_eq!(written, Ok(()), "{case}");
                assert_eq!(out, header, "{case}");
                header_is_read_as(&mut framing, &header, len);
                // v1 drops messages of no bytes.
                let v1_drops = len == 0 && case["version"] == "1.0.0";
                let listener = if v1_drops { "not delivered".into() } else { format!("got {len} true") };
                assert_eq!(case["listener"], listener, "{case}");
                continue;
            }
            // The original sends it all the same, or panics where the header has no room.
            let (len, max) = (len as u64, max as u64);
            assert_eq!(written, Err(EncodeError::TooLarge { len, max }), "{case}");
            assert!(out.is_empty(), "{case}");
            if header.is_empty() {
                assert!(case["writer"].as_str().unwrap().contains("panic"), "{case}");
            } else {
                let error = FrameError::TooLong { field: "length", value: len, limit: max };
                assert_eq!(framing.next_frame(&header), Err(error), "{case}");
                assert!(case["listener"].as_str().unwrap().contains("panic"), "{case}");
            }
        }
    }

    fn header_is_read_as(framing: &mut Buffstreams, header: &[u8], len: usize) {
        let end = header.len() + len;
        match framing.next_frame(header) {
            Ok(Step::Need(need)) => assert!(len > 0 && need == end),
            Ok(Step::Frame { body, consumed, .. }) => assert_eq!((len, body, consumed), (0, end..end, end)),
            Err(error) => panic!("{header:?}: {error}"),
        }
    }

    #[test]
    fn hand_made_headers_are_judged_as_by_version_2_without_its_crashes() {
        let too_long = |value, limit| Err(FrameError::TooLong { field: "length", value, limit });
        let negative = |value| Err(FrameError::NegativeLength { field: "length", value });
        let no_end = |limit| Err(FrameError::UnterminatedVarint { field: "length", limit });
        let truncated = |have, need| Err(FrameError::Truncated { have, need });
        let cases: [(&str, &[usize], Result<(), FrameError>); 18] = [
            ("len_256_over_max", &[], too_long(256, 255)),
            ("len_8191", &[], too_long(8191, 255)),
            ("len_255", &[255, 3], Ok(())),
            ("negative_1", &[], negative(-1)),
            ("negative_64", &[], negative(-64)),
            ("no_terminator", &[], no_end(2)),
            ("no_terminator_ff", &[], no_end(2)),
            ("noncanonical_zero", &[0, 3], Ok(())),
            ("noncanonical_one", &[1, 3], Ok(())),
            ("nonzero_padding", &[1, 3], Ok(())),
            ("zero", &[0, 3], Ok(())),
            ("len_4097_over_max", &[], too_long(4097, 4096)),
            ("no_terminator3", &[], no_end(3)),
            // Out of step: two messages of wrong bytes, then the middle of a message as a header.
            ("two_byte_header_sent", &[1, 0], negative(-1)),
            ("padding_garbage", &[1, 3], Ok(())),
            ("max_value", &[], negative(-1_048_576)),
            ("cut_in_header", &[], truncated(1, 4)),
            ("cut_in_body", &[], truncated(6, 13)),
        ];
        let hand_made: Vec<_> = index().into_iter().filter(|entry| entry["name"].is_string()).collect();
        assert_eq!(hand_made.len(), 2 * cases.len());
        for entry in hand_made {
            let name = entry["name"].as_str().unwrap();
            let (_, lengths, end) = cases.iter().find(|(case, ..)| *case == name).unwrap();
            let framing = with_max(&entry["max"]);
            let pieces = recording("buffstreams", file(&entry)).to_server;
            assert!(pieces.concat().starts_with(&hex(entry["sent_header"].as_str().unwrap())), "{name}");
            let read = read(&framing, &pieces);
            assert_eq!((&read.lengths()[..], &read.end), (*lengths, end), "{name}");
            if entry["version"] == "2.0.0" {
                let delivered: Vec<_> = strings(&entry["delivered"])
                    .iter()
                    .map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
                    .collect();
                assert_eq!(&delivered[..], *lengths, "{name}");
            }
        }
    }
}
