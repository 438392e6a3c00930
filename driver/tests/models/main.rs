//! Loom models: threads that use a shared machine, in every relevant order.
//!
//! `RUSTFLAGS="--cfg bowline_loom" cargo test --release -p bowline-driver --test models`

#![cfg(bowline_loom)]

mod line;
mod machine;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake as WakeTask, Waker};
use std::time::Duration;

use bowline_core::machine::Machine;
use bowline_core::supervisor::Epoch;
use bowline_driver::Shared;
use bowline_driver::clock::{self, MODEL_NOW};
use bowline_driver::pump::{Alarm, Pump};
use bowline_driver::runtime::Timer;
use bowline_driver::shared::{Step, write_batch};

use line::Line;
use machine::{App, Toy};

/// Parks a thread of the model.
#[derive(Default)]
struct Parker {
    woken: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
    /// It is parked. For an assertion only: the model does not order threads by it.
    is_parked: std::sync::atomic::AtomicBool,
}

impl WakeTask for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Parker {
    fn park(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            self.is_parked.store(true, Relaxed);
            woken = self.changed.wait(woken).unwrap();
        }
        self.is_parked.store(false, Relaxed);
        *woken = false;
    }

    fn is_woken(&self) -> bool {
        *self.woken.lock().unwrap()
    }

    /// Whether it was woken since it parked last.
    fn take(&self) -> bool {
        std::mem::take(&mut *self.woken.lock().unwrap())
    }
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    // One at a time: they share the clock, and an execution order must be reproducible.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || {
        MODEL_NOW.store(1, Relaxed);
        f();
    });
}

/// Simulates the driver of a connection that only writes, until `count` messages are written: a lost wake
/// leaves it parked, which loom reports.
fn write_until(shared: &Shared<Toy>, line: &Line, count: usize) {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    while line.0.lock().written.len() < count {
        shared.awake();
        match shared.begin_write_or_sleep(clock::now(), &waker) {
            Step::Write(mut batch) => {
                assert!(write_batch(line, &mut batch).unwrap());
                let _more = shared.with(|toy| toy.end_write(clock::now(), batch));
            }
            Step::Again => {}
            // Callers that write themselves do not wake it: it is done when they have written everything.
            Step::Sleep(_) if line.0.lock().written.len() == count => {}
            Step::Sleep(_) => parker.park(),
        }
    }
}

/// Idle to busy: messages that are queued while the driver goes to sleep are written.
#[test]
fn a_driver_that_goes_to_sleep_hears_what_is_queued() {
    model(|| {
        let (shared, line) = (Arc::new(Shared::new(Toy::default())), Line::default());
        let (driven, socket) = (Arc::clone(&shared), line.clone());
        let driver = loom::thread::spawn(move || write_until(&driven, &socket, 2));
        let other = Arc::clone(&shared);
        let caster = loom::thread::spawn(move || other.with(|toy| toy.cast(1)));
        shared.with(|toy| toy.cast(2));
        caster.join().unwrap();
        driver.join().unwrap();
        assert_eq!(line.0.lock().written.len(), 2, "each once");
    });
}

/// The right to write: callers that write themselves, and the driver, have it one at a time, and the last one
/// leaves nothing unwritten.
#[test]
fn callers_and_the_driver_write_one_at_a_time() {
    model(|| {
        let (shared, line) = (Arc::new(Shared::new(Toy::default())), Line::default());
        shared.set_connection(Some(Arc::new(line.clone())));
        let (driven, socket) = (Arc::clone(&shared), line.clone());
        // One more message, which only the driver writes, ends it.
        let driver = loom::thread::spawn(move || write_until(&driven, &socket, 3));
        let other = Arc::clone(&shared);
        let caller = loom::thread::spawn(move || other.with_inline(|toy| (toy.cast(1), true)));
        shared.with_inline(|toy| (toy.cast(2), true));
        caller.join().unwrap();
        shared.with(|toy| toy.cast(3));
        driver.join().unwrap();
        assert_eq!(line.0.lock().written.len(), 3, "each once");
    });
}

/// A stream: callers write large batches themselves, and the driver writes what remains when the moment is over, in
/// which it leaves it to them. Time passes only while the driver has nothing else to do.
#[test]
fn what_a_stream_leaves_the_driver_writes() {
    model(|| {
        let (shared, line) = (Arc::new(Shared::new(Toy::default())), Line::default());
        shared.set_connection(Some(Arc::new(line.clone())));
        shared.with(|toy| toy.streams = true);
        let (driven, socket) = (Arc::clone(&shared), line.clone());
        let driver = loom::thread::spawn(move || {
            let parker = Arc::new(Parker::default());
            let waker = Waker::from(Arc::clone(&parker));
            loop {
                driven.awake();
                match driven.begin_write_or_sleep(clock::now(), &waker) {
                    Step::Write(mut batch) => {
                        assert!(write_batch(&socket, &mut batch).unwrap());
                        let _more = driven.end_write(clock::now(), batch);
                    }
                    Step::Again => {}
                    Step::Sleep(_) if socket.0.lock().written.len() == 4 => return,
                    Step::Sleep(_) if parker.take() => {}
                    Step::Sleep(Some(at)) => {
                        MODEL_NOW.fetch_max(at.as_nanos(), Relaxed);
                        loom::thread::yield_now();
                    }
                    Step::Sleep(None) => parker.park(),
                }
            }
        });
        shared.with_stream(|toy| (toy.cast(1), true));
        shared.with_stream(|toy| (toy.cast(2), false));
        shared.with_stream(|toy| (toy.cast(3), false));
        let other = Arc::clone(&shared);
        // Something that somebody waits for, and that only the driver writes.
        let caller = loom::thread::spawn(move || {
            other.with(|toy| {
                toy.streams = false;
                toy.cast(4);
            });
        });
        caller.join().unwrap();
        driver.join().unwrap();
        let written = line.0.lock().written.clone();
        assert_eq!(written, [1, 2, 3, 4], "each once, in order");
    });
}

/// A timer that fires when nothing else happens.
#[derive(Default)]
struct LastResort {
    at: Option<std::time::Instant>,
    /// It is set, and has not fired.
    is_set: Arc<std::sync::atomic::AtomicBool>,
}

impl Timer for LastResort {
    fn reset(&mut self, at: std::time::Instant) {
        self.at = Some(at);
        self.is_set.store(true, Relaxed);
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if clock::to_std(clock::now()) >= at { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Whether the driver of a connection has nothing to do and waits for no time either.
#[derive(Default)]
struct Rest {
    rests: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Rest {
    fn set(&self, rests: bool) {
        *self.rests.lock().unwrap() = rests;
        self.changed.notify_all();
    }

    /// Waits until it rests.
    fn wait(&self) {
        let mut rests = self.rests.lock().unwrap();
        while !*rests {
            rests = self.changed.wait(rests).unwrap();
        }
    }
}

/// Drives a connection until it is over. Time passes only while the driver has nothing to do: the millisecond
/// for which it leaves reading to callers.
fn drive(mut pump: Pump<Toy, App, Line>, line: &Line, caller: &Parker, rest: Option<&Rest>) {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    let timer = LastResort::default();
    let is_set = Arc::clone(&timer.is_set);
    let mut alarm = Alarm::new(timer);
    while pump.poll(&mut cx, &mut alarm).is_pending() {
        if parker.take() {
            continue;
        }
        if is_set.swap(false, Relaxed) {
            let is_unread = !line.0.lock().incoming.is_empty();
            assert!(
                !is_unread || !caller.is_parked.load(Relaxed) || parker.is_woken(),
                "a caller waits for a reply that no thread reads until time passes"
            );
            MODEL_NOW.fetch_add(2_000_000, Relaxed);
            loom::thread::yield_now();
            continue;
        }
        if let Some(rest) = rest {
            rest.set(true);
        }
        parker.park();
        if let Some(rest) = rest {
            rest.set(false);
        }
    }
}

/// Sends a request, reads itself as long as permitted, and parks until the reply arrives. Returns whether it
/// did.
fn call(shared: &Shared<Toy>, parker: &Arc<Parker>) -> bool {
    shared.with_inline(|toy| (toy.cast(1), true));
    let waker = Waker::from(Arc::clone(parker));
    if let Some(replied) = shared.with(|toy| toy.poll_reply(&waker)) {
        return replied;
    }
    if let Some(connection) = shared.connection() {
        connection.read_for(&|| shared.look(|toy| toy.replies > 0 || toy.closed));
    }
    hear(shared, parker)
}

/// Parks until a reply arrives. Returns whether one did.
fn hear(shared: &Shared<Toy>, parker: &Arc<Parker>) -> bool {
    let waker = Waker::from(Arc::clone(parker));
    loop {
        if let Some(replied) = shared.with(|toy| toy.poll_reply(&waker)) {
            return replied;
        }
        parker.park();
    }
}

/// A connection that is driven, by the thread that is returned.
fn connected(shared: &Arc<Shared<Toy>>, line: &Line, caller: &Arc<Parker>) -> loom::thread::JoinHandle<()> {
    let (shared, line, caller) = (Arc::clone(shared), line.clone(), Arc::clone(caller));
    loom::thread::spawn(move || {
        let pump = Pump::new(&shared, &Arc::new(App), line.clone(), Epoch::FIRST);
        drive(pump, &line, &caller, None);
    })
}

/// The same with a connection that exists from the beginning. The model tries orders with few preemptions,
/// and the driver need not be preempted to establish a connection.
fn connected_before(
    shared: &Arc<Shared<Toy>>,
    line: &Line,
    caller: &Arc<Parker>,
    rest: &Arc<Rest>,
) -> loom::thread::JoinHandle<()> {
    let pump = Pump::new(shared, &Arc::new(App), line.clone(), Epoch::FIRST);
    let (line, caller, rest) = (line.clone(), Arc::clone(caller), Arc::clone(rest));
    loom::thread::spawn(move || drive(pump, &line, &caller, Some(&rest)))
}

/// The right to read: whether the driver or the caller reads the reply, the caller gets it; and the driver
/// reads bytes that arrive after callers have left.
#[test]
fn the_right_to_read_goes_from_the_driver_to_a_caller_and_back() {
    model(|| {
        let (shared, line, caller) = (Arc::new(Shared::new(Toy::default())), Line::default(), Arc::default());
        let driver = connected(&shared, &line, &caller);
        assert!(call(&shared, &caller), "a reply");
        line.arrive(&[2]);
        // For a moment after a call, reading is left to callers: this caller may take until then.
        assert!(hear(&shared, &Arc::default()), "another one, that nobody asked for");
        shared.with(|toy| toy.close(clock::now(), Duration::ZERO));
        driver.join().unwrap();
    });
}

/// A late reply: a caller that has stopped reading itself need not wait for time to pass.
#[test]
fn a_caller_that_stops_reading_leaves_it_to_the_driver() {
    model(|| {
        let (shared, line, caller) = (Arc::new(Shared::new(Toy::default())), Line::default(), Arc::default());
        line.0.lock().answers_late = true;
        let driver = connected(&shared, &line, &caller);
        let peer = line.clone();
        let peer = loom::thread::spawn(move || peer.arrive(&[1]));
        assert!(call(&shared, &caller), "a reply");
        peer.join().unwrap();
        shared.with(|toy| toy.close(clock::now(), Duration::ZERO));
        driver.join().unwrap();
    });
}

/// The same while the driver waits for the time until which it leaves reading to the caller.
#[test]
fn a_caller_that_stops_reading_wakes_the_driver() {
    model(|| {
        let (shared, line, caller) = (Arc::new(Shared::new(Toy::default())), Line::default(), Arc::default());
        line.0.lock().answers_late = true;
        let driver = connected_before(&shared, &line, &caller, &Arc::default());
        let peer = line.clone();
        let peer = loom::thread::spawn(move || peer.arrive(&[1]));
        assert!(call(&shared, &caller), "a reply");
        peer.join().unwrap();
        shared.with(|toy| toy.close(clock::now(), Duration::ZERO));
        driver.join().unwrap();
    });
}

/// Bytes that arrive when the driver has taken reading back from callers and has nothing else to do: it is
/// woken for them.
#[test]
fn a_driver_that_reads_again_hears_what_comes() {
    model(|| {
        let (shared, line, caller) = (Arc::new(Shared::new(Toy::default())), Line::default(), Arc::default());
        let rest = Arc::<Rest>::default();
        let driver = connected_before(&shared, &line, &caller, &rest);
        assert!(call(&shared, &caller), "a reply");
        rest.wait();
        line.arrive(&[2]);
        assert!(hear(&shared, &Arc::default()), "another one, that nobody asked for");
        shared.with(|toy| toy.close(clock::now(), Duration::ZERO));
        driver.join().unwrap();
    });
}

/// Close: a caller that waits, or is about to, gets an error; the driver ends.
#[test]
fn a_close_ends_callers_and_the_driver() {
    model(|| {
        let (shared, line, caller) = (Arc::new(Shared::new(Toy::default())), Line::default(), Arc::default());
        let driver = connected(&shared, &line, &caller);
        let closing = Arc::clone(&shared);
        let closer = loom::thread::spawn(move || closing.with(|toy| toy.close(clock::now(), Duration::ZERO)));
        // A reply or the end.
        let _either = call(&shared, &caller);
        closer.join().unwrap();
        driver.join().unwrap();
    });
}
