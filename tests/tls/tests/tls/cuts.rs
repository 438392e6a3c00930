//! Connections that end during their handshake.

use std::any::TypeId;

use bowline_driver::runtime::Runtime;
use bowline_tls::{TlsClient, TlsError};

use crate::wire::Wire;
use crate::world::{World, connect, done, serving, until, world};

/// Bytes that go one way in the handshake of both layers, cut after each of them: on one runtime after each byte, on the
/// others after every seventh in the middle, which is one certificate. `tls/tests/cuts.rs` has every byte of both versions.
pub(crate) async fn at_every_byte_of_the_handshake<R: Runtime>() {
    let step = if TypeId::of::<R>() == TypeId::of::<bowline_tokio::Tokio>() { 1 } else { 7 };
    let World { ca, server: tls, .. } = world();
    let server = serving::<R>(&tls).await;
    // One that resumes nothing: every handshake is a whole one.
    let client = TlsClient::builder().roots(ca.roots()).resumption(false).build().expect("sound");
    for way in [0, 1] {
        let wire = Wire::to(server.local_addr().port());
        let (mut cut, mut in_tls) = (0, 0);
        loop {
            wire.cut_after(way, cut);
            match connect::<R>(&wire.address(), &client).await {
                Ok(link) => {
                    // The cut came behind the handshake.
                    link.abort();
                    break;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "after {cut} bytes of way {way}: {error:?}");
                    let cause = error.cause().expect("it was tried");
                    let is_cut =
                        matches!(TlsError::of(cause), Some(TlsError::Truncated { .. } | TlsError::Silent));
                    in_tls += usize::from(is_cut);
                    let is_gone = matches!(
                        cause,
                        bowline_core::error::Disconnect::Transport(_)
                            | bowline_core::error::Disconnect::PeerClosed
                            | bowline_core::error::Disconnect::Protocol(_)
                    );
                    assert!(is_gone, "after {cut} bytes of way {way}: {error:?}");
                }
            }
            cut += if (120..420).contains(&cut) { step } else { 1 };
        }
        assert!(cut > 100 && in_tls > 20, "{cut} bytes of way {way}, {in_tls} of them in TLS");
        wire.assert_secret();
    }
    until(|| server.peers().is_empty());
    let counters = server.accept_counters();
    assert!(counters.insecure > 50, "{counters:?}");
    done::<R, _>(server.shutdown()).await;
}
