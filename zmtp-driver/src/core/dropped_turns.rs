//! A REQ and a REP whose futures are polled by hand and dropped at any point where they wait, while the REP
//! is replaced. A seed makes a run reproducible.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::config::QueueLimit;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::socket::RecvError;
use bowline_zmtp::socket_type::SocketType;

use super::SocketCore;
use super::by_hand::ByHand;
use super::model::{Flag, Random};
use crate::error::ReceiveError;
use crate::inproc;
use crate::outgoing::Outgoing;
use crate::receive::Receive;
use crate::send::Send;

fn open(kind: SocketType) -> Arc<SocketCore> {
    let limit = QueueLimit { messages: 1, bytes: 1 << 20 };
    crate::lifetime::for_tests(Options::new(kind).send_limit(limit).receive_limit(limit))
}

fn body(number: u64) -> [Vec<u8>; 2] {
    [number.to_be_bytes().to_vec(), b"behind".to_vec()]
}

fn number(message: &Message) -> u64 {
    assert_eq!((message.len(), &message[1][..]), (2, &b"behind"[..]), "it is whole, without its envelope");
    u64::from_be_bytes(message[0][..].try_into().expect("a number"))
}

struct Turns {
    seed: u64,
    random: Random,
    name: String,
    req: Arc<SocketCore>,
    rep: Arc<SocketCore>,
    /// The last request, and whether it has no reply.
    request: u64,
    waits: bool,
    /// The request that the REP has to answer.
    asked: Option<u64>,
    answered: u64,
    /// The REP was replaced since the request was sent.
    went: bool,
}

impl Turns {
    fn new(seed: u64) -> Self {
        let (req, rep, name) = (open(SocketType::Req), open(SocketType::Rep), format!("turns-{seed}"));
        inproc::connect(&req, &name, None).expect("no name is chosen");
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (request, waits, asked, answered, went) = (0, false, None, 0, false);
        Self { seed, random, name, req, rep, request, waits, asked, answered, went }
    }

    /// Polls a future a random number of times, while the other side acts. `None`: it waits, and is dropped.
    fn poll<T>(&mut self, future: impl Future<Output = T>, act: &mut dyn FnMut(&mut Self)) -> Option<T> {
        let (mut future, woken) = (pin!(future), Arc::<Flag>::default());
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..=self.random.below(3) {
            woken.0.store(false, Ordering::SeqCst);
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(done);
            }
            act(self);
        }
        None
    }

    /// The REQ sends or receives, whichever is its turn.
    fn req(&mut self, act: &mut dyn FnMut(&mut Self)) {
        let req = Arc::clone(&self.req);
        if !self.waits {
            let next = self.request + 1;
            let sent = self.poll(Send::<ByHand>::new(&req, Outgoing::of_parts(body(next)), None), act);
            if let Some(sent) = sent {
                sent.expect("it is open, and its turn");
                (self.request, self.waits, self.went) = (next, true, false);
            }
            return;
        }
        match self.poll(Receive::<ByHand>::new(&req, None), act) {
            None => {}
            Some(Ok(reply)) => {
                assert_eq!(number(&reply), self.request, "the reply to another request, seed {}", self.seed);
                self.waits = false;
                self.answered += 1;
            }
            Some(Err(ReceiveError::Socket(RecvError::PeerLost))) => {
                assert!(self.went, "its peer is there, seed {}", self.seed);
                self.waits = false;
            }
            Some(Err(error)) => panic!("{error}, seed {}", self.seed),
        }
    }

    /// The REP receives, or answers.
    fn rep(&mut self, act: &mut dyn FnMut(&mut Self)) {
        let rep = Arc::clone(&self.rep);
        match self.asked {
            None => {
                let received = self.poll(Receive::<ByHand>::new(&rep, None), act);
                // A REP that was replaced meanwhile reports that it is closed.
                if let Some(Ok(request)) = received
                    && Arc::ptr_eq(&rep, &self.rep)
                {
                    self.asked = Some(number(&request));
                }
            }
            Some(asked) => {
                let sent = self.poll(Send::<ByHand>::new(&rep, Outgoing::of_parts(body(asked)), None), act);
                if sent.is_some() && Arc::ptr_eq(&rep, &self.rep) {
                    self.asked = None;
                }
            }
        }
    }

    /// Replaces the REP by another one.
    fn replace(&mut self) {
        self.rep.begin_close(Duration::ZERO);
        self.rep = open(SocketType::Rep);
        (self.asked, self.went) = (None, true);
        assert!(inproc::bind(&self.rep, &self.name), "the name is free, seed {}", self.seed);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 => self.replace(),
            1..11 => self.req(&mut |turns| turns.rep(&mut |_| ())),
            _ => self.rep(&mut |turns| turns.req(&mut |_| ())),
        }
    }

    /// Whatever was dropped, the next request gets its reply.
    fn finish(mut self) -> u64 {
        let before = self.answered;
        for _ in 0..100 {
            self.req(&mut |_| ());
            self.rep(&mut |_| ());
        }
        assert!(self.answered >= before + 10, "it is stuck, seed {}", self.seed);
        for socket in [&self.req, &self.rep] {
            socket.begin_close(Duration::ZERO);
        }
        self.answered
    }
}

#[test]
fn turns_are_taken_and_kept_wherever_futures_are_dropped() {
    let mut answered = 0;
    for seed in 1..500 {
        let mut turns = Turns::new(seed);
        // Nothing is bound yet.
        turns.req(&mut |_| ());
        assert!(inproc::bind(&turns.rep, &turns.name));
        for _ in 0..100 {
            turns.step();
        }
        answered += turns.finish();
    }
    assert!(answered > 10_000, "{answered}");
}
