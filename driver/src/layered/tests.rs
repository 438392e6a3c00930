pub(crate) mod toy;

use std::task::{Context, Waker};

use super::outgoing::BATCH;
use super::over::READ;
use super::*;
use crate::inproc;
use crate::runtime::Socket;
use crate::soft_socket::SoftSocket;
use toy::{Broken, GREETING, Toy};

type Toys = Layered<SoftSocket>;

fn toys() -> (Toys, Toys) {
    let (one, other) = inproc::pair(Address::Inproc("toys".into()));
    let toy = |stream| Layered::with(SoftSocket::Memory(stream), Box::<Toy>::default());
    (toy(one), toy(other))
}

/// One toy, and the bare stream at the other end.
fn toy_and_stream() -> (Toys, inproc::Stream) {
    let (one, other) = inproc::pair(Address::Inproc("toys".into()));
    (Layered::with(SoftSocket::Memory(one), Box::<Toy>::default()), other)
}

fn shake(one: &Toys, other: &Toys) {
    assert_eq!(one.handshake().expect("open"), Progress::Reads);
    assert_eq!(other.handshake().expect("open"), Progress::Done);
    assert_eq!(one.handshake().expect("open"), Progress::Done);
}

fn blocked<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| is_for_now(&error))
}

/// Memory of a connection, besides that of its layer. What it says of itself is that, and the layer's.
fn held(toys: &Toys) -> usize {
    let over = toys.over.as_ref().expect("a layer");
    let (input, output) = (over.input.lock(), over.output.lock());
    let held = input.bytes.capacity() + output.bytes.capacity();
    assert_eq!(toys.held(), held + over.layer.lock().held());
    held
}

#[test]
fn what_is_lent_counts_when_its_record_has_left() {
    let (one, other) = toys();
    let text: Vec<u8> = (0..500_000_u32).map(|at| (at % 253) as u8).collect();
    // Before the greeting no bytes are accepted.
    assert!(blocked(one.write_now(&[IoSlice::new(&text)])));
    shake(&one, &other);
    let (mut written, mut got, mut buf) = (0, Vec::new(), vec![0; 3_001]);
    let mut blocks = 0;
    while got.len() < text.len() {
        // In slices of many sizes: the passed bytes begin where the written ones end.
        let rest = &text[written..];
        let (first, second) = rest.split_at(rest.len().min(100));
        match one.write_now(&[IoSlice::new(first), IoSlice::new(second)]) {
            Ok(count) => written += count,
            Err(error) => {
                assert!(rest.is_empty() || is_for_now(&error), "{error}");
                blocks += 1;
                match other.read_now(&mut buf) {
                    Ok(count) => got.extend_from_slice(&buf[..count]),
                    Err(error) => assert!(is_for_now(&error), "{error}"),
                }
            }
        }
        assert!(got.len() <= written + BATCH, "more came than can have left");
    }
    assert!(got == text && blocks > 3);
    // The last record is reported at the next attempt, without encoding any byte again.
    while written < text.len() {
        written += one.write_now(&[IoSlice::new(&text[written..])]).expect("it has left");
    }
    assert!(blocked(other.read_now(&mut buf)));
    assert_eq!((held(&one), held(&other)), (0, 0), "an idle one holds nothing");
}

/// No other operation on the socket may send the rest of a split record: the connection may end before the
/// batch is passed again, and a message that arrived would be reported as never sent.
#[test]
fn no_record_leaves_without_being_counted() {
    let (one, other) = toys();
    shake(&one, &other);
    let (text, mut buf, mut got) = (vec![7; 500_000], vec![0; 64 * 1024], 0);
    let mut written = 0;
    while let Ok(count) = one.write_now(&[IoSlice::new(&text[written..])]) {
        written += count;
    }
    assert!(one.over.as_ref().is_some_and(|over| !over.output.lock().records.is_empty()), "one is cut");
    let mut drain = || {
        while let Ok(count @ 1..) = other.read_now(&mut buf) {
            got += count;
        }
        assert!(got <= written, "{got} came, {written} were told");
    };
    drain();
    // There is room now: for a flush, for a reader with nothing to read, and for one that has an answer to
    // send.
    let _ = one.poll_flush(&mut Context::from_waker(Waker::noop()));
    drain();
    assert!(blocked(one.read_now(&mut [0; 10])));
    drain();
    let over = one.over.as_ref().expect("a layer");
    over.transmit(&one.inner).expect("open");
    drain();
    // Its writer continues where it was.
    assert!(one.write_now(&[IoSlice::new(&text[written..])]).expect("there is room") > 0);
}

#[test]
fn short_pieces_share_a_record() {
    let (one, stream) = toy_and_stream();
    stream.write_now(&[IoSlice::new(&[GREETING])]).expect("room");
    assert_eq!(one.handshake().expect("open"), Progress::Done);
    let pieces = [&b"a"[..], b"", b"bc", &[7; 10_000], &[8; 10_000]].map(IoSlice::new);
    assert_eq!(one.write_now(&pieces).expect("room"), 20_003);
    let mut came = vec![0; 30_000];
    let count = stream.read_now(&mut came).expect("it is there");
    assert_eq!(count, 1 + 2 + 12_345 + 2 + 7_658, "two records, as full as they can be");
    assert!(came[..count].ends_with(&[!8; 7_658]));

    // More pieces than one record is made of.
    let text: Vec<u8> = (0..30_000_usize).map(|at| (at % 251) as u8).collect();
    let mut pieces: Vec<IoSlice<'_>> = text[..200].chunks(2).map(IoSlice::new).collect();
    pieces.push(IoSlice::new(&text[200..]));
    let (mut written, mut came, mut buf) = (0, Vec::new(), vec![0; 100_000]);
    assert_eq!(one.write_now(&pieces).expect("room"), text.len());
    while written < text.len() {
        let count = stream.read_now(&mut buf).expect("it is there");
        came.extend_from_slice(&buf[..count]);
        while let Some(length) =
            came.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)))
            && came.len() >= 2 + length
        {
            let record: Vec<u8> = came.drain(..2 + length).skip(2).map(|byte| !byte).collect();
            assert_eq!(record, text[written..written + length]);
            written += length;
        }
    }
}

#[test]
fn the_end_is_told_both_ways_and_a_cut_is_none() {
    let (one, other) = toys();
    shake(&one, &other);
    one.write_now(&[IoSlice::new(b"last")]).expect("room");
    one.shutdown_write().expect("open");
    assert_eq!(
        one.write_now(&[IoSlice::new(b"x")]).expect_err("it is over").kind(),
        io::ErrorKind::BrokenPipe
    );
    let mut buf = [0; 10];
    assert_eq!(other.read_now(&mut buf).expect("text"), 4);
    assert_eq!(other.read_now(&mut buf).expect("the end"), 0);
    // It was answered.
    assert_eq!(one.read_now(&mut buf).expect("the end"), 0);

    let (one, other) = toys();
    shake(&one, &other);
    drop(one);
    let error = other.read_now(&mut buf).expect_err("nobody said so");
    let error = crate::error::transport(error);
    assert!(error.is_retryable() && error.kind() == bowline_core::error::TransportKind::Insecure);
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<Broken>()));
}

#[test]
fn a_failure_comes_behind_the_text_before_it() {
    let (one, stream) = toy_and_stream();
    stream.write_now(&[IoSlice::new(&[GREETING, 0, 2, !b'o', !b'k', 0xff, 0xff])]).expect("room");
    let mut buf = [0; 10];
    assert_eq!(one.read_now(&mut buf).expect("text"), 2);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(one.poll_readable(cx).is_ready(), "there is something to be told");
    for _ in 0..2 {
        assert!(one.read_now(&mut buf).is_err());
    }

    // A handshake that fails tells the peer.
    let (one, stream) = toy_and_stream();
    stream.write_now(&[IoSlice::new(b"?")]).expect("room");
    let error = crate::error::transport(one.handshake().expect_err("another greeting"));
    assert!(!error.is_retryable());
    let mut came = [0; 10];
    assert_eq!((stream.read_now(&mut came).expect("both"), &came[..2]), (2, &[GREETING, b'!'][..]));
}

#[test]
fn text_that_there_is_no_room_for_is_kept_and_bounded() {
    let (one, stream) = toy_and_stream();
    let mut bytes = vec![GREETING];
    for _ in 0..6 {
        bytes.extend_from_slice(&10_000_u16.to_be_bytes());
        bytes.extend_from_slice(&[!7; 10_000]);
    }
    assert_eq!(stream.write_now(&[IoSlice::new(&bytes)]).expect("room"), bytes.len());
    let (mut got, mut buf) = (0, [0; 100]);
    while got < 60_000 {
        let count = one.read_now(&mut buf).expect("text");
        assert!(buf[..count].iter().all(|&byte| byte == 7));
        got += count;
        assert!(held(&one) <= *READ.end());
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(one.poll_readable(cx).is_ready(), got < 60_000);
    }
    assert!(blocked(one.read_now(&mut buf)));
    assert_eq!(held(&one), 0);
}

#[test]
fn what_a_connection_holds_is_known_in_every_state() {
    let (one, stream) = toy_and_stream();
    assert_eq!(
        (one.held(), Toys::plain(SoftSocket::Memory(inproc::pair(Address::Inproc("x".into())).0)).held()),
        (0, 0)
    );
    // Bytes that came before there was a layer.
    let mut early = Toys::plain(SoftSocket::Memory(inproc::pair(Address::Inproc("x".into())).0));
    early.put_over(Box::<Toy>::default(), &[GREETING; 1_000]);
    assert_eq!(held(&early), 1_000);
    // An incomplete record, in the layer; then one that there is no room for.
    stream.write_now(&[IoSlice::new(&[GREETING])]).expect("room");
    assert_eq!(one.handshake().expect("open"), Progress::Done);
    let mut record = 10_000_u16.to_be_bytes().to_vec();
    record.resize(10_002, !7);
    stream.write_now(&[IoSlice::new(&record[..9_000])]).expect("room");
    let mut buf = [0; 100];
    assert!(blocked(one.read_now(&mut buf)));
    assert!(held(&one) == 0 && one.held() >= 9_000, "{}", one.held());
    stream.write_now(&[IoSlice::new(&record[9_000..])]).expect("room");
    stream.write_now(&[IoSlice::new(&record)]).expect("room");
    assert_eq!(one.read_now(&mut buf).expect("text"), 100);
    assert!(held(&one) > 0 && one.held() >= 19_000, "{}", one.held());
    while one.read_now(&mut buf).is_ok() {
        held(&one);
    }
    assert_eq!(held(&one), 0);
    // Records that the socket does not take.
    let text = vec![7; 500_000];
    let mut written = 0;
    while let Ok(count) = one.write_now(&[IoSlice::new(&text[written..])]) {
        written += count;
        held(&one);
    }
    let waits = held(&one);
    assert!((1..=BATCH + 1_000).contains(&waits), "{waits}");
    let mut came = vec![0; 1 << 20];
    while stream.read_now(&mut came).is_ok() {}
    one.write_now(&[IoSlice::new(&text[written..])]).expect("room");
    assert!(held(&one) < waits + BATCH);
    // The layer's own bytes, without a batch.
    let (one, stream) = toy_and_stream();
    while stream.write_now(&[IoSlice::new(&[0; 1_000])]).is_ok() {}
    assert!(one.handshake().is_err(), "another greeting");
    held(&one);
}
