//! A link with a peer that sends any bytes.

use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::Disconnect;
use bowline_core::frame::native::{Credit, Hello, Native, Resume, SESSION, Window};
use bowline_core::frame::{Class, Framing, Kind, Meta};
use bowline_core::link::{CallOptions, CastOptions, Role, SessionIdentity};
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_netsim::{Direction, End, Given, Ledger, Net, NetConfig, Wants};

use crate::Input;

const MS: Duration = Duration::from_millis(1);
const MOST: usize = 100;
const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];
const MAX_MESSAGE: usize = 200 * 1024;
const QUEUE: QueueLimit = QueueLimit { messages: 40, bytes: 64 * 1024 };
const WINDOW: u32 = 64 * 1024;
const SESSION_WINDOW: usize = 8 * 1024;
const IDENTITY: SessionIdentity = SessionIdentity { id: 5, token: [5; 16] };
const NET: NetConfig = NetConfig {
    latency: MS,
    jitter: MS,
    max_write: 4096,
    max_read: 4096,
    window: 1 << 20,
    bandwidth: None,
    unsent: 16 * 1024,
};

/// The smallest possible windows.
fn tight(fragment: usize, delivery: Delivery) -> Option<Config> {
    Config::builder()
        .delivery(delivery)
        .session_window(SESSION_WINDOW)
        .max_message(MAX_MESSAGE)
        .write_queue(QUEUE)
        .normal_window(WINDOW)
        .bulk_window(WINDOW)
        .max_in_flight(20)
        .max_inbound(20)
        .max_inbound_bytes(64 * 1024)
        .fragment(fragment)
        .build()
        .ok()
}

/// An accepting end, and the bytes of its peer.
struct Live {
    end: End<Native>,
    net: Net,
    now: Instant,
    framing: Native,
    ledger: Ledger,
    in_session: bool,
}

impl Live {
    fn new(config: Config, in_session: bool) -> Self {
        let mut end = End::new(config, Role::Accepting);
        if in_session {
            end.link.offer_session(IDENTITY);
        }
        Self {
            end,
            net: Net::new(NET, 0),
            now: Instant::ZERO,
            framing: Native::new(),
            ledger: Ledger::default(),
            in_session,
        }
    }

    /// A new connection, with a valid hello, and with that resume in a session.
    fn connect(&mut self, seed: u8, resume: &Resume) {
        self.net = Net::new(NET, u64::from(seed));
        self.end.connect(self.now, self.end.link.epoch().next());
        let mut hello = Hello::new();
        (hello.normal, hello.bulk) = (Window::open(WINDOW), Window::open(WINDOW));
        hello.features = if self.in_session { SESSION } else { 0 };
        let mut body = Vec::new();
        hello.encode(&mut body);
        let control = |kind| Meta { class: Class::Control, ..Meta::new(kind, 0) };
        self.framing = Native::new();
        let first = encode(&self.framing, &control(Kind::Hello), &body);
        self.send(&first);
        let _ = self.framing.next_frame(&first);
        if self.in_session {
            self.send(&encode(&self.framing, &control(Kind::Resume), &resume.to_bytes()));
        }
    }

    /// Writes as much as the network accepts.
    fn send(&mut self, mut bytes: &[u8]) {
        loop {
            let n = self.net.write(self.now, Direction::ToServer, bytes);
            bytes = &bytes[n..];
            if n == 0 || bytes.is_empty() {
                return;
            }
        }
    }

    /// Lets the end work until nothing changes. Returns false if it is closed.
    fn settle(&mut self) -> bool {
        for _ in 0..100_000 {
            let moved = self.end.step(self.now, &mut self.net);
            if !self.end.is_connected() {
                self.end.idle(self.now);
            }
            if self.end.link.is_closed() || moved == Ok(false) {
                if !self.end.is_connected() {
                    // A writer that was still writing gives its batch back.
                    self.end.idle(self.now);
                }
                self.ledger.collect(0, 0, &mut self.end);
                let memory = self.end.memory();
                assert!(memory <= most_memory(), "{memory} of {}", most_memory());
                return !self.end.link.is_closed();
            }
        }
        panic!("it never settles");
    }

    fn cast(&mut self, number: u32, class: Class, wants: Wants, len: usize) {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(4 + len, 7);
        let options = CastOptions::new(1).class(class).notify(wants == Wants::Event);
        let Ok(queued) = self.end.link.cast(self.now, &options, body.clone().into()) else { return };
        let number = queued.number;
        if wants == Wants::Outcome {
            self.end.link.watch_outcome(number, 0);
        }
        self.ledger.give(Given { side: 0, life: 0, number, method: 1, body, wants, told: Vec::new() });
    }

    /// A resume of which any part may be wrong.
    fn resume(what: u8, received: u64) -> Resume {
        let id = [IDENTITY.id, IDENTITY.id, 0, IDENTITY.id + 1][usize::from(what % 4)];
        let mut token = IDENTITY.token;
        token[usize::from(what >> 4)] ^= u8::from(what & 8 != 0);
        Resume::new(id, token, received)
    }
}

/// An accepting end after a valid hello, with or without a session, whose peer sends bytes chosen by the
/// input and reconnects with any resume: it holds no more memory than configured, ends the connection or
/// continues, and reports the outcome of each of its own casts once.
pub fn live_link(data: &[u8]) {
    let mut input = Input(data);
    let (first, seed) = (input.byte(), input.byte());
    let in_session = seed % 2 == 0;
    let delivery = if in_session { Delivery::Session } else { Delivery::AtMostOnce };
    let Some(config) = tight(1024 + usize::from(first) * 200, delivery) else { return };
    let mut live = Live::new(config, in_session);
    live.connect(seed, &Resume::new(0, [0; 16], 0));
    let mut scratch = vec![0; 64 * 1024];
    for number in 0..MOST as u32 {
        if input.is_empty() {
            break;
        }
        let (op, id, size) = (input.byte(), u64::from(input.byte() % 8), usize::from(input.byte()));
        let class = CLASSES[usize::from(op >> 7)];
        let len = if size < 128 { size } else { (size - 127) * 500 };
        let kind = match op % 32 {
            0..=2 => Kind::Cast,
            3..=5 => Kind::Request,
            6 => Kind::Reply,
            7 => Kind::ErrorReply,
            8..=11 => Kind::Fragment,
            12 => Kind::Abort,
            13 => Kind::Cancel,
            14 => Kind::Credit,
            15 => Kind::Ping,
            16 => Kind::GoAway,
            24 => Kind::Ack,
            25 if size.is_multiple_of(4) => Kind::Resume,
            17 => {
                // Unmodified bytes of the input.
                let bytes: Vec<u8> = (0..size % 64).map(|_| input.byte()).collect();
                live.send(&bytes);
                continue;
            }
            18 => {
                live.end.takes = size.is_multiple_of(2);
                continue;
            }
            19 => {
                live.end.answers = size.is_multiple_of(2);
                continue;
            }
            20 | 21 => {
                let wants = [Wants::Failures, Wants::Event, Wants::Outcome][id as usize % 3];
                live.cast(number, class, wants, len);
                continue;
            }
            22 | 23 => {
                let options = CallOptions::new(1).class(class).timeout(MS * 500);
                let _ = live.end.link.call(live.now, &options, vec![7; len].into(), 0);
                continue;
            }
            25..=27 => {
                live.end.slow_writer = size % 4 == 1;
                live.end.disconnect(live.now, Disconnect::PeerClosed);
                if !live.settle() {
                    break;
                }
                live.connect(seed, &Live::resume(size as u8, id));
                continue;
            }
            _ => {
                live.now += MS * (1 + size as u32);
                while live.net.read(live.now, Direction::ToClient, &mut scratch) > 0 {}
                if !live.settle() {
                    break;
                }
                if !live.end.is_connected() {
                    live.connect(seed, &Live::resume(op >> 5 | (size as u8) << 3, id));
                }
                continue;
            }
        };
        let body = match kind {
            // The beginning of another frame, with the correct length or another.
            Kind::Fragment => {
                let cast =
                    encode(&live.framing, &Meta { class, method: 1, ..Meta::default() }, &vec![7; len * 2]);
                let from = if id % 2 == 0 { 0 } else { len.min(cast.len()) };
                cast[from..(from + 1 + len).min(cast.len())].to_vec()
            }
            Kind::Credit => Credit::new(class, u64::from(WINDOW) * id, size as u64).to_bytes().to_vec(),
            Kind::Ack => Vec::new(),
            Kind::Resume => Live::resume(size as u8, id).to_bytes().to_vec(),
            _ => vec![7; len],
        };
        let meta = Meta { class, method: 1, remaining_ms: Some(1_000), ..Meta::new(kind, id) };
        let frame = encode(&live.framing, &meta, &body);
        live.send(&frame);
    }
    live.now += Duration::from_secs(1);
    if live.settle() {
        live.end.link.close(live.now, Duration::ZERO);
        live.settle();
        live.end.disconnect(live.now, Disconnect::LocalClose);
        live.settle();
    }
    assert!(live.end.link.is_closed());
    for given in live.ledger.casts() {
        assert!(given.outcome().is_some() || given.wants == Wants::Failures, "{given:?}");
    }
}

/// An empty frame if it cannot be written.
fn encode(framing: &Native, meta: &Meta, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(mark) = framing.begin(&mut out, meta, &[]) {
        out.extend_from_slice(body);
        if framing.finish(&mut out, mark, 0).is_ok() {
            return out;
        }
    }
    Vec::new()
}

/// The formula of `docs/guarantees.md`.
fn most_memory() -> usize {
    let message = MAX_MESSAGE + 1024;
    let write = 3 * (QUEUE.bytes + QUEUE.messages * 64 + message);
    let read = 2 * (WINDOW as usize + message + 256);
    let fixed = 5 * 128 * 1024 + 2 * (64 * 1024 + message) + 2 * 20 * 512 + 16 * 1024;
    let session = 3 * SESSION_WINDOW + 2 * 64 * 1024 + 2 * message;
    write + read + 2 * message + fixed + session
}
