//! The end of a connection: which work continues until the peer closes its side.

use std::time::{Duration, Instant as StdInstant};

use bowline_core::address::Address;
use bowline_core::config::Config;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallId, CallOptions, Event, Link, Reader, Role};
use std::io::IoSlice;

use super::*;
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

fn poll(pump: &mut Pump<Linked, Nobody, SoftSocket>) -> Poll<Disconnect> {
    pump.poll(&mut Context::from_waker(Waker::noop()), &mut Alarm::new(NoTimer))
}

/// A connection whose peer sent go-away and does not end it, although this side has ended its direction.
fn lingering() -> (Arc<Shared<Linked>>, Pump<Linked, Nobody, SoftSocket>, inproc::Stream) {
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
    let options = CallOptions::new(1).timeout(Duration::from_millis(20));
    let call = |link: &mut Linked| {
        link.call(clock::now(), &options, b"next time".as_slice().into(), Waker::noop().clone())
    };
    let call: CallId = shared.with(call).expect("it waits for the next connection");
    assert!(poll(&mut pump).is_pending());
    std::thread::sleep(Duration::from_millis(20));
    assert!(poll(&mut pump).is_pending(), "its own time is not over");
    let result = shared.with(|link| link.poll_reply(call, || Waker::noop().clone()));
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
