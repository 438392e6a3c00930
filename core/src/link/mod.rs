//! A link: messages and calls both ways over one connection after another.
//!
//! [`Link`] is the machine that sits behind the driver's lock; [`Reader`] is its reading half.
//! The files: commands (`send.rs`), waiting in line (`lines.rs`), what comes in (`reader/`), the peer's
//! requests (`inbound.rs`), received messages (`received.rs`), connections up and down
//! (`connection.rs`), and the driver's view (`drive.rs`).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::address::Address;
use crate::arena::{Arena, Load};
use crate::budget::RetryBudget;
use crate::calls::Calls;
use crate::config::{Config, Settings};
use crate::deadlines::Deadlines;
use crate::error::Disconnect;
use crate::frame::{self, Framing, Profile};
use crate::supervisor::{Epoch, SplitMix64};
use crate::time::Instant;
use crate::waiters::{Ticket, Waiters};

mod aftermath;
mod answers;
mod assembly;
mod cast;
mod connection;
mod dialing;
mod drive;
mod events;
mod flow;
mod guard;
mod hold;
mod inbound;
mod limits;
mod lines;
mod memory;
mod options;
mod outcomes;
mod parked;
mod reader;
mod received;
mod replies;
mod retry;
mod send;
mod session;
mod shared_cast;
mod stats;
mod undelivered;
mod waiting_session;

pub use cast::Queued;
pub use events::{Counters, LinkEvent};
pub use inbound::{Inbound, InboundState};
pub use lines::Line;
pub use options::{CallOptions, CastOptions};
pub use reader::{Burst, Event, Incoming, Reader};
pub use received::Message;
pub use session::{Greeting, SessionIdentity, greeting};
pub use shared_cast::SharedCast;
pub use stats::{Depth, LinkStats};
pub use undelivered::Undelivered;
pub use waiting_session::WaitingSession;

pub use crate::calls::{CallId, Reply};
pub use crate::waiters::{Ticket as WaitTicket, Turn};

/// Which end of the connection this side is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The side that connects, and connects again.
    Dialing,
    /// The side that accepts: the link ends with its connection.
    Accepting,
}

/// Where a link stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum State {
    /// No connection; one is being made or waited for.
    Disconnected,
    /// Connected, the handshake is not done.
    Handshaking,
    /// Messages flow.
    Ready,
    /// Closing: nothing new is taken, what is under way is finished.
    Draining,
    /// Over.
    Closed,
}

/// Deadlines the link watches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Call(u64),
    CallTurn(frame::Class, Ticket),
    RoomTurn(frame::Class, Ticket),
    Inbound(u64),
    Cast(frame::Class, u64),
    /// A caller waits for the outcome of that cast.
    Wait(frame::Class, u64),
    Retry(u64),
}

/// A message link as a pure state machine.
///
/// `F` cuts frames; `T` wakes a waiting caller (a `Waker` for the drivers, anything for a
/// simulation). No method blocks, reads a clock or does IO. Four kinds of methods, legal in any
/// order:
///
/// * **getters**: [`state`](Self::state), [`counters`](Self::counters), …
/// * **commands** of the application: [`call`](Self::call), [`cast`](Self::cast),
///   [`cancel_call`](Self::cancel_call), [`answer`](Self::answer), [`close`](crate::machine::Machine::close)
/// * **inputs** of the driver: the `handle_*` methods and passes over received bytes
/// * **outputs**: `begin_write` / `end_write`, `poll_*`, `take_*`
///
/// The inputs and outputs that any protocol has are those of [`Machine`](crate::machine::Machine).
///
/// # Example
///
/// Two links joined by hand:
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_core::link::{CallOptions, Event, Link, Reader, Role};
/// use bowline_core::machine::{Machine, Next};
/// use bowline_core::recv_buf::RecvBuf;
/// use bowline_core::supervisor::Epoch;
/// use bowline_core::time::Instant;
///
/// let now = Instant::ZERO;
/// let mut client: Link<_, ()> = Link::new(Config::default(), Role::Dialing);
/// let mut server: Link<_, ()> = Link::new(Config::default(), Role::Accepting);
/// let mut client_reader = client.handle_connected(now, Epoch::FIRST);
/// let mut server_reader = server.handle_connected(now, Epoch::FIRST);
/// let (mut to_client, mut to_server) = (RecvBuf::new(), RecvBuf::new());
///
/// // Everything one side has to write goes into the other side's receive buffer.
/// fn carry(now: Instant, from: &mut Link<impl bowline_core::frame::Framing, ()>, to: &mut RecvBuf) -> usize {
///     let mut carried = 0;
///     while let Some(mut batch) = from.begin_write(now) {
///         let mut slices = [&[][..]; 8];
///         let filled = batch.slices(&mut slices);
///         let bytes = slices[..filled].concat();
///         to.spare()[..bytes.len()].copy_from_slice(&bytes);
///         to.filled(bytes.len());
///         batch.wrote(bytes.len());
///         carried += bytes.len();
///         let _more = from.end_write(now, batch);
///     }
///     carried
/// }
///
/// let call = client.call(now, &CallOptions::new(7), b"hello".into(), ()).unwrap();
/// for _ in 0..3 {
///     let n = carry(now, &mut client, &mut to_server);
///     Link::begin_input(&mut server_reader, &mut (&mut server), now, n);
///     while let Next::Event(event) =
///         Link::next_event(&mut server_reader, &mut (&mut server), now, &mut to_server).unwrap()
///     {
///         if let Event::Request(request) = event {
///             assert_eq!((request.method(), request.body), (7, &b"hello"[..]));
///             server_reader.answer(request.id(), b"world".into()).unwrap();
///         }
///     }
///     Link::end_input(&mut server_reader, &mut (&mut server), now, &mut to_server);
///
///     let n = carry(now, &mut server, &mut to_client);
///     Link::begin_input(&mut client_reader, &mut (&mut client), now, n);
///     while let Next::Event(_) =
///         Link::next_event(&mut client_reader, &mut (&mut client), now, &mut to_client).unwrap()
///     {}
///     Link::end_input(&mut client_reader, &mut (&mut client), now, &mut to_client);
/// }
/// let reply = client.poll_reply(call, || ()).expect("the reply is there").unwrap();
/// assert_eq!(&reply[..], b"world");
/// ```
#[derive(Debug)]
pub struct Link<F: Framing, T> {
    framing: F,
    settings: Arc<Settings>,
    role: Role,
    phase: Phase,
    epoch: Epoch,
    arena: Arena,
    calls: Calls<T>,
    inbound: inbound::InboundTable<T>,
    answers: answers::Answers,
    share: memory::Share,
    received: received::ReceiveQueue,
    events: events::EventQueue,
    /// Watched casts and errored messages: mostly there are none.
    outcomes: Option<Box<outcomes::Outcomes<T>>>,
    retries: retry::Retries,
    retry_budget: RetryBudget,
    /// Calls that fail rather than wait for a connection, and some that are over.
    fail_fast: BTreeSet<u64>,
    random: SplitMix64,
    session: Option<Box<session::Session>>,
    /// For the session that an accepting link will begin.
    offer: Option<Box<SessionIdentity>>,
    /// What the reader of the last connection of the session left.
    retired: Option<Box<reader::Retired>>,
    /// Counts connections, or sessions where there are: answers belong to one.
    scope: u64,
    /// The session goes on with this connection.
    scope_holds: bool,
    counters: Counters,
    deadlines: Deadlines<Key>,
    /// Callers that wait to make a call and to cast (by class), to receive, for an event.
    call_lines: [Waiters<T>; 2],
    room_lines: [Waiters<T>; 2],
    receive_line: Waiters<T>,
    event_line: Waiters<T>,
    /// Callers to be woken once the lock is released.
    tokens: Vec<T>,
    next_cast: u64,
    lends_replies: bool,
    /// What the driver or a caller said last of the time.
    last_time: Instant,
    /// The write queue of a class reached its high-water mark and is not yet down at the low one.
    write_full: [bool; 2],
    /// What comes in of each class, where there is flow control.
    inflow: [flow::Inflow; 2],
    conn: connection::Connection,
    held: hold::Held,
    remote: Option<Address>,
    local: Option<Box<Address>>,
    /// The application wants a new connection now.
    reconnect: bool,
    /// The event that received messages wait and are not taken is still to be reported.
    slow_consumer: bool,
    closing: Option<Closing>,
    /// Requests of the peer that were being handled, or answered, when closing was cut short.
    cut: Vec<u64>,
    round_trip: Option<Duration>,
    /// Why the last connection ended, or did not come about.
    last_cause: Option<Box<Disconnect>>,
    /// Attempts to connect, since there was a connection that worked.
    dialing: Option<Box<dialing::Dialing>>,
    /// Nothing waits to be written and nothing is being written.
    driver_idle: bool,
    /// The driver's writing side has to be woken.
    wake_write: bool,
    /// The driver's reading side, which also watches the time, has to be woken.
    wake: bool,
    /// When the driver will come by itself.
    armed: Option<Instant>,
    /// The driver was woken since: there may be something earlier to do.
    rearm: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Down,
    Handshaking,
    Ready,
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    deadline: Instant,
    /// Everything that was to be done is done, or the time is over.
    finished: bool,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A link without a connection.
    #[must_use]
    pub fn new(config: Config<F>, role: Role) -> Self {
        let settings = Arc::clone(config.settings());
        let framing = config.framing().clone();
        let profile = framing.profile();
        let first_id = settings.first_call_id.unwrap_or(match (profile.calls, role) {
            (frame::Calls::ByRange, Role::Dialing) => 1 << 63,
            (frame::Calls::ByRange, Role::Accepting) => (1 << 63) + (1 << 62),
            _ => 1,
        });
        let mut arena = Arena::new(if profile.flow_control { settings.fragment } else { usize::MAX });
        arena.set_resend_window(settings.resend_window);
        Self {
            role,
            phase: Phase::Down,
            epoch: Epoch::NONE,
            arena,
            calls: Calls::new(first_id),
            inbound: inbound::InboundTable::new(),
            answers: answers::Answers::default(),
            share: memory::Share::default(),
            received: received::ReceiveQueue::default(),
            events: events::EventQueue::default(),
            outcomes: None,
            retries: retry::Retries::default(),
            retry_budget: RetryBudget::default(),
            fail_fast: BTreeSet::new(),
            random: SplitMix64::new(settings.seed.unwrap_or(0)),
            session: None,
            offer: None,
            retired: None,
            scope: 0,
            scope_holds: false,
            counters: Counters::default(),
            deadlines: Deadlines::new(),
            call_lines: [Waiters::new(), Waiters::new()],
            room_lines: [Waiters::new(), Waiters::new()],
            receive_line: Waiters::new(),
            event_line: Waiters::new(),
            tokens: Vec::new(),
            next_cast: 1,
            lends_replies: false,
            last_time: Instant::ZERO,
            write_full: [false; 2],
            inflow: Default::default(),
            conn: connection::Connection::new(framing.max_message(), settings.max_in_flight),
            held: hold::Held::default(),
            remote: None,
            local: None,
            reconnect: false,
            slow_consumer: false,
            closing: None,
            cut: Vec::new(),
            round_trip: None,
            last_cause: None,
            dialing: None,
            driver_idle: true,
            wake_write: false,
            wake: false,
            armed: None,
            rearm: false,
            framing,
            settings,
        }
    }

    /// Seeds the jitter, for a link whose settings name no seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.random = SplitMix64::new(seed);
    }

    /// What the framing can carry.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.framing.profile()
    }

    /// Which end this side is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            _ if self.closing.is_some() => State::Draining,
            Phase::Down => State::Disconnected,
            Phase::Handshaking => State::Handshaking,
            Phase::Ready => State::Ready,
        }
    }

    /// The connection that is up, or was last.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Numbers since the link was made.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Frames longer than this are cut up on the connection that is up; `usize::MAX` where frames
    /// cannot be.
    fn fragment(&self) -> usize {
        self.arena.fragment()
    }

    /// Calls that wait for their reply.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.in_flight()
    }

    /// Messages and bytes that wait to be written, without the batch being written.
    #[must_use]
    pub fn write_queue(&self) -> (usize, usize) {
        let load = self.waiting_load();
        (load.messages, load.bytes)
    }

    fn waiting_load(&self) -> Load {
        let mut load = self.arena.owed();
        load.add(self.answers.held());
        for class in flow::CLASSES {
            load.add(self.arena.ours(class));
        }
        load
    }

    /// What the messages of that class cost that were received and not taken yet: what they take of the
    /// window this side grants.
    #[must_use]
    pub fn kept(&self, class: frame::Class) -> u64 {
        self.inflow[flow::lane(class)].kept()
    }

    /// What happens to a message when the write queue is full.
    #[must_use]
    pub fn write_overflow(&self) -> crate::config::Overflow {
        self.settings.write_overflow
    }

    /// Why the last connection ended, or, if there was an attempt since that failed, why that did.
    #[must_use]
    pub fn last_disconnect(&self) -> Option<&Disconnect> {
        self.last_cause.as_deref()
    }

    /// Bytes of memory the link holds for queues and tables, and what the reader of a session left
    /// for the next one (the receive buffer and the batch on loan are with the driver).
    #[must_use]
    pub fn memory(&self) -> usize {
        let outcomes = self.outcomes.as_ref().map_or(0, |outcomes| outcomes.memory());
        let retired = self.retired.as_ref().map_or(0, |retired| retired.memory());
        let tables = self.calls.memory() + self.retries.memory() + outcomes + retired;
        let held = self.answers.held().bytes;
        self.arena.memory() + held + tables + self.received.memory() + size_of::<Self>()
    }

    /// The default deadline of a call, from now.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.settings.call_timeout
    }

    /// How long a cast may wait in the write queue: casts need the time if so.
    #[must_use]
    pub fn expire_after(&self) -> Option<Duration> {
        self.settings.expire_after
    }

    /// How long a cast whose end is waited for may take unless it says otherwise.
    #[must_use]
    pub fn cast_timeout(&self) -> Duration {
        self.settings.cast_timeout
    }

    /// The next event, if there is one; otherwise keeps a token and a place in line, which the
    /// caller passes again next time (and gives up with
    /// [`leave`](Self::leave)`(Line::Events, ticket)`).
    pub fn poll_event(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<LinkEvent> {
        if let Some(event) = self.events.pop() {
            if let Some(ticket) = ticket.take() {
                self.leave(Line::Events, ticket);
            }
            return Some(event);
        }
        wait(&mut self.event_line, ticket, token);
        None
    }

    fn event(&mut self, event: LinkEvent) {
        if self.events.push(event, self.settings.event_queue) {
            self.counters.events_dropped += 1;
        }
        if let Some(token) = self.event_line.grant_one() {
            self.tokens.push(token);
        }
    }

    /// The other end of the present connection, or of the last.
    #[must_use]
    pub fn remote_addr(&self) -> Option<&Address> {
        self.remote.as_ref()
    }

    /// This end of the present connection, or of the last.
    #[must_use]
    pub fn local_addr(&self) -> Option<&Address> {
        self.local.as_deref()
    }

    /// Sets the address of this end of the connection. `None` leaves the address known before.
    pub fn set_local_addr(&mut self, local: Option<Address>) {
        if let Some(local) = local {
            self.local = Some(Box::new(local));
        }
    }

    /// Sets the address of the other end of the connection, for events and
    /// [`remote_addr`](Self::remote_addr). `None` leaves the address known before.
    pub fn set_remote_addr(&mut self, remote: Option<Address>) {
        if remote.is_some() {
            self.remote = remote;
        }
    }

    /// A new connection is wanted now: a wait for the next attempt ends, a connection that is up is
    /// closed. What waits goes out on the next one.
    pub fn reconnect_now(&mut self) {
        self.reconnect = true;
        self.wake = true;
    }

    /// There is something for the driver to do.
    #[inline]
    fn wake_driver(&mut self) {
        if self.driver_idle {
            self.wake_idle_driver();
        }
    }

    #[inline(never)]
    fn wake_idle_driver(&mut self) {
        if self.phase == Phase::Ready {
            self.driver_idle = false;
            self.wake_write = true;
        } else {
            self.note_size();
        }
    }

    /// Watches a deadline. Wakes the driver if it would come too late by itself.
    #[inline(always)]
    fn watch(&mut self, now: Instant, timeout: Duration, key: Key) {
        let Self {
            calls,
            call_lines,
            room_lines,
            inbound,
            deadlines,
            arena,
            retries,
            settings,
            outcomes,
            ..
        } = self;
        let live_count = || {
            let in_line = call_lines.iter().chain(&*room_lines).map(Waiters::waiting).sum::<usize>();
            let timed = settings.expire_after.is_some();
            let casts = flow::CLASSES.map(|class| if timed { arena.ours(class).messages } else { 0 });
            let watched = outcomes.as_ref().map_or(0, |outcomes| outcomes.watched());
            calls.in_flight() + in_line + inbound.len() + casts[0] + casts[1] + watched
        };
        let at = deadlines.push(now, timeout, key, live_count, |key| match *key {
            Key::Call(id) => calls.get(id).is_some(),
            Key::CallTurn(class, ticket) => call_lines[flow::lane(class)].is_waiting(ticket),
            Key::RoomTurn(class, ticket) => room_lines[flow::lane(class)].is_waiting(ticket),
            Key::Inbound(key) => inbound.contains(key),
            Key::Cast(class, number) => {
                arena.has_late() || arena.oldest_cast(class).is_some_and(|oldest| number >= oldest)
            }
            Key::Wait(_, number) => outcomes.as_ref().is_some_and(|outcomes| outcomes.is_awaited(number)),
            Key::Retry(id) => retries.is_waiting(id),
        });
        if self.armed.is_none_or(|armed| at < armed) {
            self.wake = true;
        }
    }
}

/// Keeps a place in `line` for a caller that found nothing.
fn wait<T>(line: &mut Waiters<T>, ticket: &mut Option<Ticket>, token: impl FnOnce() -> T) {
    let mut token = Some(token);
    let mut make = || token.take().map(|make| make());
    if let Some(held) = *ticket {
        let mut kept = None;
        if line.is_waiting(held) {
            kept = make();
        }
        if let Some(token) = kept {
            line.poll(held, || token);
            return;
        }
        // Its turn came and another caller was faster: back to the end of the line.
        line.leave(held);
    }
    *ticket = make().map(|token| line.join(token));
}

#[cfg(test)]
mod tests;
