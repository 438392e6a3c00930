//! What a process that the runner started does, and how the two talk.
//!
//! The child prints one JSON object a line; whoever started it writes lines to its standard input,
//! each of which is answered with what the process has used so far.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contender;
use crate::job::{Job, Tally};

/// What a child says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Say {
    /// It listens there.
    Listening(SocketAddr),
    /// Its connections are idle, and have been for as long as was asked.
    Idle,
    /// What it has used: seconds of processor, resident bytes.
    Used { cpu: f64, resident: u64 },
    /// It is done.
    Done(Tally),
    /// It failed.
    Failed(String),
}

/// The variable that says what a process is to be; holds a [`Role`] in JSON.
pub const ROLE: &str = "BOWLINE_PEERS_ROLE";

/// What a child is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Role {
    Serve(Job),
    Drive(Job, SocketAddr),
}

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Runs as a child and says how it went.
pub fn run(role: &str) -> Result<()> {
    IS_CHILD.store(true, Ordering::Relaxed);
    std::thread::spawn(|| {
        for line in std::io::stdin().lines() {
            if line.is_err() {
                break;
            }
            say(&Say::Used { cpu: cpu_seconds(), resident: resident() });
        }
        // Whoever started this one is gone, or has heard enough.
        std::process::exit(0);
    });
    let result = match serde_json::from_str(role)? {
        Role::Serve(job) => named(&job)?.serve(&job, Box::new(|at| say(&Say::Listening(at)))),
        Role::Drive(job, server) => named(&job)?.drive(&job, server),
    };
    match result {
        Ok(tally) => say(&Say::Done(tally)),
        Err(error) => say(&Say::Failed(format!("{error:#}"))),
    }
    // Until the last question is answered.
    loop {
        std::thread::park();
    }
}

fn named(job: &Job) -> Result<Box<dyn contender::Contender>> {
    contender::named(&job.contender).with_context(|| format!("no contender is called {}", job.contender))
}

/// Says that connections are idle now; nothing where client and server are threads.
pub fn say_idle() {
    if IS_CHILD.load(Ordering::Relaxed) {
        say(&Say::Idle);
    }
}

fn say(what: &Say) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(what).expect("plain data");
    // With nobody to hear, standard input has ended, too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Processor time that this process has used, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process; 0 where the system does not tell in this way.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
