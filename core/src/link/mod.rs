//! A link: messages and calls both ways over one connection after another.
//!
//! [`Link`] is the machine that sits behind the driver's lock; [`Reader`] is its reading half.
//!
//! | topic | files |
//! |---|---|
//! | commands of the application | `send.rs` (calls), `cast.rs`, `shared_cast.rs`, `options.rs`, `waiting_lines.rs` |
//! | queries of the application | `state.rs`, `stats.rs`, `tally.rs`, `events.rs`, `received.rs`, `runs.rs` |
//! | received frames | `reader/`, `replies.rs`, `assembly.rs`, `guard.rs` |
//! | the peer's requests | `inbound.rs`, `answers.rs` |
//! | flow control and memory | `flow.rs`, `inflow.rs`, `classes.rs`, `memory.rs`, `left_blocks.rs`, `limits.rs` |
//! | authentication | `auth.rs` |
//! | connections, sessions, the end | `connection.rs`, `dialing.rs`, `greeting.rs`, `session.rs`, `waiting_session.rs`, `closing.rs` |
//! | freeing memory of idle links | `trim.rs` |
//! | outcomes of messages | `settle.rs`, `outcomes.rs`, `undelivered.rs`, `retry.rs` |
//! | the driver's view | `drive.rs` ([`Machine`](crate::machine::Machine)), `due_controls.rs`, `timers.rs`, `wakes.rs` |

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::arena::Arena;
use crate::calls::Calls;
use crate::config::{Config, Settings};
use crate::deadlines::Deadlines;
use crate::frame::{self, Framing};
use crate::supervisor::Epoch;
use crate::time::Instant;

mod answers;
mod assembly;
mod auth;
mod cast;
mod classes;
mod closing;
mod connection;
mod dialing;
mod drive;
mod due_controls;
mod events;
mod flow;
mod greeting;
mod guard;
mod hold;
mod inbound;
mod inflow;
mod late_write;
mod left_blocks;
mod limits;
mod memory;
mod options;
mod outcomes;
mod reader;
mod received;
mod replies;
mod retry;
mod runs;
mod send;
mod session;
mod settle;
mod shared_cast;
mod state;
mod stats;
mod tally;
mod timers;
mod trim;
mod undelivered;
mod waiting_lines;
mod waiting_session;
mod wakes;
mod whole_blocks;

pub use cast::Queued;
pub use events::{Counters, LinkEvent};
pub use greeting::Greeting;
pub use inbound::{Inbound, InboundState};
pub use options::{CallOptions, CastOptions};
pub use reader::{Burst, Event, Incoming, Reader};
pub use received::Message;
pub use session::SessionIdentity;
pub use shared_cast::SharedCast;
pub use stats::{Depth, LinkStats};
pub use undelivered::Undelivered;
pub use waiting_lines::Line;
pub use waiting_session::WaitingSession;

use timers::Key;
use waiting_lines::Lines;
use wakes::Wakes;

pub use crate::calls::{CallId, Reply};
pub use crate::waiters::{Ticket as WaitTicket, Turn};

/// The role of this side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The side that connects, and reconnects.
    Dialing,
    /// The side that accepts: the link ends with its connection.
    Accepting,
}

/// The state of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum State {
    /// There is no connection; one is being made or waited for.
    Disconnected,
    /// Connected, the handshake is not done.
    Handshaking,
    /// Messages flow.
    Ready,
    /// Closing: new messages are refused, work under way is finished.
    Draining,
    /// Closed for good.
    Closed,
}

/// A message link as a pure state machine.
///
/// `F` is the framing; `T` wakes a waiting caller (a `Waker` in the drivers, anything in a simulation). No
/// method blocks, reads a clock or does IO. There are four kinds of methods, which may be called in any
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
    /// Watched casts and errored messages. Boxed: usually there are none.
    outcomes: Option<Box<outcomes::Outcomes<T>>>,
    retries: retry::Retries,
    /// Calls that fail instead of waiting for a connection; some of them may have ended.
    #[allow(clippy::box_collection, reason = "one word in place of three")]
    fail_fast: Option<Box<BTreeSet<u64>>>,
    history: session::History,
    /// Of an accepting link that authenticates its peer.
    doorman: Option<Box<auth::Doorman>>,
    /// Of an accepted connection, if it was read before the link learned of it: for the reader.
    greeting: Option<Box<Greeting<F>>>,
    counters: tally::Tally,
    deadlines: Deadlines<Key>,
    lines: Lines<T>,
    wakes: Wakes<T>,
    next_cast: u64,
    /// Casts up to this number have waited longer than `expire_after`.
    expired_casts: u64,
    lends_replies: bool,
    /// The latest time that the driver or a caller passed.
    last_time: Instant,
    /// The flow control of received messages, by class.
    inflows: inflow::Inflows,
    conn: connection::Connection,
    held: hold::Held,
    route: dialing::Route,
    /// The event about received messages that are not taken is still to be reported.
    slow_consumer: bool,
    closing: Option<Box<Closing>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Down,
    Handshaking,
    Ready,
    Closed,
}

#[derive(Debug)]
struct Closing {
    deadline: Instant,
    /// Everything is done, or the time is over.
    finished: bool,
    /// Requests of the peer that were being handled, or answered, when closing was cut short.
    cut: Vec<u64>,
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
            retries: retry::Retries::new(settings.seed.unwrap_or(0)),
            fail_fast: None,
            history: session::History::default(),
            doorman: None,
            greeting: None,
            counters: tally::Tally::default(),
            deadlines: Deadlines::new(),
            lines: Lines::new(),
            wakes: Wakes::new(),
            next_cast: 1,
            expired_casts: 0,
            lends_replies: false,
            last_time: Instant::ZERO,
            inflows: inflow::Inflows::new(),
            conn: connection::Connection::new(framing.max_message(), settings.max_in_flight),
            held: hold::Held::default(),
            route: dialing::Route::default(),
            slow_consumer: false,
            closing: None,
            framing,
            settings,
        }
    }

    /// Sets the seed of the jitter, for a link whose settings have none.
    pub fn set_seed(&mut self, seed: u64) {
        self.retries.seed(seed);
    }

    /// Requests a new connection now: a wait for the next attempt ends, and an open connection is closed.
    /// Waiting messages are sent on the next connection.
    pub fn reconnect_now(&mut self) {
        self.route.reconnect = true;
        self.wakes.attend();
    }

    /// There is work for the driver.
    #[inline]
    fn wake_driver(&mut self) {
        if self.wakes.writer_sleeps() {
            self.wake_idle_driver();
        }
    }

    #[inline(never)]
    fn wake_idle_driver(&mut self) {
        if self.phase == Phase::Ready {
            self.wakes.rouse_writer();
        } else {
            self.note_size();
        }
    }
}

#[cfg(test)]
mod tests;
