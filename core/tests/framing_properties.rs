//! Properties of every framing, for any bytes and any fragmentation.
//!
//! A framing is added by one line in the list at the end.

use std::ops::Range;

use bowline_core::error::{EncodeError, FrameError};
use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::frame::native::Native;
use bowline_core::frame::raw::Raw;
use bowline_core::frame::tcpstream::Tcpstream;
use bowline_core::frame::{Calls, Class, Framing, Kind, Meta, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

type Checked = Result<(), TestCaseError>;

/// A framing under test.
struct Subject<F> {
    framing: F,
    /// The most bytes a frame has besides its body.
    longest_header: usize,
    /// How many bytes of the header are received in front of the body.
    kept: usize,
    /// The shortest body it can send.
    shortest_body: usize,
}

impl<F: Framing> Subject<F> {
    fn new(framing: F, longest_header: usize) -> Self {
        Self { framing, longest_header, kept: 0, shortest_body: 0 }
    }

    fn keeping_header(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self
    }

    fn bodies_from(mut self, bytes: usize) -> Self {
        self.shortest_body = bytes;
        self
    }

    /// A value that is ready for messages: past the hello, if there is one.
    fn reader(&self) -> F {
        let mut framing = self.framing.clone();
        if framing.profile().handshake {
            let mut hello = Vec::new();
            let mark = framing.begin(&mut hello, &Meta::new(Kind::Hello, 0), &[]).unwrap();
            framing.finish(&mut hello, mark, 0).unwrap();
            let Ok(Step::Frame { consumed, .. }) = framing.next_frame(&hello) else { panic!("no hello") };
            assert_eq!(consumed, hello.len());
        }
        framing
    }

    fn encode(&self, out: &mut Vec<u8>, message: &Message) -> Result<(), EncodeError> {
        let mark = self.framing.begin(out, &message.meta, &[])?;
        out.extend_from_slice(&message.body);
        self.framing.finish(out, mark, 0)
    }

    fn encode_all(&self, messages: &[Message]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            self.encode(&mut out, message).unwrap();
        }
        out
    }

    /// The message that `draft` stands for in this framing.
    fn message(&self, draft: &Draft) -> Message {
        let kinds: &[Kind] = match self.framing.profile().calls {
            Calls::ByKind => &[
                Kind::Request,
                Kind::Reply,
                Kind::ErrorReply,
                Kind::Cast,
                Kind::Cancel,
                Kind::Ping,
                Kind::Pong,
                Kind::GoAway,
                Kind::Ack,
                Kind::Fragment,
                Kind::Abort,
            ],
            Calls::ByRange => &[Kind::Request, Kind::Reply, Kind::Cast, Kind::Numbered],
            _ => &[Kind::Cast],
        };
        let Draft { kind, all, len, fill } = draft;
        let kind = *kind.get(kinds);
        let calls = self.framing.profile().calls;
        let by_kind = calls == Calls::ByKind;
        // Only what a frame of this kind is documented to say.
        let meta = match kind {
            _ if calls == Calls::None => Meta::new(kind, 0),
            _ if !by_kind => {
                Meta { class: Class::Normal, kind, id: all.id, method: all.method, ..Meta::default() }
            }
            Kind::Request => Meta { kind, status: 0, retry_after_ms: None, ..*all },
            Kind::ErrorReply => Meta { kind, attempt: 0, method: 0, remaining_ms: None, ..*all },
            Kind::Cast => Meta { class: all.class, method: all.method, ..Meta::new(kind, 0) },
            Kind::GoAway => Meta { class: all.class, status: all.status, ..Meta::new(kind, all.id) },
            // Parts of a user's message, which is never in the control class.
            Kind::Fragment | Kind::Abort if all.class == Class::Control => Meta::new(kind, all.id),
            _ => Meta { class: all.class, ..Meta::new(kind, all.id) },
        };
        let longest = match kind {
            Kind::Cancel | Kind::Ping | Kind::Pong | Kind::Ack | Kind::Abort => 0,
            Kind::GoAway => 1024,
            Kind::Fragment => 65_536,
            _ => self.framing.max_message() - self.kept,
        };
        let shortest = if kind == Kind::Fragment { 1 } else { self.shortest_body };
        let len = (*len).min(longest).max(shortest);
        let body = (0..len).map(|at| (at as u8).wrapping_mul(*fill).wrapping_add(*fill)).collect();
        Message { meta, body }
    }

    /// The part of `meta` that the other side sees.
    fn received_meta(&self, meta: &Meta) -> Meta {
        match self.framing.profile().calls {
            Calls::ByKind => *meta,
            Calls::ByRange => Meta { method: meta.method, ..Meta::new(Kind::Numbered, meta.id) },
            _ => Meta::default(),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Message {
    meta: Meta,
    body: Vec<u8>,
}

/// A message before it is known what the framing can carry.
#[derive(Clone, Debug)]
struct Draft {
    kind: Index,
    all: Meta,
    len: usize,
    fill: u8,
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let id = prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()];
    let method = prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    let class = prop_oneof![Just(Class::Control), Just(Class::Normal), Just(Class::Bulk)];
    let ms = || proptest::option::of(0..u32::MAX);
    let meta = (id, method, class, 1..=u8::MAX, any::<u16>(), ms(), ms()).prop_map(
        |(id, method, class, attempt, status, remaining_ms, retry_after_ms)| Meta {
            kind: Kind::Cast,
            class,
            attempt,
            id,
            method,
            remaining_ms,
            status,
            retry_after_ms,
        },
    );
    // Around the places where variable-length numbers grow by a byte, and between.
    let len = prop_oneof![0..3_usize, 62..66_usize, 125..131_usize, 254..258_usize, 0..600_usize];
    let draft = (any::<Index>(), meta, len, any::<u8>());
    vec(draft.prop_map(|(kind, all, len, fill)| Draft { kind, all, len, fill }), 0..8)
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

/// The ends of the pieces that `bytes` come in.
fn ends(len: usize, cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    ends
}

/// The result of decoding a stream.
#[derive(Debug)]
struct Read {
    frames: Vec<(Meta, Vec<u8>, Vec<u8>)>,
    error: Option<FrameError>,
}

impl Read {
    fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|(_, _, body)| body.iter().copied()).collect()
    }
}

/// Reads `bytes`, which come in pieces with these `ends`, and checks every step. With `patient`
/// the framing is not asked again before there are as many bytes as it needs.
fn read<F: Framing>(
    subject: &Subject<F>,
    bytes: &[u8],
    ends: &[usize],
    patient: bool,
) -> Result<Read, TestCaseError> {
    let mut framing = subject.reader();
    let most = subject.longest_header + framing.max_message();
    let mut read = Read { frames: Vec::new(), error: None };
    let mut from = 0;
    let mut need = 0;
    for &end in ends {
        loop {
            let unread = &bytes[from..end];
            if patient && unread.len() < need {
                break;
            }
            match framing.next_frame(unread) {
                Ok(Step::Need(more)) => {
                    prop_assert!(more > unread.len(), "needs {more} of {}", unread.len());
                    prop_assert!(more <= most, "needs {more}, at most {most} make sense");
                    need = more;
                    break;
                }
                Ok(Step::Frame { meta, extensions, body, consumed }) => {
                    prop_assert!((1..=unread.len()).contains(&consumed), "consumed {consumed}");
                    let inside = |range: &Range<usize>| range.start <= range.end && range.end <= consumed;
                    prop_assert!(inside(&extensions) && inside(&body));
                    prop_assert!(body.len() <= framing.max_message());
                    read.frames.push((meta, unread[extensions].to_vec(), unread[body].to_vec()));
                    from += consumed;
                    need = 0;
                }
                Err(error) => {
                    read.error = Some(error);
                    return Ok(read);
                }
            }
        }
    }
    read.error = framing.end_of_stream(&bytes[from..]).err();
    Ok(read)
}

/// However the bytes are split, the same messages come, and the same stream is refused.
fn splits_do_not_matter<F: Framing>(subject: &Subject<F>, bytes: &[u8], cuts: &[Index]) -> Checked {
    let whole = read(subject, bytes, &[bytes.len()], false)?;
    let one_by_one: Vec<usize> = (0..=bytes.len()).collect();
    for ends in [ends(bytes.len(), cuts), one_by_one] {
        for patient in [false, true] {
            let split = read(subject, bytes, &ends, patient)?;
            if subject.framing.profile().atomic {
                prop_assert_eq!(&split.frames, &whole.frames);
            } else {
                prop_assert_eq!(split.bytes(), whole.bytes());
            }
            prop_assert_eq!(
                split.error.is_some(),
                whole.error.is_some(),
                "{:?} {:?}",
                split.error,
                whole.error
            );
        }
    }
    Ok(())
}

/// Encoded frames can be decoded, and bodies by reference have the same header.
fn encode_then_decode<F: Framing>(subject: &Subject<F>, drafts: &[Draft]) -> Checked {
    let messages: Vec<Message> = drafts.iter().map(|draft| subject.message(draft)).collect();
    let bytes = subject.encode_all(&messages);
    let back = read(subject, &bytes, &[bytes.len()], false)?;
    prop_assert_eq!(&back.error, &None);
    if subject.framing.profile().atomic {
        prop_assert_eq!(back.frames.len(), messages.len());
        for ((meta, extensions, body), message) in back.frames.iter().zip(&messages) {
            prop_assert_eq!(meta, &subject.received_meta(&message.meta));
            prop_assert!(extensions.is_empty());
            prop_assert_eq!(&body[subject.kept..], &message.body[..]);
        }
    } else {
        prop_assert_eq!(
            back.bytes(),
            messages.iter().flat_map(|message| message.body.clone()).collect::<Vec<_>>()
        );
    }

    if subject.framing.profile().external_bodies {
        let mut out = Vec::new();
        for Message { meta, body } in &messages {
            let mark = subject.framing.begin(&mut out, meta, &[]).unwrap();
            let inside = body.len() / 3;
            out.extend_from_slice(&body[..inside]);
            subject.framing.finish(&mut out, mark, body.len() - inside).unwrap();
            out.extend_from_slice(&body[inside..]);
        }
        prop_assert_eq!(out, bytes);
    }
    Ok(())
}

/// A frame that cannot be encoded leaves the output unchanged.
fn refusals_leave_no_trace<F: Framing>(subject: &Subject<F>, drafts: &[Draft], over: usize) -> Checked {
    let mut out = b"before".to_vec();
    for draft in drafts {
        let Message { meta, body } = subject.message(draft);
        if body.is_empty() {
            continue;
        }
        let before = out.clone();
        let mark = subject.framing.begin(&mut out, &meta, &[]).unwrap();
        prop_assert_eq!(mark, before.len());
        out.extend_from_slice(&body);
        // The protocol's own frames have limits of their own.
        let max = match meta.kind {
            Kind::GoAway => 1024,
            Kind::Fragment => 65_536,
            _ => subject.framing.max_message(),
        };
        if max < body.len() {
            out.truncate(before.len());
            continue;
        }
        let len = (max + over) as u64;
        let more = max + over - body.len() - subject.kept;
        if !subject.framing.profile().external_bodies {
            out.resize(out.len() + more, 0);
        }
        let external = if subject.framing.profile().external_bodies { more } else { 0 };
        let refused = subject.framing.finish(&mut out, mark, external);
        prop_assert_eq!(refused, Err(EncodeError::TooLarge { len, max: max as u64 }));
        prop_assert_eq!(&out, &before);

        for kind in [Kind::Hello, Kind::Request, Kind::Reply, Kind::ErrorReply, Kind::Ping, Kind::Numbered] {
            let before = out.clone();
            match subject.framing.begin(&mut out, &Meta { kind, ..meta }, &[1; 70_000]) {
                Ok(mark) => out.truncate(mark),
                Err(_) => prop_assert_eq!(&out, &before),
            }
        }
        subject.encode(&mut out, &Message { meta, body }).unwrap();
    }
    Ok(())
}

/// One change to a stream of whole frames.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Flip(Index, u32),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), 0..8_u32).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Remove),
        any::<Index>().prop_map(Damage::Cut),
    ];
    vec(damage, 1..5)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let len = bytes.len();
        match damage {
            Damage::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            _ if len == 0 => {}
            Damage::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Remove(at) => drop(bytes.remove(at.index(len))),
            Damage::Cut(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}

/// Bytes that look like the beginnings of headers more often than random ones do.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => any::<u8>(),
        3 => Just(0_u8),
        2 => 0..16_u8,
        1 => Just(0x80_u8),
        1 => Just(0xff_u8),
        1 => Just(0xad_u8),
        1 => Just(0x12_u8),
    ];
    vec(byte, 0..80)
}

macro_rules! framings {
    ($($name:ident: $subject:expr;)*) => { $(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn messages_survive_any_split(drafts in drafts(), cuts in cuts()) {
                    let subject = $subject;
                    let messages: Vec<Message> = drafts.iter().map(|draft| subject.message(draft)).collect();
                    splits_do_not_matter(&subject, &subject.encode_all(&messages), &cuts)?;
                }

                #[test]
                fn encoding_then_decoding_is_identity(drafts in drafts()) {
                    encode_then_decode(&$subject, &drafts)?;
                }

                #[test]
                fn hostile_bytes_do_no_harm(bytes in hostile_bytes(), cuts in cuts()) {
                    splits_do_not_matter(&$subject, &bytes, &cuts)?;
                }

                #[test]
                fn damaged_streams_do_no_harm(drafts in drafts(), damages in damages(), cuts in cuts()) {
                    let subject = $subject;
                    let messages: Vec<Message> = drafts.iter().map(|draft| subject.message(draft)).collect();
                    splits_do_not_matter(&subject, &damaged(subject.encode_all(&messages), &damages), &cuts)?;
                }

                #[test]
                fn what_is_refused_leaves_no_trace(drafts in drafts(), over in 1..1000_usize) {
                    refusals_leave_no_trace(&$subject, &drafts, over)?;
                }
            }
        }
    )* };
}

/// A length-prefixed framing with these settings, and all header bytes counted.
macro_rules! prefixed {
    ($header:expr $(, $setting:ident($($value:expr)?))*) => {
        Subject::new(LengthPrefixed::builder()$(.$setting($($value)?))*.build().unwrap(), $header)
    };
}

framings! {
    raw: Subject::new(Raw::new(), 1);
    raw_in_small_pieces: Subject::new(Raw::new().with_chunk(3).unwrap(), 1);
    prefixed_default: Subject::new(LengthPrefixed::new(), 4);
    prefixed_u8: prefixed!(1, length_field_length(1));
    prefixed_u16_little: prefixed!(2, length_field_length(2), little_endian());
    prefixed_u24: prefixed!(3, length_field_length(3), max_frame_length(300));
    prefixed_u40_little: prefixed!(5, length_field_length(5), little_endian());
    prefixed_u64: prefixed!(8, length_field_length(8), max_frame_length(500));
    prefixed_varint: prefixed!(10, varint());
    prefixed_varint_behind: prefixed!(13, varint(), header_prefix(b"abc"), max_frame_length(200));
    prefixed_counting_itself: prefixed!(7, header_prefix(b"abc"), length_adjustment(-7));
    prefixed_counting_less: prefixed!(4, length_adjustment(2)).bodies_from(2);
    prefixed_kept: prefixed!(6, length_field_offset(2), num_skip(1), length_adjustment(-1)).keeping_header(5);
    prefixed_skipping_more: prefixed!(9, num_skip(9), length_field_offset(1));
    buffstreams: Subject::new(Buffstreams::new(), 3);
    buffstreams_2: Subject::new(Buffstreams::new().with_max_message(64).unwrap(), 2);
    buffstreams_4: Subject::new(Buffstreams::new().with_max_message(65_536).unwrap(), 4);
    buffstreams_5: Subject::new(Buffstreams::new().with_max_message(u32::MAX as usize).unwrap(), 5);
    tcpstream: Subject::new(Tcpstream::new(), 18);
    tcpstream_small: Subject::new(Tcpstream::new().with_max_message(100).unwrap(), 18);
    native: Subject::new(Native::new(), 8 + 16 + 2 + 65_535);
}
