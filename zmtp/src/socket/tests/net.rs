//! Sockets and connections between them, in memory: bytes are delivered at once.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::{Ending, Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;

use crate::message::Message;
use crate::options::Options;
use crate::pipe::{Peer, Pipe, PipeEvent, Reader, Role};
use crate::socket::{PipeId, RecvError, SendError, Socket, SocketEvent};
use crate::socket_type::SocketType;
use crate::wire::{Metadata, Version};

const NOW: Instant = Instant::ZERO;

pub(super) struct Node {
    pub(super) socket: Socket,
    pub(super) pipes: BTreeMap<PipeId, Pipe<u32>>,
    connections: BTreeMap<PipeId, (Reader, RecvBuf)>,
    options: Arc<Options>,
    pub(super) causes: Vec<Disconnect>,
}

pub(super) type End = (usize, PipeId);

#[derive(Default)]
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    lines: Vec<[End; 2]>,
    /// Nodes with these numbers read no bytes.
    pub(super) deaf: Vec<usize>,
}

impl Node {
    pub(super) fn send(&mut self, parts: &[&str]) -> Result<(), SendError> {
        let parts: Vec<_> = parts.iter().map(|part| Payload::from(*part)).collect();
        let can = self.socket.can_send(&mut self.pipes);
        let sent = self.socket.send(&mut self.pipes, &parts);
        match &sent {
            // With `conflate` a message that replaces another needs no room.
            Ok(()) => assert!(can || self.options.conflate, "it said that it could not"),
            Err(SendError::WouldBlock) => assert!(!can, "it said that it could"),
            Err(_) => {}
        }
        sent
    }

    /// The parts of the next message, separated by bars; non-printable bytes are escaped.
    pub(super) fn recv(&mut self) -> Result<String, RecvError> {
        let mut message = Message::new();
        let can = self.socket.can_recv(&mut self.pipes);
        let left_out = self.socket.stats();
        let received = self.socket.recv(&mut self.pipes, &mut message);
        match &received {
            Ok(_) | Err(RecvError::PeerLost) => assert!(can, "it said that there is nothing"),
            Err(RecvError::WouldBlock) if left_out == self.socket.stats() => {
                assert!(!can, "it said that there is something");
            }
            Err(_) => {}
        }
        received?;
        let parts: Vec<_> = message.iter().map(|part| part.escape_ascii().to_string()).collect();
        Ok(parts.join("|"))
    }

    pub(super) fn events(&mut self) -> Vec<SocketEvent> {
        core::iter::from_fn(|| self.socket.take_event()).collect()
    }

    fn input(&mut self, id: PipeId, bytes: &[u8]) -> Result<(), Disconnect> {
        let Self { socket, pipes, connections, .. } = self;
        let Some((reader, buf)) = connections.get_mut(&id) else { return Ok(()) };
        let mut rest = bytes;
        loop {
            let room = buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buf.filled(n);
            rest = &rest[n..];
            // As in a driver: the pipe is not locked while its events are handled.
            loop {
                let Some(pipe) = pipes.get_mut(&id) else { return Ok(()) };
                let mut access = pipe;
                match Pipe::next_event(reader, &mut access, NOW, buf)? {
                    Next::Event(PipeEvent::Authenticate(_)) => {}
                    Next::Event(event) => socket.handle_event(pipes, id, event),
                    Next::NeedData => break,
                    Next::Paused => {
                        assert!(rest.is_empty(), "the tests send less than a buffer holds");
                        return Ok(());
                    }
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn output(&mut self, id: PipeId) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(pipe) = self.pipes.get_mut(&id) else { return out };
        while let Some(mut batch) = pipe.begin_write(NOW) {
            while !batch.is_done() {
                let mut slices = [&[][..]];
                batch.slices(&mut slices);
                let n = slices[0].len();
                out.extend_from_slice(slices[0]);
                batch.wrote(n);
            }
            let _more = pipe.end_write(NOW, batch);
        }
        out
    }

    /// The connection of a pipe has ended.
    fn end(&mut self, id: PipeId, cause: Disconnect) {
        let Some((reader, buf)) = self.connections.remove(&id) else { return };
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.retire_reader(NOW, reader, buf);
        pipe.handle_disconnected(NOW, None, cause.clone());
        self.causes.push(cause.clone());
        self.socket.connection_ended(id, &cause);
        self.socket.disconnected(&mut self.pipes, id, cause);
        if self.pipes[&id].is_closed() {
            self.pipes.remove(&id);
        }
    }
}

impl Net {
    pub(super) fn add(&mut self, options: Options) -> usize {
        let options = options.build().unwrap();
        self.nodes.push(Node {
            socket: Socket::new(options.clone(), 1),
            pipes: BTreeMap::new(),
            connections: BTreeMap::new(),
            options,
            causes: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// A new pipe of a node.
    pub(super) fn pipe(&mut self, node: usize, role: Role) -> End {
        let Node { socket, pipes, options, .. } = &mut self.nodes[node];
        let id = socket.add(role);
        pipes.insert(id, Pipe::new(options.clone(), role).with_sums(socket.sums()));
        (node, id)
    }

    /// One node connects to another: both pipes.
    pub(super) fn connect(&mut self, dialing: usize, accepting: usize) -> [End; 2] {
        let from = self.pipe(dialing, Role::Dialing);
        self.dial(from, accepting)
    }

    /// A pipe connects, possibly again.
    pub(super) fn dial(&mut self, from: End, accepting: usize) -> [End; 2] {
        let ends = [from, self.pipe(accepting, Role::Accepting)];
        for (node, id) in ends {
            let node = &mut self.nodes[node];
            let reader = node.pipes.get_mut(&id).unwrap().handle_connected(NOW, Epoch::FIRST);
            node.connections.insert(id, (reader, RecvBuf::new()));
        }
        self.lines.push(ends);
        self.run();
        ends
    }

    /// A socket learns of a peer of that type; nothing is written to it.
    pub(super) fn ready(&mut self, (node, id): End, kind: SocketType) {
        let (version, socket_type, user_id) = (Version::V3_1, Some(kind), None);
        let (routing_id, metadata) = (Vec::new(), Metadata::default());
        let peer = Arc::new(Peer { version, socket_type, routing_id, metadata, user_id });
        let Node { socket, pipes, .. } = &mut self.nodes[node];
        socket.handle_event(pipes, id, PipeEvent::Ready(peer));
    }

    /// That peer has left.
    pub(super) fn leave(&mut self, (node, id): End) {
        let Node { socket, pipes, .. } = &mut self.nodes[node];
        socket.disconnected(pipes, id, Disconnect::PeerClosed);
    }

    /// The connection of an end breaks, at both ends.
    pub(super) fn cut(&mut self, end: End) {
        let lines: Vec<_> = self.lines.iter().copied().filter(|ends| ends.contains(&end)).collect();
        self.lines.retain(|ends| !ends.contains(&end));
        for (node, id) in lines.into_iter().flatten() {
            self.nodes[node].end(id, Disconnect::PeerClosed);
        }
    }

    /// Runs until nothing changes.
    pub(super) fn run(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            for ends in self.lines.clone() {
                for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                    if self.deaf.contains(&to.0) {
                        continue;
                    }
                    let bytes = self.nodes[from.0].output(from.1);
                    let paused = self.nodes[to.0].pipes.get(&to.1).is_some_and(|pipe| pipe.is_paused());
                    assert!(!paused || bytes.is_empty(), "the tests send less than an inbox holds");
                    moved |= !bytes.is_empty();
                    if let Err(cause) = self.nodes[to.0].input(to.1, &bytes) {
                        self.nodes[to.0].end(to.1, cause);
                        self.cut(from);
                    }
                }
                for (node, id) in ends {
                    let pipe = self.nodes[node].pipes.get_mut(&id);
                    let ending = pipe.and_then(|pipe| pipe.poll_ending(NOW));
                    if let Some(Ending::Abort(cause) | Ending::Graceful { cause, .. }) = ending {
                        self.nodes[node].end(id, cause);
                        self.cut((node, id));
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Sends, and delivers.
    pub(super) fn send(&mut self, node: usize, parts: &[&str]) -> Result<(), SendError> {
        let sent = self.nodes[node].send(parts);
        self.run();
        sent
    }

    /// Everything that a node can receive now.
    pub(super) fn all(&mut self, node: usize) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(text) = self.nodes[node].recv() {
            all.push(text);
        }
        self.run();
        all
    }
}
