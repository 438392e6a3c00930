//! Bad input: it closes its own connection and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bowline::error::{Disconnect, FrameError, PeerError};
use bowline::frame::native::{Hello, Native};
use bowline::frame::{Framing, Kind, Meta};
use bowline::{CallOptions, Config};
use std::sync::{Arc, Mutex};

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

/// A server that notes why each connection that was ready ended.
async fn noting<H: Harness>(config: Config) -> (H::Server<Native>, Causes) {
    let causes = Causes::default();
    let note = Arc::clone(&causes);
    let handlers =
        Handlers::echo().disconnect(move |_, cause| note.lock().expect("not poisoned").push(cause.clone()));
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    (server, causes)
}

/// Writes `bytes` and waits until the server hangs up.
fn provoke(address: &str, bytes: &[u8], end: bool) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    // It may hang up in the middle of this.
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

    // Before the handshake is done nobody was told of a connection: nobody is told of its end.
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
    // A hello that drips in, a byte at a time.
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
