//! Sockets and the connections between them, over a simulated network: the driver's part, and the events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_netsim::{App, NetConfig, Taken, World};
use bowline_zmtp::mechanism::Decision;
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{AuthRequest, Peer, Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, Pipes, Socket};

use super::security::{Standing, decide, with_entropy};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A network on which connections break in the middle of frames.
pub(crate) fn net() -> NetConfig {
    NetConfig { max_write: 61, max_read: 37, window: 2048, unsent: 2048, ..NetConfig::default() }
}

/// An event of a pipe. Its topic is kept until its socket has handled it.
#[derive(Debug)]
pub(crate) enum Said {
    Authenticate(AuthRequest),
    Ready(Arc<Peer>),
    Messages { count: usize, was_empty: bool },
    Subscribe(Vec<u8>),
    Cancel(Vec<u8>),
    Join(Vec<u8>),
    Leave(Vec<u8>),
}

impl Said {
    fn event(&self) -> PipeEvent<'_> {
        match self {
            Self::Authenticate(request) => PipeEvent::Authenticate(request.clone()),
            Self::Ready(peer) => PipeEvent::Ready(peer.clone()),
            Self::Messages { count, was_empty } => {
                PipeEvent::Messages { count: *count, was_empty: *was_empty }
            }
            Self::Subscribe(topic) => PipeEvent::Subscribe(topic),
            Self::Cancel(topic) => PipeEvent::Cancel(topic),
            Self::Join(group) => PipeEvent::Join(group),
            Self::Leave(group) => PipeEvent::Leave(group),
        }
    }
}

/// Events of pipes that their sockets have not handled yet.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<(usize, Said)>);

impl App<Pipe<u32>> for Told {
    fn event(
        &mut self,
        end: usize,
        _: Instant,
        _: &mut Pipe<u32>,
        _: &mut Reader,
        event: PipeEvent<'_>,
    ) -> Result<Taken, Disconnect> {
        let said = match event {
            PipeEvent::Authenticate(request) => Said::Authenticate(request),
            PipeEvent::Ready(peer) => Said::Ready(peer),
            PipeEvent::Messages { count, was_empty } => Said::Messages { count, was_empty },
            PipeEvent::Subscribe(topic) => Said::Subscribe(topic.into()),
            PipeEvent::Cancel(topic) => Said::Cancel(topic.into()),
            PipeEvent::Join(group) => Said::Join(group.into()),
            PipeEvent::Leave(group) => Said::Leave(group.into()),
            other => panic!("{other:?}"),
        };
        self.0.push((end, said));
        Ok(Taken::Yes)
    }
}

pub(crate) type Net = World<Pipe<u32>, Told>;

/// The pipes of one socket.
pub(crate) struct View<'w> {
    world: &'w mut Net,
    pipes: &'w BTreeMap<PipeId, usize>,
}

impl Pipes for View<'_> {
    type Token = u32;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<u32>) -> R) -> Option<R> {
        self.pipes.get(&id).map(|end| f(self.world.machine_mut(*end)))
    }
}

/// One life of a socket.
pub(crate) struct Node {
    pub(crate) socket: Socket,
    pub(crate) options: Arc<Options>,
    /// Its pipes, and their machines.
    pub(crate) pipes: BTreeMap<PipeId, usize>,
    /// The machines of all pipes that it ever had.
    pub(crate) every: Vec<usize>,
    /// Accepts nothing new.
    pub(crate) is_closing: bool,
    /// Its side of the mechanism.
    pub(crate) standing: Standing,
}

/// A pipe of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) id: PipeId,
    /// Its machine.
    pub(crate) end: usize,
}

/// The address that a dialing pipe connects to repeatedly.
struct Line {
    from: End,
    /// The number of an address.
    to: usize,
    again: Instant,
}

/// A connection, current or past, from a dialing pipe to an accepted one.
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// The number of messages that each had sent and received when it began.
    pub(crate) begun: [(u64, u64); 2],
    /// The number of messages that each had received when it ended, and the cause.
    pub(crate) ended: [Option<(u64, Disconnect)>; 2],
    /// Whether the network, or a slow writer, disturbed it.
    pub(crate) is_disturbed: bool,
}

/// The effects of an event of a pipe on its socket.
#[derive(Debug)]
pub(crate) struct Effects {
    /// The number of messages that the socket put into queues, and that it counted as lost to a full queue.
    pub(crate) queued: i64,
    pub(crate) overflowed: u64,
    /// Whether the pipe had room before.
    pub(crate) had_room: bool,
    /// The routing id of the peer, afterwards.
    pub(crate) routing_id: Option<Vec<u8>>,
    /// The pipe's connection, and which of its ends the pipe is.
    pub(crate) connection: Option<(usize, usize)>,
}

/// An event of a node.
#[derive(Debug)]
pub(crate) enum Happened {
    Said(End, Said, Effects),
    /// A connection of a pipe ended, or a pipe without one.
    Down(End),
}

/// Sockets, each of which has an address that it may be bound to.
pub(crate) struct Network {
    pub(crate) world: Net,
    pub(crate) nodes: Vec<Node>,
    /// The node that is bound to each address.
    pub(crate) bound: Vec<Option<usize>>,
    lines: Vec<Line>,
    pub(crate) connections: Vec<Connection>,
    /// Removed pipes with a batch at a writer.
    late: Vec<End>,
    seen: BTreeMap<usize, usize>,
    /// Decisions about peers that are still to be made, and when.
    undecided: Vec<(Instant, End, AuthRequest)>,
    pub(crate) happened: Vec<Happened>,
}

impl Network {
    pub(crate) fn new(seed: u64, addresses: usize) -> Self {
        Self {
            world: World::new(net(), seed, Told::default()),
            nodes: Vec::new(),
            bound: vec![None; addresses],
            lines: Vec::new(),
            connections: Vec::new(),
            late: Vec::new(),
            seen: BTreeMap::new(),
            undecided: Vec::new(),
            happened: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, options: Arc<Options>, standing: Standing) -> usize {
        self.nodes.push(Node {
            // No two of them generate the same numbers.
            socket: Socket::new(options.clone(), 1000 * self.nodes.len() as u32),
            options,
            pipes: BTreeMap::new(),
            every: Vec::new(),
            is_closing: false,
            standing,
        });
        self.nodes.len() - 1
    }

    /// A socket, and its pipes.
    pub(crate) fn at<R>(&mut self, node: usize, f: impl FnOnce(&mut Socket, &mut View<'_>) -> R) -> R {
        let Node { socket, pipes, .. } = &mut self.nodes[node];
        f(socket, &mut View { world: &mut self.world, pipes })
    }

    pub(crate) fn pipe(&self, node: usize, id: PipeId) -> Option<&Pipe<u32>> {
        self.nodes[node].pipes.get(&id).map(|end| self.world.machine(*end))
    }

    /// The pipes of a node.
    pub(crate) fn pipes(&self, node: usize) -> impl Iterator<Item = (PipeId, &Pipe<u32>)> {
        self.nodes[node].pipes.iter().map(|(id, end)| (*id, self.world.machine(*end)))
    }

    /// All pipes that a node has had.
    pub(crate) fn every(&self, node: usize) -> impl Iterator<Item = &Pipe<u32>> {
        self.nodes[node].every.iter().map(|end| self.world.machine(*end))
    }

    fn add_pipe(&mut self, node: usize, role: Role, chosen: Option<&str>) -> End {
        let Node { socket, pipes, every, options, .. } = &mut self.nodes[node];
        let id = match chosen {
            Some(chosen) => socket.add_as(role, chosen.as_bytes()).expect("a sound id"),
            None => socket.add(role),
        };
        let pipe = Pipe::new(options.clone(), role).with_sums(socket.sums());
        let end = self.world.add(with_entropy(pipe, 1000 * node as u64 + id.number()));
        pipes.insert(id, end);
        every.push(end);
        End { node, id, end }
    }

    /// A node connects to an address, whichever node is or will be bound to it. A ROUTER uses the routing id
    /// `chosen` for the peer.
    pub(crate) fn connect(&mut self, node: usize, to: usize, chosen: Option<&str>) -> End {
        let from = self.add_pipe(node, Role::Dialing, chosen);
        self.lines.push(Line { from, to, again: self.world.now() });
        from
    }

    /// Ends one pipe after its queued messages were sent, or after the linger time.
    pub(crate) fn close_pipe(&mut self, end: usize, linger: Duration) {
        let now = self.world.now();
        self.world.machine_mut(end).close(now, linger);
    }

    /// Ends a node in the same way.
    pub(crate) fn close(&mut self, node: usize, linger: Duration) {
        self.nodes[node].is_closing = true;
        let ends: Vec<_> = self.nodes[node].pipes.values().copied().collect();
        ends.into_iter().for_each(|end| self.close_pipe(end, linger));
        for bound in &mut self.bound {
            *bound = bound.filter(|bound| *bound != node);
        }
    }

    /// The open connections.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| connection.ended.iter().any(Option::is_none))
    }

    /// The node at the other end of a pipe's connection.
    pub(crate) fn peer_of(&self, node: usize, id: PipeId) -> Option<usize> {
        self.open().find_map(|connection| {
            let at = connection.ends.iter().position(|end| (end.node, end.id) == (node, id))?;
            connection.ended[at].is_none().then_some(connection.ends[1 - at].node)
        })
    }

    /// The last connection of a pipe, and which of its ends the pipe is.
    pub(crate) fn last_of(&self, node: usize, id: PipeId) -> Option<(usize, usize)> {
        self.connections.iter().enumerate().rev().find_map(|(number, connection)| {
            let at = connection.ends.iter().position(|end| (end.node, end.id) == (node, id))?;
            Some((number, at))
        })
    }

    /// Whether two nodes let each other in.
    pub(crate) fn is_let_in(&self, nodes: [usize; 2]) -> bool {
        nodes.into_iter().all(|node| self.nodes[node].standing.is_let_in())
    }

    /// Disturbs the connection of that machine.
    pub(crate) fn disturb(&mut self, end: usize, f: impl FnOnce(&mut Net)) {
        let is_its = |connection: &Connection| connection.ends.iter().any(|at| at.end == end);
        for connection in self.connections.iter_mut().filter(|connection| is_its(connection)) {
            connection.is_disturbed |= connection.ended.iter().any(Option::is_none);
        }
        f(&mut self.world);
    }

    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.world.run_for(MS);
            self.tell();
        }
    }

    pub(crate) fn run_seconds(&mut self, seconds: u32) {
        self.world.run_for(MS * 1000 * seconds);
        self.tell();
    }

    fn owner(&self, end: usize) -> Option<End> {
        self.nodes.iter().enumerate().find_map(|(node, Node { pipes, .. })| {
            pipes.iter().find(|(_, other)| **other == end).map(|(id, _)| End { node, id: *id, end })
        })
    }

    /// Passes the events to the sockets, and reconnects.
    fn tell(&mut self) {
        for (end, said) in std::mem::take(&mut self.world.app.0) {
            if let Some(owner) = self.owner(end) {
                let (effects, ()) = self.observe(owner.node, owner.id, |socket, pipes| {
                    socket.handle_event(pipes, owner.id, said.event());
                });
                if let Said::Authenticate(request) = &said {
                    // The program decides at once, or later.
                    let at = self.world.now() + MS * (owner.end % 5) as u32;
                    self.undecided.push((at, owner, request.clone()));
                }
                self.happened.push(Happened::Said(owner, said, effects));
            }
        }
        self.decide();
        for node in 0..self.nodes.len() {
            let ends: Vec<_> = self.nodes[node].pipes.iter().map(|(id, end)| (*id, *end)).collect();
            for (id, end) in ends {
                self.tell_end(End { node, id, end });
            }
        }
        self.collect_late();
        self.dial();
        // There may be room, which a driver is informed of.
        for node in 0..self.nodes.len() {
            self.at(node, |socket, pipes| socket.flush(pipes));
        }
    }

    /// Does something with a socket. Returns the effects for one of its pipes.
    pub(crate) fn observe<R>(
        &mut self,
        node: usize,
        id: PipeId,
        f: impl FnOnce(&mut Socket, &mut View<'_>) -> R,
    ) -> (Effects, R) {
        let before = self.queued(node);
        let had_room = self.pipe(node, id).is_some_and(Pipe::has_room);
        let result = self.at(node, f);
        let after = self.queued(node);
        let effects = Effects {
            queued: after.0 - before.0,
            overflowed: after.1 - before.1,
            had_room,
            routing_id: self.nodes[node].socket.routing_id(id).map(<[u8]>::to_vec),
            connection: self.last_of(node, id),
        };
        (effects, result)
    }

    /// The number of messages in the queues of a node, or returned to it, or replaced by newer ones; and of
    /// those that had no room.
    pub(crate) fn queued(&self, node: usize) -> (i64, u64) {
        let of = |pipe: &Pipe<u32>| pipe.waiting() as u64 + pipe.stats().conflated;
        let socket = &self.nodes[node].socket;
        let queued = self.pipes(node).map(|(_, pipe)| of(pipe)).sum::<u64>() + socket.returned() as u64;
        (queued as i64, socket.stats().overflowed)
    }

    /// Programs decide about the peers that ask to be let in.
    fn decide(&mut self) {
        let now = self.world.now();
        let (due, later) = std::mem::take(&mut self.undecided).into_iter().partition(|(at, ..)| *at <= now);
        self.undecided = later;
        let due: Vec<(Instant, End, AuthRequest)> = due;
        for (_, at, request) in due {
            let decision = decide(&request);
            let opposite = match &decision {
                Decision::Accept { .. } => Decision::Refuse { status: 400 },
                _ => Decision::Accept { user_id: "another".to_owned() },
            };
            let machine = self.world.machine_mut(at.end);
            // The program decides late about the previous connection. The pipe must ignore that decision.
            machine.decide(request.connection - 1, opposite);
            machine.decide(request.connection, decision);
        }
    }

    /// Informs a socket of the end of a connection, and of the end of a pipe.
    fn tell_end(&mut self, at: End) {
        let ended = self.world.ended(at.end);
        let seen = self.seen.insert(at.end, ended.len()).unwrap_or(0);
        assert!(ended.len() - seen <= 1, "nobody else dials");
        let cause = ended.get(seen).map(|(_, cause)| cause.clone());
        let is_down = cause.is_some();
        if let Some(cause) = cause {
            self.at(at.node, |socket, pipes| {
                socket.connection_ended(at.id, &cause);
                socket.disconnected(pipes, at.id, cause.clone());
            });
            let received = self.world.machine(at.end).stats().received;
            for connection in &mut self.connections {
                let side = connection.ends.iter().position(|end| *end == at);
                if let Some(side) = side.filter(|side| connection.ended[*side].is_none()) {
                    connection.ended[side] = Some((received, cause.clone()));
                }
            }
        }
        let is_over = self.world.machine(at.end).is_closed() && !self.world.is_connected(at.end);
        if is_over {
            // A driver removes a closed pipe, or reports that it has stopped driving it.
            if !is_down {
                self.at(at.node, |socket, pipes| socket.ended(pipes, at.id, Disconnect::LocalClose));
            }
            self.nodes[at.node].pipes.remove(&at.id);
            self.lines.retain(|line| line.from != at);
            if !self.world.machine(at.end).is_drained() {
                self.late.push(at);
            }
        }
        if is_down || is_over {
            self.happened.push(Happened::Down(at));
        }
    }

    /// Handles batches that a writer returned after their connection, and possibly their pipe, had ended.
    fn collect_late(&mut self) {
        for node in 0..self.nodes.len() {
            let pipes = self.nodes[node].pipes.iter();
            let late = pipes.filter(|(_, end)| self.world.machine(**end).late().is_any());
            let late: Vec<_> = late.map(|(id, _)| *id).collect();
            for id in late {
                self.at(node, |socket, pipes| socket.collect_unsent(pipes, id));
            }
        }
        for at in std::mem::take(&mut self.late) {
            let pipe = self.world.machine_mut(at.end);
            let (had, late, mut messages) = (pipe.waiting(), pipe.take_late(), Vec::new());
            pipe.take_unsent(|message| messages.push(message));
            let is_back = pipe.is_drained();
            if is_back || had > 0 || late.is_any() {
                self.at(at.node, |socket, pipes| socket.collect_late(pipes, at.id, messages, late));
            }
            if !is_back {
                self.late.push(at);
            }
        }
    }

    fn dial(&mut self) {
        let now = self.world.now();
        for line in 0..self.lines.len() {
            let Line { from, to, again } = self.lines[line];
            let pipe = self.world.machine(from.end);
            let Some(to) = self.bound[to].filter(|_| !pipe.is_closed() && again <= now) else { continue };
            if self.world.is_connected(from.end) {
                // A peer that is never let in dials more rarely.
                let pause = if pipe.stats().handshakes == 0 { 40 } else { 3 };
                self.lines[line].again = now + MS * pause;
                continue;
            }
            let to = self.add_pipe(to, Role::Accepting, None);
            let begun = [from, to].map(|end| {
                let stats = self.world.machine(end.end).stats();
                (stats.sent, stats.received)
            });
            self.world.connect(from.end, to.end);
            self.connections.push(Connection {
                ends: [from, to],
                begun,
                ended: [None, None],
                is_disturbed: false,
            });
        }
    }
}
