//! Futures that are polled, and dropped at any point where they wait: their documented cancel safety holds.
//!
//! The sockets are connected in memory, and the futures polled by hand. A seed makes a run reproducible.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::config::QueueLimit;
use bowline_driver::clock;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Options, Overflow};
use bowline_zmtp::socket_type::SocketType;

use super::by_hand::ByHand;
use super::model::{Flag, Random};
use super::{Interest, SocketCore};
use crate::error::{ReceiveError, Refusal};
use crate::inproc;
use crate::outgoing::Outgoing;
use crate::receive::{Receive, ReceiveFrom, ReceiveInto, ReceiveMany, ReceiveWith};
use crate::send::{Send, SendMany};

const LIMIT: usize = 3;

/// The result of a future.
enum Done {
    /// All of its messages were sent.
    Sent,
    Received(Vec<u64>),
    /// The socket is closed, or the time was over; a message was given back with its number.
    Not(Option<u64>),
}

/// A waiting call.
struct Call {
    core: Arc<SocketCore>,
    future: Pin<Box<dyn Future<Output = Done>>>,
    sends: Option<Sends>,
    woken: Arc<Flag>,
    is_begun: bool,
}

/// The messages of a call.
struct Sends {
    first: u64,
    count: usize,
    /// How many are sent so far.
    sent: Arc<AtomicUsize>,
}

fn message(number: u64) -> [Vec<u8>; 2] {
    [number.to_be_bytes().to_vec(), b"behind".to_vec()]
}

fn number(message: &Message) -> u64 {
    assert_eq!((message.len(), &message[1][..]), (2, &b"behind"[..]), "it is whole");
    u64::from_be_bytes(message[0][..].try_into().expect("a number"))
}

fn not_received(error: ReceiveError) -> Done {
    assert!(matches!(error, ReceiveError::Closed | ReceiveError::TimedOut), "{error}");
    Done::Not(None)
}

struct World {
    seed: u64,
    random: Random,
    pushers: [Arc<SocketCore>; 2],
    puller: Arc<SocketCore>,
    calls: Vec<Call>,
    next: u64,
    /// Messages that were sent, or may be: the first one of their call, and how often each was received.
    sent: BTreeMap<u64, (u64, u32)>,
    /// The last received message of each call.
    last: BTreeMap<u64, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let open = |kind| {
            let limit = QueueLimit { messages: LIMIT, bytes: 1 << 20 };
            let options = Options::new(kind).send_limit(limit).receive_limit(limit);
            crate::lifetime::for_tests(options.overflow(Overflow::AsType))
        };
        let puller = open(SocketType::Pull);
        let pushers = [(); 2].map(|()| open(SocketType::Push));
        let name = format!("dropped-{seed}");
        assert!(inproc::bind(&puller, &name));
        for pusher in &pushers {
            inproc::connect(pusher, &name, None).expect("no name is chosen");
        }
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (calls, sent) = (Vec::new(), BTreeMap::new());
        Self { seed, random, pushers, puller, calls, next: 1, sent, last: BTreeMap::new() }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => {
                let call = self.send_one();
                self.begin(call);
            }
            25..35 => {
                let call = self.send_several();
                self.begin(call);
            }
            35..60 => {
                let call = self.receive();
                self.begin(call);
            }
            60..80 if !self.calls.is_empty() => {
                let at = self.random.below(self.calls.len());
                self.poll(at);
            }
            80..97 if !self.calls.is_empty() => {
                let at = self.random.below(self.calls.len());
                self.drop(at);
            }
            _ => self.settle(),
        }
    }

    /// The socket and the messages of a call that sends, as many as that.
    fn sends(&mut self, count: usize) -> (Arc<SocketCore>, Sends) {
        let core = Arc::clone(&self.pushers[self.random.below(2)]);
        let first = self.next;
        self.next += count as u64;
        self.sent.extend((first..self.next).map(|number| (number, (first, 0))));
        (core, Sends { first, count, sent: Arc::default() })
    }

    fn send_one(&mut self) -> Call {
        let (core, sends) = self.sends(1);
        let until = (self.random.below(4) == 0).then(|| clock::after(Duration::ZERO));
        let (socket, first, counter) = (Arc::clone(&core), sends.first, Arc::clone(&sends.sent));
        let future = Box::pin(async move {
            match Send::<ByHand>::new(&socket, Outgoing::of_parts(message(first)), until).await {
                Ok(()) => {
                    counter.store(1, Ordering::Relaxed);
                    Done::Sent
                }
                Err(error) => {
                    assert!(matches!(error.reason(), Refusal::Closed | Refusal::TimedOut), "{error}");
                    Done::Not(Some(number(&error.into_message())))
                }
            }
        });
        Call { core, future, sends: Some(sends), woken: Arc::default(), is_begun: false }
    }

    fn send_several(&mut self) -> Call {
        let count = 1 + self.random.below(20);
        let (core, sends) = self.sends(count);
        let (socket, first, counter) = (Arc::clone(&core), sends.first, Arc::clone(&sends.sent));
        let future = Box::pin(async move {
            let messages: Vec<Message> =
                (first..first + count as u64).map(|number| message(number).into_iter().collect()).collect();
            let mut sending = pin!(SendMany::new(&socket, &messages));
            let result = poll_fn(|cx| {
                let polled = sending.as_mut().poll(cx);
                counter.store(sending.sent(), Ordering::Relaxed);
                polled
            });
            let result = result.await;
            assert_eq!(result.is_ok(), sending.sent() == count);
            if let Err(error) = result {
                assert_eq!(error.sent(), sending.sent());
            }
            Done::Sent
        });
        Call { core, future, sends: Some(sends), woken: Arc::default(), is_begun: false }
    }

    fn receive(&mut self) -> Call {
        let (core, socket) = (Arc::clone(&self.puller), Arc::clone(&self.puller));
        let (how, most) = (self.random.below(6), 1 + self.random.below(5));
        let future = Box::pin(async move {
            let received = match how {
                0 => Receive::<ByHand>::new(&socket, None).await.map(|message| vec![number(&message)]),
                1 => {
                    let until = Some(clock::after(Duration::ZERO));
                    Receive::<ByHand>::new(&socket, until).await.map(|message| vec![number(&message)])
                }
                2 => ReceiveFrom::<ByHand>::new(&socket).await.map(|(_, message)| vec![number(&message)]),
                3 => {
                    let mut message = Message::new();
                    ReceiveInto::<ByHand>::new(&socket, &mut message).await.map(|()| vec![number(&message)])
                }
                4 => {
                    let mut all = Vec::new();
                    let received = ReceiveMany::<ByHand>::new(&socket, &mut all, most).await;
                    assert_eq!(received.as_ref().ok().copied().unwrap_or(0), all.len());
                    received.map(|_| all.iter().map(number).collect())
                }
                _ => {
                    let mut times = 0;
                    let received = ReceiveWith::<ByHand, _>::new(&socket, |message: &Message| {
                        times += 1;
                        vec![number(message)]
                    });
                    let received = received.await;
                    assert_eq!(times, usize::from(received.is_ok()));
                    received
                }
            };
            received.map_or_else(not_received, Done::Received)
        });
        Call { core, future, sends: None, woken: Arc::default(), is_begun: false }
    }

    /// Begins a call, and usually polls it.
    fn begin(&mut self, call: Call) {
        self.calls.push(call);
        for _ in 0..self.random.below(3) {
            if !self.poll(self.calls.len() - 1) {
                return;
            }
        }
    }

    /// Polls a call; `true`: it waits.
    fn poll(&mut self, at: usize) -> bool {
        let call = &mut self.calls[at];
        call.woken.0.store(false, Ordering::SeqCst);
        call.is_begun = true;
        let waker = Waker::from(Arc::clone(&call.woken));
        let Poll::Ready(done) = call.future.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return true;
        };
        let call = self.calls.swap_remove(at);
        match done {
            Done::Sent => {}
            Done::Received(numbers) => numbers.into_iter().for_each(|number| self.came(number)),
            Done::Not(back) => {
                let first = call.sends.as_ref().map(|sends| sends.first);
                assert_eq!(back, first, "it is handed back");
            }
        }
        self.end(&call);
        false
    }

    /// Drops a call wherever it is.
    fn drop(&mut self, at: usize) {
        let call = self.calls.swap_remove(at);
        self.end(&call);
    }

    /// A call is over: messages that it did not send must never be received.
    fn end(&mut self, call: &Call) {
        let Some(Sends { first, count, sent }) = &call.sends else { return };
        let sent = sent.load(Ordering::Relaxed) as u64;
        for number in first + sent..first + *count as u64 {
            let (_, times) = self.sent.remove(&number).expect("each ends once");
            assert_eq!(times, 0, "{number} was not sent, and came, seed {}", self.seed);
        }
    }

    fn came(&mut self, number: u64) {
        let seed = self.seed;
        let (first, times) = self.sent.get_mut(&number).unwrap_or_else(|| panic!("{number}, seed {seed}"));
        *times += 1;
        assert_eq!(*times, 1, "{number} came twice, seed {seed}");
        let last = self.last.insert(*first, number);
        assert!(last < Some(number), "{number} came behind {last:?}, seed {seed}");
    }

    /// Polls woken calls. Afterwards no call waits for a message that is available.
    fn go_on(&mut self) {
        while let Some(at) = self.calls.iter().position(|call| call.woken.0.load(Ordering::SeqCst)) {
            self.poll(at);
        }
        // Calls that were never polled wait for nothing.
        for call in self.calls.iter().filter(|call| call.is_begun) {
            let want = if call.sends.is_some() { Interest::SEND } else { Interest::RECV };
            assert!(
                !call.core.ready(want).any(),
                "{want:?} is there and nobody was told, seed {}",
                self.seed
            );
        }
    }

    /// Also receives, until nothing moves.
    fn settle(&mut self) {
        let mut message = Message::new();
        self.go_on();
        while self.puller.try_receive(|state| state.receive(&mut message)).is_ok() {
            self.came(number(&message));
            self.go_on();
        }
    }

    /// Everything is closed: each sent message was received from one of the sockets, once.
    fn finish(mut self) {
        self.settle();
        for pusher in self.pushers.clone() {
            pusher.begin_close(Duration::ZERO);
            for message in pusher.take_unsent() {
                self.came(number(&message));
            }
        }
        self.puller.begin_close(Duration::ZERO);
        self.settle();
        while !self.calls.is_empty() {
            // Callers that wait for a closed socket get an error.
            assert!(!self.poll(0), "it waits for ever, seed {}", self.seed);
        }
        let lost: Vec<_> = self.sent.iter().filter(|(_, (_, times))| *times == 0).collect();
        assert!(lost.is_empty(), "{lost:?} were lost, seed {}", self.seed);
    }
}

#[test]
fn what_is_dropped_anywhere_loses_and_doubles_nothing() {
    let number =
        |name, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"));
    let (schedules, first) = (number("BOWLINE_SCHEDULES", 2_000), number("BOWLINE_SEED", 1));
    for seed in first..first + schedules {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.finish();
    }
}
