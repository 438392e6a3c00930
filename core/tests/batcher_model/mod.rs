//! A batcher driven by operations of the input, compared with a simple model. Shared by the property test and
//! the fuzz target.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bowline_core::batcher::{
    Admission, Batch, Batcher, Failed, ReceiverId, Refusal, Retries, SendError, SendId, Settings, Step,
};
use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;

mod check;
mod model;
mod users;

const MS: Duration = Duration::from_millis(1);
const RECEIVERS: usize = 2;

/// The waiters that may be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Token {
    Sender(u32),
    Receiver(usize),
    Driver,
    Closer,
}

/// How a message was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Send,
    Reference(usize),
    Forget,
}

/// Where the model has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    NoPlace,
    NoRoom,
    Waiting,
    Batch,
    /// Over; its outcome was not fetched.
    Over,
    /// Given back; that was not fetched.
    Refused,
    /// Nothing is known of it any more.
    Gone,
}

type Outcome = Result<u32, SendError<u8>>;

#[derive(Debug)]
struct Info {
    kind: Kind,
    bytes: usize,
    at: At,
    accepted: Instant,
    /// Its sender holds this.
    id: Option<SendId>,
    told: bool,
    maybe: bool,
    cause: Option<u8>,
    /// Told by the model when it ends, once.
    outcome: Option<Outcome>,
    /// Its sender went away while it was under way.
    given_up: bool,
}

struct Run<'a> {
    input: std::slice::Iter<'a, u8>,
    batcher: Batcher<u32, u32, u32, u8, Token>,
    receivers: [ReceiverId; RECEIVERS],
    lent: Option<Batch<u32, u32, u8>>,
    now: Instant,
    // The model.
    buffer: usize,
    buffer_bytes: usize,
    places: usize,
    linger: Duration,
    retries: Retries,
    at_least_once: bool,
    timeout: Duration,
    no_room: VecDeque<u32>,
    no_place: [VecDeque<u32>; RECEIVERS],
    waiting: VecDeque<u32>,
    batch: Vec<u32>,
    attempts: u32,
    retry_at: Option<Instant>,
    order: [VecDeque<u32>; RECEIVERS],
    held: [VecDeque<u32>; RECEIVERS],
    messages: BTreeMap<u32, Info>,
    closing: Option<Instant>,
    last_cause: Option<u8>,
    last_is_maybe: bool,
    next: u32,
    forgotten: u64,
    // The waiters, and the time at which the driver comes by itself.
    parked: BTreeSet<Token>,
    driver_until: Option<Instant>,
    closer: Option<Ticket>,
}

/// Runs a whole life of a batcher. Panics where it is not as the model says.
pub(crate) fn run(input: &[u8]) {
    let mut run = Run::new(input);
    while run.input.len() > 0 {
        run.step();
        run.check();
    }
    run.end();
}

impl<'a> Run<'a> {
    fn new(input: &'a [u8]) -> Self {
        let mut input = input.iter();
        let mut byte = || usize::from(*input.next().unwrap_or(&0));
        let (buffer, buffer_bytes, places) = (1 + byte() % 6, 10 + byte() % 40, 1 + byte() % 5);
        let linger = MS * (byte() % 3 * 40) as u32;
        let retries = match byte() % 4 {
            3 => Retries::Unlimited,
            times => Retries::Times(times as u32),
        };
        let at_least_once = byte() % 2 == 1;
        let timeout = MS * (300 + byte() as u32 * 40);
        let settings = Settings::default()
            .buffer(buffer)
            .buffer_bytes(buffer_bytes)
            .places(places)
            .linger(linger)
            .retries(retries)
            .at_least_once(at_least_once)
            .delivery_timeout(timeout);
        let mut batcher = Batcher::new(settings, byte() as u64).expect("it can work");
        let receivers = [batcher.add_receiver(), batcher.add_receiver()];
        Self {
            input,
            batcher,
            receivers,
            lent: None,
            now: Instant::ZERO,
            buffer,
            buffer_bytes,
            places,
            linger,
            retries,
            at_least_once,
            timeout,
            no_room: VecDeque::new(),
            no_place: Default::default(),
            waiting: VecDeque::new(),
            batch: Vec::new(),
            attempts: 0,
            retry_at: None,
            order: Default::default(),
            held: Default::default(),
            messages: BTreeMap::new(),
            closing: None,
            last_cause: None,
            last_is_maybe: false,
            next: 0,
            forgotten: 0,
            parked: BTreeSet::new(),
            driver_until: Some(Instant::ZERO),
            closer: None,
        }
    }

    fn byte(&mut self) -> usize {
        usize::from(*self.input.next().unwrap_or(&0))
    }

    fn info(&mut self, message: u32) -> &mut Info {
        self.messages.get_mut(&message).expect("it was sent")
    }

    fn bytes(&self, list: impl IntoIterator<Item = u32>) -> usize {
        list.into_iter().map(|message| self.messages[&message].bytes).sum()
    }

    fn step(&mut self) {
        match self.byte() % 20 {
            0 | 1 => self.send(Kind::Send),
            2..=4 => {
                let receiver = self.byte() % RECEIVERS;
                self.send(Kind::Reference(receiver));
            }
            5 | 6 => self.send(Kind::Forget),
            7 | 8 => self.poll_batch(),
            9..=11 => self.answer(),
            12 => {
                let millis = self.byte() as u32 * 4;
                self.now += MS * millis;
                self.batcher.handle_timeout(self.now);
                self.pass_time();
            }
            13 => self.withdraw(),
            14 | 15 => {
                let pick = self.byte();
                if !self.messages.is_empty() {
                    let message = *self.messages.keys().nth(pick % self.messages.len()).expect("it is there");
                    self.fetch(message);
                }
            }
            16 | 17 => {
                let receiver = self.byte() % RECEIVERS;
                self.take_result(receiver);
            }
            18 => {
                let receiver = self.byte();
                if receiver.is_multiple_of(8) {
                    self.replace_receiver(receiver / 8 % RECEIVERS);
                }
            }
            _ => {
                if self.byte().is_multiple_of(8) {
                    let limit = MS * (self.byte() as u32 * 8);
                    self.close(limit);
                }
            }
        }
    }

    fn send(&mut self, kind: Kind) {
        let (options, bytes) = (self.byte(), self.byte() % 16 * (1 + self.byte() % 4));
        let wait = options % 4 != 0;
        let message = self.next;
        self.next += 1;
        let place = match kind {
            Kind::Reference(receiver) => {
                self.no_place[receiver].is_empty() && self.has_place(receiver, bytes)
            }
            _ => true,
        };
        let room = self.no_room.is_empty() && self.has_room(bytes);
        let expected = match (self.closing, place && room) {
            (Some(_), _) => Err(Refusal::Closed),
            (None, false) if !wait => Err(Refusal::BufferFull),
            (None, fits) => Ok(fits),
        };
        let (now, batcher) = (self.now, &mut self.batcher);
        let admitted = |admission| match admission {
            Admission::Accepted => (true, None),
            Admission::Waits(id) => (false, Some(id)),
        };
        let result = match kind {
            Kind::Send => {
                let sent = if wait {
                    batcher.send(now, message, bytes)
                } else {
                    batcher.try_send(now, message, bytes)
                };
                sent.map(|id| (expected == Ok(true), Some(id))).map_err(|refused| {
                    assert_eq!(refused.message, message);
                    refused.why
                })
            }
            Kind::Forget => {
                let sent = if wait {
                    batcher.send_and_forget(now, message, bytes).map(admitted)
                } else {
                    batcher.try_send_and_forget(now, message, bytes).map(|()| (true, None))
                };
                sent.map_err(|refused| refused.why)
            }
            Kind::Reference(receiver) => {
                let (id, reference) = (self.receivers[receiver], message + 1_000);
                let sent = if wait {
                    batcher.send_with_reference(now, message, bytes, id, reference).map(admitted)
                } else {
                    batcher.try_send_with_reference(now, message, bytes, id, reference).map(|()| (true, None))
                };
                sent.map_err(|refused| {
                    assert_eq!(refused.message, (message, reference));
                    refused.why
                })
            }
        };
        match (result, expected) {
            (Err(why), Err(expected)) => assert_eq!(why, expected),
            (Ok((accepted, id)), Ok(expected)) => {
                assert_eq!(accepted, expected, "whether {message} was accepted");
                let told = accepted && kind != Kind::Send;
                self.messages.insert(
                    message,
                    Info {
                        kind,
                        bytes,
                        at: At::NoPlace,
                        accepted: self.now,
                        id,
                        told,
                        maybe: false,
                        cause: None,
                        outcome: None,
                        given_up: false,
                    },
                );
                match kind {
                    Kind::Reference(receiver) if !place => self.no_place[receiver].push_back(message),
                    Kind::Reference(receiver) => {
                        self.held[receiver].push_back(message);
                        self.wait_for_room(message, room);
                    }
                    _ => self.wait_for_room(message, room),
                }
            }
            (result, expected) => panic!("{message}: {result:?}, expected {expected:?}"),
        }
    }

    fn poll_batch(&mut self) {
        let due = self.lent.is_none() && self.batch_due();
        match self.batcher.poll_batch(self.now, || Token::Driver) {
            Step::Batch(batch) => {
                self.pass_time();
                assert!(due && self.batch_due(), "a batch that is not due");
                if self.retry_at.take().is_none() {
                    assert!(self.batch.is_empty());
                    self.attempts = 0;
                    self.batch = self.waiting.drain(..).collect();
                    for message in self.batch.clone() {
                        self.info(message).at = At::Batch;
                    }
                }
                self.attempts += 1;
                assert_eq!(batch.messages(), self.batch, "the same messages, in the order of sending");
                assert_eq!(batch.bytes(), self.bytes(self.batch.clone()));
                assert_eq!(batch.attempt(), self.attempts);
                let last = *self.batch.last().expect("no batch is empty");
                assert_eq!(batch.deadline(), self.messages[&last].accepted + self.timeout);
                assert!(self.batch.len() == 1 || self.batch.len() <= self.buffer);
                self.lent = Some(batch);
                self.admit();
                self.batcher.watch(|| Token::Driver);
                self.driver_until = self.batcher.next_timeout();
                self.parked.insert(Token::Driver);
            }
            Step::Wait(until) => {
                self.pass_time();
                assert!(!(self.lent.is_none() && self.batch_due()), "a batch is due");
                self.driver_until = until;
                self.parked.insert(Token::Driver);
            }
            Step::Closed => {
                self.pass_time();
                assert!(self.closing.is_some() && self.lent.is_none() && self.batch.is_empty());
                assert!(self.waiting.is_empty());
            }
        }
    }

    fn answer(&mut self) {
        let Some(mut batch) = self.lent.take() else { return };
        let mode = self.byte();
        for (index, message) in self.batch.clone().into_iter().enumerate() {
            let how = if mode.is_multiple_of(4) { self.byte() } else { mode / 4 };
            let cause = how as u8;
            let failed = match how % 8 {
                0..=2 => None,
                3 => Some(Failed::not_appended(cause)),
                4 | 5 => Some(Failed::not_appended(cause).retryable(true)),
                6 => Some(Failed::maybe_appended(cause).retryable(how % 3 > 0)),
                _ => {
                    // Not answered.
                    let info = &self.messages[&message];
                    let outcome = Err(SendError::MaybeAppended(info.cause.filter(|_| info.maybe)));
                    self.leaves_batch(message, outcome);
                    continue;
                }
            };
            let answer = failed.map_or(Ok(message + 5_000), Err);
            assert!(batch.answers().answer(index, answer));
            assert!(!batch.answers().answer(index, Ok(0)), "the first answer holds");
            match answer {
                Ok(position) => {
                    self.last_cause = None;
                    self.leaves_batch(message, Ok(position));
                }
                Err(failed) => self.failed(message, failed),
            }
        }
        self.batcher.end_batch(self.now, batch);
        if !self.batch.is_empty() {
            self.retry_at = self.batcher.retry_at();
            let at = self.retry_at.expect("there is a retry");
            let most = (MS * 500 * self.attempts).min(MS * 5_000);
            assert!(at <= self.now + most && at >= self.now + most * 4 / 5, "{at:?}");
        }
        // The driver continues.
        self.poll_batch();
    }

    fn failed(&mut self, message: u32, failed: Failed<u8>) {
        (self.last_cause, self.last_is_maybe) = (Some(failed.cause), failed.maybe_appended);
        let (retries, attempts, at_least_once) = (self.retries, self.attempts, self.at_least_once);
        let (now, timeout, closing) = (self.now, self.timeout, self.closing.is_some());
        let info = self.info(message);
        if failed.maybe_appended || !info.maybe {
            info.cause = Some(failed.cause);
        }
        info.maybe |= failed.maybe_appended;
        let cause = info.cause.expect("of this attempt or an earlier one");
        let allowed = match retries {
            Retries::Times(times) => attempts <= times,
            Retries::Unlimited => true,
        };
        let again = failed.retryable && allowed && (!info.maybe || at_least_once);
        let outcome = if info.maybe && !(again && !closing && now < info.accepted + timeout) {
            SendError::MaybeAppended(Some(cause))
        } else if !again {
            SendError::Failed(cause)
        } else if now >= info.accepted + timeout {
            SendError::Expired(Some(cause))
        } else if closing {
            SendError::Closed(Some(cause))
        } else {
            return;
        };
        self.leaves_batch(message, Err(outcome));
    }
}
