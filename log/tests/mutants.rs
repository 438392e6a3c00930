//! Logs that violate one guarantee each: the scenarios detect every one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_log::conformance::{self, Fixture, Report};
use bowline_log::memory::{MemoryConfig, MemoryLog};
use bowline_log::{
    Appended, Bounds, Capabilities, Follow, Limit, Log, Page, Park, ReadError, Record, Waiter,
};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mutation {
    /// None: the scenarios find nothing.
    None,
    /// The next position of a page is too large by one: the next record is left out.
    NextTooFar,
    /// A page begins again at the last record of the one before: that record comes twice.
    NextTooNear,
    /// Records of an append are stored in the opposite order.
    Reversed,
    /// A read of trimmed records begins silently at the first remaining one.
    TrimmedInSilence,
    /// A read after the end waits, or returns nothing, and does not report that the log ends before.
    TruncatedInSilence,
    /// A read that waits is not woken by appends.
    NotWoken,
    /// An id does not prevent a record from being stored twice.
    IdsForgotten,
    /// Every 7th append is reported as done, and is not.
    AppendLost,
    /// Every 7th append is stored twice.
    AppendTwice,
    /// The byte limit of a page is not kept.
    BytesUnbounded,
    /// Empty records are left out of pages.
    EmptyLeftOut,
    /// An append that was created, and never polled, appends.
    EagerAppend,
    /// A batch is stored in two parts, between which others' records may come.
    BatchInParts,
    /// Reported positions are too small by one.
    PositionsOff,
    /// Headers are not stored, although they are supported.
    HeadersLost,
    /// A record that cannot be appended because the log is unreachable is reported as appended.
    ToldWhileAway,
}

#[derive(Clone, Debug)]
struct Mutant {
    log: MemoryLog,
    mutation: Mutation,
    appends: Arc<AtomicU32>,
}

impl Mutant {
    fn append_now(&self, records: Vec<Record>) -> Appended<u64> {
        Park.wait(self.log.append(records))
    }

    fn is_seventh(&self) -> bool {
        self.appends.fetch_add(1, Ordering::Relaxed) % 7 == 6
    }
}

/// Lets other futures run once.
async fn turn() {
    struct Turn(bool);
    impl Future for Turn {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Turn(false).await;
}

impl Log for Mutant {
    type Position = u64;
    type Follow = Follow<Self>;

    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn append(&self, mut records: Vec<Record>) -> impl Future<Output = Appended<u64>> + Send {
        let eager = (self.mutation == Mutation::EagerAppend).then(|| self.append_now(records.clone()));
        async move {
            if let Some(appended) = eager {
                return appended;
            }
            match self.mutation {
                Mutation::Reversed => records.reverse(),
                Mutation::IdsForgotten => records.iter_mut().for_each(|record| record.id = None),
                Mutation::HeadersLost => records.iter_mut().for_each(|record| record.headers.clear()),
                Mutation::BatchInParts if records.len() > 1 => {
                    let rest = records.split_off(records.len() / 2);
                    let mut outcomes = self.append_now(records).into_outcomes();
                    turn().await;
                    outcomes.extend(self.append_now(rest).into_outcomes());
                    return Appended::new(outcomes);
                }
                Mutation::AppendLost if self.is_seventh() => {
                    let end = self.log.bounds().await.map_or(0, |bounds| bounds.end);
                    return Appended::new((end..).take(records.len()).map(Ok).collect());
                }
                Mutation::AppendTwice if self.is_seventh() => drop(self.append_now(records.clone())),
                _ => {}
            }
            let count = records.len() as u64;
            let appended = self.append_now(records);
            if self.mutation == Mutation::ToldWhileAway && appended.outcomes().iter().any(Result::is_err) {
                return Appended::new((0..count).map(Ok).collect());
            }
            if self.mutation == Mutation::PositionsOff {
                let outcomes = appended.into_outcomes().into_iter();
                return Appended::new(
                    outcomes.map(|o| o.map(|position| position.saturating_sub(1))).collect(),
                );
            }
            appended
        }
    }

    async fn read(
        &self,
        mut from: u64,
        mut limit: Limit,
        mut wait: Duration,
    ) -> Result<Page<u64>, ReadError<u64>> {
        match self.mutation {
            Mutation::TrimmedInSilence => from = from.max(self.log.bounds().await?.first),
            Mutation::TruncatedInSilence if from > self.log.bounds().await?.end => {
                return Ok(Page::new(Vec::new(), from));
            }
            // If it is not woken, it ends after its time without records; that time is shortened here.
            Mutation::NotWoken if !wait.is_zero() => {
                let page = self.log.read(from, limit, Duration::ZERO).await?;
                if page.entries.is_empty() {
                    wait = wait.min(Duration::from_millis(1));
                    let none = Log::read(&MemoryLog::new(), 0, limit, wait).await;
                    return none.map(|_| page);
                }
                return Ok(page);
            }
            Mutation::BytesUnbounded => limit = limit.bytes(usize::MAX),
            _ => {}
        }
        let mut page = self.log.read(from, limit, wait).await?;
        match self.mutation {
            Mutation::NextTooFar if page.entries.len() > 1 => page.next += 1,
            Mutation::NextTooNear if page.entries.len() > 1 => page.next -= 1,
            Mutation::EmptyLeftOut => page.entries.retain(|entry| !entry.record.body.is_empty()),
            _ => {}
        }
        Ok(page)
    }

    fn bounds(&self) -> impl Future<Output = Result<Bounds<u64>, ReadError<u64>>> + Send {
        self.log.bounds()
    }

    fn follow(&self, from: u64) -> Follow<Self> {
        Follow::new(self.clone(), from)
    }
}

impl Fixture for Mutation {
    type Log = Mutant;

    async fn fresh(&self) -> Mutant {
        let mut config = MemoryConfig::default();
        config.max_record = 1 << 16;
        Mutant { log: MemoryLog::with(config), mutation: *self, appends: Arc::default() }
    }

    async fn trim(&self, log: &Mutant, to: u64) -> bool {
        log.log.trim(to);
        true
    }

    async fn delete(&self, log: &Mutant, position: u64) -> bool {
        log.log.delete(position)
    }

    async fn restart(&self, log: &Mutant) -> bool {
        log.log.set_reachable(false);
        for _ in 0..3 {
            turn().await;
        }
        log.log.set_reachable(true);
        true
    }
}

fn run(mutation: Mutation) -> Report {
    Park.wait(conformance::all(&mutation))
}

#[test]
fn the_log_itself_is_whole() {
    let report = run(Mutation::None);
    assert!(report.violations().next().is_none(), "{report}");
}

/// One test for each mutation: the named scenario has to detect it.
macro_rules! mutants {
    ($($test:ident: $mutation:ident, $scenario:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let mutation = Mutation::$mutation;
                let found = Park.wait(conformance::$scenario(&mutation));
                assert!(found.is_err(), "{} does not find {mutation:?}: {found:?}", stringify!($scenario));
            }
        )*
    };
}

mutants! {
    a_record_left_out: NextTooFar, order;
    a_record_read_twice: NextTooNear, order;
    records_in_the_opposite_order: Reversed, order;
    trimmed_records_passed_over: TrimmedInSilence, trimmed;
    trimmed_records_passed_over_by_a_stream: TrimmedInSilence, trimmed_while_following;
    nothing_said_behind_the_end: TruncatedInSilence, behind_the_end;
    a_reader_not_woken: NotWoken, long_poll;
    ids_forgotten: IdsForgotten, deduplication;
    an_append_lost: AppendLost, concurrent_appenders;
    an_append_stored_twice: AppendTwice, concurrent_appenders;
    pages_too_large: BytesUnbounded, limits;
    empty_records_left_out: EmptyLeftOut, empty_records;
    an_append_that_was_never_polled: EagerAppend, cancelled_appends;
    a_batch_in_parts: BatchInParts, concurrent_appenders;
    positions_off_by_one: PositionsOff, order;
    headers_lost: HeadersLost, headers;
    told_while_away: ToldWhileAway, restarts;
    lost_between_restarts: AppendLost, restarts;
    twice_between_restarts: AppendTwice, restarts;
}
