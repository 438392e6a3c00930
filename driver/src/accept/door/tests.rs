use std::sync::Weak as StdWeak;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bowline_core::config::{AcceptLimits, Config, HANDSHAKE_COST};
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, Event, Inbound, Link, Reader, Role};
use bowline_core::machine::{Access as _, Machine as _, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;

use super::*;
use crate::shared::{LazyGuard, Shared};
use crate::{Application, Flow};

type Machine = Link<Native, Waker>;

/// A message of its connection is being handled for as long as the machine keeps the given values.
#[derive(Default)]
struct Busy(Mutex<Vec<Box<dyn Send>>>);

impl Application<Machine> for Busy {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Machine>>, _: Epoch, _: Option<Address>) {}

    fn event(
        &self,
        (): &mut (),
        _: &mut Reader<Native>,
        _: &mut LazyGuard<'_, Machine>,
        _: Event<'_>,
    ) -> Result<Flow, Disconnect> {
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), _: &Disconnect) {}

    fn is_busy(&self) -> bool {
        true
    }

    fn keep(&self, what: Box<dyn Send>) {
        self.0.lock().push(what);
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    gone: AtomicUsize,
    unfinished: AtomicUsize,
    /// A shutdown begins while a connection is being accepted.
    interrupts: Mutex<StdWeak<Door<Self>>>,
}

impl Service for Counts {
    type Machine = Machine;
    type App = Busy;
    type Peer = Arc<Shared<Machine>>;

    fn shared(peer: &Self::Peer) -> &Arc<Shared<Machine>> {
        peer
    }

    fn accept(&self) -> Accepted<Self> {
        self.accepted.fetch_add(1, Relaxed);
        if let Some(door) = self.interrupts.lock().upgrade() {
            door.begin_shutdown(Duration::ZERO);
        }
        let peer = Arc::new(Shared::new(Link::new(Config::default(), Role::Accepting)));
        Accepted { id: PeerId::unique(), peer, app: Arc::default(), has_handshake: true }
    }

    fn gone(&self, _: PeerId, _: &Self::Peer, _: bool) {
        self.gone.fetch_add(1, Relaxed);
    }

    fn unfinished(&self, _: PeerId, _: &Self::Peer) {
        self.unfinished.fetch_add(1, Relaxed);
    }
}

fn door() -> Arc<Door<Counts>> {
    Door::new(Gate::new(AcceptLimits::default(), Duration::from_secs(60)), Counts::default())
}

fn count(of: &AtomicUsize) -> usize {
    of.load(Relaxed)
}

#[test]
fn what_was_accepted_is_gone_once_whenever_the_shutdown_begins() {
    let door = door();
    let inside = door.enter();
    *door.service().interrupts.lock() = Arc::downgrade(&door);
    assert!(door.enter().is_none(), "the shutdown began while it was accepted");
    assert!(door.enter().is_none(), "and before this one");
    let service = door.service();
    assert_eq!((count(&service.accepted), count(&service.gone)), (2, 1));
    drop(inside);
    assert_eq!((count(&service.accepted), count(&service.gone)), (2, 2));
}

#[test]
fn who_waits_for_the_next_connection_has_no_handshake() {
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = HANDSHAKE_COST;
    let door = Door::new(Gate::new(limits, Duration::from_secs(60)), Counts::default());
    let (mut first, _app) = door.enter().expect("open");
    first.note_driven();
    first.note_disconnected();
    let second = door.enter().expect("open");
    assert_eq!(door.gate().counters().evicted, 0);
    let third = door.enter().expect("open");
    assert_eq!(door.gate().counters().evicted, 1, "the second one is in its handshake");
    drop((first, second, third));
}

/// Exchanges the bytes of both ends until neither has more. Returns the requests whose handlers run.
fn shake_hands(ours: &Shared<Machine>, theirs: &Shared<Machine>) -> Vec<Inbound> {
    let mut handled = Vec::new();
    let now = clock::now();
    let ends = [ours, theirs];
    let mut readers = ends.map(|end| end.with(|link| link.handle_connected(now, Epoch::FIRST)));
    let mut bufs = [RecvBuf::new(), RecvBuf::new()];
    for turn in 0..20 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        while let Some(mut batch) = ends[from].with(|link| link.begin_write(now)) {
            let mut slices = [&[][..]; 4];
            let filled = batch.slices(&mut slices);
            let bytes = slices[..filled].concat();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let room = bufs[to].spare();
                let n = room.len().min(rest.len());
                room[..n].copy_from_slice(&rest[..n]);
                bufs[to].filled(n);
                rest = &rest[n..];
            }
            batch.wrote(bytes.len());
            ends[from].with(|link| link.end_write(now, batch));
        }
        ends[to].with(|link| {
            let (mut access, buf, reader) = (&mut *link, &mut bufs[to], &mut readers[to]);
            Machine::begin_input(reader, &mut access, now, 0);
            while let Ok(Next::Event(event)) = Machine::next_event(reader, &mut access, now, buf) {
                if let Event::Request(request) = event {
                    handled.extend(access.machine().open_inbound(now, &request).expect("a sound request"));
                }
            }
            Machine::end_input(reader, &mut access, now, buf);
        });
    }
    handled
}

/// What handlers hold of a connection that ended stays counted, and the connection keeps its place, until
/// they end. That is so whether the connection ended by itself, or to make room.
#[test]
fn who_is_gone_keeps_its_place_while_its_requests_are_handled() {
    for is_closed in [false, true] {
        let door = door();
        let (mut inside, app) = door.enter().expect("open");
        inside.keep(door.admit(&Address::Inproc("x".into())).expect("room"));
        let (peer, client) =
            (Arc::clone(inside.peer()), Shared::new(Link::new(Config::default(), Role::Dialing)));
        for _ in 0..2 {
            let body = vec![7; 12_000];
            client
                .with(|link| {
                    link.call(clock::now(), &CallOptions::new(1), body.into(), Waker::noop().clone())
                })
                .expect("room");
        }
        let handled = shake_hands(&peer, &client);
        assert_eq!(handled.len(), 2);
        let memory = door.gate().memory();
        assert!(memory.held() >= 24_000, "{}", memory.held());
        if is_closed {
            // The error that closes the largest holder.
            let left = peer.with(|link| link.close_for_memory(clock::now(), 24_000, 1));
            assert!(left >= 24_000, "{left}");
        }
        peer.with(|link| link.handle_disconnected(clock::now(), None, Disconnect::PeerClosed));
        drop(inside);
        assert_eq!(door.gate().open(), 1, "a callback is still to be made");
        app.0.lock().clear();
        assert_eq!(door.gate().open(), 1, "is_closed: {is_closed}");
        let held = memory.held();
        assert!((24_000..26_000).contains(&held), "{held}");
        peer.with(|link| link.finish_inbound(handled[0]));
        assert!((12_000..14_000).contains(&memory.held()), "{}", memory.held());
        peer.with(|link| link.answer(handled[1], Ok(b"too late".into())));
        assert_eq!((memory.held(), door.gate().open()), (0, 0));
    }
}

#[test]
fn who_is_past_its_handshake_makes_no_room_even_before_that_was_noted() {
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = HANDSHAKE_COST;
    let door = Door::new(Gate::new(limits, Duration::from_secs(60)), Counts::default());
    let (first, _app) = door.enter().expect("open");
    shake_hands(first.peer(), &Shared::new(Link::new(Config::default(), Role::Dialing)));
    assert!(first.peer().look(|link| link.is_ready()));
    let second = door.enter().expect("open");
    assert_eq!(door.gate().counters().evicted, 0);
    assert!(first.peer().look(|link| link.is_ready() && link.poll_ending(clock::now()).is_none()));
    drop((first, second));
}

#[test]
fn what_is_unfinished_after_a_shutdown_is_reported_to_one_of_those_who_wait() {
    let door = door();
    let (inside, app) = door.enter().expect("open");
    door.begin_shutdown(Duration::ZERO);
    drop(inside);
    let later = clock::after(Duration::from_secs(1));
    assert_eq!(door.poll_stopped(later, Waker::noop()), Stopped::Yes(1));
    assert_eq!(door.poll_stopped(later, Waker::noop()), Stopped::Yes(0));
    assert_eq!(count(&door.service().unfinished), 1);
    drop(app);
}
