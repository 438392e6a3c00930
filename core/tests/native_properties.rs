//! Properties of the native framing, for every frame and for any bytes.
//!
//! `framing_properties.rs` checks the properties of all framings; this file covers extensions, hellos, and
//! the numeric limits of this protocol.

use std::time::Duration;

use bowline_core::frame::native::{Credit, Extensions, Hello, MIN_WINDOW, Native, Window, parse_extensions};
use bowline_core::frame::{Class, Framing, Kind, Meta, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Small, so that the limit is met by chance.
const MAX: usize = 300;
/// The first 8 bytes and the longest fixed fields.
const HEADER: usize = 8 + 16;
/// The longest extensions and their length.
const EXTENSIONS: usize = 2 + 65_535;

#[derive(Clone, PartialEq, Debug)]
struct Frame {
    meta: Meta,
    extensions: Vec<u8>,
    body: Vec<u8>,
}

fn native() -> Native {
    let mut native = Native::new();
    native.set_max_message(MAX).unwrap();
    native
}

fn encode(out: &mut Vec<u8>, frame: &Frame) {
    let native = native();
    let mark = native.begin(out, &frame.meta, &frame.extensions).unwrap();
    out.extend_from_slice(&frame.body);
    native.finish(out, mark, 0).unwrap();
}

/// A connection's beginning.
fn hello(out: &mut Vec<u8>, hello: &Hello) {
    let mut body = Vec::new();
    hello.encode(&mut body);
    encode(out, &Frame { meta: Meta::new(Kind::Hello, 0), extensions: Vec::new(), body });
}

/// A hello and these frames.
fn stream(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    hello(&mut out, &Hello::new());
    frames.iter().for_each(|frame| encode(&mut out, frame));
    out
}

fn extensions() -> impl Strategy<Value = Vec<u8>> {
    let one = (any::<u16>(), vec(any::<u8>(), 0..20));
    let few = vec(one, 0..4).prop_map(|all| {
        let mut extensions = Extensions::new();
        all.iter().for_each(|(kind, value)| extensions.push(*kind, value).unwrap());
        extensions.into_bytes()
    });
    prop_oneof![2 => Just(Vec::new()), 3 => few]
}

/// Any frame that can be sent: every kind, with each field that travels with it.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let kinds = [
        Kind::Request,
        Kind::Reply,
        Kind::ErrorReply,
        Kind::Cast,
        Kind::Cancel,
        Kind::Ping,
        Kind::Pong,
        Kind::GoAway,
        Kind::Ack,
        Kind::Resume,
        Kind::Credit,
        Kind::Fragment,
        Kind::Abort,
        Kind::Challenge,
        Kind::Credentials,
        Kind::Accepted,
        Kind::Refused,
    ];
    let class = select(vec![Class::Control, Class::Normal, Class::Bulk]);
    let id = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    let ms = || proptest::option::of(prop_oneof![Just(0), Just(u32::MAX - 1), 0..u32::MAX]);
    let len = prop_oneof![Just(0), Just(MAX), 0..=MAX];
    let all = (
        (select(kinds.to_vec()), class, 1..=u8::MAX, id, any::<u32>()),
        (ms(), any::<u16>(), ms()),
        (extensions(), len, any::<u8>()),
    );
    let frame = all.prop_map(|((kind, class, attempt, id, method), (remaining, status, retry), rest)| {
        let (extensions, len, fill) = rest;
        let meta = Meta { class, ..Meta::new(kind, id) };
        let meta = match kind {
            Kind::Request => Meta { attempt, method, remaining_ms: remaining, ..meta },
            Kind::ErrorReply => Meta { status, retry_after_ms: retry, ..meta },
            Kind::Cast => Meta { id: 0, method, ..meta },
            Kind::GoAway => Meta { status, ..meta },
            _ => meta,
        };
        let meta = match kind {
            // Parts of a user's message.
            Kind::Fragment | Kind::Abort if class == Class::Control => Meta { class: Class::Bulk, ..meta },
            Kind::Credit | Kind::Resume => Meta { id: 0, ..meta },
            Kind::Challenge | Kind::Credentials | Kind::Accepted | Kind::Refused => Meta { id: 0, ..meta },
            _ => meta,
        };
        let (extensions, len) = match kind {
            Kind::Cancel | Kind::Ping | Kind::Pong | Kind::Ack | Kind::Abort => (Vec::new(), 0),
            Kind::Resume => (Vec::new(), 32),
            Kind::Challenge => (Vec::new(), len.min(64)),
            Kind::Credentials => (Vec::new(), len.min(4096)),
            Kind::Accepted => (Vec::new(), len.clamp(4, 1024)),
            Kind::Refused => (Vec::new(), len.clamp(8, 1024)),
            Kind::Credit => (Vec::new(), 20),
            Kind::Fragment => (Vec::new(), len.max(1)),
            _ => (extensions, len),
        };
        Frame { meta, extensions, body: vec![fill; len] }
    });
    vec(frame, 0..6)
}

/// Reads pieces of `bytes` that end at `ends`; the frames after the hello, and whether all was
/// well. Checks the bounds of every step on the way.
fn read(bytes: &[u8], ends: &[usize]) -> Result<(Vec<Frame>, bool), TestCaseError> {
    let mut native = native();
    let (mut frames, mut at, mut past_hello) = (Vec::new(), 0, false);
    for &end in ends {
        loop {
            let unread = &bytes[at..end];
            match native.next_frame(unread) {
                Ok(Step::Need(need)) => {
                    let most = if past_hello { HEADER + EXTENSIONS + MAX.max(4096) } else { 8 + 1024 };
                    prop_assert!(need > unread.len(), "needs {need} of {}", unread.len());
                    prop_assert!(need <= most, "needs {need} of at most {most}");
                    break;
                }
                Ok(Step::Frame { meta, extensions, body, consumed }) => {
                    prop_assert!(extensions.start <= extensions.end && extensions.end <= body.start);
                    prop_assert!(body.end == consumed && body.len() <= MAX.max(4096));
                    for extension in parse_extensions(&unread[extensions.clone()]) {
                        prop_assert!(extension.is_ok(), "checked with the frame: {extension:?}");
                    }
                    let (extensions, body) = (unread[extensions].to_vec(), unread[body].to_vec());
                    if past_hello {
                        frames.push(Frame { meta, extensions, body });
                    } else {
                        prop_assert_eq!(meta.kind, Kind::Hello);
                        // Whatever it says, it is read or refused.
                        let _ = Hello::decode(&body).map(|theirs| Hello::new().agree(&theirs));
                    }
                    past_hello = true;
                    at += consumed;
                }
                Err(_) => return Ok((frames, false)),
            }
        }
    }
    Ok((frames, native.end_of_stream(&bytes[at..]).is_ok()))
}

fn ends(len: usize, cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    ends
}

/// Bytes that get past the first checks more often than random ones do.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => any::<u8>(), 4 => Just(0_u8), 4 => 0..10_u8, 1 => Just(0xff_u8)];
    vec(byte, 0..120)
}

fn hellos() -> impl Strategy<Value = Hello> {
    let ms = || prop_oneof![Just(0), Just(1), any::<u32>()];
    let limit = || prop_oneof![Just(0), Just(1), any::<u32>()];
    let window = || {
        let size = prop_oneof![Just(0), Just(MIN_WINDOW), any::<u32>()];
        (size, any::<u32>()).prop_map(|(size, credit)| Window { size, credit })
    };
    ((0..4_u8, 0..4_u8), (limit(), limit()), (ms(), ms()), (0..8_u64, 0..8_u64), (window(), window()))
        .prop_map(
            |(
                (version_min, version_max),
                (max_message, max_in_flight),
                (heartbeat, dead_after),
                (features, required),
                (normal, bulk),
            )| {
                let mut hello = Hello::new();
                (hello.version_min, hello.version_max) = (version_min, version_max);
                (hello.max_message, hello.max_in_flight) = (max_message, max_in_flight);
                hello.heartbeat = Duration::from_millis(heartbeat.into());
                hello.dead_after = Duration::from_millis(dead_after.into());
                (hello.features, hello.required) = (features, required);
                (hello.normal, hello.bulk) = (normal, bulk);
                hello
            },
        )
}

proptest! {
    #[test]
    fn frames_come_back_as_they_went_however_they_are_split(
        frames in frames(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let bytes = stream(&frames);
        prop_assert_eq!(&read(&bytes, &[bytes.len()])?, &(frames.clone(), true));
        prop_assert_eq!(&read(&bytes, &ends(bytes.len(), &cuts))?, &(frames.clone(), true));
        let every: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(&read(&bytes, &every)?, &(frames, true));
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in plausible(), cuts in vec(any::<Index>(), 0..6)) {
        // As the beginning of a connection, and after a hello.
        for prefix in [Vec::new(), stream(&[])] {
            let all = [prefix, bytes.clone()].concat();
            let whole = read(&all, &[all.len()])?;
            prop_assert_eq!(&read(&all, &ends(all.len(), &cuts))?, &whole);
        }
    }

    #[test]
    fn any_flipped_bit_does_no_harm(frames in frames(), at in any::<Index>(), bit in 0..8_u32) {
        let mut bytes = stream(&frames);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let whole = read(&bytes, &[bytes.len()])?;
        let every: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(&read(&bytes, &every)?, &whole);
        // The bytes before it are unchanged.
        let sound = (0..=frames.len()).rev().find(|&n| stream(&frames[..n]).len() <= at).unwrap_or(0);
        prop_assert_eq!(whole.0.get(..sound), Some(&frames[..sound]));
    }

    #[test]
    fn any_bytes_are_extensions_or_not(bytes in plausible()) {
        let mut held = 0;
        for extension in parse_extensions(&bytes) {
            match extension {
                Ok(extension) => held += 4 + extension.value.len(),
                Err(_) => break,
            }
        }
        prop_assert!(held <= bytes.len());
        // Everything that is written is accepted by the other side.
        let mut out = Vec::new();
        let begun = native().begin(&mut out, &Meta::new(Kind::Reply, 1), &bytes);
        prop_assert_eq!(begun.is_ok(), held == bytes.len());
    }

    #[test]
    fn any_bytes_are_a_hello_or_not(bytes in plausible(), extra in vec(any::<u8>(), 0..50)) {
        let _ = Hello::decode(&bytes);
        let mut body = b"BWLN".to_vec();
        body.extend_from_slice(&bytes);
        body.extend_from_slice(&extra);
        if let Ok(hello) = Hello::decode(&body) {
            let _ = Hello::new().agree(&hello);
        }
    }

    #[test]
    fn a_hello_comes_back_and_both_sides_agree_alike(
        ours in hellos(),
        theirs in hellos(),
        later in vec(any::<u8>(), 0..60),
    ) {
        let mut body = Vec::new();
        theirs.encode(&mut body);
        prop_assert_eq!(body.len(), 56);
        body.extend_from_slice(&later);
        let read = Hello::decode(&body).unwrap();
        if !theirs.heartbeat.is_zero() && !theirs.dead_after.is_zero() {
            prop_assert_eq!(&read, &theirs);
        }
        // Where both hellos are sound by themselves, either both sides go on or both stop.
        if let (Ok(_), Ok(_)) = (ours.agree(&ours), theirs.agree(&theirs)) {
            match (ours.agree(&theirs), theirs.agree(&ours)) {
                (Ok(here), Ok(there)) => {
                    prop_assert_eq!((here.version, here.features), (there.version, there.features));
                    prop_assert!((ours.version_min..=ours.version_max).contains(&here.version));
                    prop_assert!((theirs.version_min..=theirs.version_max).contains(&here.version));
                    prop_assert_eq!(here.max_message, theirs.max_message);
                    prop_assert_eq!(here.max_in_flight, theirs.max_in_flight);
                    prop_assert_eq!((here.normal, here.bulk), (theirs.normal, theirs.bulk));
                    prop_assert_eq!((ours.required | theirs.required) & !here.features, 0);
                }
                (Err(_), Err(_)) => {}
                (here, there) => prop_assert!(false, "{:?} but {:?}", here, there),
            }
        }
    }

    #[test]
    fn any_bytes_are_a_credit_or_not(bytes in plausible(), limit: u64, seen: u64) {
        if let Ok(credit) = Credit::decode(&bytes) {
            prop_assert_eq!(Credit::decode(&credit.to_bytes()), Ok(credit));
        }
        for class in [Class::Normal, Class::Bulk] {
            let credit = Credit::new(class, limit, seen);
            let body = credit.to_bytes();
            prop_assert_eq!(Credit::decode(&body), Ok(credit));
            prop_assert!(Credit::decode(&body[..19]).is_err());
        }
    }

    #[test]
    fn the_beginning_of_a_frame_says_what_it_is(frames in frames(), cut in any::<Index>()) {
        for frame in frames {
            let mut bytes = Vec::new();
            encode(&mut bytes, &frame);
            let short = &bytes[..cut.index(bytes.len() + 1)];
            match native().peek(short) {
                Some(meta) => prop_assert_eq!(meta, frame.meta),
                None => prop_assert!(short.len() < HEADER),
            }
            for class in [Class::Normal, Class::Bulk] {
                native().set_class(&mut bytes, class);
                prop_assert_eq!(native().peek(&bytes), Some(Meta { class, ..frame.meta }));
            }
        }
    }

    #[test]
    fn the_remaining_time_is_all_that_changes(
        frames in frames(),
        at in any::<Index>(),
        remaining in any::<u32>(),
    ) {
        prop_assume!(!frames.is_empty());
        let frame = at.get(&frames);
        let mut bytes = Vec::new();
        encode(&mut bytes, frame);
        native().set_remaining(&mut bytes, remaining);
        let mut after = stream(&[]);
        after.extend_from_slice(&bytes);
        let (read, _) = read(&after, &[after.len()])?;
        let mut expected = frame.clone();
        if frame.meta.kind == Kind::Request {
            // The largest number means no deadline, and a deadline must not turn into none.
            expected.meta.remaining_ms = Some(remaining.min(u32::MAX - 1));
        }
        prop_assert_eq!(&read, &[expected]);
    }
}
