//! Two pipes that keep connecting to each other.

use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_netsim::{Direction, Random, World};
use bowline_zmtp::inbox::Inbox;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::{Options, QueueLimit};
use bowline_zmtp::pipe::{Pipe, Role};
use bowline_zmtp::socket_type::SocketType;

use super::network::{MS, net};
use super::{STALL, is_fault, number, parts};

struct Pair {
    world: World<Pipe<u32>>,
    random: Random,
    ends: [usize; 2],
    /// Number of messages that each end was given, and that the other received.
    said: [usize; 2],
    heard: [Vec<usize>; 2],
    cuts: usize,
}

fn options(stall: Duration) -> Options {
    let limit = QueueLimit { messages: 20, bytes: 4000 };
    Options::new(SocketType::Dealer).send_limit(limit).receive_limit(limit).write_stall(Some(stall))
}

impl Pair {
    fn new(seed: u64, stall: Duration) -> Self {
        let options = options(stall).build().unwrap();
        // Both outlive their connections.
        Self::of(seed, [(); 2].map(|()| Pipe::new(options.clone(), Role::Dialing)))
    }

    /// With CURVE: a new key for each connection.
    #[cfg(feature = "curve")]
    fn sealed(seed: u64) -> Self {
        use bowline_zmtp::mechanism::{Admission, Mechanism, SecretKey};
        let key = |number| SecretKey::new([number; 32]);
        let client = Mechanism::CurveClient { secret_key: key(2), server_key: key(1).public_key() };
        let server = Mechanism::CurveServer { secret_key: key(1) };
        let pipes = [client, server].map(|mechanism| {
            let options = options(STALL).mechanism(mechanism).admission(Admission::AllowAny);
            let mut random = Random::new(seed);
            let fill = move |bytes: &mut [u8]| bytes.fill_with(|| random.number() as u8);
            Pipe::new(options.build().unwrap(), Role::Dialing).with_entropy(fill)
        });
        Self::of(seed, pipes)
    }

    fn of(seed: u64, pipes: [Pipe<u32>; 2]) -> Self {
        let mut world = World::new(net(), seed, ());
        let ends = pipes.map(|pipe| world.add(pipe));
        world.keep_connected(ends[0], ends[1], MS * 3);
        let random = Random::new(seed ^ 0x3a7);
        Self { world, random, ends, said: [0; 2], heard: Default::default(), cuts: 0 }
    }

    /// Sends as much as there is room for.
    fn say(&mut self, end: usize) {
        for _ in 0..self.random.below(12) {
            let parts = parts(self.said[end]);
            let parts: Vec<_> = parts.iter().map(Payload::from).collect();
            if self.world.machine_mut(self.ends[end]).send(&[], &parts).is_err() {
                return;
            }
            self.said[end] += 1;
        }
    }

    fn hear(&mut self, end: usize) {
        let (mut inbox, mut message) = (Inbox::new(), Message::new());
        self.world.machine_mut(self.ends[end]).swap_inbox(&mut inbox);
        while inbox.pop_into(&mut message) {
            self.heard[end].push(number(message.iter().map(|part| part.as_slice())));
        }
    }

    fn disturb(&mut self) {
        let Self { world, random, ends, cuts, .. } = self;
        let end = ends[random.below(2) as usize];
        let direction = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
        let bytes = random.below(900);
        match random.below(10) {
            0 => world.cut(end),
            1 => world.cut_at(end, direction, bytes),
            2 => world.cut_next_at(ends[0], direction, bytes),
            3 => world.fall_silent(end),
            4 => world.disconnect(end, Disconnect::Reopened),
            5 => world.set_slow_writer(end, random.below(2) == 0),
            6 => world.jump(MS * 300),
            _ => return,
        }
        *cuts += 1;
    }

    fn run(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    fn break_and_finish(&mut self) {
        for step in 0..80 {
            (0..2).for_each(|end| self.say(end));
            if step % 3 == 0 {
                self.disturb();
            }
            let time = MS * self.random.below(60) as u32;
            self.run(time);
            let end = self.random.below(3) as usize;
            if end < 2 {
                self.hear(end);
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.ends.iter().for_each(|end| self.world.set_slow_writer(*end, false));
        // Long enough for a silent connection to be closed and for everything to be received.
        for _ in 0..200 {
            self.run(MS * 400);
            (0..2).for_each(|end| self.hear(end));
        }
        for end in 0..2 {
            let pipe = self.world.machine(self.ends[end]);
            assert!(pipe.is_drained(), "everything was sent: {pipe:?}");
            let (sent, heard) = (pipe.stats().sent, &self.heard[1 - end]);
            assert_eq!(sent as usize, self.said[end], "each once");
            assert!(heard.is_sorted_by(|a, b| a < b), "none twice, and in order: {heard:?}");
            if self.cuts == 0 {
                assert_eq!(heard.len(), self.said[end], "nothing is lost without a cut");
            }
            for (_, cause) in self.world.ended(self.ends[end]) {
                assert!(!is_fault(cause), "{cause}");
            }
        }
    }
}

#[test]
fn whatever_breaks_messages_are_whole_in_order_and_never_twice() {
    let (mut said, mut heard, mut cuts) = (0, 0, 0);
    for seed in 0..60 {
        let mut pair = Pair::new(seed, STALL);
        pair.break_and_finish();
        said += pair.said.iter().sum::<usize>();
        heard += pair.heard.iter().map(Vec::len).sum::<usize>();
        cuts += pair.cuts;
    }
    assert!(said > 10_000 && cuts > 500, "{said} messages, {cuts} cuts");
    assert!(heard * 2 > said, "{heard} of {said} came");
}

#[cfg(feature = "curve")]
#[test]
fn sealed_messages_go_out_whole_and_once_under_the_key_of_each_connection() {
    let (mut said, mut heard) = (0, 0);
    for seed in 0..20 {
        let mut pair = Pair::sealed(seed);
        pair.break_and_finish();
        said += pair.said.iter().sum::<usize>();
        heard += pair.heard.iter().map(Vec::len).sum::<usize>();
    }
    assert!(said > 1_000 && heard * 2 > said, "{heard} of {said} came");
}

#[test]
fn without_cuts_every_message_comes_once_however_slowly_it_is_received() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed, STALL * 100);
        for _ in 0..150 {
            (0..2).for_each(|end| pair.say(end));
            let time = MS * pair.random.below(80) as u32;
            pair.run(time);
            if pair.random.below(8) == 0 {
                pair.hear(0);
                pair.hear(1);
            }
        }
        // No end receives for three times as long as silence is tolerated.
        pair.run(Duration::from_secs(90));
        assert!(pair.ends.iter().all(|end| pair.world.ended(*end).is_empty()), "nobody is taken for dead");
        pair.finish();
        assert!(pair.said[0] > 100, "{:?}", pair.said);
    }
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    let mut pair = Pair::new(7, STALL);
    pair.run(MS * 100);
    pair.world.fall_silent(pair.ends[0]);
    pair.run(Duration::from_secs(29));
    assert!(pair.world.ended(pair.ends[0]).is_empty());
    pair.run(Duration::from_secs(3));
    let [(_, cause)] = pair.world.ended(pair.ends[0]) else { panic!() };
    assert!(matches!(cause, Disconnect::DeadPeer { .. }), "{cause}");
    assert!(pair.world.machine(pair.ends[0]).peer().is_some(), "and connected again");
}
