//! The walker compared with a recursive reader of whole items, at every split, and with invalid items.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 4096;

/// The result of the simple reader for the front of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Simple {
    Whole(usize),
    Cut,
    Bad,
}

/// Reads one item recursively; `depth` containers are around it.
fn simple(bytes: &[u8], depth: usize) -> Simple {
    let Some(&first) = bytes.first() else { return Simple::Cut };
    let (kind, info) = (first >> 5, first & 31);
    let (argument, mut at) = match info {
        0..=23 => (u64::from(info), 1),
        24..=27 => {
            let width = 1 << (info - 24);
            let Some(field) = bytes.get(1..=width) else { return Simple::Cut };
            let mut wide = [0; 8];
            wide[8 - width..].copy_from_slice(field);
            (u64::from_be_bytes(wide), 1 + width)
        }
        31 if (2..=5).contains(&kind) => (u64::MAX, 1),
        _ => return Simple::Bad,
    };
    let indefinite = info == 31;
    if (4..=5).contains(&kind) && depth == MAX_DEPTH {
        return Simple::Bad;
    }
    match kind {
        0 | 1 => Simple::Whole(at),
        2 | 3 if indefinite => loop {
            match bytes.get(at) {
                None => return Simple::Cut,
                Some(0xff) => return Simple::Whole(at + 1),
                Some(&chunk) if chunk >> 5 == kind && chunk & 31 != 31 => match simple(&bytes[at..], depth) {
                    Simple::Whole(len) => at += len,
                    other => return other,
                },
                Some(_) => return Simple::Bad,
            }
        },
        2 | 3 => match usize::try_from(argument).ok().and_then(|len| at.checked_add(len)) {
            Some(end) if end <= bytes.len() => Simple::Whole(end),
            Some(end) if end <= LIMIT => Simple::Cut,
            _ => Simple::Bad,
        },
        4 | 5 => {
            let each = if kind == 5 { 2 } else { 1 };
            if !indefinite && argument > (LIMIT as u64) / each {
                return Simple::Bad;
            }
            let mut left = argument.saturating_mul(each);
            let mut values = 0_u64;
            loop {
                if indefinite && bytes.get(at) == Some(&0xff) {
                    return if kind == 5 && values % 2 == 1 { Simple::Bad } else { Simple::Whole(at + 1) };
                }
                if !indefinite && left == 0 {
                    return Simple::Whole(at);
                }
                match simple(&bytes[at..], depth + 1) {
                    Simple::Whole(len) => at += len,
                    other => return other,
                }
                (left, values) = (left.wrapping_sub(1), values + 1);
            }
        }
        6 => Simple::Bad,
        _ if info == 24 && argument < 32 => Simple::Bad,
        _ => Simple::Whole(at),
    }
}

fn walk(bytes: &[u8]) -> Result<Walk, ItemError> {
    Walker::new(LIMIT).walk(bytes)
}

/// Any item, as bytes, sometimes wrong.
fn item() -> impl Strategy<Value = Vec<u8>> {
    let head = |kind: u8, argument: u64, width: u8| {
        let mut out = Vec::new();
        match (width, argument) {
            (0, 0..=23) => out.push(kind << 5 | argument as u8),
            (0 | 1, 0..=255) => out.extend([kind << 5 | 24, argument as u8]),
            (0..=2, 0..=0xffff) => {
                out.push(kind << 5 | 25);
                out.extend((argument as u16).to_be_bytes());
            }
            (0..=4, 0..=0xffff_ffff) => {
                out.push(kind << 5 | 26);
                out.extend((argument as u32).to_be_bytes());
            }
            _ => {
                out.push(kind << 5 | 27);
                out.extend(argument.to_be_bytes());
            }
        }
        out
    };
    let number =
        (0..2_u8, any::<u64>(), 0..9_u8).prop_map(move |(kind, value, width)| head(kind, value, width));
    let string = (2..4_u8, prop::collection::vec(any::<u8>(), 0..40), 0..9_u8).prop_map(
        move |(kind, bytes, width)| {
            let mut out = head(kind, bytes.len() as u64, width);
            out.extend(bytes);
            out
        },
    );
    let chunked = (2..4_u8, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4)).prop_map(
        move |(kind, chunks)| {
            let mut out = vec![kind << 5 | 31];
            for chunk in chunks {
                out.extend(head(kind, chunk.len() as u64, 0));
                out.extend(chunk);
            }
            out.push(0xff);
            out
        },
    );
    let simple = prop_oneof![Just(vec![0xf6]), Just(vec![0xf5]), Just(vec![0xfb, 0, 1, 2, 3, 4, 5, 6, 7])];
    let wrong = prop_oneof![
        Just(vec![0xff]),
        Just(vec![0x1c]),
        Just(vec![0xc2, 0x41, 1]),
        Just(vec![0xf8, 3]),
        Just(vec![0x5f, 0x61, b'a', 0xff]),
        Just(vec![0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let leaf = prop_oneof![8 => number, 8 => string, 4 => chunked, 4 => simple, 1 => wrong];
    leaf.prop_recursive(18, 60, 5, move |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>(), any::<bool>()).prop_map(
            move |(items, map, definite)| {
                let kind = if map { 5 } else { 4 };
                let count = if map { items.len() / 2 } else { items.len() };
                let mut out = if definite { head(kind, count as u64, 0) } else { vec![kind << 5 | 31] };
                let used = if definite && map { count * 2 } else { items.len() };
                items.into_iter().take(used).for_each(|item| out.extend(item));
                if !definite {
                    out.push(0xff);
                }
                out
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn finds_the_same_end_as_a_recursive_reader(bytes in item(), behind in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut whole = bytes.clone();
        whole.push(behind);
        let expected = simple(&whole, 0);
        let found = walk(&whole);
        match expected {
            Simple::Whole(len) => prop_assert_eq!(found, Ok(Walk::Whole(len))),
            Simple::Cut => prop_assert!(matches!(found, Ok(Walk::Need(need)) if need > whole.len()), "{:?}", found),
            Simple::Bad => prop_assert!(found.is_err(), "{:?}", found),
        }
        // In two pieces, and byte by byte: the same.
        let mut two = Walker::new(LIMIT);
        let first = two.walk(&bytes[..cut.index(bytes.len())]);
        if !matches!(first, Ok(Walk::Need(_))) {
            prop_assert_eq!(first, found);
        } else {
            prop_assert_eq!(two.walk(&whole), found);
        }
        let mut bytewise = Walker::new(LIMIT);
        let mut last = Ok(Walk::Need(1));
        for end in 0..=whole.len() {
            if let Ok(Walk::Need(need)) = last {
                last = bytewise.walk(&whole[..end]);
                if let (Ok(Walk::Need(next)), true) = (last, end > 0) {
                    prop_assert!(next >= need.min(end + 1), "{} after {}", next, need);
                    prop_assert!(next > end);
                }
            }
        }
        prop_assert_eq!(last, found);
    }

    #[test]
    fn any_bytes_are_judged_as_the_recursive_reader_judges_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        match simple(&bytes, 0) {
            Simple::Whole(len) => prop_assert_eq!(walk(&bytes), Ok(Walk::Whole(len))),
            // The announced length of an incomplete item may be too large already.
            Simple::Cut => prop_assert!(!matches!(walk(&bytes), Ok(Walk::Whole(_)))),
            Simple::Bad => prop_assert!(!matches!(walk(&bytes), Ok(Walk::Whole(_)))),
        }
    }
}

#[test]
fn a_need_is_never_more_than_the_item_has() {
    let item = b"\x83\x62ab\xbf\x61k\x9f\x01\xff\xff\x5f\x41a\x42bc\xff";
    for cut in 0..item.len() {
        match walk(&item[..cut]) {
            Ok(Walk::Need(need)) => assert!(need > cut && need <= item.len(), "{cut}: {need}"),
            other => panic!("{cut}: {other:?}"),
        }
    }
    assert_eq!(walk(item), Ok(Walk::Whole(item.len())));
}

#[test]
fn announced_lengths_are_judged_before_anything_is_waited_for() {
    let too_long = |what, at, value, limit| Err(ItemError::TooLong { what, at, value, limit });
    let huge = [0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(walk(&huge), too_long("an array", 0, 1 << 62, 4087));
    let pairs = [0xbb, 0x40, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(walk(&pairs), too_long("a map", 0, 1 << 62, 4087));
    let bytes = [0x5b, 0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(walk(&bytes), too_long("a byte string", 0, 1 << 40, 4087));
    let wraps = [0x7b, 255, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(walk(&wraps), too_long("a text string", 0, u64::MAX, 4087));
    // The limit itself may come, and one more may not.
    assert_eq!(walk(&[0x59, 0x0f, 0xfd]), Ok(Walk::Need(LIMIT)));
    assert_eq!(walk(&[0x59, 0x0f, 0xfe]), too_long("a byte string", 0, 4094, 4093));
    // The bytes owed to the other items count.
    assert_eq!(walk(&[0x83, 0x59, 0x0f, 0xfb]), too_long("a byte string", 1, 4091, 4090));
    // A map has two items for each pair.
    assert_eq!(walk(&[0xb9, 0x08, 0x00]), too_long("a map", 0, 2048, 4093));
    // In pieces of no announced length, too.
    let mut endless = vec![0x9f];
    endless.resize(LIMIT, 0);
    assert_eq!(walk(&endless), too_long("item", 4096, 4097, 4096));
    let chunks: Vec<u8> = core::iter::once(0x5f).chain([0x41, 7].into_iter().cycle().take(LIMIT)).collect();
    assert!(matches!(walk(&chunks), Err(ItemError::TooLong { .. })));
}

#[test]
fn the_largest_limit_overflows_nothing() {
    let most = usize::MAX / 4;
    for open in [&[0x9f][..], &[0x82], &[]] {
        for less in 0..40 {
            let mut item = open.to_vec();
            item.push(0x5b);
            item.extend(((most - less) as u64).to_be_bytes());
            let mut walker = Walker::new(usize::MAX);
            match walker.walk(&item) {
                Ok(Walk::Need(need)) => assert!(need <= most),
                Err(ItemError::TooLong { .. }) => assert!(less < 20),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn sixteen_levels_and_no_more() {
    for open in [&[0x81][..], &[0x9f], &[0xa1, 0x60], &[0xbf, 0x60]] {
        let mut item: Vec<u8> = open.repeat(MAX_DEPTH);
        let at = item.len() as u64;
        assert!(matches!(walk(&item), Ok(Walk::Need(_))));
        item.extend(open);
        assert_eq!(walk(&item), Err(ItemError::TooDeep { at, value: 17, limit: 16 }));
    }
    // A string in chunks is no level.
    let mut item = vec![0x81; MAX_DEPTH];
    item.extend([0x5f, 0x41, 1, 0xff]);
    assert_eq!(walk(&item), Ok(Walk::Whole(20)));
}

#[test]
fn what_is_no_item_is_said_with_its_place() {
    assert_eq!(walk(&[0x82, 0x01, 0x1d]), Err(ItemError::Reserved { at: 2, byte: 0x1d }));
    assert_eq!(walk(&[0x1f]), Err(ItemError::Reserved { at: 0, byte: 0x1f }));
    assert_eq!(walk(&[0xff]), Err(ItemError::LoneBreak { at: 0 }));
    assert_eq!(walk(&[0x9f, 0x81, 0xff]), Err(ItemError::LoneBreak { at: 2 }));
    assert_eq!(walk(&[0xbf, 0x61, b'k', 0xff]), Err(ItemError::OddMap { at: 3 }));
    assert_eq!(walk(&[0x81, 0xd8, 24, 0x41, 1]), Err(ItemError::Tag { at: 1 }));
    assert_eq!(walk(&[0xf8, 31]), Err(ItemError::Simple { at: 0, value: 31 }));
    assert_eq!(walk(&[0xf8, 32]), Ok(Walk::Whole(2)));
    let (found, expected) = ("a text string", "a byte string");
    assert_eq!(walk(&[0x5f, 0x40, 0x61, b'a']), Err(ItemError::Chunk { at: 2, found, expected }));
    let found = "a byte string";
    assert_eq!(walk(&[0x5f, 0x5f]), Err(ItemError::Chunk { at: 1, found, expected }));
    assert_eq!(
        walk(&[0x7f, 0x01]),
        Err(ItemError::Chunk { at: 1, found: "an unsigned integer", expected: "a text string" })
    );
}

#[test]
fn the_work_is_linear_however_the_bytes_arrive() {
    // 20,000 messages of three bytes, and the same in pieces of one byte.
    let mut item = vec![0x99, 0x4e, 0x20];
    item.extend([0x43, 1, 2, 3].repeat(20_000));
    let mut whole = Walker::new(1 << 20);
    assert_eq!(whole.walk(&item), Ok(Walk::Whole(item.len())));
    assert_eq!(whole.heads(), 20_001);
    let mut bytewise = Walker::new(1 << 20);
    for end in 0..item.len() {
        assert!(matches!(bytewise.walk(&item[..end]), Ok(Walk::Need(_))));
    }
    assert_eq!(bytewise.walk(&item), Ok(Walk::Whole(item.len())));
    // The one head of three bytes was looked at three times.
    assert_eq!(bytewise.heads(), 20_003);
    // Wide heads, one byte at a time: each looked at once for each of its bytes.
    let wide: Vec<u8> = core::iter::once(0x9f)
        .chain([0x1b, 0, 0, 0, 0, 0, 0, 0, 1].into_iter().cycle().take(9 * 1000))
        .chain([0xff])
        .collect();
    let mut bytewise = Walker::new(1 << 20);
    for end in 1..=wide.len() {
        bytewise.walk(&wide[..end]).unwrap();
    }
    assert!(bytewise.heads() <= wide.len() as u64, "{}", bytewise.heads());
}
