//! A socket as its reactor sees it: its readiness, and the tasks that wait for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Poll, Waker};

use bowline_driver::sync::Mutex;
use mio::event::Event;

const READ: u8 = 1;
const WRITE: u8 = 2;
/// Either side of the socket ended: reading, or writing, always returns something.
const READ_ENDED: u8 = 4;
const WRITE_ENDED: u8 = 8;

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    fn bits(self) -> u8 {
        match self {
            Self::In => READ | READ_ENDED,
            Self::Out => WRITE | WRITE_ENDED,
        }
    }

    fn clearable(self) -> u8 {
        match self {
            Self::In => READ,
            Self::Out => WRITE,
        }
    }
}

/// The readiness that the system reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready(u8);

impl Ready {
    pub(super) fn of(event: &Event) -> Self {
        let mut ready = 0;
        if event.is_readable() {
            ready |= READ;
        }
        if event.is_writable() {
            ready |= WRITE;
        }
        if event.is_read_closed() || event.is_error() {
            ready |= READ_ENDED;
        }
        if event.is_write_closed() || event.is_error() {
            ready |= WRITE_ENDED;
        }
        Self(ready)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Source {
    ready: AtomicU8,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Source {
    /// The system reported readiness: wakes the tasks that wait for it.
    pub(super) fn set(&self, Ready(ready): Ready) {
        self.ready.fetch_or(ready, Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        let reader = if ready & Way::In.bits() == 0 { None } else { waiting.reader.take() };
        let writer = if ready & Way::Out.bits() == 0 { None } else { waiting.writer.take() };
        drop(waiting);
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// A read, or write, is about to be tried: later reports count.
    pub(crate) fn clear(&self, way: Way) {
        self.ready.fetch_and(!way.clearable(), Ordering::AcqRel);
    }

    /// There may be more. Wakes no task: the caller is the task that would be woken.
    pub(crate) fn set_ready(&self, way: Way) {
        self.ready.fetch_or(way.clearable(), Ordering::AcqRel);
    }

    fn is_ready(&self, way: Way) -> bool {
        self.ready.load(Ordering::Acquire) & way.bits() != 0
    }

    /// Ready when an attempt may succeed; otherwise the waker is kept for when it may.
    pub(crate) fn poll(&self, way: Way, waker: &Waker) -> Poll<()> {
        if self.is_ready(way) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        let slot = match way {
            Way::In => &mut waiting.reader,
            Way::Out => &mut waiting.writer,
        };
        match slot {
            Some(kept) => kept.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
        // A report since the check above found no waker here.
        if self.is_ready(way) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_direction_wakes_its_own() {
        let source = Source::default();
        let (reads, writes) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let [reader, writer] = [Waker::from(Arc::clone(&reads)), Waker::from(Arc::clone(&writes))];
        assert!(source.poll(Way::In, &reader).is_pending());
        assert!(source.poll(Way::Out, &writer).is_pending());
        source.set(Ready(WRITE));
        assert_eq!((reads.0.load(Ordering::Relaxed), writes.0.load(Ordering::Relaxed)), (0, 1));
        assert!(source.poll(Way::Out, &writer).is_ready());
        source.clear(Way::Out);
        assert!(source.poll(Way::Out, &writer).is_pending());
        source.set(Ready(READ));
        assert_eq!(reads.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_stream_that_ended_stays_readable() {
        let source = Source::default();
        source.set(Ready(READ | READ_ENDED));
        source.clear(Way::In);
        assert!(source.poll(Way::In, Waker::noop()).is_ready());
    }
}
