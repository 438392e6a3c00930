//! Loom models: senders, a receiver of results, the driving task and a close at once, in every relevant
//! order.
//!
//! `RUSTFLAGS="--cfg bowline_loom" cargo test --release -p bowline-links --lib models`

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant as StdInstant;

use bowline_core::batcher::{Admission, Batch, ReceiverId};
use bowline_driver::runtime::Timer;

use super::*;

/// Parks a thread of the model.
#[derive(Default)]
struct Parker {
    woken: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Wake for Parker {
    fn wake(self: std::sync::Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Runs a future to its end, as a thread does.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = parker.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = parker.changed.wait(woken).unwrap();
        }
    }
}

/// A clock that stands still.
struct Never;

impl Timer for Never {
    fn reset(&mut self, _: StdInstant) {}

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// A sink that appends at once, and counts.
#[derive(Default)]
struct Counts(AtomicU64);

impl Sink for Counts {
    type Message = u8;
    type Position = u64;
    type Error = ();

    const SENDERS_MAY_POLL: bool = true;

    fn size(&self, _: &u8) -> usize {
        1
    }

    async fn append(&self, batch: &mut Batch<u8, u64, ()>) {
        for index in 0..batch.messages().len() {
            batch.answers().answer(index, Ok(self.0.fetch_add(1, Relaxed)));
        }
    }
}

type Model = Arc<Shared<Counts, u8>>;

fn shared() -> Model {
    // One message fills the buffer.
    let machine = Machine::new(Settings::default().buffer(1), 1).expect("sound settings");
    Arc::new(Shared::new(Counts::default(), machine))
}

fn driving(shared: &Model) -> loom::thread::JoinHandle<()> {
    let lent = Lent::new(Arc::clone(shared));
    shared.driving.begin(drive(lent, || Never, None, Teller::new(String::new())));
    let task = DrivingTask(Arc::clone(shared));
    loom::thread::spawn(|| block_on(task))
}

fn close(shared: &Model) {
    shared.with(|machine| machine.close(clock::now(), Duration::from_secs(2)));
    block_on(Closing::new(shared));
}

/// Sends with a reference, and takes the result. `None`: the message was refused.
fn send(shared: &Model, to: ReceiverId, message: u8) -> Option<bool> {
    block_on(Referencing::new(shared, message, message, Some(to))).ok()?;
    let next =
        std::future::poll_fn(|cx| shared.with(|machine| machine.poll_result(to, || cx.waker().clone())));
    let sent = block_on(next).expect("it was accepted: it has a result");
    assert_eq!((sent.message, sent.reference), (message, message));
    Some(sent.result.is_ok())
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// A message is sent while the batcher is closed: it is either refused or has exactly one, correct outcome.
/// The task and the close both end.
#[test]
fn a_close_leaves_no_sender_without_an_outcome() {
    check(|| {
        let shared = shared();
        let receiver = shared.with(|machine| machine.add_receiver());
        let task = driving(&shared);
        let closing = Arc::clone(&shared);
        let closes = loom::thread::spawn(move || close(&closing));
        let sent = send(&shared, receiver, 7);
        closes.join().unwrap();
        task.join().unwrap();
        let appended = shared.sink.0.load(Relaxed);
        assert_eq!(appended, u64::from(sent == Some(true)), "{sent:?}");
        assert!(shared.with(|machine| machine.is_closed() && machine.kept() == 0));
    });
}

/// Two senders and room for one message: the second proceeds when the first one's batch has left, in either
/// order.
#[test]
fn a_sender_that_waits_for_room_goes_on() {
    check(|| {
        let shared = shared();
        let task = driving(&shared);
        let other = Arc::clone(&shared);
        let sends = loom::thread::spawn(move || {
            block_on(Forgetting::new(&other, 1)).expect("it is open");
        });
        let receiver = shared.with(|machine| machine.add_receiver());
        assert_eq!(send(&shared, receiver, 2), Some(true));
        sends.join().unwrap();
        close(&shared);
        task.join().unwrap();
        assert_eq!(shared.sink.0.load(Relaxed), 2);
    });
}

/// A sender withdraws its message while a batch may take it: the message is appended or not, and both sides
/// agree.
#[test]
fn a_message_is_withdrawn_or_appended() {
    check(|| {
        let shared = shared();
        let task = driving(&shared);
        let now = clock::now();
        let id = shared.with(|machine| machine.send(now, 3, 1)).expect("it is open");
        let withdrawn = shared.with(|machine| machine.withdraw(now, id));
        close(&shared);
        task.join().unwrap();
        assert_eq!(shared.sink.0.load(Relaxed), u64::from(withdrawn.is_none()));
        let admitted = shared.with(|machine| machine.send_and_forget(now, 4, 1));
        assert!(!matches!(admitted, Ok(Admission::Accepted | Admission::Waits(_))), "it is closed");
    });
}

/// A sender that waits for its result makes the attempt itself, or leaves it to the task, while the batcher is closed:
/// the message has one outcome, and the task ends.
#[test]
fn a_sender_that_polls_in_place_of_the_task_leaves_nothing_undone() {
    check(|| {
        let shared = shared();
        let task = driving(&shared);
        let closing = Arc::clone(&shared);
        let closes = loom::thread::spawn(move || close(&closing));
        let (mut message, mut sent_as) = (Some(7), None);
        let sending = std::future::poll_fn(|cx| match (message.take(), sent_as) {
            (Some(message), _) => {
                let (polled, id) = shared.send(message, cx);
                sent_as = id;
                polled
            }
            (None, Some(id)) => shared.poll_send(id, cx),
            (None, None) => panic!("it was refused"),
        });
        let sent = block_on(sending).is_ok();
        closes.join().unwrap();
        task.join().unwrap();
        assert_eq!(shared.sink.0.load(Relaxed), u64::from(sent));
        assert!(shared.with(|machine| machine.is_closed() && machine.kept() == 0));
    });
}
