//! Sockets with several pipes: what one peer did not get another does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_netsim::{App, Random, Taken, World};
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Options, QueueLimit};
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, Pipes, SendError, Socket};
use bowline_zmtp::socket_type::SocketType;

use super::{MS, STALL, is_fault, net, number, parts};

/// What the pipes told and their sockets were not told yet: that they are ready, or have messages. Those
/// events borrow nothing.
#[derive(Default)]
struct Told(Vec<(usize, PipeEvent<'static>)>);

impl App<Pipe<u32>> for Told {
    fn event(
        &mut self,
        end: usize,
        _: Instant,
        _: &mut Pipe<u32>,
        _: &mut Reader,
        event: PipeEvent<'_>,
    ) -> Result<Taken, Disconnect> {
        self.0.push(match event {
            PipeEvent::Ready(peer) => (end, PipeEvent::Ready(peer)),
            PipeEvent::Messages { count, was_empty } => (end, PipeEvent::Messages { count, was_empty }),
            other => panic!("{other:?}"),
        });
        Ok(Taken::Yes)
    }
}

/// The pipes of one socket.
struct View<'w> {
    world: &'w mut World<Pipe<u32>, Told>,
    ends: &'w BTreeMap<PipeId, usize>,
}

impl Pipes for View<'_> {
    type Token = u32;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<u32>) -> R) -> Option<R> {
        self.ends.get(&id).map(|end| f(self.world.machine_mut(*end)))
    }
}

struct Node {
    socket: Socket,
    ends: BTreeMap<PipeId, usize>,
    kind: SocketType,
}

/// Two PUSH, each connected to two PULL, or the other way round.
struct Pipeline {
    world: World<Pipe<u32>, Told>,
    random: Random,
    /// PUSH, PUSH, PULL, PULL.
    nodes: Vec<Node>,
    /// Connecting and accepting end of each line, and how many ends of connections were seen.
    lines: Vec<[(usize, PipeId, usize); 2]>,
    seen: BTreeMap<usize, usize>,
    /// Pipes that are closed: a writer may still have a batch of theirs.
    dead: Vec<(usize, PipeId)>,
    /// Every pipe that a PUSH ever had.
    push_ends: Vec<usize>,
    pushed: usize,
    pulled: Vec<usize>,
}

fn options(kind: SocketType) -> std::sync::Arc<Options> {
    let limit = QueueLimit { messages: 10, bytes: 4000 };
    Options::new(kind).send_limit(limit).receive_limit(limit).write_stall(Some(STALL)).build().unwrap()
}

impl Pipeline {
    fn new(seed: u64, pull_connects: bool) -> Self {
        let kinds = [SocketType::Push, SocketType::Push, SocketType::Pull, SocketType::Pull];
        let nodes =
            kinds.map(|kind| Node { socket: Socket::new(options(kind), 1), ends: BTreeMap::new(), kind });
        let mut pipeline = Self {
            world: World::new(net(), seed, Told::default()),
            random: Random::new(seed ^ 0x50c),
            nodes: nodes.into(),
            lines: Vec::new(),
            seen: BTreeMap::new(),
            dead: Vec::new(),
            push_ends: Vec::new(),
            pushed: 0,
            pulled: Vec::new(),
        };
        for push in 0..2 {
            for pull in 2..4 {
                let [from, to] = if pull_connects { [pull, push] } else { [push, pull] };
                let line = [pipeline.pipe(from, Role::Dialing), pipeline.pipe(to, Role::Accepting)];
                pipeline.world.connect(line[0].2, line[1].2);
                pipeline.lines.push(line);
            }
        }
        pipeline
    }

    fn pipe(&mut self, node: usize, role: Role) -> (usize, PipeId, usize) {
        let Node { socket, ends, kind } = &mut self.nodes[node];
        let id = socket.add(role);
        let end = self.world.add(Pipe::new(options(*kind), role));
        ends.insert(id, end);
        if *kind == SocketType::Push {
            self.push_ends.push(end);
        }
        (node, id, end)
    }

    fn tell(&mut self) {
        for (end, event) in std::mem::take(&mut self.world.app.0) {
            let owner = self.nodes.iter_mut().find_map(|node| {
                let id = node.ends.iter().find(|(_, other)| **other == end).map(|(id, _)| *id);
                id.map(|id| (node, id))
            });
            if let Some((Node { socket, ends, .. }, id)) = owner {
                socket.handle_event(&mut View { world: &mut self.world, ends }, id, event);
            }
        }
        for line in 0..self.lines.len() {
            for side in 0..2 {
                self.tell_end(line, side);
            }
            let [(_, _, from), (node, id, to)] = self.lines[line];
            if self.world.is_connected(from) || self.world.is_connected(to) {
                continue;
            }
            if self.world.machine(to).is_closed() {
                self.dead.push((node, id));
                self.lines[line][1] = self.pipe(node, Role::Accepting);
            }
            self.world.connect(from, self.lines[line][1].2);
        }
        for (node, id) in &self.dead {
            let Node { socket, ends, .. } = &mut self.nodes[*node];
            socket.collect_unsent(&mut View { world: &mut self.world, ends }, *id);
        }
        // There may be room, of which a driver is told.
        for Node { socket, ends, .. } in &mut self.nodes[..2] {
            socket.flush(&mut View { world: &mut self.world, ends });
        }
    }

    /// Tells a socket of connections that ended.
    fn tell_end(&mut self, line: usize, side: usize) {
        let (node, id, end) = self.lines[line][side];
        let ended = self.world.ended(end).len();
        let seen = self.seen.insert(end, ended).unwrap_or(0);
        let Node { socket, ends, .. } = &mut self.nodes[node];
        if ended > seen {
            let cause = self.world.ended(end)[seen].1.clone();
            assert!(!is_fault(&cause), "{cause}");
            socket.disconnected(&mut View { world: &mut self.world, ends }, id, cause);
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.world.run_for(MS);
            self.tell();
        }
    }

    fn push(&mut self, node: usize) {
        for _ in 0..self.random.below(6) {
            let parts = parts(self.pushed);
            let parts: Vec<_> = parts.iter().map(Payload::from).collect();
            let Node { socket, ends, .. } = &mut self.nodes[node];
            match socket.send(&mut View { world: &mut self.world, ends }, &parts) {
                Ok(()) => self.pushed += 1,
                Err(SendError::WouldBlock) => return,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn pull(&mut self, node: usize, most: u64) {
        let mut message = Message::new();
        for _ in 0..most {
            let Node { socket, ends, .. } = &mut self.nodes[node];
            if socket.recv(&mut View { world: &mut self.world, ends }, &mut message).is_err() {
                return;
            }
            self.pulled.push(number(message.iter().map(|part| part.as_slice())));
        }
    }

    /// Messages that were wholly written.
    fn written(&self) -> usize {
        self.push_ends.iter().map(|end| self.world.machine(*end).stats().sent as usize).sum()
    }
}

#[test]
fn every_message_is_written_once_and_pulled_once_whatever_breaks() {
    let (mut pushed, mut pulled) = (0, 0);
    for seed in 0..40 {
        let mut pipeline = Pipeline::new(seed, seed % 2 == 0);
        for _ in 0..60 {
            (0..2).for_each(|node| pipeline.push(node));
            let line = pipeline.random.below(12) as usize;
            if let Some([(_, _, from), (_, _, to)]) = pipeline.lines.get(line) {
                match pipeline.random.below(5) {
                    3 => pipeline.world.set_slow_writer(*from, true),
                    4 => pipeline.world.set_slow_writer(*to, true),
                    0 => pipeline.world.cut(*from),
                    1 => pipeline.world.disconnect(*to, Disconnect::Reopened),
                    _ => pipeline.world.fall_silent(*from),
                }
            }
            let time = pipeline.random.below(30);
            pipeline.run(time);
            let node = 2 + pipeline.random.below(2) as usize;
            pipeline.pull(node, 4);
        }
        // Silent connections are given up meanwhile, and what waited in them goes elsewhere.
        for _ in 0..80 {
            pipeline.world.run_for(Duration::from_secs(1));
            pipeline.tell();
            (2..4).for_each(|node| pipeline.pull(node, 1000));
        }
        let distinct: BTreeSet<_> = pipeline.pulled.iter().copied().collect();
        assert_eq!(distinct.len(), pipeline.pulled.len(), "none twice");
        for node in &pipeline.nodes[..2] {
            assert_eq!(node.socket.returned(), 0, "nothing is left behind");
            assert_eq!(node.socket.stats(), Default::default(), "nothing was dropped");
        }
        pushed += pipeline.pushed;
        pulled += pipeline.pulled.len();
        assert_eq!(
            pipeline.written(),
            pipeline.pushed,
            "each was wholly written once, on one connection or another"
        );
    }
    assert!(pushed > 4_000, "{pushed}");
    assert!(pulled * 10 > pushed * 6, "{pulled} of {pushed} came");
}

#[test]
fn without_cuts_every_message_is_pulled_once_and_in_order() {
    for pull_connects in [false, true] {
        let mut pipeline = Pipeline::new(3, pull_connects);
        for _ in 0..100 {
            pipeline.push(0);
            pipeline.run(5);
            pipeline.pull(2, 3);
            pipeline.pull(3, 1);
        }
        for _ in 0..50 {
            pipeline.run(20);
            (2..4).for_each(|node| pipeline.pull(node, 1000));
        }
        assert!(pipeline.pushed > 100, "{}", pipeline.pushed);
        let distinct: BTreeSet<_> = pipeline.pulled.iter().copied().collect();
        assert_eq!((distinct.len(), pipeline.pulled.len()), (pipeline.pushed, pipeline.pushed));
    }
}
