//! In steady state sockets allocate nothing for a message whose parts are short.

use std::collections::BTreeMap;

use bowline_core::body::{INLINE_BODY, Payload};
use bowline_core::machine::{Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_counting::{Counting, allocations};
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, Socket};
use bowline_zmtp::socket_type::SocketType;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Instant = Instant::ZERO;

/// A socket with one pipe.
struct End {
    socket: Socket,
    pipes: BTreeMap<PipeId, Pipe<()>>,
    pipe: PipeId,
    reader: Reader,
    buf: RecvBuf,
    message: Message,
}

impl End {
    fn new(kind: SocketType, role: Role) -> Self {
        let options = Options::new(kind).routing_id("me").build().expect("sound options");
        let mut socket = Socket::new(options.clone(), 1);
        let pipe = socket.add(role);
        let mut machine = Pipe::new(options, role);
        let reader = machine.handle_connected(NOW, Epoch::FIRST);
        let pipes = BTreeMap::from([(pipe, machine)]);
        Self { socket, pipes, pipe, reader, buf: RecvBuf::new(), message: Message::new() }
    }

    /// Passes the output of this end to the other. Returns whether there was any.
    fn write_to(&mut self, other: &mut Self) -> bool {
        let mut moved = false;
        while let Some(mut batch) = self.pipes.get_mut(&self.pipe).and_then(|pipe| pipe.begin_write(NOW)) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 1];
                batch.slices(&mut slices);
                let room = other.buf.spare();
                let n = room.len().min(slices[0].len());
                room[..n].copy_from_slice(&slices[0][..n]);
                other.buf.filled(n);
                batch.wrote(n);
                other.pass();
            }
            let _more = self.pipes.get_mut(&self.pipe).expect("a pipe").end_write(NOW, batch);
            moved = true;
        }
        moved
    }

    fn pass(&mut self) {
        let Self { socket, pipes, pipe: id, reader, buf, .. } = self;
        loop {
            let mut pipe = pipes.get_mut(id).expect("a pipe");
            match Pipe::next_event(reader, &mut pipe, NOW, buf).expect("good bytes") {
                Next::Event(PipeEvent::Authenticate(_)) => unreachable!("anybody is let in"),
                Next::Event(event) => socket.handle_event(pipes, *id, event),
                _ => return,
            }
        }
    }

    fn send(&mut self, parts: &[&[u8]]) {
        let mut payloads = [const { Payload::Borrowed(&[]) }; 3];
        payloads.iter_mut().zip(parts).for_each(|(payload, part)| *payload = Payload::Borrowed(part));
        self.socket.send(&mut self.pipes, &payloads[..parts.len()]).expect("there is room");
    }

    fn recv(&mut self) -> usize {
        self.socket.recv(&mut self.pipes, &mut self.message).map_or(0, |_| self.message.len())
    }
}

fn pair(one: SocketType, two: SocketType) -> [End; 2] {
    let [mut one, mut two] = [End::new(one, Role::Dialing), End::new(two, Role::Accepting)];
    while one.write_to(&mut two) | two.write_to(&mut one) {}
    assert!(!one.socket.targets().is_empty() && !two.socket.targets().is_empty());
    [one, two]
}

fn steady_allocations(mut round: impl FnMut()) -> u64 {
    (0..3).for_each(|_| round());
    let before = allocations();
    (0..20).for_each(|_| round());
    allocations() - before
}

const PART: &[u8] = &[7; INLINE_BODY];

#[test]
fn a_stream_of_messages_allocates_nothing() {
    let [mut push, mut pull] = pair(SocketType::Push, SocketType::Pull);
    let count = steady_allocations(|| {
        for _ in 0..100 {
            push.send(&[PART, b"", PART]);
        }
        push.write_to(&mut pull);
        for _ in 0..100 {
            assert_eq!(pull.recv(), 3);
        }
        assert_eq!(pull.recv(), 0);
    });
    assert_eq!(count, 0);
}

#[test]
fn requests_and_replies_allocate_nothing() {
    let [mut req, mut rep] = pair(SocketType::Req, SocketType::Rep);
    let count = steady_allocations(|| {
        req.send(&[PART, PART]);
        req.write_to(&mut rep);
        assert_eq!(rep.recv(), 2);
        rep.send(&[PART]);
        rep.write_to(&mut req);
        assert_eq!(req.recv(), 1);
    });
    assert_eq!(count, 0);
}

#[test]
fn messages_by_routing_id_allocate_nothing() {
    let [mut dealer, mut router] = pair(SocketType::Dealer, SocketType::Router);
    let count = steady_allocations(|| {
        for _ in 0..10 {
            dealer.send(&[PART]);
        }
        dealer.write_to(&mut router);
        for _ in 0..10 {
            assert_eq!(router.recv(), 2);
            router.send(&[b"me", PART]);
        }
        router.write_to(&mut dealer);
        for _ in 0..10 {
            assert_eq!(dealer.recv(), 1);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn published_messages_allocate_nothing() {
    let [mut publisher, mut sub] = pair(SocketType::Pub, SocketType::Sub);
    sub.socket.subscribe(&mut sub.pipes, &PART[..3]);
    sub.write_to(&mut publisher);
    let count = steady_allocations(|| {
        for _ in 0..10 {
            publisher.send(&[PART, PART]);
            publisher.send(&[b"unwanted"]);
        }
        publisher.write_to(&mut sub);
        for _ in 0..10 {
            assert_eq!(sub.recv(), 2);
        }
        assert_eq!(sub.recv(), 0);
    });
    assert_eq!(count, 0);
}
