//! Checks `docs/protocol.md`: its example bytes are decoded, compared with the page's description, and
//! encoded again.

use std::time::Duration;

use bowline_core::frame::native::{Credit, Extensions, Hello, Native, Window, parse_extensions};
use bowline_core::frame::{Class, Framing, Kind, Meta, Step};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts of the fenced blocks with this mark.
fn blocks(page: &str, mark: &str) -> Vec<String> {
    let open = format!("```{mark}\n");
    let texts = page.split(&open).skip(1);
    texts.map(|rest| rest.split_once("\n```").expect("a block has an end").0.to_owned()).collect()
}

/// The bytes at the beginning of a line: pairs of hex digits up to the first double space.
fn hex(line: &str) -> Vec<u8> {
    let digits = line.split("  ").next().unwrap_or_default();
    let byte = |pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} in {line:?}"));
    digits.split_whitespace().map(byte).collect()
}

const NAMES: [(&str, Kind); 18] = [
    ("hello", Kind::Hello),
    ("request", Kind::Request),
    ("reply", Kind::Reply),
    ("error reply", Kind::ErrorReply),
    ("cast", Kind::Cast),
    ("cancel", Kind::Cancel),
    ("ping", Kind::Ping),
    ("pong", Kind::Pong),
    ("go-away", Kind::GoAway),
    ("ack", Kind::Ack),
    ("resume", Kind::Resume),
    ("credit", Kind::Credit),
    ("fragment", Kind::Fragment),
    ("abort", Kind::Abort),
    ("challenge", Kind::Challenge),
    ("credentials", Kind::Credentials),
    ("accepted", Kind::Accepted),
    ("refused", Kind::Refused),
];

fn class(name: &str) -> Class {
    match name {
        "control" => Class::Control,
        "normal" => Class::Normal,
        "bulk" => Class::Bulk,
        other => panic!("class {other:?}"),
    }
}

/// A block's description of its frame, and its bytes.
#[derive(Debug)]
struct Worked {
    meta: Meta,
    extensions: Vec<u8>,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

fn number<T: TryFrom<u64>>(value: &str) -> T {
    let number: u64 = value.parse().unwrap_or_else(|_| panic!("{value:?} is no number"));
    T::try_from(number).unwrap_or_else(|_| panic!("{value} is too large"))
}

impl Worked {
    fn parse(block: &str) -> Self {
        let (fields, bytes) = block.split_once("\n---\n").expect("fields, a line, bytes");
        let (mut meta, mut extensions, mut hello) = (Meta::default(), Extensions::new(), Hello::new());
        let mut body = Vec::new();
        for line in fields.lines() {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            match name {
                "kind" => meta.kind = NAMES.iter().find(|(name, _)| *name == value).expect("a kind").1,
                "class" => meta.class = class(value),
                "attempt" => meta.attempt = number(value),
                "id" => meta.id = number(value),
                "method" => meta.method = number(value),
                "remaining_ms" => meta.remaining_ms = Some(number(value)),
                "status" => meta.status = number(value),
                "retry_after_ms" => meta.retry_after_ms = Some(number(value)),
                "extension" => {
                    let (kind, value) = value.split_once(' ').unwrap_or((value, ""));
                    extensions.push(number(kind), value.as_bytes()).unwrap();
                }
                "body" => body = value.as_bytes().to_vec(),
                "bytes" => body = hex(value),
                "credit" => {
                    let parts: Vec<&str> = value.split(' ').collect();
                    let credit = Credit::new(class(parts[0]), number(parts[1]), number(parts[2]));
                    body = credit.to_bytes().to_vec();
                    assert_eq!(Credit::decode(&body), Ok(credit));
                }
                "window_normal" => hello.normal = Window::open(number(value)),
                "window_bulk" => hello.bulk = Window::open(number(value)),
                "version_min" => hello.version_min = number(value),
                "version_max" => hello.version_max = number(value),
                "max_message" => hello.max_message = number(value),
                "max_in_flight" => hello.max_in_flight = number(value),
                "heartbeat_ms" => hello.heartbeat = Duration::from_millis(number(value)),
                "dead_after_ms" => hello.dead_after = Duration::from_millis(number(value)),
                "features" => hello.features = number(value),
                "required" => hello.required = number(value),
                other => panic!("no such field: {other}"),
            }
        }
        if meta.kind == Kind::Hello {
            hello.encode(&mut body);
            assert_eq!(Hello::decode(&body), Ok(hello));
        }
        Self { meta, extensions: extensions.into_bytes(), body, bytes: bytes.lines().flat_map(hex).collect() }
    }

    fn encode(&self) -> Vec<u8> {
        let native = Native::new();
        let mut out = Vec::new();
        let mark = native.begin(&mut out, &self.meta, &self.extensions).unwrap();
        out.extend_from_slice(&self.body);
        native.finish(&mut out, mark, 0).unwrap();
        out
    }
}

/// A decoder that has read a hello.
fn open() -> Native {
    let mut native = Native::new();
    let (meta, mut body) = (Meta { class: Class::Control, ..Meta::new(Kind::Hello, 0) }, Vec::new());
    Hello::new().encode(&mut body);
    let hello = Worked { meta, extensions: Vec::new(), body, bytes: Vec::new() }.encode();
    assert!(matches!(native.next_frame(&hello), Ok(Step::Frame { consumed: 64, .. })));
    native
}

fn worked() -> Vec<Worked> {
    blocks(&page(), "frame").iter().map(|block| Worked::parse(block)).collect()
}

#[test]
fn every_kind_is_worked_out() {
    let worked = worked();
    for (name, kind) in NAMES {
        assert!(worked.iter().any(|frame| frame.meta.kind == kind), "no bytes for {name}");
    }
    assert_eq!(worked[0].meta.kind, Kind::Hello, "a stream begins with a hello");
}

#[test]
fn worked_frames_are_encoded_to_the_bytes_on_the_page() {
    for frame in worked() {
        assert_eq!(frame.encode(), frame.bytes, "{frame:?}");
    }
}

#[test]
fn worked_bytes_are_decoded_to_the_fields_on_the_page() {
    let worked = worked();
    let stream: Vec<u8> = worked.iter().flat_map(|frame| frame.bytes.clone()).collect();
    let (mut native, mut at) = (Native::new(), 0);
    for frame in &worked {
        let unread = &stream[at..];
        let Ok(Step::Frame { meta, extensions, body, consumed }) = native.next_frame(unread) else {
            panic!("{frame:?}");
        };
        assert_eq!(meta, frame.meta);
        assert_eq!(unread[extensions.clone()], frame.extensions);
        assert_eq!(unread[body], frame.body, "{frame:?}");
        assert_eq!(consumed, frame.bytes.len(), "{frame:?}");
        assert!(parse_extensions(&unread[extensions]).all(|extension| extension.is_ok()));
        at += consumed;
    }
    assert_eq!(at, stream.len());
    assert_eq!(native.end_of_stream(&stream[at..]), Ok(()));
}

#[test]
fn what_the_page_says_is_refused_is_refused_there_and_in_those_words() {
    let blocks = blocks(&page(), "refused");
    let lines: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
    assert!(lines.len() > 20, "the block is there");
    for line in lines {
        let (when, rest) = line.split_once(": ").expect("when: bytes => words");
        let (bytes, words) = rest.split_once("=> ").expect("when: bytes => words");
        let bytes = hex(bytes.trim_end());
        let fresh = || match when {
            "first" => Native::new(),
            "then" => open(),
            other => panic!("{other:?}"),
        };
        let error = fresh().next_frame(&bytes).expect_err(line);
        assert_eq!(error.to_string(), words, "{line}");
        let sooner = fresh().next_frame(&bytes[..bytes.len() - 1]);
        assert!(matches!(sooner, Ok(Step::Need(_))), "{line}: {sooner:?}");
    }
}

#[test]
fn the_table_of_statuses_has_the_numbers_of_the_code() {
    use bowline_core::error::Status;
    let page = page();
    let named = [
        (Status::FAILED, "failed"),
        (Status::NO_HANDLER, "no handler"),
        (Status::BUSY, "busy"),
        (Status::DEADLINE_EXCEEDED, "deadline exceeded"),
        (Status::PANICKED, "panicked"),
        (Status::SHUTTING_DOWN, "shutting down"),
        (Status::REPLY_TOO_LARGE, "reply too large"),
        (Status::NO_ANSWER, "no answer"),
        (Status::NO_METHOD, "no method"),
    ];
    for (status, name) in named {
        let row = format!("| {} | {name} | ", status.0);
        let line = page.lines().find(|line| line.starts_with(&row)).expect(&row);
        assert_eq!(status.is_retryable(), line.ends_with("| **no** |"), "{line}");
    }
    assert!(page.contains(&format!("| {}–65535 | | the application's own |", Status::APPLICATION.0)));
}
