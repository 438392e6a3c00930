//! A peer in Python, over ZeroMQ: `cargo run --example zmq_python_peer --features zmtp -- PYTHON`, where
//! `PYTHON` is an interpreter with pyzmq (default: `python3`). Its side is `zmq_python_peer.py`.

use std::process::{Child, Command};
use std::time::Duration;

use bowline::blocking::zmtp::Req;

/// The child process, which ends with this one.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let req = Req::new();
    // Either side may bind: here it is the requesting one.
    let endpoint = req.bind("tcp://127.0.0.1:*")?;
    let python = std::env::args().nth(1).unwrap_or_else(|| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/zmq_python_peer.py");
    let _python = Python(Command::new(python).args([script, &endpoint]).spawn()?);
    for numbers in [&["1", "2", "3"][..], &["40", "2"]] {
        let question: Vec<&str> = std::iter::once("Rust").chain(numbers.iter().copied()).collect();
        // There is no peer until the interpreter has started.
        req.send_timeout(question, Duration::from_secs(30))?;
        let answer = req.recv_timeout(Duration::from_secs(30))?;
        let answer: Vec<_> = answer.iter().map(|part| String::from_utf8_lossy(part)).collect();
        println!("Rust is told: {}", answer.join(" "));
    }
    req.close();
    Ok(())
}
