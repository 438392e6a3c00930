//! Invalid input closes its own connection and affects nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bowline::error::{Disconnect, FrameError, PeerError};
use bowline::frame::native::{Hello, Native};
use bowline::frame::{Framing, Kind, Meta};
use bowline::{CallOptions, Config};
use std::sync::{Arc, Mutex};

use super::fairness::Gate;
use crate::harness::{Client, Handlers, Harness, Server};

const MS: Duration = Duration::from_millis(1);

fn frame(meta: &Meta, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mark = Native::new().begin(&mut out, meta, &[]).expect("a frame");
    out.extend_from_slice(body);
    Native::new().finish(&mut out, mark, 0).expect("a frame");
    out
}

fn hello() -> Vec<u8> {
    let mut body = Vec::new();
    Hello::new().encode(&mut body);
    frame(&Meta::new(Kind::Hello, 0), &body)
}

type Causes = Arc<Mutex<Vec<Disconnect>>>;

/// A server that records why each ready connection ended.
async fn noting<H: Harness>(config: Config) -> (H::Server<Native>, Causes) {
    let causes = Causes::default();
    let note = Arc::clone(&causes);
    let handlers =
        Handlers::echo().disconnect(move |_, cause| note.lock().expect("not poisoned").push(cause.clone()));
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    (server, causes)
}

/// Writes `bytes` and waits until the server closes the connection.
fn provoke(address: &str, bytes: &[u8], end: bool) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    // It may close the connection in the middle of this.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}

pub async fn bad_input_closes_only_its_connection<H: Harness>() {
    let (server, causes) = noting::<H>(Config::default()).await;
    let address = server.address();
    let client = H::connect(&address, Config::default(), Handlers::none()).await.expect("connected");

    // Before the end of the handshake no connection was reported, so its end is not reported either.
    let mut version = hello();
    (version[12], version[13]) = (9, 9);
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), frame(&Meta::new(Kind::Ping, 1), b""), version] {
        provoke(&address, &bytes, false);
    }
    assert!(causes.lock().expect("not poisoned").is_empty());

    let provocations: [(Vec<u8>, PeerError); 4] = [
        (hello(), PeerError::SecondHello),
        (vec![99], FrameError::BadField { field: "kind", value: 99, limit: 14 }.into()),
        (
            vec![5, 1, 0, 0, 0xff, 0xff, 0xff, 0xff],
            FrameError::TooLong { field: "length", value: u64::from(u32::MAX), limit: 8_388_612 }.into(),
        ),
        (vec![5, 1, 0, 0, 0, 0, 0, 1], FrameError::TooShort { field: "length", value: 1, limit: 4 }.into()),
    ];
    for (bytes, expected) in provocations {
        provoke(&address, &[hello(), bytes].concat(), false);
        H::until("it is told", || !causes.lock().expect("not poisoned").is_empty()).await;
        let cause = causes.lock().expect("not poisoned").remove(0);
        assert_eq!(cause, Disconnect::Protocol(expected));
        let reply = client.call(CallOptions::new(1), b"still served".to_vec()).await.expect("a reply");
        assert_eq!(&reply[..], b"still served");
    }
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn silence_in_the_handshake<H: Harness>() {
    let config = Config::builder().connect_timeout(MS * 50).build().expect("sound");
    let (server, _) = noting::<H>(config).await;
    provoke(&server.address(), b"", false);
    // A hello that arrives one byte at a time.
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    for byte in &hello()[..20] {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        H::sleep(MS * 5).await;
    }
    H::until("both are gone", || server.peers().is_empty()).await;
    server.shutdown().await;
}

pub async fn a_frame_cut_short<H: Harness>() {
    let (server, causes) = noting::<H>(Config::default()).await;
    let cast = frame(&Meta { method: 1, ..Meta::default() }, b"cut");
    provoke(&server.address(), &[&hello()[..], &cast[..cast.len() - 1]].concat(), true);
    H::until("it is told", || !causes.lock().expect("not poisoned").is_empty()).await;
    let cause = causes.lock().expect("not poisoned").remove(0);
    let Disconnect::Protocol(PeerError::Frame(FrameError::Truncated { have, need })) = cause else {
        panic!("{cause}")
    };
    assert_eq!((have, need), (cast.len() as u64 - 1, cast.len() as u64));
    server.shutdown().await;
}

pub async fn floods_are_cut_off<H: Harness>() {
    let (server, causes) = noting::<H>(Config::default()).await;
    let address = server.address();
    let client = H::connect(&address, Config::default(), Handlers::none()).await.expect("connected");
    let ping = frame(&Meta::new(Kind::Ping, 1), b"");
    let cancel = frame(&Meta::new(Kind::Cancel, 1), b"");
    let reply = frame(&Meta::new(Kind::Reply, 1), b"");
    let floods = [(ping.repeat(1 << 20), "control bytes"), (cancel, "cancels"), (reply, "replies")];
    for (bytes, expected) in floods {
        provoke(&address, &[hello(), bytes].concat(), false);
        H::until("it is told", || !causes.lock().expect("not poisoned").is_empty()).await;
        let cause = causes.lock().expect("not poisoned").remove(0);
        let Disconnect::Protocol(PeerError::Flood { what, .. }) = cause else { panic!("{cause}") };
        assert_eq!(what, expected);
        let reply = client.call(CallOptions::new(1), b"still served".to_vec()).await.expect("a reply");
        assert_eq!(&reply[..], b"still served");
    }
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn flow_control_broken<H: Harness>() {
    let config = Config::builder().normal_window(64 * 1024).max_inbound_bytes(1).build().expect("sound");
    let gate = Gate::default();
    let waiting = gate.clone();
    let stuck = Handlers::none().request(move |asked| {
        let gate = waiting.clone();
        async move {
            gate.passed::<H>().await;
            Ok(asked.body.into())
        }
    });
    let causes = Causes::default();
    let note = Arc::clone(&causes);
    let stuck = stuck.disconnect(move |_, cause| note.lock().expect("not poisoned").push(cause.clone()));
    let server = H::bind("127.0.0.1:0", config, stuck).await.expect("a free port");
    server.start();
    // The abort of a message that never began; a message that begins before the first is complete; another
    // abort; and more bytes than the message has.
    let fragment = |id: u64, piece: &[u8]| frame(&Meta::new(Kind::Fragment, id), piece);
    let begun = frame(&Meta { method: 1, ..Meta::default() }, &[0; 1000]);
    let broken = [
        frame(&Meta::new(Kind::Abort, 1), b""),
        [fragment(1, &begun[..100]), fragment(2, &begun[100..200])].concat(),
        [fragment(1, &begun[..100]), frame(&Meta::new(Kind::Abort, 2), b"")].concat(),
        fragment(1, &[&begun[..], b"more"].concat()),
    ];
    for bytes in broken {
        provoke(&server.address(), &[hello(), bytes].concat(), false);
        H::until("it is told", || !causes.lock().expect("not poisoned").is_empty()).await;
        let cause = causes.lock().expect("not poisoned").remove(0);
        let Disconnect::Protocol(PeerError::Fragment { .. }) = cause else { panic!("{cause}") };
    }
    // The first is being handled, the second waits in the window, the third has none.
    let request = |id: u64| frame(&Meta::new(Kind::Request, id), &[0; 50_000]);
    provoke(&server.address(), &[hello(), request(1), request(2), request(3)].concat(), false);
    H::until("it is told", || !causes.lock().expect("not poisoned").is_empty()).await;
    let cause = causes.lock().expect("not poisoned").remove(0);
    let Disconnect::Protocol(PeerError::Credit { credit, .. }) = cause else { panic!("{cause}") };
    assert!(credit < 50_000);
    gate.open();
    server.shutdown().await;
}
