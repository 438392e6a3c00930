//! Sockets with several pipes: a message that one peer did not get is sent to another.

use std::collections::BTreeSet;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_netsim::Random;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Options, QueueLimit};
use bowline_zmtp::socket::SendError;
use bowline_zmtp::socket_type::SocketType;

use super::network::Network;
use super::security::Standing;
use super::{STALL, number, parts};

/// Two PUSH, each connected to two PULL, or the reverse.
struct Pipeline {
    network: Network,
    random: Random,
    pushed: usize,
    pulled: Vec<usize>,
}

fn options(kind: SocketType) -> std::sync::Arc<Options> {
    let limit = QueueLimit { messages: 10, bytes: 4000 };
    Options::new(kind).send_limit(limit).receive_limit(limit).write_stall(Some(STALL)).build().unwrap()
}

impl Pipeline {
    fn new(seed: u64, pull_connects: bool) -> Self {
        let mut network = Network::new(seed, 4);
        // PUSH, PUSH, PULL, PULL.
        for (at, kind) in
            [SocketType::Push, SocketType::Push, SocketType::Pull, SocketType::Pull].into_iter().enumerate()
        {
            let node = network.add(options(kind), Standing::Open);
            network.bound[at] = Some(node);
        }
        for push in 0..2 {
            for pull in 2..4 {
                let [from, to] = if pull_connects { [pull, push] } else { [push, pull] };
                network.connect(from, to, None);
            }
        }
        Self { network, random: Random::new(seed ^ 0x50c), pushed: 0, pulled: Vec::new() }
    }

    fn push(&mut self, node: usize) {
        for _ in 0..self.random.below(6) {
            let parts = parts(self.pushed);
            let parts: Vec<_> = parts.iter().map(Payload::from).collect();
            match self.network.at(node, |socket, pipes| socket.send(pipes, &parts)) {
                Ok(()) => self.pushed += 1,
                Err(SendError::WouldBlock) => return,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn pull(&mut self, node: usize, most: u64) {
        let mut message = Message::new();
        for _ in 0..most {
            if self.network.at(node, |socket, pipes| socket.recv(pipes, &mut message)).is_err() {
                return;
            }
            self.pulled.push(number(message.iter().map(|part| part.as_slice())));
        }
    }

    /// Breaks one of four connections, usually, in one of several ways.
    fn disturb(&mut self) {
        let line = self.random.below(12) as usize;
        let what = self.random.below(5);
        let ends = self.network.open().nth(line).map(|connection| connection.ends);
        let Some([from, to]) = ends else { return };
        self.network.disturb(from.end, |world| match what {
            3 => world.set_slow_writer(from.end, true),
            4 => world.set_slow_writer(to.end, true),
            0 => world.cut(from.end),
            1 => world.disconnect(to.end, Disconnect::Reopened),
            _ => world.fall_silent(from.end),
        });
    }

    /// Messages that were completely written.
    fn written(&self) -> usize {
        (0..2).flat_map(|push| self.network.every(push)).map(|pipe| pipe.stats().sent as usize).sum()
    }
}

#[test]
fn every_message_is_written_once_and_pulled_once_whatever_breaks() {
    let (mut pushed, mut pulled) = (0, 0);
    for seed in 0..40 {
        let mut pipeline = Pipeline::new(seed, seed % 2 == 0);
        for _ in 0..60 {
            (0..2).for_each(|node| pipeline.push(node));
            pipeline.disturb();
            let time = pipeline.random.below(30);
            pipeline.network.run(time);
            let node = 2 + pipeline.random.below(2) as usize;
            pipeline.pull(node, 4);
        }
        // Silent connections are closed in the meantime, and their queued messages go elsewhere.
        for _ in 0..80 {
            pipeline.network.run_seconds(1);
            (2..4).for_each(|node| pipeline.pull(node, 1000));
        }
        let distinct: BTreeSet<_> = pipeline.pulled.iter().copied().collect();
        assert_eq!(distinct.len(), pipeline.pulled.len(), "none twice");
        for node in &pipeline.network.nodes[..2] {
            assert_eq!(node.socket.returned(), 0, "nothing is left behind");
            assert_eq!(node.socket.stats(), Default::default(), "nothing was dropped");
        }
        pipeline.network.assert_no_fault();
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
            pipeline.network.run(5);
            pipeline.pull(2, 3);
            pipeline.pull(3, 1);
        }
        for _ in 0..50 {
            pipeline.network.run(20);
            (2..4).for_each(|node| pipeline.pull(node, 1000));
        }
        assert!(pipeline.pushed > 100, "{}", pipeline.pushed);
        let distinct: BTreeSet<_> = pipeline.pulled.iter().copied().collect();
        assert_eq!((distinct.len(), pipeline.pulled.len()), (pipeline.pushed, pipeline.pushed));
    }
}
