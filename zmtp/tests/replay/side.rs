//! One of Bowline's sockets as one end of a recorded session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_zmtp::error::ZmtpError;
use bowline_zmtp::mechanism::{Admission, Credentials, Decision, Mechanism};
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Heartbeat, Options};
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, Socket};
use bowline_zmtp::socket_type::SocketType;
use bowline_zmtp::wire::{Command, Frame};

use crate::End;
use crate::record::{Line, Scenario};

/// Scenarios with several clients; in all others one client reconnects.
const TWO_CLIENTS: [&str; 3] =
    ["null_identity_duplicate", "null_identity_handover", "null_pair_second_client"];
/// The start of libzmq's counters: routing ids of peers without one, and (one later) requests.
const SEED: u32 = 0x6b8b_4567;

/// The result of playing one socket of a scenario.
pub(crate) struct Report {
    /// The sent and the recorded bytes, of each of its connections.
    pub(crate) streams: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) received: Vec<Vec<String>>,
    pub(crate) delivered: Vec<Vec<String>>,
    /// Why a connection ended, if this side ended it or reported a violation by the peer.
    pub(crate) failed: Option<Disconnect>,
    pub(crate) should_fail: Option<bool>,
}

/// Plays every socket at that end; `None`: the end was hand-written.
pub(crate) fn play(scenario: &Scenario, end: End) -> Option<Vec<Report>> {
    let is_client = end == End::Client;
    let kind = if is_client { &scenario.client } else { &scenario.server };
    if !kind.contains("libzmq") {
        return None;
    }
    if is_client && TWO_CLIENTS.contains(&scenario.name.as_str()) {
        let reports = (0..scenario.connections).map(|connection| {
            let who = ["client", "second client"][connection.min(1)];
            let lines = scenario.lines.iter().filter(|line| line.connection == connection).cloned().collect();
            Side::new(scenario, is_client, who).play(lines)
        });
        return Some(reports.collect());
    }
    let who = if is_client { "client" } else { "server" };
    Some(vec![Side::new(scenario, is_client, who).play(scenario.lines.clone())])
}

struct Side<'s> {
    scenario: &'s Scenario,
    is_client: bool,
    who: &'s str,
    kind: SocketType,
    /// The recorded socket is libzmq's of 4.1 or 4.2.
    is_of_3_0: bool,
    socket: Socket,
    options: Arc<Options>,
    pipes: BTreeMap<PipeId, Pipe<()>>,
    links: BTreeMap<usize, Link>,
    /// The dialing pipe.
    dialing: Option<PipeId>,
    now: Instant,
    received: Vec<Vec<String>>,
    failed: Option<Disconnect>,
}

struct Link {
    pipe: PipeId,
    /// While it is connected.
    open: Option<(Reader, RecvBuf)>,
    sent: Vec<u8>,
    recorded: Vec<u8>,
}

impl<'s> Side<'s> {
    fn new(scenario: &'s Scenario, is_client: bool, who: &'s str) -> Self {
        let name = if is_client { &scenario.client } else { &scenario.server };
        let is_of_3_0 = name.contains("libzmq 4.1") || name.contains("libzmq 4.2");
        let name = name.split(' ').next().unwrap_or_default();
        let kind = SocketType::from_name(name.as_bytes()).expect("a socket type");
        let (options, topics) = options(kind, scenario, is_client);
        let seed = SEED + u32::from(kind == SocketType::Req);
        let mut side = Self {
            scenario,
            is_client,
            who,
            kind,
            is_of_3_0,
            socket: Socket::new(options.clone(), seed),
            options,
            pipes: BTreeMap::new(),
            links: BTreeMap::new(),
            dialing: None,
            now: Instant::ZERO,
            received: Vec::new(),
            failed: None,
        };
        for topic in topics {
            side.socket.subscribe(&mut side.pipes, &topic);
        }
        side
    }

    fn play(mut self, lines: Vec<Line>) -> Report {
        let end = lines.iter().rposition(|line| !line.bytes.is_empty()).map_or(0, |last| last + 1);
        for (at, line) in lines.into_iter().enumerate() {
            self.pass_time(Instant::from_nanos(line.at * 1000));
            self.link(line.connection);
            match (line.from_client == self.is_client, line.bytes.is_empty()) {
                (true, true) => self.end(line.connection, Disconnect::LocalClose),
                (true, false) => self.say(line.connection, &line.bytes),
                (false, true) => self.eof(line.connection),
                (false, false) => self.hear(line.connection, &line.bytes),
            }
            // At the end the recorded applications had ended.
            if at < end {
                self.receive();
            }
        }
        let should_fail = self.scenario.finds_fault(self.who);
        let delivered = self.scenario.delivered(self.who);
        let mut streams: Vec<_> = self.links.into_values().map(|link| (link.sent, link.recorded)).collect();
        if self.is_of_3_0 {
            // Each sends its own version; all other bytes must be equal.
            streams.iter_mut().filter_map(|stream| stream.1.get_mut(11)).for_each(|minor| *minor = 1);
        }
        Report { streams, received: self.received, delivered, failed: self.failed, should_fail }
    }

    /// The connection, which is made with its first line.
    fn link(&mut self, connection: usize) {
        if self.links.contains_key(&connection) {
            return;
        }
        let role = if self.is_client { Role::Dialing } else { Role::Accepting };
        let again = self.dialing.filter(|id| self.pipes.contains_key(id));
        let id = again.unwrap_or_else(|| {
            let id = self.socket.add(role);
            self.pipes.insert(id, Pipe::new(self.options.clone(), role));
            id
        });
        #[cfg(feature = "curve")]
        if let Some(pipe) = self.pipes.remove(&id) {
            // The random bytes of the recording.
            let mut drawn = crate::curve::drawn(self.scenario, connection, self.is_client).into_iter();
            let fill = move |bytes: &mut [u8]| bytes.fill_with(|| drawn.next().expect("no more is drawn"));
            self.pipes.insert(id, pipe.with_entropy(fill));
        }
        self.dialing = self.is_client.then_some(id);
        let reader = self.pipes.get_mut(&id).expect("a pipe").handle_connected(self.now, Epoch::FIRST);
        let open = Some((reader, RecvBuf::new()));
        self.links.insert(connection, Link { pipe: id, open, sent: Vec::new(), recorded: Vec::new() });
        self.work(connection);
    }

    fn pass_time(&mut self, until: Instant) {
        loop {
            let due =
                self.pipes.iter_mut().filter_map(|(id, pipe)| Some((pipe.poll_timeout()?.0, *id))).min();
            let Some((at, id)) = due.filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.pipes.get_mut(&id).expect("a pipe").handle_timeout(self.now);
            let connections: Vec<_> = self.links.keys().copied().collect();
            connections.into_iter().for_each(|connection| self.work(connection));
        }
        self.now = self.now.max(until);
    }

    /// Bytes that this side sent in the recording: the application does what is necessary for those that the
    /// socket does not send by itself.
    fn say(&mut self, connection: usize, bytes: &[u8]) {
        self.link_mut(connection).recorded.extend_from_slice(bytes);
        for _ in 0..100 {
            self.work(connection);
            let link = &self.links[&connection];
            let Some(rest) = link.recorded.get(link.sent.len()..).filter(|rest| !rest.is_empty()) else {
                return;
            };
            let rest = rest.to_vec();
            if !self.act(connection, &rest) {
                return;
            }
        }
    }

    fn link_mut(&mut self, connection: usize) -> &mut Link {
        self.links.get_mut(&connection).expect("a connection")
    }

    /// Carries out the action that makes this side send the first of these bytes. Returns false if there is
    /// none.
    fn act(&mut self, connection: usize, bytes: &[u8]) -> bool {
        let id = self.links[&connection].pipe;
        let peer = self.pipes.get(&id).and_then(|pipe| pipe.peer().cloned());
        let Some(version) = peer.map(|peer| peer.version) else { return false };
        #[cfg(feature = "curve")]
        let opened;
        #[cfg(feature = "curve")]
        let bytes = if self.scenario.name.starts_with("curve_") {
            opened = crate::curve::unsealed(self.scenario, connection, self.is_client, bytes);
            &opened[..]
        } else {
            bytes
        };
        let Ok(Some(first)) = Frame::parse(version, bytes) else { return false };
        if first.command {
            let Some(body) = bytes.get(first.header..first.total()) else { return false };
            return match Command::parse(body) {
                Ok(Command::Subscribe(topic) | Command::Join(topic)) => self.subscribe(true, topic),
                Ok(Command::Cancel(topic) | Command::Leave(topic)) => self.subscribe(false, topic),
                // The clocks of both differ by milliseconds.
                Ok(Command::Ping(_)) => {
                    let before = self.links[&connection].sent.len();
                    self.pass_time(self.now + Duration::from_millis(20));
                    self.links[&connection].sent.len() > before
                }
                _ => false,
            };
        }
        let (mut parts, mut rest) = (Vec::new(), bytes);
        loop {
            let Ok(Some(frame)) = Frame::parse(version, rest) else { return false };
            let Some(part) = rest.get(frame.header..frame.total()) else { return false };
            parts.push(part.to_vec());
            rest = &rest[frame.total()..];
            if !frame.more {
                break;
            }
        }
        self.receive();
        match self.kind {
            SocketType::Sub => return self.subscribe(parts[0][0] == 1, &parts[0][1..]),
            SocketType::Req | SocketType::Rep => {
                let delimiter = parts.iter().position(Vec::is_empty).unwrap_or(0);
                parts.drain(..=delimiter);
            }
            _ => {}
        }
        if let Some(routing_id) = self.socket.routing_id(id) {
            parts.insert(0, routing_id.to_vec());
        }
        let parts: Vec<_> = parts.iter().map(Payload::from).collect();
        self.socket.send(&mut self.pipes, &parts).is_ok()
    }

    fn subscribe(&mut self, begins: bool, topic: &[u8]) -> bool {
        match begins {
            true => self.socket.subscribe(&mut self.pipes, topic),
            false => _ = self.socket.unsubscribe(&mut self.pipes, topic),
        }
        true
    }

    fn hear(&mut self, connection: usize, bytes: &[u8]) {
        let Some((_, buf)) = &mut self.link_mut(connection).open else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buf.filled(n);
            rest = &rest[n..];
        }
        self.pass(connection, bytes.len());
        self.work(connection);
    }

    fn pass(&mut self, connection: usize, bytes: usize) {
        let Self { socket, pipes, links, now, scenario, .. } = self;
        let Some(Link { pipe: id, open: Some((reader, buf)), .. }) = links.get_mut(&connection) else {
            return;
        };
        if let Some(mut pipe) = pipes.get_mut(id) {
            Pipe::begin_input(reader, &mut pipe, *now, bytes);
        }
        let error = loop {
            let Some(mut pipe) = pipes.get_mut(id) else { return };
            match Pipe::next_event(reader, &mut pipe, *now, buf) {
                Ok(Next::Event(PipeEvent::Authenticate(request))) => {
                    if let Some(decision) = decide(scenario, &request.credentials) {
                        pipe.decide(request.connection, decision);
                    }
                }
                Ok(Next::Event(event)) => socket.handle_event(pipes, *id, event),
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = error {
            self.write(connection);
            self.fail(connection, error.into());
        }
    }

    fn eof(&mut self, connection: usize) {
        let Some((reader, buf)) = &mut self.link_mut(connection).open else { return };
        match Pipe::<()>::handle_eof(reader, buf) {
            Ok(()) => self.end(connection, Disconnect::PeerClosed),
            // The stream was cut, which is no violation by its sender.
            Err(error) => self.end(connection, error.into()),
        }
    }

    fn write(&mut self, connection: usize) {
        let Some(link) = self.links.get_mut(&connection).filter(|link| link.open.is_some()) else { return };
        let Some(pipe) = self.pipes.get_mut(&link.pipe) else { return };
        while let Some(mut batch) = pipe.begin_write(self.now) {
            while !batch.is_done() {
                let mut slices = [&[][..]];
                batch.slices(&mut slices);
                let n = slices[0].len();
                link.sent.extend_from_slice(slices[0]);
                batch.wrote(n);
            }
            let _more = pipe.end_write(self.now, batch);
        }
    }

    fn work(&mut self, connection: usize) {
        loop {
            self.write(connection);
            let link = &self.links[&connection];
            let Some(pipe) = self.pipes.get_mut(&link.pipe).filter(|_| link.open.is_some()) else { return };
            let wake = pipe.take_wake();
            if let Some(Ending::Abort(cause) | Ending::Graceful { cause, .. }) = pipe.poll_ending(self.now) {
                return self.fail(connection, cause);
            }
            if !wake.attend || pipe.is_paused() {
                return;
            }
            self.pass(connection, 0);
        }
    }

    fn fail(&mut self, connection: usize, cause: Disconnect) {
        let is_fault = ZmtpError::of(&cause).is_some()
            || matches!(cause, Disconnect::DeadPeer { .. } | Disconnect::ConnectTimeout { .. });
        if is_fault && self.failed.is_none() {
            self.failed = Some(cause.clone());
        }
        self.end(connection, cause);
    }

    fn end(&mut self, connection: usize, cause: Disconnect) {
        let link = self.link_mut(connection);
        let (Some((reader, buf)), id) = (link.open.take(), link.pipe) else { return };
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.retire_reader(self.now, reader, buf);
        pipe.handle_disconnected(self.now, None, cause.clone());
        let closed = pipe.is_closed();
        self.socket.disconnected(&mut self.pipes, id, cause);
        if closed {
            self.pipes.remove(&id);
        }
    }

    /// The application receives the available messages, as far as its socket permits.
    fn receive(&mut self) {
        let mut message = Message::new();
        while self.socket.recv(&mut self.pipes, &mut message).is_ok() {
            let not_shown =
                usize::from(matches!(self.kind, SocketType::Dish | SocketType::Server | SocketType::Peer));
            let parts = message.iter().skip(not_shown).map(|part| printed(part));
            self.received.push(parts.collect());
        }
    }
}

/// In the format of the index: parts of more than 40 bytes by their length.
fn printed(part: &[u8]) -> String {
    if part.len() > 40 {
        return format!("{} bytes", part.len());
    }
    part.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answer of a scenario's authenticator, if there is one.
fn decide(scenario: &Scenario, credentials: &Credentials) -> Option<Decision> {
    let refuse = |status| Some(Decision::Refuse { status });
    match scenario.name.as_str() {
        "plain_zap_silent" | "raw_plain_client" => None,
        "plain_zap_300" => refuse(300),
        "plain_zap_404" | "plain_no_zap_handler" => refuse(404),
        "plain_zap_500" => refuse(500),
        "null_zap_domain_deny" | "curve_zap_deny" => refuse(400),
        _ => match credentials {
            Credentials::Plain { password, .. } if password == b"wrong" => refuse(400),
            _ => Some(Decision::Accept { user_id: "somebody".into() }),
        },
    }
}

#[cfg(feature = "curve")]
fn secret_key(scenario: &Scenario, is_client: bool) -> bowline_zmtp::mechanism::SecretKey {
    let found = scenario.options(is_client).into_iter().find(|(name, _)| name == "CURVE_SECRETKEY");
    let text = found.and_then(|(_, value)| value.as_str().map(str::to_owned)).expect("a secret key");
    let key = bowline_zmtp::z85::decode(&text).expect("a key");
    <[u8; 32]>::try_from(key).expect("32 bytes").into()
}

/// Bowline's options for those of a recorded socket, and its subscriptions.
fn options(kind: SocketType, scenario: &Scenario, is_client: bool) -> (Arc<Options>, Vec<Vec<u8>>) {
    let mut options = Options::new(kind).heartbeat(None).router_mandatory(false);
    let (mut topics, mut username, mut password) = (Vec::new(), None, String::new());
    let mut heartbeat: Option<Heartbeat> = None;
    for (name, value) in scenario.options(is_client) {
        let text = || value.as_str().unwrap_or_default().to_owned();
        let millis = || Duration::from_millis(value.as_u64().unwrap_or_default());
        options = match name.as_str() {
            "IDENTITY" => options.routing_id(text()),
            "SUBSCRIBE" => {
                topics.push(text().into_bytes());
                options
            }
            "PLAIN_USERNAME" => {
                username = Some(text());
                options
            }
            "PLAIN_PASSWORD" => {
                password = text();
                options
            }
            "PLAIN_SERVER" => options.mechanism(Mechanism::PlainServer).admission(Admission::Ask),
            "ZAP_DOMAIN" => options.domain(text()).admission(Admission::Ask),
            #[cfg(feature = "curve")]
            "CURVE_SERVER" => {
                let secret_key = secret_key(scenario, is_client);
                let admission =
                    if scenario.name.contains("zap") { Admission::Ask } else { Admission::AllowAny };
                options.mechanism(Mechanism::CurveServer { secret_key }).admission(admission)
            }
            #[cfg(feature = "curve")]
            "CURVE_SERVERKEY" => {
                let secret_key = secret_key(scenario, is_client);
                let key = bowline_zmtp::z85::decode(&text()).expect("a key");
                let server_key = key.try_into().expect("32 bytes");
                options.mechanism(Mechanism::CurveClient { secret_key, server_key })
            }
            "CURVE_PUBLICKEY" | "CURVE_SECRETKEY" => options,
            "HANDSHAKE_IVL" => options.handshake(millis()),
            "HEARTBEAT_IVL" => {
                let (interval, timeout) = (millis(), millis());
                heartbeat = Some(Heartbeat { interval, timeout, ttl: Duration::ZERO });
                options
            }
            "HEARTBEAT_TTL" => {
                heartbeat = heartbeat.map(|heartbeat| Heartbeat { ttl: millis(), ..heartbeat });
                options
            }
            "HEARTBEAT_TIMEOUT" => {
                heartbeat = heartbeat.map(|heartbeat| Heartbeat { timeout: millis(), ..heartbeat });
                options
            }
            "MAXMSGSIZE" => options.max_message(value.as_u64().unwrap_or_default() as usize),
            "PROBE_ROUTER" => options.probe_router(true),
            "ROUTER_HANDOVER" => options.router_handover(true),
            "REQ_CORRELATE" => options.req_correlate(true),
            "REQ_RELAXED" => options.req_relaxed(true),
            "XPUB_VERBOSER" => options.xpub_verboser(true),
            "XPUB_WELCOME_MSG" => options.xpub_welcome(text()),
            // ZMQ_METADATA.
            "95" => {
                let text = text();
                let (key, value) = text.split_once(':').expect("a key and a value");
                options.property(key, value)
            }
            // Messages that libzmq by itself sends, or delivers to its own application, when a peer connects
            // or disconnects (the first of these is in the recorded bytes, and is sent by the application
            // here), and the delay before dialing.
            "110" | "111" | "114" | "97" | "RECONNECT_IVL" => options,
            other => panic!("{}: option {other}", scenario.name),
        };
    }
    if let Some(username) = username {
        options = options.mechanism(Mechanism::PlainClient { username, password });
    }
    (options.heartbeat(heartbeat).build().expect("sound options"), topics)
}
