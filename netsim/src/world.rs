//! Any number of machines, and connections between pairs of them.

use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::{Machine, Reason};
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::net::{Direction, Net, NetConfig, Random};
use crate::side::{App, Side};
use crate::timeline::{self, Timeline};

/// A machine of a [`World`] with its driver.
#[derive(Debug)]
struct Node<M: Machine> {
    machine: M,
    side: Side<M>,
    epoch: Epoch,
    /// Why its connections ended, in order.
    ended: Vec<(Instant, Disconnect)>,
}

/// A connection between two nodes, existing or planned.
#[derive(Debug)]
struct Line {
    /// The dialing and the accepting node.
    ends: [usize; 2],
    /// The current connection, or one whose end an end has not noticed yet.
    net: Option<Net>,
    /// Which ends use it: a machine that has since been connected elsewhere does not.
    joined: [bool; 2],
    /// Dials again this long after the dialing node knows that the connection ended.
    redial: Option<Duration>,
    redial_at: Option<Instant>,
    cut_next: Option<(Direction, u64)>,
}

/// Machines of any protocol over one seeded network with a virtual clock.
///
/// A machine has one connection at a time. A process with several connections is several machines, which
/// share the state of the [`App`]. The same seed and commands give the same run.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_core::link::{CastOptions, Event, Link, Reader, Role};
/// use bowline_core::error::Disconnect;
/// use bowline_core::time::Instant;
/// use bowline_netsim::{App, NetConfig, Taken, World};
/// use core::time::Duration;
///
/// type M = Link<bowline_core::frame::native::Native, ()>;
///
/// #[derive(Default)]
/// struct Heard(Vec<(usize, Vec<u8>)>);
///
/// impl App<M> for Heard {
///     fn event(
///         &mut self,
///         end: usize,
///         _: Instant,
///         _: &mut M,
///         _: &mut Reader<bowline_core::frame::native::Native>,
///         event: Event<'_>,
///     ) -> Result<Taken, Disconnect> {
///         if let Event::Burst(run) = event {
///             self.0.extend(run.map(|message| (end, message.body.to_vec())));
///         }
///         Ok(Taken::Yes)
///     }
/// }
///
/// // Two clients of one server, which has a machine for each.
/// let mut world = World::new(NetConfig::default(), 42, Heard::default());
/// for name in [b"one", b"two"] {
///     let client = world.add(Link::new(Config::default(), Role::Dialing));
///     let server = world.add(Link::new(Config::default(), Role::Accepting));
///     world.connect(client, server);
///     let now = world.now();
///     world.machine_mut(client).cast(now, &CastOptions::new(1), name.into()).unwrap();
/// }
/// world.run_for(Duration::from_secs(1));
/// world.app.0.sort();
/// assert_eq!(world.app.0, [(1, b"one".to_vec()), (3, b"two".to_vec())]);
/// ```
#[derive(Debug)]
pub struct World<M: Machine, A: App<M> = ()> {
    now: Instant,
    config: NetConfig,
    random: Random,
    nodes: Vec<Node<M>>,
    lines: Vec<Line>,
    /// The application of the machines.
    pub app: A,
}

impl Line {
    fn is_joined(&self, end: usize) -> bool {
        self.ends.iter().zip(self.joined).any(|(at, joined)| joined && *at == end)
    }
}

impl<M: Machine, A: App<M>> World<M, A> {
    /// Creates a world without machines, at time zero.
    #[must_use]
    pub fn new(config: NetConfig, seed: u64, app: A) -> Self {
        let (nodes, lines) = (Vec::new(), Vec::new());
        Self { now: Instant::ZERO, config, random: Random::new(seed), nodes, lines, app }
    }

    /// Adds a machine without a connection. Returns its number; numbers are assigned from 0.
    pub fn add(&mut self, machine: M) -> usize {
        let side = Side::new(self.nodes.len(), Direction::ToServer);
        self.nodes.push(Node { machine, side, epoch: Epoch::NONE, ended: Vec::new() });
        self.nodes.len() - 1
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A machine.
    #[must_use]
    pub fn machine(&self, end: usize) -> &M {
        &self.nodes[end].machine
    }

    /// A machine, for commands. They take effect when time passes.
    pub fn machine_mut(&mut self, end: usize) -> &mut M {
        &mut self.nodes[end].machine
    }

    /// Whether a machine has a connection.
    #[must_use]
    pub fn is_connected(&self, end: usize) -> bool {
        self.nodes[end].side.is_connected()
    }

    /// When and why the connections of a machine ended so far.
    #[must_use]
    pub fn ended(&self, end: usize) -> &[(Instant, Disconnect)] {
        &self.nodes[end].ended
    }

    /// Sets whether the writer of that machine fails to notice the end of a connection: the batch that it was
    /// writing is given back when the next connection is ready.
    pub fn set_slow_writer(&mut self, end: usize, slow: bool) {
        self.nodes[end].side.slow_writer = slow;
    }

    /// Connects one machine to another, once. An existing connection of either is ended first.
    ///
    /// # Panics
    /// If both are the same machine.
    pub fn connect(&mut self, dialing: usize, accepting: usize) {
        self.join(dialing, accepting, None);
    }

    /// Connects one machine to another, and again `after` the first has noticed the end of the connection,
    /// until one of them is closed.
    ///
    /// # Panics
    /// If both are the same machine.
    pub fn keep_connected(&mut self, dialing: usize, accepting: usize, after: Duration) {
        self.join(dialing, accepting, Some(after));
    }

    fn join(&mut self, dialing: usize, accepting: usize, redial: Option<Duration>) {
        assert_ne!(dialing, accepting, "a machine and itself");
        self.lines.retain(|line| line.ends != [dialing, accepting]);
        self.lines.push(Line {
            ends: [dialing, accepting],
            net: None,
            joined: [false; 2],
            redial,
            redial_at: None,
            cut_next: None,
        });
        self.dial(self.lines.len() - 1);
    }

    fn dial(&mut self, line: usize) {
        let ends = self.lines[line].ends;
        for end in ends {
            self.disconnect(end, Disconnect::Superseded);
        }
        let mut net = Net::new(self.config, self.random.number());
        if let Some((direction, bytes)) = self.lines[line].cut_next.take() {
            net.cut_at(direction, bytes);
        }
        let Line { net: old, joined, redial_at, .. } = &mut self.lines[line];
        (*old, *joined, *redial_at) = (Some(net), [true; 2], None);
        for (end, out) in ends.into_iter().zip([Direction::ToServer, Direction::ToClient]) {
            let node = &mut self.nodes[end];
            node.epoch = node.epoch.next();
            node.side.set_direction(out);
            node.side.connect(&mut node.machine, self.now, node.epoch);
        }
    }

    /// Ends the connection of a machine with that cause; the other side reads the end of the stream.
    pub fn disconnect(&mut self, end: usize, cause: Disconnect) {
        let node = &mut self.nodes[end];
        if node.side.is_connected() {
            node.side.disconnect(&mut node.machine, &mut self.app, self.now, cause.clone());
            node.ended.push((self.now, cause));
            self.leave(end);
        }
    }

    /// Replaces a machine whose process died. Returns the old machine.
    pub fn replace(&mut self, end: usize, machine: M) -> M {
        self.leave(end);
        let node = &mut self.nodes[end];
        node.side = Side::new(end, Direction::ToServer);
        core::mem::replace(&mut node.machine, machine)
    }

    /// The connection of a machine.
    fn net_of(&mut self, end: usize) -> Option<&mut Net> {
        self.lines.iter_mut().find(|line| line.is_joined(end))?.net.as_mut()
    }

    /// Detaches a machine from its connection, which is reset.
    fn leave(&mut self, end: usize) {
        for line in self.lines.iter_mut().filter(|line| line.is_joined(end)) {
            line.joined[usize::from(line.ends[1] == end)] = false;
            if let Some(net) = &mut line.net {
                net.cut();
            }
        }
    }

    /// Resets the connection of a machine, if it has one.
    pub fn cut(&mut self, end: usize) {
        if let Some(net) = self.net_of(end) {
            net.cut();
        }
    }

    /// The connection of a machine falls silent: no more bytes arrive.
    pub fn fall_silent(&mut self, end: usize) {
        if let Some(net) = self.net_of(end) {
            net.fall_silent();
        }
    }

    /// Resets the current connection of a machine after that many bytes in total were carried in that
    /// direction.
    pub fn cut_at(&mut self, end: usize, direction: Direction, bytes: u64) {
        if let Some(net) = self.net_of(end) {
            net.cut_at(direction, bytes);
        }
    }

    /// Resets the next connection between two machines that are [kept connected](Self::keep_connected), after
    /// that many bytes were carried in that direction.
    pub fn cut_next_at(&mut self, dialing: usize, direction: Direction, bytes: u64) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.ends[0] == dialing) {
            line.cut_next = Some((direction, bytes));
        }
    }

    /// Advances the clock without any activity.
    pub fn jump(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Advances the time, handling all events.
    ///
    /// # Panics
    /// If the machines never come to rest, or one is due again right after it was handled.
    pub fn run_for(&mut self, duration: Duration) {
        timeline::run_for(self, duration);
    }

    /// Gives each connected machine its turn.
    fn step_nodes(&mut self) -> bool {
        let mut moved = false;
        let Self { now, nodes, lines, app, .. } = self;
        for line in lines.iter_mut() {
            let Some(net) = &mut line.net else { continue };
            for (at, end) in line.ends.into_iter().enumerate() {
                if !line.joined[at] {
                    continue;
                }
                let Node { machine, side, ended, .. } = &mut nodes[end];
                match side.step(machine, app, *now, net) {
                    Ok(stepped) => moved |= stepped,
                    Err(cause) => {
                        net.cut();
                        line.joined[at] = false;
                        ended.push((*now, cause));
                        moved = true;
                    }
                }
            }
        }
        for Node { machine, side, .. } in nodes {
            if !side.is_connected() {
                moved |= side.idle(machine, app, *now);
            }
        }
        moved
    }

    /// Removes connections whose end both sides have noticed, and dials when it is due.
    fn look_after_lines(&mut self) -> bool {
        let mut moved = false;
        for line in 0..self.lines.len() {
            let ends = self.lines[line].ends;
            let [dialing, accepting] = self.lines[line].joined;
            if !dialing && !accepting {
                self.lines[line].net = None;
            }
            let closed = ends.iter().any(|end| self.nodes[*end].machine.is_closed());
            let Some(after) = self.lines[line].redial.filter(|_| !dialing && !closed) else { continue };
            match self.lines[line].redial_at {
                None => self.lines[line].redial_at = Some(self.now + after),
                Some(at) if at <= self.now => self.dial(line),
                Some(_) => continue,
            }
            moved = true;
        }
        self.lines.retain(|line| line.net.is_some() || line.redial.is_some());
        moved
    }
}

impl<M: Machine, A: App<M>> Timeline for World<M, A> {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn step(&mut self) -> bool {
        self.step_nodes() | self.look_after_lines()
    }

    fn deadlines(&mut self) -> Vec<(Instant, Reason)> {
        self.nodes.iter_mut().filter_map(|node| node.machine.poll_timeout()).collect()
    }

    fn next_change(&mut self) -> Option<Instant> {
        let now = self.now;
        let changes = self.lines.iter().flat_map(|line| {
            let closed = line.ends.iter().any(|end| self.nodes[*end].machine.is_closed());
            let carried = line.net.as_ref().and_then(|net| net.next_change(now));
            carried.into_iter().chain(line.redial_at.filter(|_| !closed))
        });
        changes.min()
    }
}
