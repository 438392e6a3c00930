//! Links over the program's own sockets: connected sockets, listening sockets, connectors, and custom
//! streams. The same test on every runtime.

#![cfg(unix)]

use std::future::Future;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::blocking::{CallId, Handler};
use bowline::core::supervisor::Endpoint;
use bowline::driver::runtime::Runtime;
use bowline::driver::stream::{Stream, Target};
use bowline::driver::style::Awaits;
use bowline::driver::{Style, Wait};
use bowline::links::{Client, ClientBuilder, Server};

use bowline::frame::native::Native;
use bowline::{Address, Config, ConnectError, ReconnectPolicy, State};

/// A runtime, for a test on one thread.
trait Tested: Runtime {
    /// Waits for the result of a waiting method.
    fn done<Fut: Future>(waited: Wait<Self, Fut>) -> Fut::Output;

    fn connecting(
        builder: ClientBuilder<Self>,
        connect: impl Fn(Target) -> io::Result<Stream> + Send + Sync + 'static,
    ) -> ClientBuilder<Self>;

    /// A custom stream over one end of a socket pair.
    fn own(end: UnixStream) -> Stream;
}

/// The common interface of async runtimes.
macro_rules! tasks {
    ($runtime:ty, $own:expr) => {
        impl Tested for $runtime {
            fn done<Fut: Future>(waited: Wait<Self, Fut>) -> Fut::Output {
                smol::future::block_on(waited)
            }

            fn connecting(
                builder: ClientBuilder<Self>,
                connect: impl Fn(Target) -> io::Result<Stream> + Send + Sync + 'static,
            ) -> ClientBuilder<Self> {
                builder.connector(move |target| std::future::ready(connect(target)))
            }

            fn own(end: UnixStream) -> Stream {
                end.set_nonblocking(true).expect("an option");
                $own(end)
            }
        }
    };
}

fn name() -> Address {
    Address::Inproc("own".into())
}

tasks!(bowline::tokio::Tokio, |end| {
    // With a buffer: bytes that are not flushed do not arrive.
    let end = tokio::net::UnixStream::from_std(end).expect("a runtime");
    bowline::tokio::stream(tokio::io::BufStream::new(end), name())
});
tasks!(bowline::smol::Smol, |end| {
    let end = smol::Async::new(end).expect("a reactor");
    bowline::smol::stream(smol::net::unix::UnixStream::from(end), name())
});
tasks!(bowline::async_std::AsyncStd, |end| {
    let end = smol::Async::new(end).expect("a reactor");
    bowline::async_std::stream(smol::net::unix::UnixStream::from(end), name())
});

impl Tested for bowline::blocking::Threads {
    fn done<Fut: Future>(waited: Wait<Self, Fut>) -> Fut::Output {
        waited
    }

    fn connecting(
        builder: ClientBuilder<Self>,
        connect: impl Fn(Target) -> io::Result<Stream> + Send + Sync + 'static,
    ) -> ClientBuilder<Self> {
        builder.connector(connect)
    }

    fn own(end: UnixStream) -> Stream {
        let writer = io::BufWriter::new(end.try_clone().expect("a descriptor"));
        bowline::blocking::stream(
            Closing(end.try_clone().expect("a descriptor")),
            CloseBehind(writer),
            name(),
        )
        .expect("threads")
    }
}

/// Reads, and ends both sides when it is dropped, as a child process's pipe would.
struct Closing(UnixStream);

impl io::Read for Closing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// Writes, and ends the writing side when it is dropped.
struct CloseBehind(io::BufWriter<UnixStream>);

impl io::Write for CloseBehind {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for CloseBehind {
    fn drop(&mut self) {
        let _ = io::Write::flush(&mut self.0);
        let _ = self.0.get_ref().shutdown(std::net::Shutdown::Write);
    }
}

/// An echo server that listens at a socket of the test.
fn echo<R: Tested>() -> (Server<R>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let builder = Server::<R>::builder().on_request_inline(|_, request, reply| {
        reply.extend_from_slice(request.body);
        Ok(())
    });
    let server = builder.listen_on(listener).expect("it listens");
    assert_eq!(server.local_addr(), address.into());
    server.start().expect("a runtime");
    (server, address)
}

fn config() -> Config {
    Config::builder().reconnect(ReconnectPolicy::fixed(Duration::from_millis(2))).build().expect("sound")
}

fn talk<R: Tested>(client: &Client<R>) {
    for len in [0, 1, 100, 70_000, 1 << 20, 3] {
        let body = vec![u8::try_from(len % 251).expect("small"); len];
        let reply = R::done(client.call(1, body.clone())).expect("a reply");
        assert!(reply[..] == body[..], "{len} bytes");
    }
}

/// A socket that is connected already, and ends once.
fn over_a_socket<R: Tested>() {
    let (server, address) = echo::<R>();
    let socket = TcpStream::connect(address).expect("it listens");
    let client =
        R::done(Client::<R>::builder(address).config(config()).over(socket).connect()).expect("it answers");
    assert_eq!(client.remote_addr(), Some(address.into()));
    talk(&client);
    R::done(server.shutdown_within(Duration::ZERO));
    R::done(client.call(1, "more")).expect_err("there is no other connection");
    while client.state() != State::Closed {
        std::thread::yield_now();
    }
}

/// A custom connector, which is called for each connection with the dialed name.
fn through_a_connector<R: Tested>() {
    let (server, address) = echo::<R>();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let builder = Client::<R>::builder(format!("localhost:{}", address.port())).config(config());
    let builder = R::connecting(builder, move |target| {
        seen.lock().expect("unpoisoned").push(target.endpoint);
        if seen.lock().expect("unpoisoned").len() == 2 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        TcpStream::connect(address).map(Stream::from)
    });
    let client = R::done(builder.connect()).expect("it answers");
    talk(&client);
    for peer in server.peers() {
        peer.begin_close();
    }
    // The next attempt fails, the one after does not.
    while asked.lock().expect("unpoisoned").len() < 3 {
        let _either = R::done(client.call(1, "again"));
    }
    talk(&client);
    let asked = asked.lock().expect("unpoisoned");
    assert!(asked.len() >= 3, "{asked:?}");
    let is_name =
        |endpoint: &Endpoint| matches!(endpoint, Endpoint::Name { host, .. } if host == "localhost");
    assert!(asked.iter().all(is_name), "{asked:?}");
    R::done(client.close());
    R::done(server.shutdown());
}

/// Custom streams at both ends.
fn over_own_streams<R: Tested>() {
    let (server, _) = echo::<R>();
    let made = Arc::new(AtomicUsize::new(0));
    let (count, accepting) = (Arc::clone(&made), server.clone());
    let ends = Arc::new(Mutex::new(None));
    let given = Arc::clone(&ends);
    let builder = Client::<R>::builder("inproc://own").config(config());
    let builder = R::connecting(builder, move |target| {
        assert_eq!(target.address, name());
        let (near, far) = UnixStream::pair()?;
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            *given.lock().expect("unpoisoned") = Some(near.try_clone()?);
        }
        accepting.serve_stream(R::own(far), &name())?;
        Ok(R::own(near))
    });
    let client = R::done(builder.connect()).expect("it answers");
    assert_eq!(client.remote_addr(), Some(name()));
    talk(&client);
    // After a cut, the next connection is another pair.
    let cut = ends.lock().expect("unpoisoned").take().expect("it connected");
    cut.shutdown(std::net::Shutdown::Both).expect("connected");
    while made.load(Ordering::Relaxed) < 2 {
        let _either = R::done(client.call(1, "again"));
    }
    talk(&client);
    R::done(client.close());
    let drained = R::done(server.shutdown());
    assert!(drained.cut.is_empty(), "{drained:?}");
}

/// A connector that always fails: its error is reported.
fn a_connector_that_fails<R: Tested>() {
    let builder = R::connecting(Client::<R>::builder("inproc://nowhere"), |_| {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "not today"))
    });
    let error = R::done(builder.connect()).expect_err("it fails");
    let ConnectError::Failed(failure) = &error else { panic!("{error}") };
    let mut told = failure.to_string();
    let mut source: Option<&dyn std::error::Error> = Some(&**failure);
    while let Some(error) = source {
        told += &format!("; {error}");
        source = error.source();
    }
    assert!(told.contains("inproc://nowhere"), "{told}");
}

fn all<R: Tested>() {
    over_a_socket::<R>();
    through_a_connector::<R>();
    over_own_streams::<R>();
    a_connector_that_fails::<R>();
}

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let _inside = runtime.enter();
    all::<bowline::tokio::Tokio>();
}

#[test]
fn on_smol() {
    all::<bowline::smol::Smol>();
}

#[test]
fn on_async_std() {
    all::<bowline::async_std::AsyncStd>();
}

#[test]
fn on_threads() {
    all::<bowline::blocking::Threads>();
}

/// Replies, in order.
#[derive(Default)]
struct Replies(Vec<usize>);

impl Handler for Replies {
    fn reply(&mut self, _: CallId, body: &[u8]) {
        self.0.push(body.len());
    }
}

const SIZES: [usize; 4] = [0, 10, 70_000, 300_000];

#[test]
fn exclusive_over_an_own_stream_on_tokio() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let (server, _) = echo::<bowline::tokio::Tokio>();
        let (near, far) = UnixStream::pair().expect("descriptors");
        server.serve_stream(bowline::tokio::Tokio::own(far), &name()).expect("a runtime");
        let near = bowline::tokio::Tokio::own(near);
        let mut link = bowline::tokio::Exclusive::over(near, config()).await.expect("it answers");
        let mut replies = Replies::default();
        for len in SIZES {
            link.call(1, vec![7; len]).expect("room");
            while replies.0.last() != Some(&len) {
                link.turn(&mut replies, None).await.expect("connected");
            }
        }
        assert!(link.close(&mut replies).await.is_empty());
        assert_eq!(replies.0, SIZES);
        server.shutdown().await;
    });
}

#[test]
fn exclusive_over_streams_on_threads() {
    let (server, _) = echo::<bowline::blocking::Threads>();
    for is_own in [false, true] {
        let (near, far) = UnixStream::pair().expect("descriptors");
        server.serve_stream(far, &name()).expect("threads");
        let near = if is_own { bowline::blocking::Threads::own(near) } else { near.into() };
        let mut link = bowline::blocking::Exclusive::over(near, config()).expect("it answers");
        let mut replies = Replies::default();
        for len in SIZES {
            link.call(1, vec![7; len]).expect("room");
            while replies.0.last() != Some(&len) {
                link.turn(&mut replies, None).expect("connected");
            }
        }
        assert!(link.close(&mut replies).is_empty());
        assert_eq!(replies.0, SIZES);
    }
    server.shutdown();
}

/// The trait bounds above hold for tasks and for threads alike.
#[allow(dead_code, reason = "compiled, not run")]
fn styles() {
    fn is_style<S: Style>() {}
    is_style::<Awaits>();
    is_style::<bowline::blocking::Parks>();
    let _unused: Option<Client<bowline::blocking::Threads, Native>> = None;
}
