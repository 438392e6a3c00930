//! Handshakes that end after each of their bytes.

mod common;

use bowline_core::layer::Layer;
use bowline_tls::{TlsClient, TlsError, TlsLayer, TlsServer, rustls};
use common::Authority;

/// Gives bytes to a layer, as far as it takes them.
fn feed(to: &mut TlsLayer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = to.receive(bytes).expect("honest bytes");
        assert!(taken > 0, "a handshake has no text that would have to be read first");
        bytes = &bytes[taken..];
    }
}

/// Carries bytes both ways until so many went from the end `from` to the other, or neither has more. Whether it was cut.
fn carry(ends: &mut [TlsLayer; 2], from: usize, most: usize) -> bool {
    let mut carried = 0;
    loop {
        let mut any = false;
        for sender in 0..2 {
            let mut bytes = Vec::new();
            ends[sender].transmit(&mut bytes);
            any |= !bytes.is_empty();
            if sender == from {
                let room = most - carried;
                if bytes.len() > room {
                    feed(&mut ends[1 - sender], &bytes[..room]);
                    return true;
                }
                carried += bytes.len();
            }
            feed(&mut ends[1 - sender], &bytes);
        }
        if !any {
            return false;
        }
    }
}

/// What an end says whose stream ended.
fn end_of_stream(layer: &mut TlsLayer) -> TlsError {
    let error = layer.end_of_stream().expect_err("the peer did not say that it ends");
    assert!(error.is_retryable(), "{error:?}");
    TlsError::within(&*error.into_inner()).expect("it is of TLS").clone()
}

fn check_every_cut(version: &'static rustls::SupportedProtocolVersion) {
    let ca = Authority::new("the root");
    let server = TlsServer::builder()
        .identity(ca.issue(&["server.test"]))
        .client_roots(ca.roots())
        .versions([version])
        .build()
        .expect("sound");
    // Without resumption: each handshake is a whole one.
    let client = TlsClient::builder()
        .roots(ca.roots())
        .identity(ca.issue(&["client.test"]))
        .versions([version])
        .resumption(false)
        .build()
        .expect("sound");
    let place = "server.test:1".parse().expect("an address");
    for from in [0, 1] {
        let (mut most, mut cut_in_handshake) = (0, 0);
        loop {
            let mut ends = [client.layer(&place).expect("a name"), server.layer().expect("sound")];
            if !carry(&mut ends, from, most) {
                break;
            }
            let receiver = &mut ends[1 - from];
            if receiver.is_handshaking() {
                cut_in_handshake += 1;
                assert!(receiver.secured().is_none() && !receiver.has_plain());
                let mut out = Vec::new();
                assert_eq!(receiver.write(b"text", &mut out).expect("it waits"), 0);
                assert!(out.is_empty(), "no text leaves before the peer is known");
                let error = end_of_stream(receiver);
                // A client has bytes of the server, or none of them; a server likewise.
                let expected = match most {
                    0 => matches!(error, TlsError::Silent),
                    _ => matches!(error, TlsError::Truncated { handshaking: true }),
                };
                assert!(expected, "{most} bytes from end {from}: {error:?}");
            } else {
                let error = end_of_stream(receiver);
                assert!(matches!(error, TlsError::Truncated { handshaking: false }), "{error:?}");
            }
            // The other end learns of the cut, too.
            end_of_stream(&mut ends[from]);
            most += 1;
        }
        assert!(cut_in_handshake > 400, "{cut_in_handshake} cuts of the bytes from end {from}");
    }
}

#[test]
fn a_handshake_of_tls_1_3_that_is_cut_at_any_byte() {
    check_every_cut(&rustls::version::TLS13);
}

#[test]
fn a_handshake_of_tls_1_2_that_is_cut_at_any_byte() {
    check_every_cut(&rustls::version::TLS12);
}
