//! The recordings of the real programs, replayed through a link in both roles.

use std::path::PathBuf;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::frame::tcpstream::Tcpstream;
use bowline_core::frame::{Framing, Step};
use bowline_core::link::{CallId, CallOptions, CastOptions, Event, Link, Reader, Role};
use bowline_core::machine::{Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

const NOW: Instant = Instant::ZERO;

fn folder(system: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data")).join(system)
}

/// The two joined streams of a recording: from the connecting side, and back.
fn recording(path: &PathBuf) -> (Vec<u8>, Vec<u8>) {
    let text = std::fs::read_to_string(path).expect("a recording");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let chunk: serde_json::Value = serde_json::from_str(line).expect("a chunk");
        let hex = chunk["hex"].as_str().expect("hex").as_bytes();
        let bytes = hex.chunks(2).map(|pair| {
            let digits = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(digits, 16).expect("digits")
        });
        if chunk["dir"] == "c2s" { there.extend(bytes) } else { back.extend(bytes) }
    }
    (there, back)
}

/// Recordings of a system whose names `wanted` picks.
fn recordings(system: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder(system))
        .expect("test data")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .filter(|path| wanted(&path.file_name().expect("a name").to_string_lossy()))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// A message: its Seq, its type, its body.
type Message = (u64, u32, Vec<u8>);

fn messages<F: Framing>(mut framing: F, mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Ok(Step::Frame { meta, body, consumed, .. }) = framing.next_frame(bytes) {
        messages.push((meta.id, meta.method, bytes[body].to_vec()));
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "a whole number of messages");
    messages
}

struct End<F: Framing> {
    link: Link<F, ()>,
    reader: Reader<F>,
    buf: RecvBuf,
    /// The delivered messages, and whether each was a request.
    seen: Vec<(bool, Message)>,
}

impl<F: Framing> End<F> {
    fn new(config: Config<F>, role: Role) -> Self {
        let mut link = Link::new(config, role);
        let reader = link.handle_connected(NOW, Epoch::FIRST);
        let mut end = Self { link, reader, buf: RecvBuf::new(), seen: Vec::new() };
        end.input(&[]);
        end
    }

    fn input(&mut self, bytes: &[u8]) {
        let Self { link, reader, buf, seen } = self;
        // A byte at a time is as good as any other split.
        let pieces: Vec<&[u8]> = if bytes.is_empty() { vec![bytes] } else { bytes.chunks(1).collect() };
        for piece in pieces {
            buf.spare()[..piece.len()].copy_from_slice(piece);
            buf.filled(piece.len());
            let mut access = &mut *link;
            Link::begin_input(reader, &mut access, NOW, piece.len());
            while let Next::Event(event) =
                Link::next_event(reader, &mut access, NOW, buf).expect("good bytes")
            {
                let (is_request, message) = match event {
                    Event::Request(message) => (true, message),
                    Event::Message(message) => (false, message),
                    Event::Burst(run) => {
                        seen.extend(run.map(|m| (false, (m.id(), m.method(), m.body.to_vec()))));
                        continue;
                    }
                    _ => continue,
                };
                seen.push((is_request, (message.id(), message.method(), message.body.to_vec())));
            }
            Link::end_input(reader, &mut access, NOW, buf);
        }
    }

    fn output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(mut batch) = self.link.begin_write(NOW) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let filled = batch.slices(&mut slices);
                let bytes = slices[..filled].concat();
                batch.wrote(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let _more = self.link.end_write(NOW, batch);
        }
        out
    }
}

/// Recordings in which the connecting side makes calls, by name.
fn has_calls(name: &str) -> bool {
    ["call.", "calls3", "types", "empty", "sizes", "reorder", "push", "wrongseq", "timeout"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[test]
fn tcpstream_as_the_connecting_side() {
    for path in recordings("tcpstream", has_calls) {
        let (there, back) = recording(&path);
        let requests = messages(Tcpstream::new(), &there);
        let first = requests[0].0;
        let config = Config::with_framing(Tcpstream::new()).first_call_id(first).build().expect("sound");
        let mut end = End::new(config, Role::Dialing);
        let mut calls: Vec<CallId> = Vec::new();
        for (_, method, body) in &requests {
            let options = CallOptions::new(*method);
            calls.push(end.link.call(NOW, &options, Payload::Borrowed(body), ()).expect("a place"));
        }
        assert_eq!(end.output(), there, "the same bytes as the real program: {}", path.display());

        end.input(&back);
        let mut answered = vec![None; calls.len()];
        let mut late = 0;
        let mut others = Vec::new();
        for (seq, method, body) in messages(Tcpstream::new(), &back) {
            match calls.iter().position(|call| call.get() == seq) {
                Some(index) if answered[index].is_none() => answered[index] = Some((method, body)),
                Some(_) => late += 1,
                // Our own range begins at the recording's first Seq: an unknown Seq above is late.
                None if seq >= first => late += 1,
                None => others.push((seq != 0, (seq, method, body))),
            }
        }
        for (call, answer) in calls.into_iter().zip(answered) {
            let reply = end.link.poll_reply(call, || ());
            match (reply, answer) {
                (Some(Ok(reply)), Some((method, body))) => {
                    assert_eq!((reply.method, &reply[..]), (method, &body[..]), "{}", path.display());
                }
                (None, None) => {}
                other => panic!("{other:?} in {}", path.display()),
            }
        }
        assert_eq!(end.link.counters().late_replies, late, "{}", path.display());
        assert_eq!(end.seen, others, "{}", path.display());
    }
}

#[test]
fn tcpstream_as_the_accepting_side() {
    for path in recordings("tcpstream", |name| has_calls(name) || name.starts_with("stream")) {
        let (there, back) = recording(&path);
        let config = Config::with_framing(Tcpstream::new()).build().expect("sound");
        let mut end = End::new(config, Role::Accepting);
        end.input(&there);
        let expected: Vec<(bool, Message)> =
            messages(Tcpstream::new(), &there).into_iter().map(|message| (message.0 != 0, message)).collect();
        assert_eq!(end.seen, expected, "{}", path.display());
        // Answers by Seq, late ones and pushes alike, in the order of the recording.
        for (seq, method, body) in messages(Tcpstream::new(), &back) {
            let options = CastOptions::new(method).seq(seq);
            let _ = end.link.cast(NOW, &options, Payload::Borrowed(&body)).expect("room");
        }
        assert_eq!(end.output(), back, "the same bytes as the real program: {}", path.display());
    }
}

#[test]
fn tcpstream_plain_streams() {
    for path in recordings("tcpstream", |name| name.starts_with("stream")) {
        let (there, back) = recording(&path);
        let config = Config::with_framing(Tcpstream::new()).build().expect("sound");
        let mut end = End::new(config, Role::Dialing);
        for (seq, method, body) in messages(Tcpstream::new(), &there) {
            let options = CastOptions::new(method).seq(seq);
            let _ = end.link.cast(NOW, &options, Payload::Borrowed(&body)).expect("room");
        }
        assert_eq!(end.output(), there, "{}", path.display());
        end.input(&back);
        let seen: Vec<Message> = end.seen.iter().map(|(_, message)| message.clone()).collect();
        assert_eq!(seen, messages(Tcpstream::new(), &back), "{}", path.display());
    }
}

#[test]
fn buffstreams_as_either_side() {
    for path in recordings("buffstreams", |name| name.contains("_max") && !name.starts_with("reader")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let max: usize = name.split("max").nth(1).expect("a size").parse().expect("a size");
        let (there, _) = recording(&path);
        let config = || Config::with_framing(Buffstreams::new()).max_message(max).build().expect("sound");
        let bodies = messages(config().framing().clone(), &there);
        assert!(!bodies.is_empty());

        let mut writer = End::new(config(), Role::Dialing);
        for (_, _, body) in &bodies {
            let _ = writer.link.cast(NOW, &CastOptions::default(), Payload::Borrowed(body)).expect("room");
        }
        assert_eq!(writer.output(), there, "the same bytes as the real program: {name}");

        let mut listener = End::new(config(), Role::Accepting);
        listener.input(&there);
        let seen: Vec<Message> = listener.seen.into_iter().map(|(_, message)| message).collect();
        assert_eq!(seen, bodies, "{name}");
    }
}
