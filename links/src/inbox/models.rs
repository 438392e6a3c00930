//! Loom model: the end of a consumer, in every relevant order.
//!
//! `RUSTFLAGS="--cfg bowline_loom" cargo test --release -p bowline-links --lib models`

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Wake;

use bowline_core::config::Config;
use bowline_core::frame::native::{Hello, Native};
use bowline_core::frame::{Kind, Meta};
use bowline_core::link::{Event, Link, Reader, Role};
use bowline_core::machine::{Access, Machine, Next as Parsed};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;

use super::*;
use bowline_driver::StartError;
use bowline_driver::clock;

use crate::handler::OnMessage;

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

/// A thread for each task.
#[derive(Default)]
struct Threads(Mutex<Vec<loom::thread::JoinHandle<()>>>);

impl Workers for Threads {
    fn spawn(&self, _: u64, mut task: BoxTask) -> Result<(), StartError> {
        let thread = loom::thread::spawn(move || {
            let parker = Arc::new(Parker::default());
            let waker = Waker::from(Arc::clone(&parker));
            while task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                let mut woken = parker.woken.lock().unwrap();
                while !std::mem::take(&mut *woken) {
                    woken = parker.changed.wait(woken).unwrap();
                }
            }
        });
        self.0.lock().push(thread);
        Ok(())
    }
}

/// Counts messages.
#[derive(Default)]
struct Counts(AtomicUsize);

impl Consume<Native> for Counts {
    fn consumer(self: Arc<Self>, mut of: Consumer<Native>) -> BoxTask {
        Box::pin(async move {
            let mut message = Message::empty();
            while let Some(Next::Message) = poll_fn(|cx| of.poll_next(&mut message, cx)).await {
                self.0.fetch_add(1, Relaxed);
            }
        })
    }
}

/// The value that is kept until the end; when dropped, records how many messages were handled.
struct Kept(Arc<Counts>, Arc<AtomicUsize>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.1.store(1 + self.0.0.load(Relaxed), Relaxed);
    }
}

fn frames() -> [Vec<u8>; 2] {
    let (mut hello, mut cast, mut body) = (Vec::new(), Vec::new(), Vec::new());
    Hello::new().encode(&mut body);
    let native = Native::new();
    let mark = native.begin(&mut hello, &Meta::new(Kind::Hello, 0), &[]).expect("a frame");
    hello.extend_from_slice(&body);
    native.finish(&mut hello, mark, 0).expect("a frame");
    native.encode(&mut cast, &Meta::new(Kind::Cast, 0), &[], b"x").expect("a frame");
    [hello, cast]
}

/// Reads received bytes as `LinkApp` does. Returns the number of messages that the link kept.
fn read(inbox: &Arc<Inbox<Native>>, reader: &mut Reader<Native>, bytes: &[u8]) -> usize {
    let (mut tokens, mut buf, now, mut kept) = (Vec::new(), RecvBuf::new(), clock::now(), 0);
    buf.spare()[..bytes.len()].copy_from_slice(bytes);
    buf.filled(bytes.len());
    let mut access = inbox.peer.shared().lazy(&mut tokens);
    Link::begin_input(reader, &mut access, now, bytes.len());
    while let Ok(Parsed::Event(event)) = Link::next_event(reader, &mut access, now, &mut buf) {
        let run: Vec<_> = match event {
            Event::Message(incoming) => vec![incoming],
            Event::Burst(run) => run.collect(),
            _ => Vec::new(),
        };
        for incoming in run {
            kept += usize::from(access.machine().enqueue_received(&incoming));
            if !inbox.runs() {
                access.release();
                inbox.start();
            }
        }
    }
    Link::end_input(reader, &mut access, now, &mut buf);
    kept
}

/// A link is closed while its last message is being read: the consumer may be about to end, or have ended.
/// The message is handled all the same, and the value that was kept for the end is dropped exactly once.
#[test]
fn a_message_that_comes_while_the_consumer_ends_is_handled() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let counts = Arc::<Counts>::default();
        let mut handlers = Handlers::<Native>::default();
        handlers.on_message = OnMessage::Ordinary(Arc::clone(&counts) as _);
        let link = Link::new(Config::default(), Role::Accepting);
        let peer = PeerCore::new(link);
        peer.shared().with(|link| link.handle_messages());
        let threads = Arc::<Threads>::default();
        let inbox = Arc::new(Inbox {
            peer: peer.clone(),
            handlers: Arc::new(handlers),
            workers: Arc::clone(&threads) as _,
            runs: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let mut reader = peer.shared().with(|link| link.handle_connected(clock::now(), Epoch::FIRST));
        let [hello, cast] = frames();
        assert_eq!(read(&inbox, &mut reader, &hello), 0);
        inbox.start();
        let reading = Arc::clone(&inbox);
        let reads = loom::thread::spawn(move || read(&reading, &mut reader, &cast));
        // An accepting link is closed with its connection.
        peer.shared().with(|link| link.handle_disconnected(clock::now(), None, Disconnect::LocalClose));
        let kept = reads.join().unwrap();
        let dropped = Arc::<AtomicUsize>::default();
        inbox.keep(Box::new(Kept(Arc::clone(&counts), Arc::clone(&dropped))));
        while let Some(thread) = {
            let thread = threads.0.lock().pop();
            thread
        } {
            thread.join().unwrap();
        }
        assert_eq!(counts.0.load(Relaxed), kept, "what the link kept is handled");
        assert_eq!(dropped.load(Relaxed), 1 + kept, "dropped once all was handled");
    });
}
