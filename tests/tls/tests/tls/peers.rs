//! Peers of other implementations: tokio-rustls, and OpenSSL's command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use bowline_core::config::Config;
use bowline_core::frame::Framing;
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::frame::raw::Raw;
use bowline_driver::runtime::Runtime;
use bowline_links::{Client, Server};
use bowline_tls::{Identity, TlsClient, TlsServer, rustls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{Authority, Says};
use crate::wire::{Wire, body};
use crate::world::{NAME, World, done, start, until, world};

/// A thread with a tokio runtime of its own, whatever the scenario runs on.
fn on_tokio<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    })
}

/// Sends back what comes, message by message, until the other side ends.
async fn echo_prefixed<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S) -> usize {
    let mut count = 0;
    loop {
        let mut size = [0; 4];
        match stream.read_exact(&mut size).await {
            Ok(_) => {}
            // A clean end: the other side said so.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => panic!("{error}"),
        }
        let mut text = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut text).await.expect("a whole message");
        stream.write_all(&size).await.expect("open");
        stream.write_all(&text).await.expect("open");
        stream.flush().await.expect("open");
        count += 1;
    }
    let _ = stream.shutdown().await;
    count
}

const SIZES: [usize; 9] = [1, 110, 16_380, 16_384, 16_388, 32_768, 65_536, 100_000, 1_000_000];

fn prefixed() -> bowline_core::config::ConfigBuilder<LengthPrefixed> {
    Config::with_framing(LengthPrefixed::new())
}

pub(crate) async fn a_server_of_another_make<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let wire = Wire::to(listener.local_addr().expect("bound").port());
    listener.set_nonblocking(true).expect("an option");
    let peer = on_tokio(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
        let (stream, _) = listener.accept().await.expect("one comes");
        let stream = tokio_rustls::TlsAcceptor::from(tls.config()).accept(stream).await.expect("a handshake");
        echo_prefixed(stream).await
    });
    let config = prefixed().tls(&client).build().expect("sound");
    let link = done::<R, _>(Client::<R, _>::with_config(wire.address(), config).connect())
        .await
        .expect("it listens");
    for size in SIZES {
        let _ = done::<R, _>(link.cast(0, body(size))).await.expect("room");
    }
    for size in SIZES {
        let message = done::<R, _>(link.receive()).await.expect("it comes back");
        assert!(message.body[..] == body(size)[..], "{size}");
    }
    done::<R, _>(link.close()).await;
    assert_eq!(peer.join().expect("no panic"), SIZES.len(), "and it was told the end");
    wire.assert_secret();
}

pub(crate) async fn a_client_of_another_make<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let server = Server::<R, _>::with_config(prefixed().tls(&tls).build().expect("sound"));
    let server = start_echoing(server).await;
    let wire = Wire::to(server.local_addr().port());
    let port = wire.port;
    let peer = on_tokio(async move {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        let name = rustls::pki_types::ServerName::try_from(NAME).expect("a name");
        let connector = tokio_rustls::TlsConnector::from(client.config());
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        for size in SIZES {
            stream.write_all(&(size as u32).to_be_bytes()).await.expect("open");
            stream.write_all(&body(size)).await.expect("open");
            stream.flush().await.expect("open");
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.expect("it comes back");
            let mut text = vec![0; u32::from_be_bytes(head) as usize];
            stream.read_exact(&mut text).await.expect("whole");
            assert!(text == body(size));
        }
        stream.shutdown().await.expect("open");
        // Its end is announced, too: no error.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.map(|_| rest.len())
    });
    assert_eq!(peer.join().expect("no panic").expect("the server said that it ends"), 0);
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}

/// Sends messages back to where they came from.
async fn start_echoing<R: Runtime, F: Framing>(builder: bowline_links::ServerBuilder<R, F>) -> Server<R, F> {
    start(builder.on_message_inline(|context, message| {
        let _ = context.peer().try_cast(0, message.body).expect("room");
    }))
    .await
}

/// Files that a command reads, gone with this.
struct Files(PathBuf);

impl Files {
    fn new(ca: &Authority) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bowline-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let (chain, key) = ca.issue_pem(&[NAME], Says::default());
        for (name, text) in [("ca.pem", &ca.pem), ("chain.pem", &chain), ("key.pem", &key)] {
            std::fs::write(path.join(name), text).expect("room");
        }
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(files: &Files, args: &[&str]) -> Running {
    let child = Command::new("openssl")
        .args(args)
        .current_dir(&files.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, the command, is installed");
    Running(child)
}

/// Its output, piece by piece.
fn output(from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut from = from;
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            if sender.send(buf[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn take(from: &Receiver<Vec<u8>>, size: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    while taken.len() < size {
        taken.extend(from.recv().expect("more is to come"));
    }
    assert_eq!(taken.len(), size, "no more than that: {:?}", String::from_utf8_lossy(&taken));
    taken
}

pub(crate) async fn openssl_as_a_client<R: Runtime>() {
    let ca = Authority::new("the root");
    let files = Files::new(&ca);
    let identity =
        Identity::from_pem_files(files.path("chain.pem"), files.path("key.pem")).expect("both are there");
    let tls = TlsServer::builder().identity(identity).client_roots(ca.roots()).build().expect("sound");
    for version in ["-tls1_3", "-tls1_2"] {
        // Bytes as they are.
        let config = Config::with_framing(Raw::new()).tls(&tls).build().expect("sound");
        let server = start_echoing(Server::<R, _>::with_config(config)).await;
        let wire = Wire::to(server.local_addr().port());
        let address = format!("127.0.0.1:{}", wire.port);
        let client = |address: &str| {
            let verified = ["-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", NAME];
            let own = ["-cert", "chain.pem", "-key", "key.pem", "-servername", NAME];
            let mut args = vec!["s_client", "-connect", address, "-quiet", version];
            args.extend(verified.iter().chain(&own));
            openssl(&files, &args)
        };
        let mut peer = client(&address);
        let mut input = peer.0.stdin.take().expect("piped");
        let output_of = output(peer.0.stdout.take().expect("piped"));
        for size in [10, 5_000] {
            input.write_all(&body(size)).expect("it reads");
            assert_eq!(take(&output_of, size), body(size));
        }
        drop((peer, input));
        done::<R, _>(server.shutdown()).await;
        wire.assert_secret();

        // Messages with their length before them.
        let server = Server::<R, _>::with_config(prefixed().tls(&tls).build().expect("sound"));
        let server = start_echoing(server).await;
        let mut peer = client(&server.local_addr().to_string());
        let mut input = peer.0.stdin.take().expect("piped");
        let output_of = output(peer.0.stdout.take().expect("piped"));
        let mut message = 5_000_u32.to_be_bytes().to_vec();
        message.extend(body(5_000));
        input.write_all(&message).expect("it reads");
        assert_eq!(take(&output_of, message.len()), message);
        drop((peer, input));
        done::<R, _>(server.shutdown()).await;
    }
}

pub(crate) async fn openssl_as_a_server<R: Runtime>() {
    let ca = Authority::new("the root");
    let files = Files::new(&ca);
    let tls =
        TlsClient::builder().roots(ca.roots()).identity(ca.issue(&["client.test"])).build().expect("sound");
    for version in ["-tls1_3", "-tls1_2"] {
        // It sends each line back, reversed: the order of its bytes, and nothing else, changes.
        let own = [
            "-cert",
            "chain.pem",
            "-key",
            "key.pem",
            "-CAfile",
            "ca.pem",
            "-Verify",
            "2",
            "-verify_return_error",
        ];
        let mut args = vec!["s_server", "-accept", "127.0.0.1:0", "-rev", version];
        args.extend(own);
        let mut peer = openssl(&files, &args);
        let mut said = BufReader::new(peer.0.stdout.take().expect("piped"));
        let port: u16 = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).expect("text") > 0, "it ended before it listened");
            if let Some(port) = line.trim().strip_prefix("ACCEPT 127.0.0.1:") {
                break port.parse().expect("a port");
            }
        };
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let wire = Wire::to(port);
        let config = Config::with_framing(Raw::new()).tls(&tls).build().expect("sound");
        let link = done::<R, _>(Client::<R, _>::with_config(wire.address(), config).connect())
            .await
            .expect("it listens");
        for size in [10, 5_000] {
            let mut line: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
            line.push(b'\n');
            let _ = done::<R, _>(link.cast(0, line.clone())).await.expect("room");
            let mut back = Vec::new();
            while back.len() < line.len() {
                back.extend_from_slice(&done::<R, _>(link.receive()).await.expect("open").body);
            }
            line.pop();
            line.reverse();
            line.push(b'\n');
            assert!(back == line, "{size} bytes, {version}");
        }
        let secured = link.secured().expect("it is");
        assert_eq!(secured.version, if version == "-tls1_3" { "TLSv1.3" } else { "TLSv1.2" });
        done::<R, _>(link.close()).await;
        wire.assert_secret();
    }
}

/// The command `R` of `openssl s_client` asks for another handshake: it is told that there is none, and gives up. Others are
/// served as before.
pub(crate) async fn openssl_wants_another_handshake<R: Runtime>() {
    let ca = Authority::new("the root");
    let files = Files::new(&ca);
    let tls = TlsServer::builder().identity(ca.issue(&[NAME])).build().expect("sound");
    let trusting = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let server = Server::<R, _>::with_config(prefixed().tls(&tls).build().expect("sound"));
    let server = start_echoing(server).await;
    let wire = Wire::to(server.local_addr().port());
    let config = prefixed().tls(&trusting).build().expect("sound");
    let link = done::<R, _>(Client::<R, _>::with_config(wire.address(), config).connect()).await;
    let link = link.expect("it listens");

    let address = format!("127.0.0.1:{}", wire.port);
    let args =
        ["s_client", "-connect", address.as_str(), "-tls1_2", "-CAfile", "ca.pem", "-servername", NAME];
    let mut peer = openssl(&files, &args);
    let mut input = peer.0.stdin.take().expect("piped");
    let mut output = BufReader::new(peer.0.stdout.take().expect("piped"));
    let mut line = String::new();
    // The summary of the handshake ends with this.
    while !line.contains("Verify return code: 0 (ok)") {
        line.clear();
        assert!(output.read_line(&mut line).expect("text") > 0, "it ended in the handshake");
    }
    input.write_all(b"R\n").expect("it reads");
    let mut said = String::new();
    peer.0.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    assert!(!peer.0.wait().expect("a child").success(), "it gave up");
    until(|| server.peers().len() == 1);
    drop((peer, input, output));

    let _ = done::<R, _>(link.cast(0, body(100))).await.expect("room");
    let message = done::<R, _>(link.receive()).await.expect("it comes back");
    assert!(message.body[..] == body(100)[..]);
    done::<R, _>(link.close()).await;
    done::<R, _>(server.shutdown()).await;
    wire.assert_secret();
}
