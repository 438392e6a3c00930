//! Real proxies, each in a separate process: microsocks and tinyproxy, from Debian's packages of these names.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline::error::Disconnect;
use bowline::proxy::{ProxyFault, SocksReply};
use bowline::{Config, ConnectError, Proxy, blocking, tokio};

/// A proxy, until it is dropped.
struct Process {
    child: Child,
    address: String,
    /// Its settings, where they are a file.
    settings: Option<std::path::PathBuf>,
}

impl Process {
    /// Starts it with the arguments for a free port, and waits until it listens there.
    fn start(program: &str, arguments: impl Fn(u16) -> (Vec<String>, Option<std::path::PathBuf>)) -> Self {
        // It cannot say which port it took: another process may take this one first, then the next is tried.
        for _ in 0..5 {
            let port = free_port();
            let (arguments, settings) = arguments(port);
            let spawned =
                Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let child = spawned.unwrap_or_else(|error| {
                panic!(
                    "no {program}: {error}. Debian has it in the package of that name, which .ci/run installs"
                )
            });
            let mut process = Self { child, address: format!("127.0.0.1:{port}"), settings };
            if process.listens() {
                return process;
            }
        }
        panic!("{program} does not listen");
    }

    fn listens(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            if self.child.try_wait().expect("it is ours").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn microsocks(credentials: Option<(&str, &str)>) -> Self {
        Self::start("microsocks", |port| {
            let mut arguments: Vec<String> =
                ["-i", "127.0.0.1", "-p"].into_iter().map(Into::into).chain([port.to_string()]).collect();
            if let Some((user, password)) = credentials {
                arguments.extend(["-u", user, "-P", password].map(Into::into));
            }
            (arguments, None)
        })
    }

    fn tinyproxy(credentials: Option<(&str, &str)>) -> Self {
        Self::start("tinyproxy", |port| {
            let mut settings =
                format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Critical\n");
            if let Some((user, password)) = credentials {
                settings.push_str(&format!("BasicAuth {user} {password}\n"));
            }
            let name = format!("bowline-tinyproxy-{}-{port}.conf", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, settings).expect("room for a file");
            (vec!["-d".into(), "-c".into(), path.display().to_string()], Some(path))
        })
    }

    fn socks(&self) -> Proxy {
        Proxy::socks5(&self.address).expect("an address")
    }

    fn http(&self) -> Proxy {
        Proxy::http_connect(&self.address).expect("an address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(path) = &self.settings {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn config(proxy: Proxy) -> Config {
    Config::builder().proxy(proxy).build().expect("sound settings")
}

/// A server, and the two forms of its address: the proxy looks one of them up.
fn server() -> (blocking::Server, [String; 2]) {
    let server =
        blocking::Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0");
    let server = server.expect("a free port");
    server.start().expect("threads");
    let port = server.local_addr().port();
    (server, [format!("127.0.0.1:{port}"), format!("localhost:{port}")])
}

/// Calls of several sizes, on threads and on tokio.
fn talks_through(proxy: &Proxy) {
    let (server, addresses) = server();
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for address in addresses {
        let client = blocking::Client::with_config(address.as_str(), config(proxy.clone())).connect();
        let client = client.expect("the proxy connects");
        for size in [0, 1, 1_000, 1_000_000] {
            let reply = client.call(1, vec![7; size]).expect("a reply");
            assert_eq!(reply.body.len(), size);
        }
        client.close();
        runtime.block_on(async {
            let client = tokio::Client::with_config(address.as_str(), config(proxy.clone())).connect().await;
            let client = client.expect("the proxy connects");
            assert_eq!(&client.call(1, b"hello").await.expect("a reply")[..], b"hello");
            client.close().await;
        });
    }
    server.shutdown();
}

/// How a proxy refuses.
fn fault(proxy: Proxy, target: &str) -> ProxyFault {
    let error = blocking::Client::with_config(target, config(proxy)).connect().expect_err("no way through");
    let ConnectError::Failed(failure) = &error else { panic!("{error}") };
    match &failure.cause {
        Disconnect::Proxy(error) => error.fault.clone(),
        other => panic!("{other}"),
    }
}

#[test]
#[ignore = "needs microsocks, which .ci/run installs"]
fn microsocks() {
    talks_through(&Process::microsocks(None).socks());
    let process = Process::microsocks(Some(("me", "secret")));
    let knows = |password| process.socks().credentials("me", password).expect("sound");
    talks_through(&knows("secret"));
    let refused = fault(knows("guess"), "127.0.0.1:1");
    assert!(matches!(refused, ProxyFault::Credentials { .. }), "{refused}");
    let refused = fault(process.socks(), "127.0.0.1:1");
    assert_eq!(refused, ProxyFault::NoMethod { credentials: false });
    let closed = format!("127.0.0.1:{}", free_port());
    assert_eq!(fault(knows("secret"), &closed), ProxyFault::Socks(SocksReply::Refused));
    let unknown = fault(knows("secret"), "target.invalid:1");
    assert!(matches!(unknown, ProxyFault::Socks(_)), "{unknown}");
    // HTTP at a SOCKS5 port.
    let process = Process::microsocks(None);
    let confused = fault(process.http(), "127.0.0.1:1");
    assert!(matches!(confused, ProxyFault::NotHttp { .. } | ProxyFault::Interrupted(_)), "{confused}");
}

#[test]
#[ignore = "needs tinyproxy, which .ci/run installs"]
fn tinyproxy() {
    talks_through(&Process::tinyproxy(None).http());
    let process = Process::tinyproxy(Some(("me", "secret")));
    let knows = |password| process.http().credentials("me", password).expect("sound");
    talks_through(&knows("secret"));
    for proxy in [knows("guess"), process.http()] {
        let refused = fault(proxy, "127.0.0.1:1");
        assert!(matches!(refused, ProxyFault::Status { status: 401 | 407, .. }), "{refused}");
        assert!(refused.is_denial());
    }
    let closed = format!("127.0.0.1:{}", free_port());
    let failed = fault(knows("secret"), &closed);
    assert!(matches!(failed, ProxyFault::Status { status: 500..=599, .. }), "{failed}");
    // SOCKS5 at an HTTP port: it waits for the end of a line.
    let confused = fault(process.socks().timeout(Duration::from_millis(200)), "127.0.0.1:1");
    assert!(matches!(confused, ProxyFault::NotSocks { .. } | ProxyFault::Interrupted(_)), "{confused}");
}

/// Through the one, and through the other behind it.
#[test]
#[ignore = "needs microsocks and tinyproxy, which .ci/run installs"]
fn one_behind_the_other() {
    let (first, second) = (Process::tinyproxy(None), Process::microsocks(None));
    talks_through(&first.http().then(second.socks()));
    talks_through(&second.socks().then(first.http()));
}
