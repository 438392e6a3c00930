//! A connection with one owner, through its public interface: calls, messages, failures and the end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bowline::blocking::{CallId, Client, Exclusive, Handler, Server};
use bowline::core::link::State;
use bowline::error::{CallError, CastRefusal, Disconnect, EncodeError, Failure, LinkWas, Outcome, Status};
use bowline::frame::native::{Hello, Native};
use bowline::frame::raw::Raw;
use bowline::frame::{Class, Framing, Kind, Meta};
use bowline::links::{MessageRef, ReplyBuf, RequestRef};
use bowline::{CallOptions, CastOptions, Config, QueueLimit};

/// Stores everything; echoes requests, except for method 9.
#[derive(Default)]
struct Keep {
    messages: Vec<(u32, Vec<u8>)>,
    replies: Vec<(u64, Result<Vec<u8>, CallError>)>,
}

impl Handler for Keep {
    fn message(&mut self, message: MessageRef<'_>) {
        self.messages.push((message.method(), message.body.to_vec()));
    }

    fn request(&mut self, request: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        if request.method() == 9 {
            return Err(Failure::new(Status(700), "not this one"));
        }
        reply.extend_from_slice(request.body);
        Ok(())
    }

    fn reply(&mut self, call: CallId, body: &[u8]) {
        self.replies.push((call.get(), Ok(body.to_vec())));
    }

    fn failed(&mut self, call: CallId, error: CallError) {
        self.replies.push((call.get(), Err(error)));
    }
}

/// Runs `serve` with the accepting end on a separate thread.
fn with_peer<T: Send + 'static>(
    config: Config,
    serve: impl FnOnce(Exclusive) -> T + Send + 'static,
) -> (String, std::thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        serve(Exclusive::accept(stream, config).expect("sound"))
    });
    (address, thread)
}

/// Serves until the other end is done.
fn serve(mut link: Exclusive) -> (Keep, Disconnect) {
    let mut keep = Keep::default();
    loop {
        if let Err(cause) = link.turn(&mut keep, None) {
            return (keep, cause);
        }
    }
}

#[test]
fn calls_in_flight_and_messages_both_ways() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        let (address, server) = with_peer(Config::default(), move |mut link| {
            link.set_spin(spin);
            serve(link)
        });
        let mut link = Exclusive::connect(&address).expect("it listens");
        link.set_spin(spin);
        let (mut keep, mut made) = (Keep::default(), Vec::new());
        for n in 0..20_000_u32 {
            loop {
                match link.call(1, &n.to_be_bytes()) {
                    Ok(call) => break made.push(call.get()),
                    Err(CallError::Full(_)) => drop(link.turn(&mut keep, None).expect("open")),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let bodies: Vec<Vec<u8>> = (0..2_000_u32).map(|n| vec![7; n as usize % 500]).collect();
        let mut cast = 0;
        while cast < bodies.len() {
            match link.cast_many(2, &bodies[cast..]) {
                Ok(count) => cast += count,
                Err(error) => {
                    assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                    link.turn(&mut keep, None).expect("open");
                }
            }
        }
        // Sent in fragments and reassembled; so is its answer.
        let large = vec![3; 3 << 20];
        let call = link.call(1, &large).expect("a place").get();
        while link.in_flight() > 0 {
            link.turn(&mut keep, None).expect("open");
        }
        assert_eq!(link.counters().calls_replied, 20_001);
        let at = keep.replies.iter().position(|(id, _)| *id == call).expect("answered");
        assert_eq!(keep.replies.remove(at).1.expect("an answer"), large);
        for (n, (id, (replied, body))) in (0_u32..).zip(made.into_iter().zip(keep.replies.drain(..))) {
            assert_eq!((id, body.expect("an answer")), (replied, n.to_be_bytes().to_vec()));
        }
        assert!(link.close(&mut keep).is_empty());
        let (served, cause) = server.join().expect("no panic");
        assert_eq!(served.messages.into_iter().map(|(_, body)| body).collect::<Vec<_>>(), bodies);
        assert!(matches!(cause, Disconnect::PeerClosed | Disconnect::GoneAway), "{cause:?}");
    }
}

#[test]
fn it_talks_to_every_other_end() {
    // A server with threads; and a client that shares its link.
    let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0").unwrap();
    server.start().unwrap();
    let mut link = Exclusive::connect(server.local_addr().to_string()).unwrap();
    let mut keep = Keep::default();
    link.call(1, b"hello").unwrap();
    link.call_with(&CallOptions::new(1), b"again").unwrap();
    while keep.replies.len() < 2 {
        link.turn(&mut keep, None).unwrap();
    }
    assert!(keep.replies.iter().all(|(_, reply)| reply.is_ok()));
    link.close(&mut keep);
    server.shutdown();

    let (address, server) = with_peer(Config::default(), serve);
    let client = Client::connect(&address).unwrap();
    assert_eq!(&client.call(1, b"hi").unwrap()[..], b"hi");
    let Err(CallError::Failed(failure)) = client.call(9, b"hi") else { panic!("refused") };
    assert_eq!(failure.status, Status(700));
    client.close();
    server.join().unwrap();
}

#[test]
fn every_call_is_told_when_the_peer_is_gone() {
    let (address, server) = with_peer(Config::default(), |mut link| {
        // Reads the messages and disconnects without a go-away.
        let mut nothing = ();
        while link.counters().requests < 10 {
            link.turn(&mut nothing, None).expect("open");
        }
    });
    let mut link = Exclusive::connect(&address).unwrap();
    let mut keep = Keep::default();
    for n in 0..10_u8 {
        link.call(5, &[n]).unwrap();
    }
    let cause = loop {
        if let Err(cause) = link.turn(&mut keep, None) {
            break cause;
        }
    };
    server.join().unwrap();
    assert_eq!(keep.replies.len(), 10, "{cause:?}");
    // It may have answered some before it ended: that it has no handler.
    for (_, reply) in keep.replies {
        assert!(
            matches!(
                reply,
                Err(CallError::Failed(_) | CallError::MaybeDelivered(_) | CallError::NeverSent(_))
            ),
            "{reply:?}"
        );
    }
    // Calls from now on are refused, with the reason.
    assert!(link.call(5, b"late").is_err());
    assert_eq!(link.turn(&mut (), None), Err(cause));
}

#[test]
fn deadlines_hold_and_a_full_queue_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (reads_no_more, quiet_now) = std::sync::mpsc::channel();
    let quiet = std::thread::spawn(move || {
        let mut link = Exclusive::accept(listener.accept().unwrap().0, Config::default()).unwrap();
        while link.state() != bowline::State::Ready {
            link.turn(&mut (), None).unwrap();
        }
        // From here on the peer reads nothing.
        reads_no_more.send(()).unwrap();
        let _ = wait.recv();
    });
    let limit = QueueLimit { messages: 1_000, bytes: 64 * 1024 };
    let config = Config::builder().write_queue(limit).build().unwrap();
    let mut link = Exclusive::connect_with(&address, config).unwrap();
    let mut keep = Keep::default();
    while link.state() != bowline::State::Ready {
        link.turn(&mut keep, None).unwrap();
    }
    quiet_now.recv().unwrap();
    let options = CallOptions::new(1).timeout(Duration::from_millis(50));
    link.call_with(&options, b"nobody answers").unwrap();
    while keep.replies.is_empty() {
        link.turn(&mut keep, None).unwrap();
    }
    let (_, reply) = &keep.replies[0];
    assert_eq!(
        *reply,
        Err(CallError::DeadlineExceeded { outcome: Outcome::MaybeDelivered, link: LinkWas::Connected })
    );
    // Until the queue and the socket are full: a turn that waits for nothing ends by itself.
    loop {
        let Err(full) = link.cast(1, &[7; 1000]) else { continue };
        assert!(matches!(full.reason(), CastRefusal::Full(_)), "{full}");
        if !link.turn(&mut keep, Some(Duration::ZERO)).unwrap() {
            break;
        }
    }
    drop(done);
    quiet.join().unwrap();
}

#[test]
fn a_turn_ends_when_there_is_room_again() {
    let (address, server) = with_peer(Config::default(), serve);
    let limit = QueueLimit { messages: 10, bytes: 1 << 20 };
    let config = Config::builder().write_queue(limit).build().unwrap();
    let mut link = Exclusive::connect_with(&address, config).unwrap();
    // Nothing ever arrives: room is the only thing to wait for.
    for n in 0..1_000_u32 {
        while link.cast(1, &n.to_be_bytes()).is_err() {
            assert_eq!(link.turn(&mut (), Some(Duration::from_secs(5))), Ok(true));
        }
    }
    assert!(link.close(&mut ()).is_empty());
    assert_eq!(server.join().unwrap().0.messages.len(), 1_000);
}

#[test]
fn what_can_never_go_makes_no_turn_end() {
    let (address, server) = with_peer(Config::default(), serve);
    let mut link = Exclusive::connect(&address).unwrap();
    let refused = link.cast(1, vec![0; 9 << 20]).unwrap_err();
    assert!(matches!(refused.reason(), CastRefusal::Encode(_)), "{refused}");
    let refused = link.cast_with(&CastOptions::new(1).seq(7), b"no room for a Seq").unwrap_err();
    let error = EncodeError::Unsupported { what: "a Seq" };
    assert_eq!(*refused.reason(), CastRefusal::Encode(error));
    // Nothing arrived, and there is no room to wait for.
    assert_eq!(link.turn(&mut (), Some(Duration::ZERO)), Ok(false));
    link.close(&mut ());
    server.join().unwrap();

    let config = Config::with_framing(Raw::new()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut link = Exclusive::accept(listener.accept().unwrap().0, config).unwrap();
    let error = CastRefusal::Encode(EncodeError::Unsupported { what: "a method (message type)" });
    assert_eq!(*link.cast(7, b"with a method").unwrap_err().reason(), error);
    assert_eq!(*link.cast_many(7, &[b"a", b"b"]).unwrap_err().reason(), error);
}

/// Without a handshake a new connection is ready at once: the peer may wait for this side's bytes first, as
/// an echo server does.
#[test]
fn without_a_handshake_connecting_waits_for_no_byte_of_the_peer() {
    let config =
        Config::with_framing(Raw::new()).connect_timeout(Duration::from_millis(300)).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = Exclusive::connect_with(listener.local_addr().unwrap(), config.clone()).unwrap();
    assert_eq!(link.state(), State::Ready);
    let mut accepted = Exclusive::accept(listener.accept().unwrap().0, config).unwrap();
    let _queued = link.cast(0, b"first").unwrap();
    assert_eq!(link.turn(&mut (), Some(Duration::ZERO)), Ok(false));
    let mut keep = Keep::default();
    while keep.messages.is_empty() {
        accepted.turn(&mut keep, None).unwrap();
    }
    assert_eq!(keep.messages, [(0, b"first".to_vec())]);
}

/// A peer that says hello and sends messages in one piece, before it reads anything.
fn peer_that_does_not_wait() -> (String, std::thread::JoinHandle<()>) {
    let frame = |kind: Kind, body: &[u8]| {
        let class = if kind == Kind::Hello { Class::Control } else { Class::Normal };
        let mut out = Vec::new();
        let meta = Meta { class, method: u32::from(kind == Kind::Cast), ..Meta::new(kind, 0) };
        Native::new().encode(&mut out, &meta, &[], body).unwrap();
        out
    };
    let mut hello = Vec::new();
    Hello::new().encode(&mut hello);
    let casts = [frame(Kind::Cast, b"first"), frame(Kind::Cast, b"second")].concat();
    let all = [frame(Kind::Hello, &hello), casts].concat();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&all).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    (address, thread)
}

/// The handshake of `connect` has no handler: what was read with its last bytes is the first turn's.
#[test]
fn messages_that_come_with_the_hello_are_handed_over() {
    let expected = [(1, b"first".to_vec()), (1, b"second".to_vec())];
    let (address, peer) = peer_that_does_not_wait();
    let mut link = Exclusive::connect(&address).unwrap();
    let mut keep = Keep::default();
    assert_eq!(link.turn(&mut keep, Some(Duration::ZERO)), Ok(true), "they are there");
    assert_eq!(keep.messages, expected);
    assert_eq!(link.turn(&mut keep, Some(Duration::ZERO)), Ok(false), "once");
    link.close(&mut keep);
    peer.join().unwrap();

    // Closed without a turn before.
    let (address, peer) = peer_that_does_not_wait();
    let mut keep = Keep::default();
    Exclusive::connect(&address).unwrap().close(&mut keep);
    assert_eq!(keep.messages, expected);
    peer.join().unwrap();
}

#[test]
fn garbage_is_a_typed_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut link = Exclusive::accept(listener.accept().unwrap().0, Config::default()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let cause = loop {
        if let Err(cause) = link.turn(&mut (), None) {
            break cause;
        }
    };
    assert!(matches!(cause, Disconnect::Protocol(_)), "{cause:?}");
    drop(link);
    // This side's hello, and the end.
    assert!(stream.read_to_end(&mut Vec::new()).is_ok_and(|n| n > 0) || stream.take_error().is_ok());
}
