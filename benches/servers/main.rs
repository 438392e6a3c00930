//! Servers with many connections: memory of idle ones, broadcast, accepting, calls spread over many.
//!
//! Each figure is beside the same thing done by hand on the same runtime, in the same run. Client and
//! server are two processes: this program starts itself.
//!
//! `cargo bench -p bowline-benches --bench servers --all-features [-- --quick] [-- --only memory|broadcast|accept|calls]`

#![allow(missing_docs, reason = "a program")]

mod accept;
mod broadcast;
mod calls;
mod memory;
mod other;

use std::time::Duration;

use bowline::{AcceptLimits, Config};

const HEARTBEAT: Duration = Duration::from_secs(1);
const BODY: [u8; 110] = [7; 110];
const PEERS: usize = 1_000;

fn main() {
    if let Ok(role) = std::env::var(other::ROLE) {
        return play(&role);
    }
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1)).cloned();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("memory") {
        memory::memory(if quick { 1_000 } else { 9_900 });
    }
    if wanted("broadcast") {
        broadcast::broadcast(if quick { 200 } else { 1_000 }, if quick { 3 } else { 7 });
    }
    if wanted("accept") {
        accept::accept(if quick { 3 } else { 7 });
    }
    if wanted("calls") {
        calls::calls(if quick { 3 } else { 7 });
    }
}

fn play(role: &str) {
    let parts: Vec<&str> = role.split(' ').collect();
    match parts[..] {
        ["serve", runtime] => memory::serve(runtime),
        ["connect", runtime, address, count] => {
            memory::connect(runtime, address, count.parse().expect("a number"))
        }
        ["sink", address, count] => broadcast::sink(address, count.parse().expect("a number")),
        ["knock", address] => accept::knock(address),
        ["serve-calls", kind] => calls::serve_calls(kind),
        _ => panic!("no such role: {role}"),
    }
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn config() -> Config {
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = 1 << 30;
    Config::builder().heartbeat(HEARTBEAT).accept_limits(limits).build().expect("sound")
}

fn report(name: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    if high < 1_000.0 {
        println!("{name:>22}  {median:>12.2}  ({low:.2} to {high:.2})");
    } else {
        println!("{name:>22}  {median:>12.0}  ({low:.0} to {high:.0})");
    }
}
