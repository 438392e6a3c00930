//! The task that writes lets others run first, where the runtime would run it before them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use bowline_core::config::SocketOptions;
use bowline_core::frame::raw::Raw;

use super::*;
use crate::layered::Layered;
use crate::runtime::Wire;
use crate::shared::WriteNow;

/// A socket of a runtime that runs the task that was woken last before the others, or not.
struct Counted {
    inside: SoftSocket,
    runs_woken_first: bool,
    writes: Arc<AtomicUsize>,
}

impl WriteNow for Counted {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inside.write_now(slices)
    }
}

impl Wire for Counted {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.inside.read_now(buf)
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        self.inside.apply(options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.inside.shutdown_write()
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.inside.peer_addr()
    }
}

impl Socket for Counted {
    fn others_wait(&self) -> bool {
        true
    }

    fn runs_woken_first(&self) -> bool {
        self.runs_woken_first
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inside.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inside.poll_writable(cx)
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two tasks cast, each after it was scheduled in the order of the runtime. The number of writes.
fn writes_of_two_casts(runs_woken_first: bool) -> usize {
    let (ours, theirs) = inproc::pair(Address::Inproc("gathering".into()));
    let writes = Arc::new(AtomicUsize::new(0));
    let socket = Counted { inside: SoftSocket::Memory(ours), runs_woken_first, writes: Arc::clone(&writes) };
    let config = Config::with_framing(Raw::new()).build().expect("sound");
    let shared = Arc::new(Shared::new(Link::new(config, Role::Dialing)));
    // As dialed and accepted sockets are.
    let socket = Layered::plain(socket);
    let mut pump = Pump::new(&shared, &Arc::new(Nobody), socket, Epoch::FIRST);
    let wakes = std::sync::Arc::new(Wakes::default());
    let waker = Waker::from(std::sync::Arc::clone(&wakes));
    let mut poll = || {
        let before = wakes.0.load(Ordering::Relaxed);
        let polled = pump.poll(&mut Context::from_waker(&waker), &mut Alarm::new(NoTimer));
        assert!(polled.is_pending());
        // It is queued again.
        wakes.0.load(Ordering::Relaxed) > before
    };
    let cast = |text: &str| {
        shared.with(|link: &mut Link<Raw, Waker>| {
            let _ = link.cast(clock::now(), &0.into(), text.as_bytes().into()).expect("there is room");
        });
    };
    assert!(!poll(), "it sleeps");
    // The first task casts: the one that writes is woken, and runs before the second task.
    cast("the first, ");
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let is_queued = poll();
    assert_eq!(is_queued, runs_woken_first);
    cast("the second");
    assert!(!poll(), "it sleeps again, and does not go to the end of the queue twice");
    let mut room = [0; 64];
    let mut text = Vec::new();
    while let Ok(count @ 1..) = theirs.read_now(&mut room) {
        text.extend_from_slice(&room[..count]);
    }
    assert_eq!(text, b"the first, the second");
    writes.load(Ordering::Relaxed)
}

#[test]
fn where_a_woken_task_runs_first_it_goes_to_the_end_of_the_queue_once() {
    assert_eq!(writes_of_two_casts(true), 1);
    assert_eq!(writes_of_two_casts(false), 2);
}

#[test]
fn a_layer_passes_on_what_its_socket_says_of_the_runtime() {
    let (ours, _theirs) = inproc::pair(Address::Inproc("told".into()));
    let (inside, writes) = (SoftSocket::Memory(ours), Arc::default());
    let layered = Layered::plain(Counted { inside, runs_woken_first: true, writes });
    assert!(layered.runs_woken_first());
    assert!(layered.others_wait());
}
