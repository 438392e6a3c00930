//! Messages over secured connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::{Config, Delivery, SocketOptions};
use bowline_core::link::{CallId, CallOptions};
use bowline_core::supervisor::ReconnectPolicy;
use bowline_driver::inproc;
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::Stream;
use bowline_links::{Client, Exclusive, Handler, Server};
use bowline_tls::{TlsClient, TlsServer};

use crate::wire::{Wire, body};
use crate::world::{LIMIT, NAME, World, connect, done, echo, echoing, named, serving, start, until, world};

/// Sockets that take little at once, so that most records are cut.
fn tight() -> SocketOptions {
    let mut options = SocketOptions::default();
    (options.send_buffer, options.receive_buffer) = (Some(4096), Some(4096));
    options
}

pub(crate) async fn calls_and_casts_of_every_size<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    for sockets in [SocketOptions::default(), tight()] {
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        let builder = echoing::<R, _>(Config::builder().sockets(sockets).tls(&tls)).on_message_inline(
            move |_, message| {
                assert!(message.body == &body(message.body.len())[..], "a damaged message");
                count.fetch_add(message.body.len(), Ordering::Relaxed);
            },
        );
        let server = start(builder).await;
        let wire = Wire::to(server.local_addr().port());
        // Tight sockets take seconds for all of it, and more on a busy machine.
        let config = Config::builder().sockets(sockets).tls(&client).call_timeout(LIMIT);
        let config = config.build().expect("sound");
        let client = done::<R, _>(Client::<R, _>::with_config(wire.address(), config).connect())
            .await
            .expect("it listens");
        let around = |size: usize| (size - 40..size + 8).step_by(7);
        let sizes: Vec<usize> = [0, 1, 16, 110, 1_000, 70_000, 300_000, 1_000_000]
            .into_iter()
            .chain(around(16 * 1024))
            .chain(around(32 * 1024))
            .chain(around(64 * 1024))
            .collect();
        let (mut calls, mut sent) = (Vec::new(), 0);
        for &size in &sizes {
            let call = done::<R, _>(client.start_call(CallOptions::new(1), body(size))).await.expect("room");
            calls.push((size, call));
            let _ = done::<R, _>(client.cast(2, body(size / 2))).await.expect("room");
            sent += size / 2;
        }
        for (size, call) in calls {
            let reply = done::<R, _>(call.wait()).await.expect("an answer");
            assert!(reply[..] == body(size)[..], "a damaged reply of {size} bytes");
        }
        // One at a time: callers themselves write, and read.
        for size in 0..200 {
            let reply = done::<R, _>(client.call(1, body(size))).await.expect("an answer");
            assert!(reply[..] == body(size)[..]);
        }
        until(|| came.load(Ordering::Relaxed) == sent);
        assert!(done::<R, _>(client.close()).await.is_empty());
        done::<R, _>(server.shutdown()).await;
        wire.assert_secret();
        assert!(wire.carried() > 2 * sizes.iter().sum::<usize>());
    }
}

/// One after another, so that each is written by itself: what is in its last record goes from everything to nearly nothing.
pub(crate) async fn messages_of_every_size_around_a_record<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let server = serving::<R>(&tls).await;
    let wire = Wire::to(server.local_addr().port());
    let link = connect::<R>(&wire.address(), &client).await.expect("it listens");
    for size in 16 * 1024 - 64..=16 * 1024 + 64 {
        let reply = done::<R, _>(link.call(1, body(size))).await.expect("an answer");
        assert!(reply[..] == body(size)[..], "{size} bytes");
    }
    done::<R, _>(link.close()).await;
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}

pub(crate) async fn both_sides_are_known<R: Runtime>() {
    let World { ca, .. } = world();
    let tls = TlsServer::builder()
        .identity(ca.issue(&[NAME]))
        .client_roots(ca.roots())
        .alpn(["bowline/1"])
        .build()
        .expect("sound");
    let client = TlsClient::builder()
        .roots(ca.roots())
        .identity(ca.issue(&["client.test"]))
        .alpn(["bowline/1"])
        .build()
        .expect("sound");
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server =
        echoing::<R, _>(Config::builder()).tls(&tls).on_request_inline(move |context, request, reply| {
            let secured = context.peer().secured().expect("it is secured");
            assert_eq!(
                (secured.certificates.len(), secured.protocol.as_deref()),
                (1, Some(&b"bowline/1"[..]))
            );
            assert_eq!((secured.server_name.as_deref(), secured.version), (Some(NAME), "TLSv1.3"));
            count.fetch_add(1, Ordering::Relaxed);
            echo(0, &request, reply)
        });
    let server = start(server).await;
    let link = connect::<R>(&named(&server), &client).await.expect("it listens");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let secured = link.secured().expect("it is");
    assert_eq!((secured.certificates.len(), secured.server_name.as_deref()), (1, None));
    done::<R, _>(link.close()).await;

    // By an address: the certificate has to be for that, unless the settings say a name.
    let by_address = server.local_addr().to_string();
    connect::<R>(&by_address, &client).await.expect_err("it is for a name");
    let named = TlsClient::builder()
        .roots(ca.roots())
        .identity(ca.issue(&["client.test"]))
        .name(NAME)
        .build()
        .expect("sound");
    let link = connect::<R>(&by_address, &named).await.expect("an explicit name wins");
    done::<R, _>(link.close()).await;
    done::<R, _>(server.shutdown()).await;
}

#[derive(Default)]
struct Replies(usize);

impl Handler for Replies {
    fn reply(&mut self, _: CallId, body: &[u8]) {
        self.0 += body.len();
    }
}

/// A record costs both sides about as much as a system call: a burst of short messages is sent in full records, in both
/// directions, although it is written while more of it is being made.
pub(crate) async fn a_burst_of_calls_fills_its_records<R: Runtime>() {
    const BURST: usize = 256;
    const BODY: usize = 110;
    let World { server: tls, client, .. } = world();
    let server = serving::<R>(&tls).await;
    let wire = Wire::to(server.local_addr().port());
    let config = Config::builder().tls(&client).build().expect("sound");
    let mut owner =
        done::<R, _>(Exclusive::<R>::connect_with(wire.address(), config)).await.expect("it listens");
    let (mut replies, mut before) = (Replies::default(), [0; 2]);
    // The buffers grow during the first bursts.
    for _ in 0..5 {
        (replies, before) = (Replies::default(), wire.records());
        for _ in 0..BURST {
            owner.call(1, body(BODY)).expect("room");
        }
        while replies.0 < BURST * BODY {
            done::<R, _>(owner.turn(&mut replies, None)).await.expect("open");
        }
    }
    let after = wire.records();
    // Requests take 34 KiB, three records, and one more is left to the flow control. Answers take 31.5 KiB, two records;
    // a third one where the requests came in two parts.
    for (way, most) in [4, 3].into_iter().enumerate() {
        let records = after[way] - before[way];
        assert!((2..=most).contains(&records), "way {way}: {before:?}, {after:?}");
    }
    assert!(done::<R, _>(owner.close(&mut replies)).await.is_empty());
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}

pub(crate) async fn an_owner_drives_its_connection<R: Runtime>() {
    let World { server: tls, client, ca } = world();
    let server = serving::<R>(&tls).await;
    let wire = Wire::to(server.local_addr().port());
    for sockets in [SocketOptions::default(), tight()] {
        let config = Config::builder().sockets(sockets).tls(&client).build().expect("sound");
        let mut owner =
            done::<R, _>(Exclusive::<R>::connect_with(wire.address(), config)).await.expect("it listens");
        let mut replies = Replies::default();
        for size in (0..20).map(|number| number * 5_000) {
            owner.call(1, body(size)).expect("room");
        }
        while replies.0 < (0..20).map(|number| number * 5_000).sum() {
            done::<R, _>(owner.turn(&mut replies, None)).await.expect("open");
        }
        assert!(done::<R, _>(owner.close(&mut replies)).await.is_empty());
    }
    wire.assert_secret();
    let stranger = crate::certificates::Authority::new("another root");
    let tls = TlsClient::builder().roots(stranger.roots()).build().expect("sound");
    let config = Config::builder().tls(&tls).build().expect("sound");
    let refused =
        done::<R, _>(Exclusive::<R>::connect_with(wire.address(), config)).await.expect_err("unknown issuer");
    assert!(!refused.is_retryable(), "{refused:?}");
    done::<R, _>(server.shutdown()).await;

    // The accepting end, too: both in this one task.
    let (one, other) = inproc::pair(Address::Inproc("owned".into()));
    let server_config = Config::builder().tls(tls_of(&ca)).build().expect("sound");
    let accepting = std::thread::spawn(move || {
        bowline_blocking::block_on(async move {
            struct Echo(usize);
            impl Handler for Echo {
                fn request(
                    &mut self,
                    request: bowline_links::RequestRef<'_>,
                    reply: &mut bowline_links::ReplyBuf<'_>,
                ) -> Result<(), bowline_core::error::Failure> {
                    reply.extend_from_slice(request.body);
                    self.0 += 1;
                    Ok(())
                }
            }
            let mut owner =
                Exclusive::<bowline_blocking::Threads>::accept(Stream::Memory(other), server_config)
                    .expect("sound");
            let mut echo = Echo(0);
            while owner.turn(&mut echo, None).is_ok() {}
            echo.0
        })
    });
    let tls = TlsClient::builder().roots(ca.roots()).name(NAME).build().expect("sound");
    let config = Config::builder().tls(&tls).build().expect("sound");
    let mut owner =
        done::<R, _>(Exclusive::<R>::over(Stream::Memory(one), config)).await.expect("it is accepted");
    let mut replies = Replies::default();
    owner.call(1, body(100_000)).expect("room");
    while replies.0 < 100_000 {
        done::<R, _>(owner.turn(&mut replies, None)).await.expect("open");
    }
    done::<R, _>(owner.close(&mut replies)).await;
    assert_eq!(accepting.join().expect("no panic"), 1);
}

fn tls_of(ca: &crate::certificates::Authority) -> TlsServer {
    TlsServer::builder().identity(ca.issue(&[NAME])).build().expect("sound")
}

pub(crate) async fn a_stream_of_the_programs_own<R: Runtime>() {
    let World { server: tls, ca, .. } = world();
    let server: Server<R> = serving::<R>(&tls).await;
    let (one, other) = inproc::pair(Address::Inproc("own".into()));
    server.serve_stream(Stream::Memory(other), &Address::Inproc("own".into())).expect("a runtime");
    let nameless = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let named = TlsClient::builder().roots(ca.roots()).name(NAME).build().expect("sound");
    let config = |tls: &TlsClient| Config::builder().tls(tls).build().expect("sound");
    let mut owner =
        done::<R, _>(Exclusive::<R>::over(Stream::Memory(one), config(&named))).await.expect("served");
    let mut replies = Replies::default();
    owner.call(1, body(50_000)).expect("room");
    while replies.0 < 50_000 {
        done::<R, _>(owner.turn(&mut replies, None)).await.expect("open");
    }
    done::<R, _>(owner.close(&mut replies)).await;
    let (one, _other) = inproc::pair(Address::Inproc("own".into()));
    let refused = done::<R, _>(Exclusive::<R>::over(Stream::Memory(one), config(&nameless)))
        .await
        .expect_err("no name");
    assert!(
        matches!(bowline_tls::TlsError::of(&refused), Some(bowline_tls::TlsError::NoName { .. })),
        "{refused:?}"
    );
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn a_session_goes_on_over_new_connections<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let sessions = || {
        Config::builder()
            .delivery(Delivery::Session)
            .reconnect(ReconnectPolicy::fixed(Duration::from_millis(5)))
            .call_timeout(Duration::from_secs(60))
    };
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    let builder = echoing::<R, _>(sessions().tls(&tls)).on_message_inline(move |_, message| {
        // Once each, in order.
        let number = usize::from_be_bytes(*message.body.first_chunk().expect("a number"));
        assert_eq!(count.swap(number + 1, Ordering::Relaxed), number);
    });
    let server = start(builder).await;
    let wire = Wire::to(server.local_addr().port());
    let config = sessions().tls(&client).build().expect("sound");
    let link = done::<R, _>(Client::<R, _>::with_config(wire.address(), config).connect())
        .await
        .expect("it listens");
    let mut number = 0_usize;
    while wire.connections() < 8 {
        for _ in 0..50 {
            let mut text = number.to_be_bytes().to_vec();
            text.extend(body(number % 3_000));
            let _ = done::<R, _>(link.cast(2, text)).await.expect("room");
            number += 1;
        }
        wire.cut();
        let reply =
            done::<R, _>(link.call(1, body(40_000))).await.expect("it comes, over whichever connection");
        assert!(reply[..] == body(40_000)[..]);
    }
    until(|| came.load(Ordering::Relaxed) == number);
    assert!(done::<R, _>(link.close()).await.is_empty());
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}

pub(crate) async fn settings_are_exchanged_while_it_runs<R: Runtime>() {
    let World { ca, server: tls, client } = world();
    let server = serving::<R>(&tls).await;
    let address = named(&server);
    let first = connect::<R>(&address, &client).await.expect("it listens");
    let before = first.secured().expect("it is");
    tls.replace(&tls_of(&ca));
    let second = connect::<R>(&address, &client).await.expect("it listens");
    let after = second.secured().expect("it is");
    assert!(before.certificates != after.certificates && !after.resumed, "the new one is shown");
    for link in [first, second] {
        let reply = done::<R, _>(link.call(1, body(1_000))).await.expect("the old connection goes on");
        assert_eq!(reply.len(), 1_000);
        done::<R, _>(link.close()).await;
    }
    let third = connect::<R>(&address, &client).await.expect("it listens");
    assert!(third.secured().expect("it is").resumed, "the second one's ticket");
    done::<R, _>(third.close()).await;
    done::<R, _>(server.shutdown()).await;
}
