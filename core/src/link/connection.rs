//! Connections: handshake, heartbeat, and what ends with a connection.

use super::inflow::Inflow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::classes::CLASSES;
use super::{Link, LinkEvent, Phase, Role};
use crate::arena::{Batch, Sent};
use crate::error::{CallError, Disconnect, EncodeError, Outcome, PeerError};
use crate::frame::native::{AUTHENTICATION, Hello, SESSION, VERSION, Window};
use crate::frame::{Framing, Kind, Meta};
use crate::link::auth::{Exchange, Greeted, Parting};
use crate::link::due_controls::DueControls;
use crate::link::reader::Reader;
use crate::link::settle::Ended;
use crate::link::undelivered::decode;
use crate::link::whole_blocks::KeptBlocks;
use crate::supervisor::Epoch;
use crate::time::{Instant, millis};

/// The state of one connection, dropped with it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) agreed: Agreed,
    pub(super) due: DueControls,
    pub(super) paused: Pauses,
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    pub(super) life: Life,
    /// Cancels that wait to be written: until a cancel is written, the peer counts its request.
    pub(super) cancels: usize,
    /// The peer sent a go-away: nothing new is sent on this connection.
    pub(super) gone_away: bool,
    /// Both sides agreed that the dialing side authenticates.
    pub(super) authenticated: bool,
    /// Calls made before this connection, which cannot be answered on it.
    pub(super) calls_before: u64,
    pub(super) late_replies: u64,
    /// Why the connection must be closed at once.
    pub(super) abort: Option<Box<Disconnect>>,
    /// Messages that were held until the application was told of its peer may be handed over.
    pub(super) released: bool,
    /// The authentication of the peer, or of this side, while it lasts.
    pub(super) exchange: Option<Box<Exchange>>,
    /// The refusal of the peer, if it is being sent.
    pub(super) parting: Option<Box<Parting>>,
}

/// The data that both sides may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// The maximum length of a message: the lower limit of both sides.
    pub(super) max_message: usize,
    /// The maximum number of calls in flight: the lower limit of both sides.
    pub(super) max_in_flight: usize,
    /// The initial grants of this side, if no session continues, and of the peer.
    pub(super) granted: [u32; 2],
    pub(super) theirs: [Window; 2],
}

/// Why reading is paused.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// The queue of received messages is full.
    pub(super) for_receive: bool,
    /// Answers have to be written first.
    pub(super) for_answers: bool,
    /// Handlers have to end first.
    pub(super) for_inbound: bool,
}

impl Pauses {
    pub(super) fn any(&self) -> bool {
        self.for_receive || self.for_answers || self.for_inbound
    }
}

/// The reader's state at the end of its last pass.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Messages wait in the reader for room, and how many of them are casts.
    pub(super) parked: bool,
    pub(super) parked_casts: u64,
    /// When the messages began that are being assembled.
    pub(super) assembly_since: [Option<Instant>; 2],
    /// Memory of the receive buffer, and of layers under the link (TLS), in bytes.
    buffered: u32,
    below: u32,
    /// The buffer grew for a long frame.
    pub(super) is_long: bool,
    /// The receive buffer keeps blocks of assembled messages.
    pub(super) kept_blocks: Option<Box<KeptBlocks>>,
    /// When the incomplete frame began.
    pub(super) frame_since: Option<Instant>,
}

impl Reading {
    /// Memory of the receive buffer.
    pub(super) fn buffered(&self) -> usize {
        self.buffered as usize
    }

    /// The receive buffer takes this many bytes.
    pub(super) fn set_buffered(&mut self, bytes: usize) {
        self.buffered = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Memory of layers under the link.
    pub(super) fn below(&self) -> usize {
        self.below as usize
    }

    /// Layers under the link hold this many bytes. Returns whether that is news.
    pub(super) fn set_below(&mut self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        core::mem::replace(&mut self.below, bytes) != bytes
    }

    /// Records when the messages began that are being assembled. If this side itself delayed a message, its
    /// new start time is kept.
    pub(super) fn note_assemblies(&mut self, since: [Option<Instant>; 2]) {
        for (old, new) in self.assembly_since.iter_mut().zip(since) {
            *old = new.map(|new| old.map_or(new, |old| old.max(new)));
        }
    }
}

/// The state of writing.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// When the current batch was taken, or last made progress.
    pub(super) since: Option<Instant>,
    /// Bytes of it that were written.
    pub(super) in_batch: u64,
    /// The first cast of the current batch, if casts expire.
    pub(super) casts_from: Option<NonZeroU64>,
    /// Since when something has been written continuously, and the bytes written before.
    pub(super) draining: Option<(Instant, u64)>,
    /// Control frames written, since when.
    pub(super) controls: (u32, Instant),
}

/// Signs of life of the peer.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// When the connection was made.
    pub(super) began: Instant,
    pub(super) last_received: Instant,
    pub(super) last_written: Instant,
    pub(super) last_ping: Option<Instant>,
    pub(super) pings: u64,
    /// The number of messages at the last check, and the time of the last change.
    pub(super) activity: (u64, Instant),
}

impl Connection {
    pub(super) fn new(max_message: usize, max_in_flight: usize) -> Self {
        let theirs = [Window::open(0); 2];
        Self {
            agreed: Agreed { max_message, max_in_flight, granted: [0; 2], theirs },
            due: DueControls::default(),
            paused: Pauses::default(),
            reading: Reading::default(),
            writing: Writing::default(),
            life: Life::default(),
            cancels: 0,
            gone_away: false,
            authenticated: false,
            calls_before: 0,
            late_replies: 0,
            abort: None,
            released: false,
            exchange: None,
            parting: None,
        }
    }

    /// The connection must be closed at once, for this reason.
    pub(super) fn abort_for(&mut self, cause: Disconnect) {
        self.abort = Some(Box::new(cause));
    }

    /// The state for the next connection: the limits of the last peer apply until the next one sends its own.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.agreed.max_message, self.agreed.max_in_flight)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    pub(super) fn connect(&mut self, now: Instant, epoch: Epoch) -> Reader<F> {
        if self.phase != Phase::Closed {
            self.epoch = epoch;
            self.route.reconnect = false;
            self.conn = self.conn.anew();
            self.greeting = None;
            self.conn.life.last_received = now;
            self.conn.life.began = now;
            self.conn.calls_before = self.counters.calls - self.calls.in_flight() as u64;
            self.phase = Phase::Handshaking;
            self.history.scope_holds = false;
            self.say_waiting();
            if let Some(session) = &mut self.history.session {
                session.counted = None;
            }
            if self.framing.profile().handshake {
                self.send_hello();
                self.send_challenge();
                if self.role == Role::Dialing && self.wants_session() {
                    self.send_resume();
                }
            }
        }
        let reader = Reader::new(self.framing.clone(), self.calls.first_id(), self.settings.on_failure);
        match self.history.retired.take() {
            Some(retired) => reader.take_up(now, *retired),
            None => reader,
        }
    }

    /// This side's hello.
    pub(super) fn hello(&self) -> Hello {
        let [normal, bulk] = self.settings.windows.map(Window::open);
        let (features, required) = self.features();
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            max_message: u32::try_from(self.framing.max_message()).unwrap_or(u32::MAX),
            max_in_flight: u32::try_from(self.settings.max_inbound).unwrap_or(u32::MAX),
            heartbeat: self.settings.heartbeat,
            dead_after: self.settings.dead_after,
            features,
            required,
            normal,
            bulk,
        }
    }

    fn send_hello(&mut self) {
        let mut body = Vec::new();
        let mut hello = self.hello();
        let windows = CLASSES.into_iter().zip([&mut hello.normal, &mut hello.bulk]);
        for (class, window) in windows {
            // A smaller initial grant if messages of an earlier connection are still kept, or wait for this
            // reader.
            let waiting = self.history.retired.as_ref().map_or(0, |retired| retired.parked(class));
            let queued = self.inflows.find(class).map_or(0, Inflow::queued);
            // It is at most the window.
            let open = u64::from(window.size).saturating_sub(queued + waiting);
            window.credit = u32::try_from(open).unwrap_or(u32::MAX);
        }
        self.conn.agreed.granted = [hello.normal.credit, hello.bulk.credit];
        hello.encode(&mut body);
        self.send_control(Meta::control(Kind::Hello, 0), &body);
    }

    pub(super) fn send_control(&mut self, meta: Meta, body: &[u8]) {
        let pushed = self.arena.push_control(&self.framing, &meta, body);
        debug_assert!(pushed.is_ok(), "a control frame can always be written: {pushed:?}");
    }

    /// The peer's hello: its limits, and whether both sides are compatible. Returns the rest of the
    /// handshake.
    pub(super) fn handle_hello(&mut self, now: Instant, theirs: &Hello) -> Result<Greeted, PeerError> {
        let agreed = self.hello().agree(theirs)?;
        let theirs_max = usize::try_from(agreed.max_message).unwrap_or(usize::MAX);
        let theirs_in_flight = usize::try_from(agreed.max_in_flight).unwrap_or(usize::MAX);
        self.conn.agreed.max_message = self.framing.max_message().min(theirs_max);
        self.conn.agreed.max_in_flight = self.settings.max_in_flight.min(theirs_in_flight);
        self.conn.agreed.theirs = [agreed.normal, agreed.bulk];
        let in_session = agreed.features & SESSION != 0;
        let authenticates = agreed.features & AUTHENTICATION != 0;
        self.conn.authenticated = authenticates;
        if !in_session {
            self.lose_session(now, &Disconnect::SessionLost);
            self.begin_flow();
        }
        Ok(Greeted { in_session, authenticates })
    }

    /// Starts the flow control of a connection or session.
    pub(super) fn begin_flow(&mut self) {
        self.inflows.open(self.settings.windows, self.conn.agreed.granted);
        let [normal, bulk] = self.conn.agreed.theirs;
        // Half a window must be enough for any frame, because grants have this size.
        let most = (normal.size.min(bulk.size) / 2 - 1024) as usize;
        self.arena.open_flow(
            [normal.credit, bulk.credit].map(u64::from),
            self.settings.bulk_ahead as u64,
            self.settings.fragment.min(most),
        );
    }

    /// The connection is ready for messages.
    pub(super) fn handle_ready(&mut self, now: Instant) {
        if self.phase != Phase::Handshaking {
            return;
        }
        self.phase = Phase::Ready;
        self.end_exchange();
        self.route.dialing = None;
        if !self.history.scope_holds {
            self.history.scope += 1;
        }
        self.counters.connections += 1;
        self.event(LinkEvent::Connected { epoch: self.epoch, address: self.route.remote.clone() });
        self.conn.due.go_away = self.closing.is_some() && self.framing.profile().go_away;
        self.conn.life.activity = (self.messages_so_far(), now);
        if self.role == Role::Dialing && self.framing.profile().handshake {
            self.note_round_trip(now.saturating_since(self.conn.life.began));
        }
        self.freshen_queue(now);
        self.grant_calls();
        self.wake_driver();
    }

    /// Updates messages that waited for this connection: ended calls are removed, the others get their
    /// remaining time; messages that this peer does not accept fail now.
    pub(super) fn freshen_queue(&mut self, now: Instant) {
        let max = self.conn.agreed.max_message;
        let shrunk = max < self.framing.max_message();
        let Self { arena, calls, framing, .. } = self;
        let (mut failed, mut too_long) = (Vec::new(), Vec::new());
        arena.retain(|frame| {
            if shrunk && frame.body > max {
                let error = EncodeError::TooLarge { len: frame.body as u64, max: max as u64 };
                match frame.sent {
                    Sent::Call(id) => too_long.push((id, error)),
                    _ => failed.extend(decode(framing, frame, Outcome::NeverSent, &error.into())),
                }
                return false;
            }
            if let Sent::Call(id) = frame.sent {
                let Some((_, deadline)) = calls.get(id) else { return false };
                framing.set_remaining(frame.bytes, millis(deadline.saturating_since(now)));
            }
            true
        });
        for (id, error) in too_long {
            self.fail_call(id, CallError::Encode(error));
        }
        for undelivered in failed {
            self.fail_cast(undelivered);
        }
        self.after_taking();
    }

    pub(super) fn handle_received(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 {
            self.conn.life.last_received = now;
            self.counters.bytes_in += bytes as u64;
        }
        if self.conn.paused.for_answers && self.has_answer_room() {
            self.conn.paused.for_answers = false;
        }
    }

    pub(super) fn disconnect(&mut self, now: Instant, lent: Option<Batch>, cause: Disconnect) {
        if self.phase == Phase::Closed {
            // The link was given up while it was connected.
            self.settle(Ended::Connection(lent), &cause);
            self.after_late_write();
            return;
        }
        if self.phase == Phase::Down {
            return;
        }
        let cause = self.name_remote(cause);
        let was_closing = self.closing.is_some();
        if self.survives(&cause) {
            self.detach(now, lent);
            self.go_down(cause);
            self.after_taking();
            self.grant_calls();
            return;
        }
        if self.history.session.is_some() {
            self.arena.detach(lent);
            self.lose_session(now, &cause);
        } else {
            self.settle(Ended::Connection(lent), &cause);
        }
        let again = self.choose_retries();
        self.fail_calls_that_left(&cause, &again);
        self.requeue_all(now, &again);
        let Self { inbound, wakes, closing, .. } = &mut *self;
        if let Some(closing) = closing {
            closing.cut.extend(inbound.wanted());
        }
        inbound.clear(|token| wakes.caller(token));
        // Messages that the session's next reader takes up are not lost.
        if self.history.retired.is_none() {
            for _ in 0..self.conn.reading.parked_casts {
                self.drop_message();
            }
        }
        self.go_down(cause.clone());
        if self.role == Role::Accepting || was_closing {
            let cause = if was_closing { Disconnect::LocalClose } else { cause };
            self.end(now, cause);
        } else {
            self.after_taking();
            self.grant_calls();
        }
    }

    /// Adds the address of the other side to the cause of the present connection's end.
    #[must_use]
    pub fn name_remote(&self, cause: Disconnect) -> Disconnect {
        match &self.route.remote {
            Some(remote) => cause.at(remote.clone()),
            None => cause,
        }
    }

    fn go_down(&mut self, cause: Disconnect) {
        self.event(LinkEvent::Disconnected { epoch: self.epoch, cause: cause.clone() });
        // Waiting cancels belong to a session that continues.
        let cancels = if self.history.session.is_some() { self.conn.cancels } else { 0 };
        self.count_blocks_apart();
        self.conn = Connection { cancels, ..self.conn.anew() };
        self.phase = Phase::Down;
        self.greeting = None;
        self.route.last_cause = Some(Box::new(cause));
        self.received.detach();
        self.note_memory();
    }

    /// Pings a quiet peer, and gives up a silent one.
    pub(super) fn check_peer(&mut self, now: Instant) {
        if self.phase == Phase::Handshaking {
            let limit = self.limits().handshake;
            if now >= self.conn.life.began + limit {
                self.conn.abort_for(Disconnect::ConnectTimeout { limit });
            }
            self.check_exchange(now);
            return;
        }
        if self.phase != Phase::Ready {
            return;
        }
        if let Some(since) = self.conn.writing.since
            && now >= since + self.settings.write_stall
        {
            let stalled = now.saturating_since(since);
            self.conn.abort_for(Disconnect::WriteStalled { stalled, limit: self.settings.write_stall });
        }
        self.check_late_batch(now);
        self.check_drain(now);
        self.check_idle(now);
        if self.conn.paused.any() || self.waits_for_memory() {
            // Reading is paused by this side: the silence is not the peer's.
            return;
        }
        if self.is_message_slow(now) {
            self.conn.abort_for(Disconnect::SlowMessage { limit: self.limits().message });
        }
        if !self.framing.profile().heartbeat {
            return;
        }
        let silent = now.saturating_since(self.conn.life.last_received);
        if silent >= self.settings.dead_after {
            self.conn.abort_for(Disconnect::DeadPeer { silent, limit: self.settings.dead_after });
        } else if now >= self.next_ping() {
            self.give_back_if_quiet(now);
            self.conn.life.pings += 1;
            self.conn.due.ping = true;
            self.conn.life.last_ping = Some(now);
            self.wake_driver();
        }
    }

    /// When the next ping is due.
    pub(super) fn next_ping(&self) -> Instant {
        let since = self.conn.life.last_ping.unwrap_or_default().max(self.conn.life.last_received);
        since + self.settings.heartbeat
    }
}
