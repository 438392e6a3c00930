//! One connection: two honest ends that share it, and an end whose peer may send anything.

use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::{CallError, CastRefusal};
use bowline_core::frame::native::{Credit, Hello, Native, Window};
use bowline_core::frame::{Class, Framing, Kind, Meta};
use bowline_core::link::{CallOptions, CastOptions, Role};
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_netsim::{Direction, End, Net, NetConfig, Pair, PairCall};

use crate::Input;

const MS: Duration = Duration::from_millis(1);
const MOST: usize = 100;
const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];
const MAX_MESSAGE: usize = 200 * 1024;
const QUEUE: QueueLimit = QueueLimit { messages: 40, bytes: 64 * 1024 };
const WINDOW: u32 = 64 * 1024;

/// The smallest windows there are.
fn tight(fragment: usize, delivery: Delivery) -> Option<Config> {
    Config::builder()
        .delivery(delivery)
        .session_window(8 * 1024)
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

fn number(body: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&body[..4]);
    u32::from_be_bytes(number)
}

/// Two ends that cast, call, cancel, and stop taking or answering: nothing is lost, and all of it
/// comes in order within its class once both take and answer again.
pub fn pair_ops(data: &[u8]) {
    let mut input = Input(data);
    let piece = 256 + usize::from(input.byte()) * 256;
    let net = NetConfig { max_write: piece, max_read: piece, window: 4 * piece, ..NetConfig::default() };
    let fragment = 1024 + usize::from(input.byte()) * 200;
    let seed = input.byte();
    let in_session = seed % 2 == 0;
    let delivery = if in_session { Delivery::Session } else { Delivery::AtMostOnce };
    let Some(config) = tight(fragment, delivery) else { return };
    let mut pair = Pair::new(&config, net, u64::from(seed));
    if in_session {
        pair = pair.reconnecting(MS * 2);
        pair.run_for(MS * 20);
    }
    let mut cast: [Vec<(u32, Class)>; 2] = [Vec::new(), Vec::new()];
    let mut calls: Vec<(PairCall, u32)> = Vec::new();
    let mut next = 0;
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let (op, size) = (input.byte(), usize::from(input.byte()));
        let (side, class) = (usize::from(op >> 7), CLASSES[usize::from(op >> 6) % 2]);
        let len = if size < 128 { size } else { (size - 127) * 700 };
        next += 1;
        let mut body = u32::to_be_bytes(next).to_vec();
        body.resize(4 + len, 7);
        match op % 16 {
            0..=3 => match pair.cast(side, &CastOptions::new(1).class(class), body) {
                Ok(_) => cast[side].push((next, class)),
                Err(error) => assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}"),
            },
            4..=7 => {
                let timeout = MS * [1, 100, 5_000, 100_000][usize::from(op % 4)];
                match pair.call(side, &CallOptions::new(1).class(class).timeout(timeout), body) {
                    Ok(call) => calls.push((call, next)),
                    Err(error) => assert!(matches!(error, CallError::Full(_)), "{error}"),
                }
            }
            8 => {
                if let Some(&(call, _)) = calls.get(size) {
                    pair.cancel(call);
                }
            }
            9 => pair.ends[side].takes = size % 2 == 0,
            10 => pair.ends[side].answers = size % 2 == 0,
            11 if in_session && size % 4 == 0 => pair.cut(),
            12 if in_session && size % 4 == 0 => pair.redial(),
            11..=13 => pair.run_for(Duration::from_micros(size as u64 * 10)),
            _ => pair.run_for(MS * size as u32),
        }
    }
    for end in &mut pair.ends {
        (end.takes, end.answers) = (true, true);
    }
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.over, None);
    for (side, cast) in cast.iter().enumerate() {
        let numbers: Vec<u32> = pair.ends[1 - side].messages.iter().map(|body| number(body)).collect();
        assert_eq!(numbers.len(), cast.len(), "lost, or twice");
        for class in CLASSES {
            let sent: Vec<u32> = cast.iter().filter(|cast| cast.1 == class).map(|cast| cast.0).collect();
            let came: Vec<u32> = numbers.iter().copied().filter(|number| sent.contains(number)).collect();
            assert_eq!(came, sent);
        }
        let held = pair.ends[side].reader_memory();
        assert_eq!(held, 0, "nothing is under way any more");
    }
    for (call, sent) in calls {
        match pair.outcome(call) {
            None => assert!(pair.was_cancelled(call), "no outcome"),
            Some(Ok(reply)) => assert_eq!(number(reply), sent, "another's reply"),
            Some(Err(_)) => {}
        }
    }
}

/// An accepting end after an honest hello, whose peer sends whatever the input says: it holds no
/// more memory than it is configured to, and ends the connection or goes on.
pub fn live_link(data: &[u8]) {
    let mut input = Input(data);
    let Some(config) = tight(1024 + usize::from(input.byte()) * 200, Delivery::AtMostOnce) else { return };
    let net = NetConfig { window: 1 << 20, ..NetConfig::default() };
    let (mut net, mut end) = (Net::new(net, u64::from(input.byte())), End::new(config, Role::Accepting));
    let mut now = Instant::ZERO;
    end.connect(now, Epoch::FIRST);
    let mut hello = Hello::new();
    (hello.normal, hello.bulk) = (Window::open(WINDOW), Window::open(WINDOW));
    let mut body = Vec::new();
    hello.encode(&mut body);
    let mut framing = Native::new();
    let first = encode(&framing, &Meta::new(Kind::Hello, 0), &body);
    send(&mut net, now, &first);
    let _ = framing.next_frame(&first);
    let mut scratch = vec![0; 64 * 1024];
    for _ in 0..MOST {
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
            25 => Kind::Resume,
            17 => {
                // As it comes.
                let bytes: Vec<u8> = (0..size % 64).map(|_| input.byte()).collect();
                send(&mut net, now, &bytes);
                continue;
            }
            18 => {
                end.takes = size % 2 == 0;
                continue;
            }
            19 => {
                end.answers = size % 2 == 0;
                continue;
            }
            20 | 21 => {
                let _ = end.link.cast(now, &CastOptions::new(1).class(class), vec![7; len].into());
                continue;
            }
            22 | 23 => {
                let options = CallOptions::new(1).class(class).timeout(MS * 500);
                let _ = end.link.call(now, &options, vec![7; len].into(), 0);
                continue;
            }
            _ => {
                now += MS * (1 + size as u32);
                while net.read(now, Direction::ToClient, &mut scratch) > 0 {}
                let alive = settle(&mut end, &mut net, now);
                assert!(end.memory() <= most_memory(), "{} of {}", end.memory(), most_memory());
                if !alive {
                    return;
                }
                continue;
            }
        };
        let body = match kind {
            // The beginning of another frame, with the length it has or another.
            Kind::Fragment => {
                let cast = encode(&framing, &Meta { class, method: 1, ..Meta::default() }, &vec![7; len * 2]);
                let from = if id % 2 == 0 { 0 } else { len.min(cast.len()) };
                cast[from..(from + 1 + len).min(cast.len())].to_vec()
            }
            Kind::Credit => Credit::new(class, u64::from(WINDOW) * id, size as u64).to_bytes().to_vec(),
            _ => vec![7; len],
        };
        let meta = Meta { class, method: 1, remaining_ms: Some(1_000), ..Meta::new(kind, id) };
        send(&mut net, now, &encode(&framing, &meta, &body));
    }
    now += Duration::from_secs(1);
    settle(&mut end, &mut net, now);
    assert!(end.memory() <= most_memory(), "{} of {}", end.memory(), most_memory());
}

/// Writes as much as the network takes.
fn send(net: &mut Net, now: Instant, mut bytes: &[u8]) {
    loop {
        let n = net.write(now, Direction::ToServer, bytes);
        bytes = &bytes[n..];
        if n == 0 || bytes.is_empty() {
            return;
        }
    }
}

/// Lets the end work until nothing moves. False: its connection is over.
fn settle(end: &mut End<Native>, net: &mut Net, now: Instant) -> bool {
    for _ in 0..100_000 {
        match end.step(now, net) {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    panic!("it never settles");
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

/// As `docs/guarantees.md` has it.
fn most_memory() -> usize {
    let message = MAX_MESSAGE + 1024;
    let write = 3 * (QUEUE.bytes + QUEUE.messages * 64 + message);
    let read = 2 * (WINDOW as usize + message + 256);
    let fixed = 5 * 128 * 1024 + 2 * (64 * 1024 + message) + 2 * 20 * 512 + 16 * 1024;
    write + read + 2 * message + fixed
}
