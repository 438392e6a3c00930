//! Runs one job: in two processes, or in two threads of this one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::child::{self, ROLE, Role, Say};
use crate::contender;
use crate::job::{Job, Quantiles, Work};

/// Beyond a job's own time: to start, connect thousands of times, drain and end.
const GRACE: Duration = Duration::from_secs(60);

/// What one run of one contender gave.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Figures {
    /// Messages, calls or connections a second.
    pub rate: f64,
    /// Seconds of processor of both sides for each million of them.
    pub cpu: f64,
    pub latency: Option<Quantiles>,
    /// Resident bytes of a connection: the server's side, the client's.
    pub resident: Option<[f64; 2]>,
    /// The same after one call on each.
    pub resident_used: Option<[f64; 2]>,
}

fn server_counts(job: &Job) -> bool {
    let dials = contender::named(&job.contender).is_some_and(|contender| contender.receiver_dials());
    job.work.server_counts() && !dials
}

/// Runs `job` with both sides in processes of their own.
pub fn in_processes(job: &Job) -> Result<Figures> {
    let limit = GRACE + Duration::from_secs_f64(job.seconds * 2.0);
    let mut server = Process::start(&Role::Serve(job.clone()))?;
    let Say::Listening(address) = server.hear(limit)? else {
        bail!("the server did not say where it listens")
    };
    let before = server.used()?;
    let mut client = Process::start(&Role::Drive(job.clone(), address))?;
    let mut resident = Vec::new();
    let driven = loop {
        match client.hear(limit).context("client")? {
            Say::Idle => resident.push(server.used()?.1.saturating_sub(before.1)),
            Say::Done(tally) => break tally,
            other => bail!("the client said {other:?}"),
        }
    };
    let tally = match server_counts(job) {
        true => match server.hear(limit).context("server")? {
            Say::Done(tally) => tally,
            other => bail!("the server said {other:?}"),
        },
        false => driven,
    };
    let cpu = server.used()?.0 - before.0 + client.used()?.0;
    let connections = if let Work::Idle { connections } = job.work { connections as f64 } else { 1.0 };
    let each = |nth: usize| resident.get(nth).copied().unwrap_or_default() as f64 / connections;
    Ok(Figures {
        rate: tally.rate(),
        cpu: cpu * 1e6 / tally.count.max(1) as f64,
        latency: tally.latency,
        resident: tally.resident.map(|own| [each(0), own]),
        resident_used: tally.resident_used.map(|own| [each(1), own]),
    })
}

/// Runs `job` with both sides in threads of this process.
pub fn in_threads(job: &Job) -> Result<Figures> {
    let contender = || contender::named(&job.contender).context("no such contender");
    let (ready, listening) = mpsc::channel();
    let before = child::cpu_seconds();
    let serving = {
        let (contender, job) = (contender()?, job.clone());
        // Left behind where it serves until its process ends: its connections have ended.
        std::thread::spawn(move || contender.serve(&job, Box::new(move |at| ready.send(at).expect("heard"))))
    };
    let address = listening.recv_timeout(GRACE).context("the server did not say where it listens")?;
    let mut tally = contender()?.drive(job, address)?;
    if server_counts(job) {
        tally = serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    }
    let cpu = child::cpu_seconds() - before;
    Ok(Figures {
        rate: tally.rate(),
        cpu: cpu * 1e6 / tally.count.max(1) as f64,
        latency: tally.latency,
        // One process holds both sides: there is no telling them apart.
        resident: tally.resident.map(|both| [both / 2.0; 2]),
        resident_used: tally.resident_used.map(|both| [both / 2.0; 2]),
    })
}

/// Another process of this program; ended when dropped.
struct Process {
    process: Child,
    stdin: ChildStdin,
    heard: Receiver<Say>,
    /// Heard while waiting for something else.
    kept: Vec<Say>,
}

impl Process {
    fn start(role: &Role) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ROLE, serde_json::to_string(role)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let stdin = process.stdin.take().context("piped")?;
        let stdout = BufReader::new(process.stdout.take().context("piped")?);
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // A library may print what it likes.
                if let Ok(say) = serde_json::from_str(&line) {
                    if tell.send(say).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { process, stdin, heard, kept: Vec::new() })
    }

    /// What it says next, besides answers.
    fn hear(&mut self, limit: Duration) -> Result<Say> {
        let said = if self.kept.is_empty() { self.next(limit)? } else { self.kept.remove(0) };
        if let Say::Failed(error) = said {
            bail!(error);
        }
        Ok(said)
    }

    /// Seconds of processor, and resident bytes.
    fn used(&mut self) -> Result<(f64, u64)> {
        self.stdin.write_all(b"?\n")?;
        loop {
            match self.next(GRACE)? {
                Say::Used { cpu, resident } => return Ok((cpu, resident)),
                other => self.kept.push(other),
            }
        }
    }

    fn next(&self, limit: Duration) -> Result<Say> {
        self.heard.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow::anyhow!("nothing heard for {limit:?}"),
            RecvTimeoutError::Disconnected => anyhow::anyhow!("its process ended"),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
