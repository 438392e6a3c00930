//! The end of a connection: which work continues until the peer closes its side.

use std::time::{Duration, Instant as StdInstant};

use bowline_core::address::Address;
use bowline_core::config::Config;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallId, CallOptions, CastOptions, Event, Link, Reader, Role};
use std::io::IoSlice;

use super::*;
use crate::PeerId;
use crate::layered::Layered;
use crate::layered::tests::toy::{GREETING, Toy};
use crate::memory::ServerMemory;
use crate::runtime::Wire;
use crate::shared::LazyGuard;
use crate::soft_socket::SoftSocket;
use crate::{Flow, inproc};

type Linked = Link<Native, Waker>;

mod gathering;

const S: Duration = Duration::from_secs(1);

struct Nobody;

impl<F: Framing> Application<Link<F, Waker>> for Nobody {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Link<F, Waker>>>, _: Epoch, _: Option<Address>) {}

    fn event(
        &self,
        (): &mut (),
        _: &mut Reader<F>,
        _: &mut LazyGuard<'_, Link<F, Waker>>,
        _: Event<'_>,
    ) -> Result<Flow, Disconnect> {
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), _: &Disconnect) {}
}

/// Never fires: the test polls.
struct NoTimer;

impl Timer for NoTimer {
    fn reset(&mut self, _: StdInstant) {}

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

fn poll<S: Socket>(pump: &mut Pump<Linked, Nobody, S>) -> Poll<Disconnect> {
    pump.poll(&mut Context::from_waker(Waker::noop()), &mut Alarm::new(NoTimer))
}

/// A connection whose peer sent go-away and does not end it, although this side has ended its direction.
fn lingering() -> (Arc<Shared<Linked>>, Pump<Linked, Nobody, SoftSocket>, inproc::Stream) {
    clock::simulated::stop();
    let (ours, theirs) = inproc::pair(Address::Inproc("pump".into()));
    let shared = Arc::new(Shared::new(Link::new(Config::default(), Role::Dialing)));
    let mut pump = Pump::new(&shared, &Arc::new(Nobody), SoftSocket::Memory(ours), Epoch::FIRST);
    let mut peer: Linked = Link::new(Config::default(), Role::Accepting);
    let mut reader = peer.handle_connected(clock::now(), Epoch::FIRST);
    let mut buf = RecvBuf::new();
    for round in 0..3 {
        assert!(poll(&mut pump).is_pending());
        let n = theirs.read_now(buf.spare()).unwrap_or(0);
        buf.filled(n);
        let mut access = &mut peer;
        Link::begin_input(&mut reader, &mut access, clock::now(), n);
        while let Ok(bowline_core::machine::Next::Event(_)) =
            Link::next_event(&mut reader, &mut access, clock::now(), &mut buf)
        {}
        Link::end_input(&mut reader, &mut access, clock::now(), &mut buf);
        if round == 1 {
            peer.close(clock::now(), 60 * S);
        }
        while let Some(mut batch) = peer.begin_write(clock::now()) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let filled = batch.slices(&mut slices);
                let slices = slices.map(IoSlice::new);
                let wrote = theirs.write_now(&slices[..filled]).expect("room");
                batch.wrote(wrote);
            }
            let _more = peer.end_write(clock::now(), batch);
        }
    }
    assert!(poll(&mut pump).is_pending());
    assert!(pump.lingering.is_some());
    (shared, pump, theirs)
}

#[test]
fn deadlines_pass_while_the_peers_end_is_waited_for() {
    let (shared, mut pump, _theirs) = lingering();
    let options = CallOptions::new(1).timeout(2 * S);
    let call = |link: &mut Linked| {
        link.call(clock::now(), &options, b"next time".as_slice().into(), Waker::noop().clone())
    };
    let call: CallId = shared.with(call).expect("it waits for the next connection");
    let reply = || shared.with(|link| link.poll_reply(call, || Waker::noop().clone()));
    for _ in 0..2 {
        assert!(poll(&mut pump).is_pending(), "its own time is not over");
        assert!(reply().is_none());
        clock::simulated::pass(S);
    }
    assert!(poll(&mut pump).is_pending(), "its own time is not over");
    let result = reply();
    assert!(matches!(result, Some(Err(_))), "{result:?}");
}

#[test]
fn who_has_no_more_patience_waits_no_longer_for_the_peers_end() {
    for (abort, sends) in [(false, false), (true, false), (false, true)] {
        let (shared, mut pump, theirs) = lingering();
        if sends {
            theirs.write_now(&[IoSlice::new(&[0; 2 * DISCARD])]).expect("room");
        }
        shared.with(|link| match abort {
            true => Machine::abort(link, clock::now(), Disconnect::LocalClose),
            false => link.close(clock::now(), Duration::ZERO),
        });
        assert!(poll(&mut pump).is_ready(), "abort: {abort}");
    }
}

/// What a layer holds of a connection counts in the server's memory: what came and is not decoded, and what
/// the peer does not read.
#[test]
fn what_a_layer_holds_counts_in_the_servers_memory() {
    let memory = ServerMemory::new(1 << 20, S);
    let (ours, theirs) = inproc::pair(Address::Inproc("pump".into()));
    let shared = Arc::new(Shared::new(Link::new(Config::default(), Role::Accepting)));
    memory.count(PeerId(1), &shared, None);
    let socket = Layered::with(SoftSocket::Memory(ours), Box::<Toy>::default());
    let mut pump = Pump::new(&shared, &Arc::new(Nobody), socket, Epoch::FIRST);
    assert!(poll(&mut pump).is_pending());
    // The peer's record of 60,000 bytes does not end.
    theirs.write_now(&[IoSlice::new(&[GREETING])]).expect("room");
    theirs.write_now(&[IoSlice::new(&60_000_u16.to_be_bytes())]).expect("room");
    assert!(poll(&mut pump).is_pending());
    assert_eq!(memory.held(), 0, "little does not count");
    for _ in 0..5 {
        theirs.write_now(&[IoSlice::new(&[!7; 10_000])]).expect("room");
        assert!(poll(&mut pump).is_pending());
    }
    let held = shared.look(|link| link.holding().bytes);
    assert!(held >= 50_000 && memory.held() >= 50_000, "{held}, {}", memory.held());
    drop(theirs);
    assert!(poll(&mut pump).is_ready());
    assert!(shared.look(|link| link.holding().bytes) < 1_000, "events");
    memory.leave(PeerId(1), None);
    assert_eq!(memory.held(), 0);
}

#[test]
fn what_the_peer_does_not_read_counts_although_the_layer_has_it() {
    let (ours, theirs) = inproc::pair(Address::Inproc("pump".into()));
    let mut ends = [(ours, Role::Accepting), (theirs, Role::Dialing)].map(|(stream, role)| {
        let shared = Arc::new(Shared::new(Link::new(Config::default(), role)));
        let socket = Layered::with(SoftSocket::Memory(stream), Box::<Toy>::default());
        let pump = Pump::new(&shared, &Arc::new(Nobody), socket, Epoch::FIRST);
        (shared, pump)
    });
    for _ in 0..5 {
        ends.iter_mut().for_each(|(_, pump)| assert!(poll(pump).is_pending()));
    }
    let [(shared, pump), (_, peer)] = &mut ends;
    assert!(shared.look(|link| link.is_ready()) && pump.held_below == 0);
    let before = shared.look(|link| link.holding().bytes);
    let options = CastOptions::new(1);
    for _ in 0..20 {
        let cast = shared.with(|link| link.cast(clock::now(), &options, (&[7; 10_000]).into()));
        let _queued = cast.expect("room");
    }
    assert!(poll(pump).is_pending());
    let held = pump.held_below as usize;
    assert!(held > 10_000 && held == pump.connection.socket.held(), "{held}");
    let waits = shared.look(|link| link.holding().bytes) - before;
    // Each byte counts where it is: in the link until its record has left, and in the layer.
    assert!(waits > held, "{waits}, {held}");
    for _ in 0..50 {
        assert!(poll(peer).is_pending() && poll(pump).is_pending());
    }
    assert_eq!(pump.held_below, 0);
}
