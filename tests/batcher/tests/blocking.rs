//! Batchers over sinks with blocking appends, on all runtimes.

mod world;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bowline_core::batcher::{Failed, Retries, SendError};
use bowline_core::time::Instant;
use bowline_links::batcher::{Batcher, Blocking, BlockingSink};

use world::{MS, World, done, on_all_runtimes, until};

/// Numbers, each append of which waits until the test lets it go.
struct Numbers {
    kept: Arc<Mutex<Vec<u32>>>,
    /// Taken before each append.
    permits: Mutex<Receiver<()>>,
}

impl BlockingSink for Numbers {
    type Message = u32;
    type Position = usize;
    type Error = &'static str;

    fn size(&self, _: &u32) -> usize {
        4
    }

    fn append(&self, numbers: &[u32], _: Instant) -> Vec<Result<usize, Failed<&'static str>>> {
        let permit = self.permits.lock().expect("no panic").recv();
        permit.expect("the test is there");
        assert!(!numbers.contains(&13), "a fault of the sink's");
        let mut kept = self.kept.lock().expect("no panic");
        let mut answers = Vec::new();
        for number in numbers {
            answers.push(match number {
                100.. => Err(Failed::not_appended("too large")),
                number => {
                    kept.push(*number);
                    Ok(kept.len() - 1)
                }
            });
        }
        // The last one of several is not answered.
        if answers.len() > 2 {
            answers.pop();
        }
        answers
    }
}

struct Bench<R: World> {
    batcher: Batcher<R, Blocking<Numbers>>,
    kept: Arc<Mutex<Vec<u32>>>,
    permits: Sender<()>,
}

fn bench<R: World>() -> Bench<R> {
    let (kept, (permits, taken)) = (Arc::default(), channel());
    let sink = Blocking::new(Numbers { kept: Arc::clone(&kept), permits: Mutex::new(taken) });
    let builder =
        Batcher::<R, _>::builder(sink.expect("a thread")).retries(Retries::Times(1)).name("numbers");
    let batcher = builder.close_within(20 * MS).open().expect("a runtime");
    Bench { batcher, kept, permits }
}

async fn the_thread_appends_while_the_next_batch_gathers<R: World>() {
    let Bench { batcher, kept, permits } = bench::<R>();
    let first = batcher.try_send(1_u32).expect("room");
    until("the first is under way", || batcher.pending() == (0, 1));
    // The thread waits, and the batcher does not.
    let others = [2_u32, 300, 4].map(|number| batcher.try_send(number).expect("room"));
    assert_eq!(batcher.pending(), (3, 1));
    permits.send(()).expect("the sink is there");
    assert_eq!(done::<R, _>(first.wait()).await, Ok(0));
    permits.send(()).expect("the sink is there");
    let mut results = Vec::new();
    for sending in others {
        results.push(done::<R, _>(sending.wait()).await);
    }
    let [Ok(1), Err(SendError::Failed("too large")), Err(SendError::MaybeAppended(None))] = results[..]
    else {
        panic!("{results:?}");
    };
    assert_eq!(*kept.lock().expect("no panic"), [1, 2, 4]);
}

async fn a_panic_of_the_sink_is_its_batchs_alone<R: World>() {
    let Bench { batcher, kept, permits } = bench::<R>();
    permits.send(()).expect("the sink is there");
    let sent = done::<R, _>(batcher.send(13_u32)).await;
    assert_eq!(sent, Err(SendError::MaybeAppended(None)));
    permits.send(()).expect("the sink is there");
    assert_eq!(done::<R, _>(batcher.send(7_u32)).await, Ok(0));
    assert_eq!(*kept.lock().expect("no panic"), [7]);
}

async fn a_close_does_not_wait_for_the_thread<R: World>() {
    let Bench { batcher, kept, permits } = bench::<R>();
    let first = batcher.try_send(1_u32).expect("room");
    until("it is under way", || batcher.pending() == (0, 1));
    done::<R, _>(batcher.close()).await;
    assert_eq!(done::<R, _>(first.wait()).await, Err(SendError::MaybeAppended(None)));
    // It continues, and ends with its sink.
    permits.send(()).expect("the sink is there");
    until("it was appended all the same", || *kept.lock().expect("no panic") == [1]);
    drop(batcher);
    until("the thread is gone", || permits.send(()).is_err());
}

on_all_runtimes! {
    the_thread_appends_while_the_next_batch_gathers
    a_panic_of_the_sink_is_its_batchs_alone
    a_close_does_not_wait_for_the_thread
}
