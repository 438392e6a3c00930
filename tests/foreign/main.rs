//! Peers in other languages: sockets of pyzmq in a separate process; either side binds.
//!
//! The interpreter is in the virtual environment `target/foreign`, which `.ci/run` creates: the package
//! index's pyzmq includes a libzmq with CURVE.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bowline::blocking::zmtp as threads;
use bowline::tokio::zmtp as tasks;
use bowline::zmtp::mechanism::{Mechanism, SecretKey};
use bowline::zmtp::{Message, z85};

mod proxies;

type Parts = Vec<Vec<u8>>;

/// A socket in Python.
struct Python {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Python {
    fn new(kind: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = here.join("target/foreign/bin/python");
        let spawned = Command::new(&python)
            .arg(here.join("tests/foreign/peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!(
                "no Python with pyzmq at {}: {error}. Make it with `python3 -m venv target/foreign && \
                 target/foreign/bin/pip install pyzmq`, as .ci/run does",
                python.display()
            )
        });
        let (told, says) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut python = Self { child, told, says: BufReader::new(says) };
        python.tell(&format!("open {kind}"));
        python
    }

    /// Tells it to do something, and waits until it has.
    fn tell(&mut self, what: &str) -> String {
        writeln!(self.told, "{what}").expect("it reads");
        let mut said = String::new();
        let read = self.says.read_line(&mut said).expect("it says something");
        assert!(read > 0, "it did not do {what:?}, and says why above");
        said.trim_end().to_owned()
    }

    fn set_bytes(&mut self, option: &str, value: &[u8]) {
        self.tell(&format!("bytes {option} {}", hex(value)));
    }

    fn bind(&mut self) -> String {
        self.tell("bind tcp://127.0.0.1:*")
    }

    fn connect(&mut self, endpoint: &str) {
        self.tell(&format!("connect {endpoint}"));
    }

    fn send(&mut self, parts: &[Vec<u8>]) {
        let parts: Vec<String> = parts.iter().map(|part| hex(part)).collect();
        self.tell(&format!("send {}", parts.join(",")));
    }

    fn recv(&mut self) -> Parts {
        let said = self.tell("recv");
        said.split(',').map(unhex).collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends when its input ends; otherwise it would block the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("hex"), 16).expect("hex")).collect()
}

fn parts(message: &Message) -> Parts {
    message.iter().map(|part| part.to_vec()).collect()
}

/// Messages of several sizes and numbers of parts.
fn samples() -> Vec<Parts> {
    [0, 1, 255, 256, 70_000]
        .into_iter()
        .flat_map(|size| {
            let body = vec![b'x'; size];
            [vec![body.clone()], vec![b"head".to_vec(), Vec::new(), body]]
        })
        .collect()
}

#[test]
#[ignore = "needs pyzmq, which .ci/run installs"]
fn we_ask_and_python_answers() {
    for python_binds in [true, false] {
        let (req, mut python) = (threads::Req::new(), Python::new("REP"));
        assert!(python.tell("version").starts_with("4."));
        if python_binds {
            req.connect(&python.bind()).expect("an endpoint");
        } else {
            python.connect(&req.bind("tcp://127.0.0.1:*").expect("free"));
        }
        for sample in samples() {
            req.send(sample.clone()).expect("its turn");
            assert_eq!(python.recv(), sample);
            python.send(&sample);
            assert_eq!(parts(&req.recv().expect("an answer")), sample);
        }
        req.close();
    }
}

// The test waits for another process: our tasks run on other threads meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs pyzmq, which .ci/run installs"]
async fn python_asks_and_we_answer() {
    for python_binds in [true, false] {
        let (rep, mut python) = (tasks::Rep::new(), Python::new("REQ"));
        if python_binds {
            rep.connect(&python.bind()).expect("an endpoint");
        } else {
            python.connect(&rep.bind("tcp://127.0.0.1:*").expect("free"));
        }
        for sample in samples() {
            python.send(&sample);
            let question = rep.recv().await.expect("a question");
            assert_eq!(parts(&question), sample);
            rep.send(question).await.expect("its turn");
            assert_eq!(python.recv(), sample);
        }
        rep.close().await;
    }
}

#[test]
#[ignore = "needs pyzmq, which .ci/run installs"]
fn topics_go_both_ways() {
    let (publisher, mut python) = (threads::Pub::new(), Python::new("SUB"));
    python.set_bytes("SUBSCRIBE", b"a");
    python.connect(&publisher.bind("tcp://127.0.0.1:*").expect("free"));
    publisher.wait_for_subscribers(1).expect("open");
    for message in [["b", "not wanted"], ["a1", "wanted"]] {
        publisher.send(message).expect("open");
    }
    assert_eq!(python.recv(), [b"a1".to_vec(), b"wanted".to_vec()]);
    python.set_bytes("UNSUBSCRIBE", b"a");
    publisher.close();

    let (sub, mut python) = (threads::Sub::new(), Python::new("XPUB"));
    sub.connect(&python.bind()).expect("an endpoint");
    sub.subscribe("a");
    assert_eq!(python.recv(), [b"\x01a"]);
    python.send(&[b"a2".to_vec(), b"x".to_vec()]);
    assert_eq!(parts(&sub.recv().expect("a message")), [b"a2".to_vec(), b"x".to_vec()]);
    assert!(sub.unsubscribe("a"));
    assert_eq!(python.recv(), [b"\0a"]);
    sub.close();
}

#[test]
#[ignore = "needs pyzmq, which .ci/run installs"]
fn peers_are_named_both_ways() {
    let (router, mut python) = (threads::Router::new(), Python::new("DEALER"));
    python.set_bytes("ROUTING_ID", b"python");
    python.connect(&router.bind("tcp://127.0.0.1:*").expect("free"));
    python.send(&[b"question".to_vec()]);
    assert_eq!(parts(&router.recv().expect("a message")), [b"python".to_vec(), b"question".to_vec()]);
    router.send(["python", "answer"]).expect("it is there");
    assert_eq!(python.recv(), [b"answer"]);
    router.close();

    let mut python = Python::new("ROUTER");
    let dealer =
        threads::Dealer::builder().options(|options| options.routing_id("us")).open().expect("sound");
    dealer.connect(&python.bind()).expect("an endpoint");
    dealer.send("question").expect("open");
    assert_eq!(python.recv(), [b"us".to_vec(), b"question".to_vec()]);
    python.send(&[b"us".to_vec(), b"answer".to_vec()]);
    assert_eq!(parts(&dealer.recv().expect("a message")), [b"answer"]);
    dealer.close();
}

/// A key pair of Python's: public, secret, as both sides say them.
fn keys(python: &mut Python) -> [(String, [u8; 32]); 2] {
    let said = python.tell("keys");
    let (public, secret) = said.split_once(' ').expect("two keys");
    [public, secret].map(|key| {
        let bytes = z85::decode(key).expect("a key").try_into().expect("of 32 bytes");
        (key.to_owned(), bytes)
    })
}

#[test]
#[ignore = "needs pyzmq, which .ci/run installs"]
fn everything_is_sealed_both_ways() {
    let mut python = Python::new("PUSH");
    let ([server, server_secret], [client, client_secret]) = (keys(&mut python), keys(&mut python));
    let pull = threads::Pull::builder()
        .options(|options| {
            let mechanism = Mechanism::CurveServer { secret_key: SecretKey::new(server_secret.1) };
            options.mechanism(mechanism).allowed_keys([client.1])
        })
        .open()
        .expect("sound");
    python.set_bytes("CURVE_SERVERKEY", server.0.as_bytes());
    python.set_bytes("CURVE_PUBLICKEY", client.0.as_bytes());
    python.set_bytes("CURVE_SECRETKEY", client_secret.0.as_bytes());
    python.connect(&pull.bind("tcp://127.0.0.1:*").expect("free"));
    for sample in samples() {
        python.send(&sample);
        assert_eq!(parts(&pull.recv().expect("a message")), sample);
    }
    pull.close();

    let mut python = Python::new("PULL");
    python.tell("number CURVE_SERVER 1");
    python.set_bytes("CURVE_SECRETKEY", server_secret.0.as_bytes());
    let push = threads::Push::builder()
        .options(|options| {
            let secret_key = SecretKey::new(client_secret.1);
            options.mechanism(Mechanism::CurveClient { secret_key, server_key: server.1 })
        })
        .open()
        .expect("sound");
    push.connect(&python.bind()).expect("an endpoint");
    for sample in samples() {
        push.send(sample.clone()).expect("open");
        assert_eq!(python.recv(), sample);
    }
    push.close();
}
