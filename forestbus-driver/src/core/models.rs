//! Loom models: commands, the keeper and a connection at once, in every relevant order.
//!
//! `RUSTFLAGS="--cfg bowline_loom" cargo test --release -p bowline-forestbus-driver --lib models`

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Wake;

use bowline_core::frame::DEFAULT_MAX_MESSAGE;
use bowline_forestbus::cluster::{Attempts, Options, Settings};

use super::*;

/// Parks a thread of the model.
#[derive(Default)]
struct Parker {
    woken: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Parker {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = self.changed.wait(woken).unwrap();
        }
    }
}

impl Wake for Parker {
    fn wake(self: std::sync::Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

fn core() -> Core {
    let settings = Settings::new(["127.0.0.1:1"]).build().expect("sound settings");
    let limits = Limits { items: 100, send: DEFAULT_MAX_MESSAGE, deadline: settings.deadline() };
    let cluster = Cluster::new(settings, 1);
    Core::new(
        cluster,
        String::new(),
        Codec::default(),
        limits,
        Config::with_framing(CborRpc::new()).build().expect("sound"),
        Place::default(),
    )
}

fn begin(core: &Core) -> CommandId {
    let once = Options::new().attempts(Attempts::OneRound);
    core.begin(|cluster, now| cluster.cluster_details(now, once)).expect("room")
}

/// Waits for the result as a thread does.
fn result(core: &Core, id: CommandId) -> Result<Answer, ClusterError> {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        match core.poll_result(id, &mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => parker.wait(),
        }
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// One caller's connection fails while another begins a command: each gets its result, from whichever thread
/// performs it, and no output is left undone.
#[test]
fn callers_that_come_while_others_perform_have_their_results() {
    check(|| {
        let core = Arc::new(core());
        let keeper = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&keeper));
        let first = begin(&core);
        let opens = core.keep(&mut Context::from_waker(&waker)).expect("it is open");
        let at = opens[0].at;
        let failing = Arc::clone(&core);
        let fails = loom::thread::spawn(move || failing.dial_failed(at, Disconnect::NotConnected));
        let waiting = Arc::clone(&core);
        let waits = loom::thread::spawn(move || result(&waiting, first));
        let second = begin(&core);
        fails.join().unwrap();
        assert!(matches!(waits.join().unwrap(), Err(ClusterError::NoNodes { .. })));
        // The second one used the failed connection, or needs a new one: the keeper knows.
        let opens = core.keep(&mut Context::from_waker(&waker)).expect("it is open");
        match &opens[..] {
            [] => {}
            [open] => core.dial_failed(open.at, Disconnect::NotConnected),
            _ => panic!("one connection at a time"),
        }
        assert!(opens.is_empty() || keeper.0.load(Relaxed), "the keeper was woken for it");
        assert!(matches!(result(&core, second), Err(ClusterError::NoNodes { .. })));
        assert!(!core.state.lock().performing);
    });
}

/// The client ends while a command begins: it is refused, or it ends; its caller does not wait forever.
#[test]
fn no_caller_waits_after_the_end() {
    check(|| {
        let core = Arc::new(core());
        let ending = Arc::clone(&core);
        let ends = loom::thread::spawn(move || ending.end());
        let once = Options::new().attempts(Attempts::OneRound);
        match core.begin(|cluster, now| cluster.cluster_details(now, once)) {
            Ok(id) => assert_eq!(result(&core, id), Err(ClusterError::Closed)),
            Err(error) => assert_eq!(error, ClusterError::Closed),
        }
        ends.join().unwrap();
        assert!(core.keep(&mut Context::from_waker(Waker::noop())).is_none());
    });
}
