use std::sync::Weak as StdWeak;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bowline_core::config::{AcceptLimits, Config, HANDSHAKE_COST};
use bowline_core::frame::native::Native;
use bowline_core::link::{Event, Link, Reader, Role};
use bowline_core::machine::{Machine as _, Next};
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

/// Exchanges the bytes of both ends until neither has more.
fn shake_hands(ours: &Shared<Machine>, theirs: &Shared<Machine>) {
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
            bufs[to].spare()[..bytes.len()].copy_from_slice(&bytes);
            bufs[to].filled(bytes.len());
            batch.wrote(bytes.len());
            ends[from].with(|link| link.end_write(now, batch));
        }
        ends[to].with(|link| {
            let (mut access, buf, reader) = (&mut *link, &mut bufs[to], &mut readers[to]);
            Machine::begin_input(reader, &mut access, now, 0);
            while let Ok(Next::Event(_)) = Machine::next_event(reader, &mut access, now, buf) {}
            Machine::end_input(reader, &mut access, now, buf);
        });
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
