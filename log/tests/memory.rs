//! The log in memory passes every scenario.

use std::future::poll_fn;
use std::task::Poll;

use bowline_log::conformance::{self, Fixture};
use bowline_log::memory::{MemoryConfig, MemoryLog};
use bowline_log::{Log, Park, Waiter};

/// Lets the other futures of a scenario run.
async fn turn() {
    let mut turned = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut turned, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

struct Memory;

impl Fixture for Memory {
    type Log = MemoryLog;

    async fn fresh(&self) -> MemoryLog {
        let mut config = MemoryConfig::default();
        config.max_record = 1 << 16;
        MemoryLog::with(config)
    }

    async fn trim(&self, log: &MemoryLog, to: u64) -> bool {
        log.trim(to);
        true
    }

    async fn delete(&self, log: &MemoryLog, position: u64) -> bool {
        log.delete(position)
    }

    async fn restart(&self, log: &MemoryLog) -> bool {
        log.set_reachable(false);
        let refused = log.bounds().await.is_err();
        for _ in 0..3 {
            turn().await;
        }
        log.set_reachable(true);
        refused
    }

    async fn truncate(&self, log: &MemoryLog, end: u64) -> bool {
        log.truncate(end);
        true
    }
}

bowline_log::conformance_tests!(Memory, |scenario| Park.wait(scenario));

#[test]
fn nothing_is_skipped() {
    let report = Park.wait(conformance::all(&Memory));
    assert_eq!(report.skipped().collect::<Vec<_>>(), [], "{report}");
    assert!(report.violations().next().is_none(), "{report}");
}
