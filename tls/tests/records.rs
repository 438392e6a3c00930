//! Records of every size around the longest one.

mod common;

use bowline_core::layer::Layer;
use bowline_tls::{TlsClient, TlsLayer, TlsServer, rustls};
use common::Authority;

const RECORD: usize = 16 * 1024;

/// Both ends after their handshake, the client's first.
fn connected(version: &'static rustls::SupportedProtocolVersion) -> [TlsLayer; 2] {
    let ca = Authority::new("the root");
    let server = TlsServer::builder().identity(ca.issue(&["server.test"])).versions([version]).build();
    let client = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let place = "server.test:1".parse().expect("an address");
    let mut ends = [client.layer(&place).expect("a name"), server.expect("sound").layer().expect("sound")];
    loop {
        let mut any = false;
        for from in 0..2 {
            let mut bytes = Vec::new();
            ends[from].transmit(&mut bytes);
            any |= !bytes.is_empty();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = ends[1 - from].receive(rest).expect("honest bytes");
                rest = &rest[taken..];
            }
        }
        if !any {
            return ends;
        }
    }
}

/// The records of these bytes: kind, and length behind the head.
fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while let [kind, 3, 3, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        records.push((*kind, length));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "whole records");
    records
}

fn text(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 % 251) as u8).collect()
}

/// Takes these bytes in pieces of `piece`, and returns the text.
fn take(layer: &mut TlsLayer, mut bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut got, mut room) = (Vec::new(), vec![0; 5_000]);
    while !bytes.is_empty() || layer.has_plain() {
        let offered = &bytes[..piece.min(bytes.len())];
        bytes = &bytes[layer.receive(offered).expect("honest bytes")..];
        let count = layer.read(&mut room);
        got.extend_from_slice(&room[..count]);
    }
    got
}

#[test]
fn text_of_every_size_around_a_record() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let [mut client, mut server] = connected(version);
        for around in [0, RECORD, 2 * RECORD] {
            for size in around.saturating_sub(40).max(1)..=around + 40 {
                let (text, mut out, mut sent) = (text(size), Vec::new(), 0);
                while sent < size {
                    let count = client.write(&text[sent..], &mut out).expect("open");
                    assert_eq!(count, (size - sent).min(RECORD), "as much as a record holds");
                    sent += count;
                }
                let records = records(&out);
                assert_eq!(records.len(), size.div_ceil(RECORD), "{size} bytes");
                let longest = RECORD + 256;
                assert!(
                    records.iter().all(|(kind, length)| *kind == 0x17 && *length <= longest),
                    "{records:?}"
                );
                // Cut at places that move through the record's head, and its last bytes.
                assert!(take(&mut server, &out, 4_000 + size % 23) == text, "{size} bytes");
            }
        }
    }
}

/// Pieces of text share records, as full as they can be.
#[test]
fn text_in_pieces() {
    let [mut client, mut server] = connected(&rustls::version::TLS13);
    for head in (1..60).step_by(7) {
        // A header and a body, over and over, as a large message in fragments is.
        let text = text(4 * (head + RECORD));
        let mut pieces: Vec<&[u8]> = Vec::new();
        for message in text.chunks(head + RECORD) {
            pieces.extend([&message[..head], &message[head..]]);
        }
        let (mut out, mut sent) = (Vec::new(), 0);
        while sent < text.len() {
            let (mut skipped, mut rest) = (sent, Vec::new());
            for piece in &pieces {
                let from = skipped.min(piece.len());
                skipped -= from;
                rest.extend(Some(&piece[from..]).filter(|piece| !piece.is_empty()));
            }
            let count = client.write_pieces(&rest, &mut out).expect("open");
            assert_eq!(count, (text.len() - sent).min(RECORD));
            sent += count;
        }
        assert_eq!(records(&out).len(), text.len().div_ceil(RECORD));
        assert!(take(&mut server, &out, 4_000) == text);
    }
    // More pieces than one record is made of.
    let (text, mut out, mut sent) = (text(300), Vec::new(), 0);
    let pieces: Vec<&[u8]> = text.chunks(3).collect();
    while sent < text.len() {
        let count = client.write_pieces(&pieces[sent / 3..], &mut out).expect("open");
        assert!(count > 0 && count % 3 == 0);
        sent += count;
    }
    assert!(take(&mut server, &out, 4_000) == text);
}

/// A peer of another make that sends records of every size up to the longest one.
#[test]
fn records_of_every_size_from_a_peer() {
    let ca = Authority::new("the root");
    let serving = TlsServer::builder().identity(ca.issue(&["server.test"])).build().expect("sound");
    let dialing = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let name = rustls::pki_types::ServerName::try_from("server.test").expect("a name");
    let mut peer = rustls::ClientConnection::new(dialing.config(), name).expect("sound");
    let mut layer = serving.layer().expect("sound");
    while peer.is_handshaking() || layer.is_handshaking() {
        let mut bytes = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut bytes).expect("memory");
        }
        assert_eq!(layer.receive(&bytes).expect("honest"), bytes.len());
        bytes.clear();
        layer.transmit(&mut bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            peer.read_tls(&mut rest).expect("memory");
            peer.process_new_packets().expect("honest");
        }
    }
    for size in (1..=64).chain(RECORD - 64..=RECORD + 64) {
        let text = text(size);
        std::io::Write::write_all(&mut peer.writer(), &text).expect("memory");
        let mut bytes = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut bytes).expect("memory");
        }
        let piece = [usize::MAX, 16 * 1024, 4_095, 1_000][size % 4];
        assert!(take(&mut layer, &bytes, piece) == text, "{size} bytes in pieces of {piece}");
    }
}

/// A record that says that it is longer than any may be is an error as soon as that is read. (`rustls` takes one byte less
/// than TLS 1.2 allows.)
#[test]
fn a_record_that_is_too_long() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (length, is_allowed) in [(RECORD + 2047, true), (RECORD + 2049, false), (0xffff, false)] {
            let [_, mut server] = connected(version);
            let [high, low] = u16::try_from(length).expect("a length").to_be_bytes();
            let received = server.receive(&[0x17, 3, 3, high, low]);
            assert_eq!(received.is_ok(), is_allowed, "{length}: {received:?}");
            let mut alert = Vec::new();
            server.transmit(&mut alert);
            assert_eq!(alert.is_empty(), is_allowed, "the peer is told");
        }
    }
}
