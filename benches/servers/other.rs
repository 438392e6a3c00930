//! Other processes of this program, and what they say to each other.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) const ROLE: &str = "BOWLINE_BENCH_ROLE";
/// Asks for a number: how much memory there is, mostly.
pub(crate) const MEMORY: &str = "?";
/// The same, after a call on each connection.
pub(crate) const CALL: &str = "call";

pub(crate) struct Other {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, stdin, stdout }
    }

    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it speaks");
        line.trim().to_owned()
    }

    /// Asks for a number.
    pub(crate) fn ask(&mut self, what: &str) -> u64 {
        writeln!(self.stdin, "{what}").expect("it listens");
        self.hear().parse().expect("a number")
    }

    pub(crate) fn end(mut self) {
        drop(self.stdin);
        let _ = self.process.wait();
    }
}

/// Says something to the process that started this one.
pub(crate) fn say(what: impl std::fmt::Display) {
    println!("{what}");
    std::io::stdout().flush().expect("it listens");
}

/// Answers every line that comes, until there are no more.
pub(crate) fn answer_until_told(answer: impl Fn(&str) -> u64) {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        say(answer(&line));
    }
}

/// Says how much memory the process has whenever it is asked, and makes the calls before it, if those are wanted.
pub(crate) fn tell_memory(call: impl Fn()) {
    answer_until_told(|line| {
        if line == CALL {
            call();
        }
        resident()
    });
}

pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this system tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}
