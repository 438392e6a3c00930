//! ZMTP: its wire format, whole pipes, and sockets whose peers are controlled by the input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_zmtp::endpoint::Endpoint;
use bowline_zmtp::mechanism::{Admission, Decision, Mechanism, SecretKey};
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Options, QueueLimit};
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, RecvError, Socket};
use bowline_zmtp::socket_type::SocketType;
use bowline_zmtp::wire::{Command, Frame, Greeting, Metadata, Version, put_header};
use bowline_zmtp::z85;

use crate::Input;
use crate::machines::{Known, alone, together};

const LIMIT: QueueLimit = QueueLimit { messages: 40, bytes: 64 * 1024 };
const LONGEST: usize = 48 * 1024;

/// Greetings, frames, commands, properties, endpoints and Z85.
pub fn zmtp_wire(data: &[u8]) {
    let mut input = Input(data);
    let version = [Version::V1, Version::V2, Version::V3_0, Version::V3_1][usize::from(input.byte() % 4)];
    let bytes = input.rest();
    if let Ok(Greeting::Nothing(need) | Greeting::Major(_, need)) = Greeting::read(bytes) {
        assert!(need > bytes.len(), "it needs what it has");
    }
    frames(version, bytes);
    if let Ok(metadata) = Metadata::parse(bytes) {
        let length: usize = metadata.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        assert_eq!(length, bytes.len(), "nothing is left out");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
    if let Ok(key) = z85::decode(text) {
        assert_eq!(z85::encode(&key).as_deref(), Ok(text));
    }
}

/// Decoded values are equal after encoding and decoding them again.
fn frames(version: Version, mut bytes: &[u8]) {
    while let Ok(Some(frame)) = Frame::parse(version, bytes) {
        let Some(body) = bytes.get(frame.header..frame.total()) else { return };
        if frame.command {
            let _ = Command::parse(body);
        } else {
            let mut header = Vec::new();
            put_header(&mut header, version, u8::from(frame.more), body.len());
            let again = Frame::parse(version, &header).expect("our own").expect("whole");
            assert_eq!((again.more, again.body), (frame.more, frame.body));
            assert!(!frame.as_written || header == bytes[..frame.header]);
        }
        bytes = &bytes[frame.total()..];
    }
}

impl Known for Pipe<u64> {
    fn command(&mut self, _: Instant, what: u8, size: usize) {
        let body = vec![7; size * 100];
        match what % 8 {
            0 => _ = self.receive_into(&mut Message::new()),
            1 => _ = self.clear_inbox(),
            2 => self.decide(size as u64, Decision::Accept { user_id: String::new() }),
            3 => self.decide(size as u64, Decision::Refuse { status: 400 }),
            4 => self.watch_room(7),
            5 => _ = self.send(&[b"", b"x"], &[(&body).into()]),
            _ => _ = self.send(&[], &[Payload::from(body), b"tail".into()]),
        }
    }

    fn is_bounded(&self) -> bool {
        // Half a limit in the inbox, the queue, and one more message in each.
        self.memory() <= 4 * (LIMIT.bytes + LONGEST + 64 * 1024)
    }
}

fn options(input: &mut Input<'_>, kind: SocketType) -> Arc<Options> {
    let options = Options::new(kind)
        .send_limit(LIMIT)
        .receive_limit(LIMIT)
        .max_message(LONGEST)
        .max_parts(20)
        .subscriptions(QueueLimit { messages: 20, bytes: 1000 })
        .write_stall(Some(Duration::from_secs(5)));
    let flags = input.byte();
    let options = match flags % 8 {
        4 => options.mechanism(Mechanism::CurveServer { secret_key: key(1) }).admission(Admission::Ask),
        5 => {
            let server_key = key(1).public_key();
            options.mechanism(Mechanism::CurveClient { secret_key: key(2), server_key })
        }
        0 => options.mechanism(Mechanism::PlainServer).admission(Admission::Ask),
        1 => options.mechanism(Mechanism::PlainClient { username: "u".into(), password: "p".into() }),
        2 => options.admission(Admission::Ask),
        _ => options,
    };
    let options = options
        .immediate(flags & 4 == 0)
        .router_handover(flags & 8 == 0)
        .req_relaxed(flags & 16 == 0)
        .req_correlate(flags & 32 == 0)
        .xpub_verboser(flags & 64 == 0)
        .probe_router(flags & 128 == 0);
    options.build().expect("sound options")
}

fn kind(input: &mut Input<'_>) -> SocketType {
    SocketType::ALL[usize::from(input.byte()) % SocketType::ALL.len()]
}

/// One of two conforming pipes; with CURVE, if it has a mechanism.
fn pipe(kind: SocketType, mechanism: Mechanism) -> Pipe<u64> {
    let options = Options::new(kind).send_limit(LIMIT).receive_limit(LIMIT).max_message(LONGEST);
    let options = options.mechanism(mechanism).allowed_keys([key(2).public_key()]);
    let options = options.write_stall(Some(Duration::from_secs(5)));
    with_entropy(Pipe::new(options.build().expect("sound options"), Role::Dialing))
}

fn key(number: u8) -> SecretKey {
    SecretKey::new([number; 32])
}

/// Bytes that are the same in every run, and different for each pipe and connection.
fn with_entropy(pipe: Pipe<u64>) -> Pipe<u64> {
    let mut next = 0_u8;
    pipe.with_entropy(move |bytes| {
        bytes.fill_with(|| {
            next = next.wrapping_mul(13).wrapping_add(5);
            next
        });
    })
}

/// A pipe whose peer sends bytes of the input, two pipes over a line that breaks as the input says, or a
/// socket with several such peers.
pub fn zmtp_ops(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 5 {
        4 => {
            let server_key = key(1).public_key();
            let client = Mechanism::CurveClient { secret_key: key(2), server_key };
            let server = Mechanism::CurveServer { secret_key: key(1) };
            together(input, pipe(SocketType::Dealer, client), pipe(SocketType::Router, server));
        }
        0 => {
            let kind = kind(&mut input);
            let role = [Role::Dialing, Role::Accepting][usize::from(input.byte() % 2)];
            let options = options(&mut input, kind);
            alone(input, with_entropy(Pipe::new(options, role)));
        }
        1 => {
            let null = || Mechanism::Null;
            together(input, pipe(SocketType::Dealer, null()), pipe(SocketType::Router, null()));
        }
        _ => Peers::new(&mut input).run(input),
    }
}

/// A socket with peers, each of which has completed its handshake and sends bytes of the input.
struct Peers {
    socket: Socket,
    options: Arc<Options>,
    pipes: BTreeMap<PipeId, Pipe<u64>>,
    open: Vec<(PipeId, Reader, RecvBuf)>,
    now: Instant,
}

impl Peers {
    fn new(input: &mut Input<'_>) -> Self {
        let kind = kind(input);
        let options = options(input, kind);
        let socket = Socket::new(options.clone(), 1);
        Self { socket, options, pipes: BTreeMap::new(), open: Vec::new(), now: Instant::ZERO }
    }

    fn run(mut self, mut input: Input<'_>) {
        let mut message = Message::new();
        for _ in 0..200 {
            if input.is_empty() {
                break;
            }
            let (op, size) = (input.byte(), usize::from(input.byte()));
            match op % 8 {
                0 if self.open.len() < 4 => self.connect(op >= 128),
                1 if !self.open.is_empty() => self.end(size % self.open.len(), Disconnect::PeerClosed),
                2 => _ = self.socket.recv(&mut self.pipes, &mut message),
                3 | 4 => {
                    let parts: Vec<Vec<u8>> =
                        (0..1 + size % 3).map(|_| vec![input.byte(); usize::from(op / 8)]).collect();
                    let parts: Vec<_> = parts.iter().map(Payload::from).collect();
                    let _ = self.socket.send(&mut self.pipes, &parts);
                }
                5 => self.socket.subscribe(&mut self.pipes, &[input.byte()]),
                6 => _ = self.socket.unsubscribe(&mut self.pipes, &[input.byte()]),
                _ if !self.open.is_empty() => {
                    let bytes: Vec<u8> = (0..=size % 32).map(|_| input.byte()).collect();
                    self.hear(usize::from(op / 8) % self.open.len(), &bytes);
                }
                _ => {}
            }
            self.work();
        }
        while !self.open.is_empty() {
            self.end(0, Disconnect::LocalClose);
        }
        // All remaining messages can be received, and then there are none.
        for _ in 0..100_000 {
            match self.socket.recv(&mut self.pipes, &mut message) {
                Ok(_) | Err(RecvError::PeerLost) => {
                    let _ = self.socket.send(&mut self.pipes, &[b"reply".into()]);
                }
                Err(_) => return,
            }
        }
        panic!("it never runs dry");
    }

    fn connect(&mut self, dialing: bool) {
        let role = if dialing { Role::Dialing } else { Role::Accepting };
        let id = self.socket.add(role);
        let mut pipe = Pipe::new(self.options.clone(), role);
        let reader = pipe.handle_connected(self.now, Epoch::FIRST);
        self.pipes.insert(id, pipe);
        self.open.push((id, reader, RecvBuf::new()));
        // The simplest peer: 1.0, without an id. Other peers' handshakes have to come from the input.
        if self.socket.kind().number().is_some() {
            self.hear(self.open.len() - 1, b"\x01\0");
        }
    }

    fn hear(&mut self, at: usize, bytes: &[u8]) {
        let Self { socket, pipes, open, now, .. } = self;
        let (id, reader, buf) = &mut open[at];
        let paused = pipes.get(id).is_some_and(Machine::is_paused);
        if paused {
            return;
        }
        let room = buf.spare();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        buf.filled(n);
        let error = loop {
            let Some(mut pipe) = pipes.get_mut(id) else { return };
            match Pipe::next_event(reader, &mut pipe, *now, buf) {
                Ok(Next::Event(PipeEvent::Authenticate(request))) => {
                    pipe.decide(request.connection, Decision::Accept { user_id: String::new() });
                }
                Ok(Next::Event(event)) => socket.handle_event(pipes, *id, event),
                Ok(Next::NeedData | Next::Paused) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = error {
            self.end(at, error.into());
        }
    }

    fn end(&mut self, at: usize, cause: Disconnect) {
        let (id, reader, buf) = self.open.remove(at);
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.retire_reader(self.now, reader, buf);
        pipe.handle_disconnected(self.now, None, cause.clone());
        self.socket.connection_ended(id, &cause);
        self.socket.disconnected(&mut self.pipes, id, cause);
        if self.pipes[&id].is_closed() {
            self.pipes.remove(&id);
        }
    }

    fn work(&mut self) {
        let mut at = 0;
        while let Some((id, ..)) = self.open.get(at) {
            let Some(pipe) = self.pipes.get_mut(id) else { return };
            assert!(pipe.is_bounded());
            while let Some(mut batch) = pipe.begin_write(self.now) {
                batch.wrote(batch.len());
                let _more = pipe.end_write(self.now, batch);
            }
            match pipe.poll_ending(self.now) {
                Some(Ending::Abort(cause) | Ending::Graceful { cause, .. }) => self.end(at, cause),
                _ => at += 1,
            }
        }
        while self.socket.take_event().is_some() {}
        // Each topic takes more than its own bytes, and their number is at its limit.
        assert!(self.socket.subscriptions() <= 20 * 4);
    }
}
