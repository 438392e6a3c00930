//! The example as a process: its settings, its metrics over HTTP, and the end that a service manager asks for.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use bowline::tokio::Client;
use bowline_example_prometheus::Program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bowline-example-prometheus");

/// Kills the process if the test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line_after(output: &mut BufReader<ChildStdout>, words: &str) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the program says something");
    line.trim().strip_prefix(words).unwrap_or_else(|| panic!("{words:?} in {line:?}")).to_owned()
}

fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("it listens");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("text");
    answer
}

fn value(page: &str, metric: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[tokio::test]
async fn metrics_are_asked_for_over_http_and_a_stop_drains() {
    let mut process = Command::new(PROGRAM);
    process.env("SHOP_LINK_ACCEPT_LIMITS_CONNECTIONS", "7").stdout(Stdio::piped());
    let mut process = Process(process.spawn().expect("it was built"));
    let mut output = BufReader::new(process.0.stdout.take().expect("piped"));
    let address = line_after(&mut output, "listening at ");
    let metrics = line_after(&mut output, "metrics at http://");
    let metrics = metrics.strip_suffix("/metrics").expect("a page");

    let client = Client::connect(&address).await.expect("it listens");
    for _ in 0..3 {
        assert_eq!(&client.call(1, "hello").await.expect("a reply")[..], b"hello");
    }
    let page = get(metrics, "/metrics");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert_eq!(value(&page, "bowline_connections_total"), Some(1.0), "{page}");
    assert_eq!(value(&page, "bowline_links_ready"), Some(1.0), "{page}");
    assert_eq!(value(&page, r#"bowline_links_open{label="shop"}"#), Some(1.0), "{page}");
    assert_eq!(value(&page, r#"bowline_requests{label="shop"}"#), Some(3.0), "{page}");
    assert_eq!(value(&page, "shop_accepted_total"), Some(1.0), "{page}");
    assert!(get(metrics, "/other").starts_with("HTTP/1.1 404 Not Found\r\n"));

    client.close().await;
    // The server notices the end of the connection in its own time.
    let page = loop {
        let page = get(metrics, "/metrics");
        if value(&page, "bowline_connection_seconds_count") == Some(1.0)
            && value(&page, r#"bowline_links_open{label="shop"}"#) == Some(0.0)
        {
            break page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(page.contains(r#"bowline_connection_seconds_bucket{le="60"}"#), "{page}");
    assert_eq!(value(&page, "bowline_links_ready"), Some(0.0), "{page}");

    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("there is a kill").success());
    assert!(line_after(&mut output, "").ends_with("connections drained, 0 cut short"));
    assert!(process.0.wait().expect("it ends").success());
}

#[test]
fn settings_that_cannot_work_are_named() {
    let error = |link: &str| {
        let file = format!("listen = ''\nmetrics = ''\n[link]\n{link}\n");
        Program::read(&file).expect_err("wrong").to_string()
    };
    let text = error("call_timeout = 'soon'");
    assert!(text.contains(r#"call_timeout is "soon", must be a time"#), "{text}");
    let text = error("sockets = { no_delay = true }");
    assert!(text.contains("there is no setting sockets.no_delay; is sockets.nodelay meant?"), "{text}");
    let text = error("write_queue = { bytes = -1 }");
    assert!(text.contains("write_queue.bytes is -1, must be a number of bytes"), "{text}");
}

#[test]
fn a_wrong_variable_ends_the_program_with_its_name() {
    let run = |name: &str, value: &str| {
        let output = Command::new(PROGRAM).env(name, value).output().expect("it was built");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let text = run("SHOP_LINK_MAX_INBOUND", "0");
    assert_eq!(text.trim(), r#"SHOP_LINK_MAX_INBOUND is "0", must be at least 1"#);
    let text = run("SHOP_LINK_MAX_INBUOND", "1");
    assert_eq!(text.trim(), "there is no setting SHOP_LINK_MAX_INBUOND; is max_inbound meant?");
}

#[test]
fn the_file_of_the_example_can_be_read() {
    let program = Program::read(include_str!("../shop.toml")).expect("sound");
    let config = program.link.build(bowline::Config::builder()).expect("sound");
    assert_eq!(config.accept_limits().connections, 5_000);
    assert_eq!(config.max_message(), 1 << 20);
    assert_eq!(config.sockets().keepalive, Some(std::time::Duration::from_secs(30)));
}
