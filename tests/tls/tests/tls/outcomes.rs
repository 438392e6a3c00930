//! Bytes that are reported as written have been passed to the system, not only to the layer.

use std::future::Future;
use std::io::Read;
use std::net::TcpListener;
use std::task::{Context, Poll, Waker};

use bowline_core::config::{Config, QueueLimit, SocketOptions};
use bowline_core::error::Outcome;
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::link::CastOptions;
use bowline_core::supervisor::ReconnectPolicy;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Style;
use bowline_links::Client;
use bowline_tls::{TlsServer, rustls};

use crate::world::{World, done, world};

/// Takes so many bytes of text from the first connection, and ends it. The messages that came whole.
fn read_some(listener: &TcpListener, tls: &TlsServer, most: usize) -> Vec<u32> {
    let (mut socket, _) = listener.accept().expect("one comes");
    let mut tls = rustls::ServerConnection::new(tls.config()).expect("sound");
    let mut text = vec![0; most];
    rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut text).expect("more is sent than is read");
    drop(socket);
    let (mut numbers, mut rest) = (Vec::new(), &text[..]);
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some(body) = rest.get(4..4 + size) else { break };
        numbers.push(u32::from_be_bytes(*body.first_chunk().expect("a number")));
        rest = &rest[4 + size..];
    }
    numbers
}

/// The connection dies in the middle of a record, again and again: no message that came is said not to have been sent,
/// every one has one outcome, and what is handed back is what was given.
pub(crate) async fn what_is_written_is_with_the_system<R: Runtime>() {
    let World { server: tls, client: trusting, .. } = world();
    for round in 0..20_usize {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let most = 5_000 + round * 3_777;
        let tls = tls.clone();
        let peer = std::thread::spawn(move || read_some(&listener, &tls, most));
        let mut sockets = SocketOptions::default();
        (sockets.send_buffer, sockets.receive_buffer) = (Some(4096), Some(4096));
        let config = Config::with_framing(LengthPrefixed::new())
            .sockets(sockets)
            .reconnect(ReconnectPolicy::never())
            .write_queue(QueueLimit { messages: 1_000, bytes: 16 << 20 })
            .tls(&trusting)
            .build()
            .expect("sound");
        let client = Client::<R, _>::with_config(format!("tls://localhost:{port}"), config);
        let client = done::<R, _>(client.connect()).await.expect("it listens");
        let core = (**client).clone();
        let mut casts: Vec<_> = (0..1_000_u32)
            .map(|number| {
                let mut body = vec![number as u8; 5_000];
                body[..4].copy_from_slice(&number.to_be_bytes());
                let core = core.clone();
                Box::pin(async move { core.cast_and_wait_with(CastOptions::new(0), body).await })
            })
            .collect();
        // All are queued before the first is awaited.
        let mut outcomes = Vec::new();
        for cast in &mut casts {
            outcomes.push(match cast.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            });
        }
        for (cast, outcome) in casts.into_iter().zip(&mut outcomes) {
            if outcome.is_none() {
                *outcome = Some(done::<R, _>(R::Style::wait(cast, || unreachable!("it may wait"))).await);
            }
        }
        let came = peer.join().expect("it read");
        let (mut maybe, mut failed_before) = (0, false);
        for (number, outcome) in (0_u32..).zip(outcomes) {
            match outcome.expect("awaited") {
                Ok(_) => assert!(!failed_before, "they are written in order"),
                Err(error) => {
                    failed_before = true;
                    maybe += usize::from(error.outcome() == Outcome::MaybeDelivered);
                    assert!(!came.contains(&number), "round {round}: {number} came, and is told {error}");
                    let body = error.into_body().expect("it is handed back");
                    assert_eq!((&body[..4], body.len()), (&number.to_be_bytes()[..], 5_000));
                }
            }
        }
        assert!(failed_before && maybe <= 1, "{maybe} may have left in part");
        assert!(came.iter().copied().eq(0..came.len() as u32), "{came:?}");
    }
}
