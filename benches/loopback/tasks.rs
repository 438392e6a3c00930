//! Links on tokio, smol and async-std.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::links;
use bowline::{CallOptions, Config, Delivery, ReconnectPolicy};

use crate::{BODY, Work, on_tokio, on_tokio_value};

/// A server on a thread of its own that counts casts and echoes calls. Stops when told.
fn server<R: Runtime<Style = Awaits>>(
    block_on: fn(Work),
    config: Config,
) -> (String, Arc<AtomicU64>, impl FnOnce()) {
    let (told, address) = mpsc::channel();
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let thread = std::thread::spawn(move || {
        block_on(Box::pin(async move {
            let server = links::Server::<R>::builder()
                .config(config)
                .on_message_inline(move |_, message| {
                    black_box(message.body);
                    counter.fetch_add(1, Ordering::Relaxed);
                })
                .on_request_inline(|_, request, reply| {
                    reply.extend_from_slice(request.body);
                    Ok(())
                })
                .bind("127.0.0.1:0")
                .await
                .expect("a free port");
            told.send((server.local_addr().to_string(), server.clone())).expect("heard");
            server.serve().await;
            server.shutdown().await;
        }));
    });
    let (address, server) = address.recv().expect("told");
    let stop = move || {
        let shut = server.clone();
        // Only begins: the server's own thread sees it through.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut shutdown = std::pin::pin!(shut.shutdown());
        let _ = shutdown.as_mut().poll(&mut cx);
        thread.join().expect("a clean end");
    };
    (address, received, stop)
}

pub(crate) fn in_session() -> Config {
    Config::builder().delivery(Delivery::Session).build().expect("sound")
}

pub(crate) fn casts_async<R: Runtime<Style = Awaits>>(time: Duration, block_on: fn(Work)) -> f64 {
    casts_with::<R>(time, block_on, &Config::default())
}

pub(crate) fn casts_with<R: Runtime<Style = Awaits>>(
    time: Duration,
    block_on: fn(Work),
    config: &Config,
) -> f64 {
    let (address, received, stop) = server::<R>(block_on, config.clone());
    let config = config.clone();
    let (told, rate) = mpsc::channel();
    block_on(Box::pin(async move {
        let client = links::Client::<R>::with_config(&address, config).connect().await.expect("it listens");
        let (mut count, start) = (0_u64, Instant::now());
        while count % 1024 != 0 || start.elapsed() < time {
            let _ = client.cast(1, &BODY).await.expect("queued");
            count += 1;
        }
        client.close().await;
        told.send(received.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()).expect("heard");
    }));
    stop();
    rate.recv().expect("told")
}

pub(crate) fn calls_async<R: Runtime<Style = Awaits>>(
    time: Duration,
    tasks: usize,
    block_on: fn(Work),
) -> f64 {
    calls_with::<R>(time, tasks, block_on, &Config::default())
}

pub(crate) fn calls_with<R: Runtime<Style = Awaits>>(
    time: Duration,
    tasks: usize,
    block_on: fn(Work),
    config: &Config,
) -> f64 {
    let (address, _, stop) = server::<R>(block_on, config.clone());
    let config = config.clone();
    let (told, rate) = mpsc::channel();
    block_on(Box::pin(async move {
        let client = links::Client::<R>::with_config(&address, config).connect().await.expect("it listens");
        let (count, running) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(tasks as u64)));
        let start = Instant::now();
        let call_in_a_loop = |client: links::Client<R>, count: Arc<AtomicU64>| async move {
            while start.elapsed() < time {
                for _ in 0..4 {
                    black_box(client.call(1, &BODY).await.expect("a reply"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        for _ in 1..tasks {
            let (work, running) = (call_in_a_loop(client.clone(), Arc::clone(&count)), Arc::clone(&running));
            R::spawn(async move {
                work.await;
                running.fetch_sub(1, Ordering::Relaxed);
            })
            .expect("a runtime");
        }
        call_in_a_loop(client.clone(), Arc::clone(&count)).await;
        let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        while running.load(Ordering::Relaxed) > 1 {
            black_box(client.call(1, &BODY).await.expect("a reply"));
        }
        client.close().await;
        told.send(rate).expect("heard");
    }));
    stop();
    rate.recv().expect("told")
}

/// Connections that are closed and made again, each with one call: how many a second.
pub(crate) fn recoveries(time: Duration, config: &Config) -> f64 {
    let (address, _, stop) = server::<bowline::tokio::Tokio>(on_tokio, config.clone());
    let config =
        config.to_builder().reconnect(ReconnectPolicy::fixed(Duration::ZERO)).build().expect("sound");
    let rate = on_tokio_value(async move {
        let client =
            bowline::tokio::Client::with_config(&address, config).connect().await.expect("it listens");
        let (mut count, start) = (0_u64, Instant::now());
        while start.elapsed() < time {
            let before = client.counters().connections;
            client.reconnect_now();
            let options = CallOptions::new(1).idempotent(true);
            // The first may still have gone out on the old connection.
            while client.counters().connections == before {
                black_box(client.call_with(options.clone(), &BODY).await.ok());
            }
            black_box(client.call_with(options, &BODY).await.expect("a reply"));
            count += 1;
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        client.close().await;
        rate
    });
    stop();
    rate
}
