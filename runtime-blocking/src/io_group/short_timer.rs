//! Waiting for less than a millisecond: the system's call for sockets counts in milliseconds on Linux.

use std::time::Duration;

use mio::Registry;

/// A timer of the system that ends the wait for sockets early.
///
/// Made with its reactor, not when it is first needed: what a thread holds does not grow with time.
#[derive(Debug)]
pub(super) struct ShortTimer {
    /// `None`: the system refused one.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    timer: Option<std::os::fd::OwnedFd>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::*;

    /// Reports of this token concern no socket: they only end the wait.
    const TIMER: Token = Token(usize::MAX - 1);

    impl ShortTimer {
        pub(in super::super) fn new(registry: &Registry) -> Self {
            Self { timer: new_timer(registry).ok() }
        }

        /// Ends the next wait for sockets after that time, if it is shorter than a millisecond. If this fails, the wait
        /// ends at the end of the millisecond.
        pub(in super::super) fn set(&self, short: Duration) {
            if short.is_zero() || short >= Duration::from_millis(1) {
                return;
            }
            if let Some(timer) = &self.timer {
                let none = Timespec { tv_sec: 0, tv_nsec: 0 };
                let after = Timespec { tv_nsec: i64::from(short.subsec_nanos()) as _, ..none };
                let once = Itimerspec { it_interval: none, it_value: after };
                // Setting it again also takes back a report that was not read.
                let _ = timerfd_settime(timer, TimerfdTimerFlags::empty(), &once);
            }
        }
    }

    fn new_timer(registry: &Registry) -> io::Result<OwnedFd> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(timer)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl ShortTimer {
    pub(super) fn new(_: &Registry) -> Self {
        Self {}
    }

    /// The system's own wait is as precise as this.
    pub(super) fn set(&self, _: Duration) {}
}
