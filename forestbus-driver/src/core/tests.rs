//! A panic while outputs are performed leaves no output undone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Wake;

use bowline_core::frame::DEFAULT_MAX_MESSAGE;
use bowline_forestbus::cluster::{Attempts, Options, Settings};

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A waker of the program that panics.
struct Faulty;

impl Wake for Faulty {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the program's");
    }
}

pub(super) fn core() -> Core {
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

/// Asks for details once, and waits for them with that waker.
pub(super) fn ask(core: &Core, waker: &Waker) -> CommandId {
    let once = Options::new().attempts(Attempts::OneRound);
    let id = core.begin(|cluster, now| cluster.cluster_details(now, once)).expect("room");
    assert!(core.poll_result(id, &mut Context::from_waker(waker)).is_pending());
    id
}

#[test]
fn a_waker_that_panics_costs_nobody_else_a_result() {
    let (core, counter, keeper) = (core(), Arc::<Counter>::default(), Arc::<Counter>::default());
    let waker = Waker::from(Arc::clone(&counter));
    let keeper_waker = Waker::from(Arc::clone(&keeper));
    let faulty = ask(&core, &Waker::from(Arc::new(Faulty)));
    let sound = [ask(&core, &waker), ask(&core, &waker)];
    let opens = core.keep(&mut Context::from_waker(&keeper_waker)).expect("it is open");
    let [Open { at, .. }] = &opens[..] else { panic!("one connection is wanted: {}", opens.len()) };
    let panicked = catch_unwind(AssertUnwindSafe(|| core.dial_failed(*at, Disconnect::NotConnected)));
    assert!(panicked.is_err(), "the program hears of its fault");
    assert_eq!(counter.0.load(Relaxed), 0);
    assert_eq!(keeper.0.load(Relaxed), 1, "the keeper goes on");
    let mut cx = Context::from_waker(&keeper_waker);
    assert!(core.keep(&mut cx).is_some_and(|opens| opens.is_empty()));
    assert_eq!(counter.0.load(Relaxed), 2);
    for id in sound.into_iter().chain([faulty]) {
        let Poll::Ready(Err(ClusterError::NoNodes { .. })) = core.poll_result(id, &mut cx) else {
            panic!("it has its result");
        };
    }
    // Afterwards it works as before.
    ask(&core, &waker);
    assert_eq!(core.keep(&mut cx).map(|opens| opens.len()), Some(1));
}

#[test]
fn what_was_left_undone_is_done_by_the_next_that_comes() {
    let (core, counter) = (core(), Arc::<Counter>::default());
    let id = ask(&core, &Waker::from(Arc::clone(&counter)));
    let at = core.keep(&mut Context::from_waker(Waker::noop())).expect("it is open")[0].at;
    core.state.lock().performing = true;
    core.dial_failed(at, Disconnect::NotConnected);
    assert_eq!(counter.0.load(Relaxed), 0, "another thread is at it");
    // That thread panics while it makes a call.
    let left = Left { wakers: VecDeque::from([Waker::from(Arc::clone(&counter))]), ..Left::default() };
    perform::give_back(&core, left);
    core.with(|_, _| ());
    assert_eq!(counter.0.load(Relaxed), 2);
    assert!(core.poll_result(id, &mut Context::from_waker(Waker::noop())).is_ready());
}
