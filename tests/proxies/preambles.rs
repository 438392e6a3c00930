//! Preambles: the bytes that are exchanged before the framing starts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::error::{Disconnect, Outcome, PreambleError};
use bowline::frame::raw::Raw;
use bowline::links::{self, Exclusive};
use bowline::preamble::Exchange;
use bowline::step::{Interrupted, Progress, Step};
use bowline::{Config, Delivery, LinkEvent, Preamble, ReconnectPolicy};

use crate::servers::Server;
use crate::through::{Client, Keep, config, echo, socks};
use crate::{done, until};

fn greets() -> Preamble {
    Preamble::new(|_| Exchange::new("AUTH secret\n", "+OK\n")).then(|_| Exchange::new("SELECT 3\n", "+OK\n"))
}

fn soon() -> ReconnectPolicy {
    ReconnectPolicy::fixed(Duration::from_millis(1))
}

/// Tells who it is, with what it was told; a line that begins with `-` is a refusal.
struct Tells(Option<String>);

#[derive(Debug)]
struct Said(String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it said {:?}", self.0)
    }
}

impl std::error::Error for Said {}

impl Step for Tells {
    type Error = PreambleError;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, PreambleError> {
        if let Some(line) = self.0.take() {
            out.extend_from_slice(line.as_bytes());
        }
        let Some(end) = received.iter().position(|byte| *byte == b'\n') else { return Ok(Progress::more(0)) };
        match received[0] {
            b'+' => Ok(Progress::done(end + 1)),
            _ => Err(PreambleError::refused(Said(String::from_utf8_lossy(&received[..end]).into_owned()))),
        }
    }
}

pub(crate) async fn it_runs_before_the_first_message_of_each_connection<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let gate = Server::gate(&["AUTH secret", "SELECT 3"], "+OK\n", &address);
    let config = Config::builder().preamble(greets()).reconnect(soon()).build().expect("sound");
    let client = Client::<R>::with_config(gate.address.as_str(), config).connect_lazy().expect("sound");
    for round in 1..4 {
        // It was queued before there was a connection, or while there was none.
        loop {
            match done::<R, _>(client.call(1, b"hello")).await {
                Ok(reply) => {
                    assert_eq!(&reply[..], b"hello");
                    break;
                }
                Err(error) => assert_eq!(error.outcome(), Outcome::MaybeDelivered, "{error}"),
            }
        }
        assert!(gate.asked().len() >= 2 * round);
        gate.cut();
    }
    assert_eq!(gate.asked()[..4], ["AUTH secret", "SELECT 3", "AUTH secret", "SELECT 3"]);
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn what_comes_behind_it_is_the_framings<R: Runtime>() {
    // The end of the answer and the first bytes of the stream come at once.
    let server = Server::echoes_behind(&[(6, b"+OK\nearly")]);
    let preamble = Preamble::new(|_| Exchange::new("HELLO\n", "+OK\n"));
    let config = Config::with_framing(Raw::new()).preamble(preamble).build().expect("sound");
    let client = links::Client::<R, Raw>::with_config(server.address.as_str(), config.clone());
    let client = done::<R, _>(client.connect()).await.expect("it greets");
    let _queued = done::<R, _>(client.cast(0, b"!")).await.expect("open");
    let mut received = Vec::new();
    while received.len() < 6 {
        received.extend(done::<R, _>(client.receive()).await.expect("more").body.into_bytes());
    }
    assert_eq!(received, b"early!");
    done::<R, _>(client.close()).await;

    let connect = Exclusive::<R, Raw>::connect_with(server.address.as_str(), config);
    let mut link = done::<R, _>(connect).await.expect("it greets");
    let mut keep = Keep::default();
    while keep.0.concat().len() < 5 {
        done::<R, _>(link.turn(&mut keep, None)).await.expect("connected");
    }
    assert_eq!(keep.0.concat(), b"early");
    done::<R, _>(link.close(&mut keep)).await;
}

pub(crate) async fn a_failure_is_a_failed_attempt_and_loses_nothing<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let answer = "+OK\n";
    // Cut at every byte; then one that lets through.
    for len in 0..answer.len() {
        let cuts = Server::says(&answer.as_bytes()[..len]);
        let gate = Server::gate(&["HELLO"], "+OK\n", &address);
        let preamble = Preamble::new(|_| Exchange::new("HELLO\n", "+OK\n"));
        let config = Config::builder().preamble(preamble).reconnect(soon()).build().expect("sound");
        let client = Client::<R>::with_config(cuts.address.as_str(), config).endpoint(gate.address.as_str());
        let client = client.connect_lazy().expect("sound");
        let waits = done::<R, _>(client.call(1, b"hello")).await;
        assert_eq!(&waits.expect("it went out on the connection that worked")[..], b"hello");
        let event = done::<R, _>(client.next_event()).await.expect("open");
        assert!(matches!(event, LinkEvent::Connecting { attempt: 1, .. }), "{event:?}");
        let event = done::<R, _>(client.next_event()).await.expect("open");
        let LinkEvent::ConnectFailed { endpoint, cause, .. } = event else { panic!("{event:?}") };
        assert_eq!(endpoint.to_string(), cuts.address);
        let closed = PreambleError::Interrupted(Interrupted::Closed { pending: len });
        assert_eq!(cause, Disconnect::Preamble(closed));
        done::<R, _>(client.close()).await;
    }
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn a_refusal_ends_dialing<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let gate = Server::gate(&["AUTH 3"], "+OK\n", &address);
    let preamble = Preamble::new(|_| Tells(Some("AUTH 1\n".into())));
    let with =
        |preamble, policy| Config::builder().preamble(preamble).reconnect(policy).build().expect("sound");
    let client = Client::<R>::with_config(gate.address.as_str(), with(preamble, soon()));
    let client = client.connect_lazy().expect("sound");
    let error = done::<R, _>(client.ready()).await.expect_err("refused");
    let Some(Disconnect::Preamble(PreambleError::Refused(cause))) = error.cause() else {
        panic!("{error:?}")
    };
    assert_eq!(cause.downcast_ref::<Said>().map(|said| said.0.as_str()), Some("-NO"));
    assert_eq!(gate.asked(), ["AUTH 1"]);

    // Steps are made anew for each connection, and told which it is.
    let counted = Arc::new(AtomicU64::new(0));
    let epochs = Arc::clone(&counted);
    let preamble = Preamble::new(move |opening| {
        epochs.fetch_max(opening.epoch.get(), Ordering::Relaxed);
        assert_eq!(opening.endpoint.map(ToString::to_string), opening.address.map(ToString::to_string));
        Tells(Some(format!("AUTH {}\n", opening.epoch.get())))
    });
    let client = Client::<R>::with_config(gate.address.as_str(), with(preamble, soon().retry_when_denied()));
    let client = done::<R, _>(client.connect_lazy().expect("sound").ready()).await;
    client.expect("the third is right");
    assert_eq!(gate.asked(), ["AUTH 1", "AUTH 1", "AUTH 2", "AUTH 3"]);
    assert_eq!(counted.load(Ordering::Relaxed), 3);
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn one_that_takes_too_long<R: Runtime>() {
    let server = Server::silent();
    let limit = Duration::from_millis(30);
    let config = Config::builder().preamble(greets().timeout(limit)).build().expect("sound");
    let timed_out = Disconnect::Preamble(PreambleError::Interrupted(Interrupted::TimedOut { limit }));
    let connect = Client::<R>::with_config(server.address.as_str(), config.clone()).connect();
    let error = done::<R, _>(connect).await.expect_err("nobody answers");
    assert_eq!(error.cause(), Some(&timed_out));
    let connect = Exclusive::<R>::connect_with(server.address.as_str(), config);
    let error = done::<R, _>(connect).await.expect_err("nobody answers");
    assert_eq!(error.cause(), Some(&timed_out));
    // The time for all of connecting holds as well.
    let config = Config::builder().preamble(greets()).connect_timeout(limit).build().expect("sound");
    let connect = Client::<R>::with_config(server.address.as_str(), config).connect();
    let error = done::<R, _>(connect).await.expect_err("nobody answers");
    assert_eq!(error.cause(), Some(&Disconnect::ConnectTimeout { limit }));
}

pub(crate) async fn with_sessions_and_through_a_proxy<R: Runtime>() {
    const CASTS: u64 = 300;
    let sum = Arc::new(AtomicU64::new(0));
    let (seen, session) =
        (Arc::clone(&sum), |config: bowline::ConfigBuilder| config.delivery(Delivery::Session));
    let server = links::Server::<R>::with_config(session(Config::builder()).build().expect("sound"))
        .on_message_inline(move |_, message| {
            seen.fetch_add(message.body.len() as u64, Ordering::Relaxed);
        })
        .bind("127.0.0.1:0");
    let server = done::<R, _>(server).await.expect("a free port");
    server.start().expect("a runtime");
    let gate = Server::gate(&["AUTH secret", "SELECT 3"], "+OK\n", &server.local_addr().to_string());
    let proxy = Server::socks5().knows("target.invalid", &gate.address);
    let config = session(config(socks(&proxy)).to_builder().preamble(greets())).build().expect("sound");
    let client = Client::<R>::with_config("target.invalid:77", config);
    let client = done::<R, _>(client.connect()).await.expect("all let it through");
    for number in 1..=CASTS {
        let _queued = done::<R, _>(client.cast(1, vec![0; number as usize])).await.expect("room");
        if number % 100 == 0 {
            proxy.cut();
        }
    }
    // Each arrived once, whatever connection it went over.
    until(|| sum.load(Ordering::Relaxed) >= CASTS * (CASTS + 1) / 2);
    let left = done::<R, _>(client.close()).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(sum.load(Ordering::Relaxed), CASTS * (CASTS + 1) / 2);
    let (asked, greeted) = (proxy.asked().len(), gate.asked().len());
    assert!(asked >= 2 && greeted >= 4, "{asked} connections, {greeted} lines");
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn with_one_owner_and_over_a_stream<R: Runtime>() {
    let (server, address) = echo::<R>().await;
    let gate = Server::gate(&["AUTH secret", "SELECT 3"], "+OK\n", &address);
    let config = Config::builder().preamble(greets()).build().expect("sound");
    let stream = || -> io::Result<_> { std::net::TcpStream::connect(&gate.address) };
    for over in [false, true] {
        // Boxed: the futures are large, and the test holds each of them.
        let link = if over {
            let stream = stream().expect("it listens");
            Box::pin(done::<R, _>(Exclusive::<R>::over(stream, config.clone()))).await.expect("let in")
        } else {
            let connect = Exclusive::<R>::connect_with(gate.address.as_str(), config.clone());
            Box::pin(done::<R, _>(connect)).await.expect("let in")
        };
        Box::pin(is_answered(link)).await;
    }
    let client = Client::<R>::with_config(gate.address.as_str(), config).over(stream().expect("it listens"));
    let client = done::<R, _>(client.connect()).await.expect("let in");
    assert_eq!(&done::<R, _>(client.call(1, b"hello")).await.expect("a reply")[..], b"hello");
    assert_eq!(gate.asked().len(), 6);
    done::<R, _>(client.close()).await;
    done::<R, _>(server.shutdown()).await;
}

async fn is_answered<R: Runtime>(mut link: Exclusive<R>) {
    let mut keep = Keep::default();
    link.call(1, b"hello").expect("room");
    while keep.0.is_empty() {
        done::<R, _>(link.turn(&mut keep, None)).await.expect("connected");
    }
    assert_eq!(keep.0, [b"hello"]);
    done::<R, _>(link.close(&mut keep)).await;
}
