//! In steady state a message or request for an ordinary handler that is ready at once allocates nothing, on either side.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::error::{CallError, Status};
use bowline::links::{Client, Server};
use bowline_counting::{Counting, all_allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls under way at a time.
const AT_ONCE: u64 = 100;

/// A runtime.
struct On {
    name: &'static str,
    address: &'static str,
    /// One message may cost the runtime this many allocations, in hundredths.
    each: u64,
}

/// A message costs `each` allocations, and what it costs the runtime: in one of many batches at least, because the
/// runtimes' own depend on how often their threads sleep. `batch` moves a number of messages.
async fn assert_each(on: &On, what: &str, each: u64, mut batch: impl AsyncFnMut(u64)) {
    let messages = 1_000;
    let most = (each * 100 + on.each) * messages / 100 + AT_ONCE + 10;
    let mut fewest = u64::MAX;
    for _ in 0..500 {
        let before = all_allocations();
        batch(messages).await;
        fewest = fewest.min(all_allocations() - before);
        if fewest <= most {
            break;
        }
    }
    println!("{}, {what}: {fewest} allocations for {messages}", on.name);
    assert!(fewest <= most, "{}, {what}: {fewest} allocations for {messages}", on.name);
}

/// So many calls, some of them under way at a time, so that an event of the runtime is one of many calls.
async fn calls(client: &Client<impl Runtime<Style = Awaits>>, method: u32, body: &[u8], calls: u64) {
    let mut callers: Vec<_> = (0..AT_ONCE.min(calls))
        .map(|caller| {
            let calls = (caller..calls).step_by(AT_ONCE as usize);
            Box::pin(async move {
                for _ in calls {
                    let reply = client.call(method, body).await.expect("it answers");
                    assert_eq!(reply.len(), body.len());
                }
            })
        })
        .collect();
    poll_fn(|cx| {
        callers.retain_mut(|caller| caller.as_mut().poll(cx).is_pending());
        if callers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn handlers_allocate_nothing<R: Runtime<Style = Awaits>>(on: On) {
    futures_keep_their_blocks::<R>().await;
    let heard = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&heard);
    let server = Server::<R>::builder()
        .on_message(move |_, message| {
            let counts = Arc::clone(&counts);
            async move {
                counts.fetch_add(message.body.len() as u64, Ordering::Relaxed);
            }
        })
        .on_request(|request| async move {
            match request.method() {
                1 => Ok(request.into_body().into()),
                2 => Ok(bowline::Answer::from(&[7; 200])),
                _ => Ok(bowline::Answer::from(request.body().to_vec())),
            }
        })
        .bind(on.address)
        .await
        .expect("free");
    server.start().expect("it runs");
    let client = Client::<R>::connect(&server.local_addr().to_string()).await.expect("it listens");
    let (short, long) = ([7; 100], [7; 200]);
    // The client may know before the server's task that the handshake is over.
    memory_is(&server, "a handshake that is over holds nothing", |held| held == 0).await;
    calls(&client, 1, &short, 1).await;
    memory_is(&server, "a block for futures is counted", |held| (1..=2_048).contains(&held)).await;
    assert_each(&on, "echo", 0, async |n| calls(&client, 1, &short, n).await).await;
    assert_each(&on, "static", 0, async |n| calls(&client, 2, &long, n).await).await;
    // A vector is the program's own allocation.
    assert_each(&on, "vector", 1, async |n| calls(&client, 3, &short, n).await).await;
    assert_each(&on, "messages", 0, async |n| {
        let aim = heard.load(Ordering::Relaxed) + n * short.len() as u64;
        for _ in 0..n {
            let _queued = client.cast(1, &short).await.expect("connected");
        }
        while heard.load(Ordering::Relaxed) < aim {
            calls(&client, 2, &long, 1).await;
        }
    })
    .await;
    client.close().await;
    memory_is(&server, "blocks are freed with the last connection", |held| held == 0).await;
    server.shutdown().await;
}

/// Lets other tasks run until the server's memory is so, for a while.
async fn memory_is<R: Runtime>(server: &Server<R>, what: &str, is_so: impl Fn(usize) -> bool) {
    let begun = Instant::now();
    poll_fn(|cx| {
        if is_so(server.memory_held()) {
            return Poll::Ready(());
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {}", server.memory_held());
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A future that is not ready keeps its block, one that has ended or panicked leaves nothing in it.
async fn futures_keep_their_blocks<R: Runtime<Style = Awaits>>() {
    let (open, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(()));
    let (opened, witness) = (Arc::clone(&open), Arc::clone(&kept));
    let server = Server::<R>::builder()
        .on_request(move |request| {
            let (opened, witness) = (Arc::clone(&opened), Arc::clone(&witness));
            async move {
                let body: [u8; 100] = std::array::from_fn(|n| request.body()[n]);
                assert_ne!(request.method(), 3, "this handler panics");
                if request.method() == 2 {
                    poll_fn(|cx| {
                        cx.waker().wake_by_ref();
                        if opened.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                }
                drop(witness);
                Ok(body.to_vec())
            }
        })
        .bind("127.0.0.1:0")
        .await
        .expect("free");
    server.start().expect("it runs");
    let client = Client::<R>::connect(&server.local_addr().to_string()).await.expect("it listens");
    let mut waiting: Vec<_> = (0..10).map(|n| Box::pin(client.call(2, vec![n; 100]))).collect();
    for call in &mut waiting {
        poll_fn(|cx| {
            assert!(call.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    calls(&client, 1, &[100; 100], 200).await;
    let failure = client.call(3, &[101; 100]).await.expect_err("it panics");
    assert!(matches!(&failure, CallError::Failed(told) if told.status == Status::PANICKED), "{failure}");
    calls(&client, 1, &[100; 100], 200).await;
    assert_eq!(Arc::strong_count(&kept), 12, "the handler's, and those of the ten that wait");
    open.store(true, Ordering::Relaxed);
    for (n, call) in (0..).zip(waiting) {
        assert_eq!(&call.await.expect("it answers")[..], [n; 100]);
    }
    client.close().await;
    server.shutdown().await;
}

/// A request waits for a thread in a queue: that is the only allocation.
async fn functions_on_threads() {
    use bowline::blocking::{Client, Server};
    let on = On { name: "threads", address: "127.0.0.1:0", each: 10 };
    let heard = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&heard);
    let server = Server::builder()
        .on_message(move |_, message| {
            counts.fetch_add(message.body.len() as u64, Ordering::Relaxed);
        })
        .on_request(|request| Ok(request.into_body()))
        .bind(on.address)
        .expect("free");
    server.start().expect("it runs");
    let client = Client::connect(&server.local_addr().to_string()).expect("it listens");
    assert_each(&on, "echo", 1, async |n| {
        for _ in 0..n {
            client.call(1, &[7; 100]).expect("it answers");
        }
    })
    .await;
    assert_each(&on, "messages", 0, async |n| {
        let aim = heard.load(Ordering::Relaxed) + 100 * n;
        for _ in 0..n {
            let _queued = client.cast(1, &[7; 100]).expect("connected");
        }
        while heard.load(Ordering::Relaxed) < aim {
            std::thread::yield_now();
        }
    })
    .await;
    client.close();
    server.shutdown();
}

/// One test, because allocations are counted for the whole process.
#[test]
fn ordinary_handlers_that_are_ready_at_once_allocate_nothing() {
    let address = "127.0.0.1:0";
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let one = tokio.enable_all().build().expect("descriptors");
    let on = On { name: "tokio", address, each: 0 };
    one.block_on(handlers_allocate_nothing::<bowline::tokio::Tokio>(on));
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    let two = tokio.worker_threads(2).enable_all().build().expect("threads");
    let on = On { name: "tokio, two threads", address, each: 0 };
    two.block_on(handlers_allocate_nothing::<bowline::tokio::Tokio>(on));
    one.block_on(functions_on_threads());
    // Their reactors allocate for each event, and their queues of tasks for every 31 tasks.
    let on = On { name: "smol", address: "inproc://zero-alloc-smol", each: 50 };
    smol::block_on(handlers_allocate_nothing::<bowline::smol::Smol>(on));
    let on = On { name: "async-std", address: "inproc://zero-alloc-async-std", each: 50 };
    async_std::task::block_on(handlers_allocate_nothing::<bowline::async_std::AsyncStd>(on));
}
