//! Tests that need a separate process.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use crate::harness::Harness;

/// Names the runtime to the other process.
pub const RUNTIME: &str = "BOWLINE_TEST_RUNTIME";

/// This program, running one ignored test.
pub struct Child {
    process: Process,
    lines: Mutex<Lines<BufReader<ChildStdout>>>,
}

impl Child {
    pub fn start(test: &str, runtime: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(RUNTIME, runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, lines: Mutex::new(lines) }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The rest of the next line with that prefix.
    pub fn expect(&self, prefix: &str) -> String {
        let mut lines = self.lines.lock().expect("not poisoned");
        let found = lines.find_map(|line| line.ok()?.strip_prefix(prefix).map(str::to_owned));
        found.unwrap_or_else(|| panic!("the other process never said {prefix}"))
    }

    /// Lets it end.
    pub fn end(mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }

    /// Waits until it has ended by itself, successfully.
    pub fn succeed(mut self) {
        assert!(self.process.wait().expect("a child").success(), "the other process failed");
    }
}

/// The parent holds the other end for as long as it wants this process.
pub async fn until_stdin_ends<H: Harness>() {
    // On a thread: an executor may have only the one that this runs on.
    let over = std::thread::spawn(|| {
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut std::io::stdin(), &mut rest);
    });
    while !over.is_finished() {
        H::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Limits the number of descriptors from now on.
pub fn lower_descriptors(most: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    let new = Rlimit { current: Some(most), maximum: old.maximum };
    setrlimit(Resource::Nofile, new).expect("lower is allowed");
}

/// Descriptors and threads of this process.
pub fn held() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).expect("this system tells").count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}
