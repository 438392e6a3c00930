//! Bowline with TLS and without, on tokio, smol and threads: handles that are shared, and connections with one owner.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::error::{CallError, CastRefusal, Failure};
use bowline::links::{self, MessageRef, ReplyBuf, RequestRef};
use bowline::{Config, blocking};
use bytes::Bytes;

use crate::by_hand::on_tokio;
use crate::counting::{Counter, LAST};
use crate::settings::Security;

/// Bodies from here on are shared and not copied, as a program does that cares.
const LARGE: usize = 16 * 1024;
/// Messages that an owner queues at a time.
const MANY: usize = 64;

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A runtime, and how its work is run on the thread that asks.
pub(crate) trait On: Runtime<Style = Awaits> {
    fn block_on(work: Work<'_>);
}

impl On for bowline::tokio::Tokio {
    fn block_on(work: Work<'_>) {
        on_tokio(work);
    }
}

impl On for bowline::smol::Smol {
    fn block_on(work: Work<'_>) {
        smol::block_on(work);
    }
}

/// Settings of both sides; without `security` those of plain links.
fn configs(security: Option<&Security>) -> (Config, Config) {
    match security {
        None => (Config::default(), Config::default()),
        Some(security) => (Config::default().tls(&security.server), Config::default().tls(&security.client)),
    }
}

/// A server on a thread of its own that counts casts and echoes calls.
struct Serving<R: On> {
    address: String,
    rate: mpsc::Receiver<f64>,
    server: links::Server<R>,
    thread: std::thread::JoinHandle<()>,
}

impl<R: On> Serving<R> {
    fn new(config: Config) -> Self {
        let (address_of, address) = mpsc::channel();
        let (told, rate) = mpsc::sync_channel(1);
        let counter = Counter::new(told);
        let thread = std::thread::spawn(move || {
            R::block_on(Box::pin(async move {
                let server = links::Server::<R>::builder()
                    .config(config)
                    .on_message_inline(move |_, message| counter.message(message.body))
                    .on_request_inline(|_, request, reply| {
                        reply.extend_from_slice(request.body);
                        Ok(())
                    })
                    .bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                address_of.send((server.local_addr().to_string(), server.clone())).expect("heard");
                server.serve().await;
                server.shutdown().await;
            }));
        });
        let (address, server) = address.recv().expect("told");
        Self { address, rate, server, thread }
    }

    fn stop(self) {
        // Only begins: the server's own thread sees it through.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut shutdown = std::pin::pin!(self.server.shutdown());
        let _ = shutdown.as_mut().poll(&mut cx);
        self.thread.join().expect("a clean end");
    }
}

/// The accepting side of a connection whose dialing side has one owner.
enum Far<R: On> {
    Server(Serving<R>),
    /// Its address, what it counted, and its thread, which ends with the connection.
    Owner(String, mpsc::Receiver<f64>, std::thread::JoinHandle<()>),
}

impl<R: On> Far<R> {
    fn new(has_owner: bool, config: Config) -> Self {
        if !has_owner {
            return Self::Server(Serving::new(config));
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (told, rate) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            R::block_on(Box::pin(async move {
                let mut link = links::Exclusive::<R>::accept(stream, config).expect("sound");
                let mut owner = Owner { replies: 0, counter: Some(Counter::new(told)) };
                while link.turn(&mut owner, None).await.is_ok() {}
            }));
        });
        Self::Owner(address, rate, thread)
    }

    fn address(&self) -> &str {
        match self {
            Self::Server(serving) => &serving.address,
            Self::Owner(address, ..) => address,
        }
    }

    /// Waits for the rate of casts.
    fn rate(&self) -> f64 {
        let (Self::Server(Serving { rate, .. }) | Self::Owner(_, rate, _)) = self;
        rate.recv().expect("the last message came")
    }

    fn stop(self) {
        match self {
            Self::Server(serving) => serving.stop(),
            Self::Owner(_, _, thread) => thread.join().expect("no panic"),
        }
    }
}

/// Casts from a shared handle.
pub(crate) fn shared_casts<R: On>(security: Option<&Security>, body: &Bytes, time: Duration) -> f64 {
    let (serving, dialing) = configs(security);
    let serving = Serving::<R>::new(serving);
    let address = serving.address.clone();
    R::block_on(Box::pin(async {
        let client = links::Client::<R>::with_config(&address, dialing).connect();
        let client = client.await.expect("it listens");
        let (mut sent, start) = (0_u64, Instant::now());
        // The clock is looked at for every 64 small ones, and for each large one.
        while sent % 64 != 0 || start.elapsed() < time {
            let _ = if body.len() < LARGE {
                client.cast(1, black_box(&body[..])).await.expect("queued")
            } else {
                client.cast(1, body.clone()).await.expect("queued")
            };
            sent += if body.len() < LARGE { 1 } else { 64 };
        }
        let _ = client.cast(1, vec![LAST; body.len()]).await.expect("queued");
        client.close().await;
    }));
    let rate = serving.rate.recv().expect("the last message came");
    serving.stop();
    rate
}

/// Casts from the owner of a connection, to a server or to another owner.
pub(crate) fn owned_casts<R: On>(
    security: Option<&Security>,
    to_owner: bool,
    body: &Bytes,
    time: Duration,
) -> f64 {
    let (serving, dialing) = configs(security);
    let far = Far::<R>::new(to_owner, serving);
    R::block_on(Box::pin(async {
        let link = links::Exclusive::<R>::connect_with(far.address(), dialing).await;
        let (mut link, start) = (link.expect("it listens"), Instant::now());
        let many = vec![&body[..]; MANY];
        while start.elapsed() < time {
            let queued = match body.len() < LARGE {
                true => link.cast_many(1, black_box(&many)).map(drop),
                false => link.cast(1, body.clone()).map(drop),
            };
            if let Err(error) = queued {
                assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                link.turn(&mut (), None).await.expect("open");
            }
        }
        while link.cast(1, vec![LAST; body.len()]).is_err() {
            link.turn(&mut (), None).await.expect("open");
        }
        link.close(&mut ()).await;
    }));
    let rate = far.rate();
    far.stop();
    rate
}

/// A task for each call.
pub(crate) fn shared_calls<R: On>(
    security: Option<&Security>,
    body: &Bytes,
    tasks: usize,
    time: Duration,
) -> f64 {
    let (serving, dialing) = configs(security);
    let serving = Serving::<R>::new(serving);
    let address = serving.address.clone();
    let (told, rate) = mpsc::channel();
    R::block_on(Box::pin(async {
        let client = links::Client::<R>::with_config(&address, dialing).connect();
        let client = client.await.expect("it listens");
        let count = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let (done, last) = mpsc::channel();
        let call_in_a_loop = |client: links::Client<R>| {
            let (count, body, done) = (Arc::clone(&count), body.clone(), done.clone());
            async move {
                while start.elapsed() < time {
                    for _ in 0..4 {
                        black_box(client.call(1, &body[..]).await.expect("a reply"));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                let _ = done.send(start.elapsed());
            }
        };
        for _ in 1..tasks {
            R::spawn(call_in_a_loop(client.clone())).expect("a runtime");
        }
        call_in_a_loop(client.clone()).await;
        drop(done);
        // The others end with their next reply: calls keep the runtime at work until they did.
        let (mut ended, mut seconds) = (0, 0.0_f64);
        while ended < tasks {
            for elapsed in last.try_iter() {
                (ended, seconds) = (ended + 1, seconds.max(elapsed.as_secs_f64()));
            }
            if ended < tasks {
                black_box(client.call(1, &body[..]).await.expect("a reply"));
            }
        }
        told.send(count.load(Ordering::Relaxed) as f64 / seconds).expect("heard");
        client.close().await;
    }));
    serving.stop();
    rate.recv().expect("told")
}

/// Counts replies, on the dialing side; casts and requests, on the accepting one.
#[derive(Default)]
struct Owner {
    replies: u64,
    counter: Option<Counter>,
}

impl links::Handler for Owner {
    fn message(&mut self, message: MessageRef<'_>) {
        if let Some(counter) = &self.counter {
            counter.message(message.body);
        }
    }

    fn request(&mut self, request: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        reply.extend_from_slice(request.body);
        Ok(())
    }

    fn reply(&mut self, _: blocking::CallId, body: &[u8]) {
        black_box(body);
        self.replies += 1;
    }

    fn failed(&mut self, _: blocking::CallId, error: CallError) {
        panic!("a call failed: {error}");
    }
}

/// Calls by the owner of a connection, to a server or to another owner.
pub(crate) fn owned_calls<R: On>(
    security: Option<&Security>,
    to_owner: bool,
    body: &Bytes,
    in_flight: usize,
    time: Duration,
) -> f64 {
    let (serving, dialing) = configs(security);
    let far = Far::<R>::new(to_owner, serving);
    let (told, rate) = mpsc::channel();
    R::block_on(Box::pin(async {
        let link = links::Exclusive::<R>::connect_with(far.address(), dialing).await;
        let (mut link, mut owner, mut made) = (link.expect("it listens"), Owner::default(), 0);
        let start = Instant::now();
        while start.elapsed() < time {
            while made - owner.replies < in_flight as u64 && call(link.call(1, &body[..])) {
                made += 1;
            }
            link.turn(&mut owner, None).await.expect("open");
        }
        told.send(owner.replies as f64 / start.elapsed().as_secs_f64()).expect("heard");
        link.close(&mut owner).await;
    }));
    far.stop();
    rate.recv().expect("told")
}

/// Whether there was a place for the call.
fn call<T>(made: Result<T, CallError>) -> bool {
    match made {
        Ok(_) => true,
        Err(CallError::Full(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

fn blocking_server(config: Config) -> (blocking::Server, mpsc::Receiver<f64>) {
    let (told, rate) = mpsc::sync_channel(1);
    let counter = Counter::new(told);
    let server = blocking::Server::builder()
        .config(config)
        .on_message_inline(move |_, message| counter.message(message.body))
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    (server, rate)
}

/// On threads: casts from a shared handle.
pub(crate) fn threads_shared_casts(security: Option<&Security>, body: &Bytes, time: Duration) -> f64 {
    let (serving, dialing) = configs(security);
    let (server, rate) = blocking_server(serving);
    let address = server.local_addr().to_string();
    let client = blocking::Client::with_config(&address, dialing).connect().expect("it listens");
    let (mut sent, start) = (0_u64, Instant::now());
    while sent % 64 != 0 || start.elapsed() < time {
        let _ = if body.len() < LARGE {
            client.cast(1, black_box(&body[..])).expect("queued")
        } else {
            client.cast(1, body.clone()).expect("queued")
        };
        sent += if body.len() < LARGE { 1 } else { 64 };
    }
    let _ = client.cast(1, vec![LAST; body.len()]).expect("queued");
    client.close();
    let rate = rate.recv().expect("the last message came");
    server.shutdown();
    rate
}

/// An accepting end with one owner, on a thread of its own.
fn owner_on_a_thread(config: Config) -> (String, mpsc::Receiver<f64>, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (told, rate) = mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut link = blocking::Exclusive::accept(stream, config).expect("sound");
        let mut owner = Owner { replies: 0, counter: Some(Counter::new(told)) };
        while link.turn(&mut owner, None).is_ok() {}
    });
    (address, rate, thread)
}

/// On threads: casts, each side with one owner.
pub(crate) fn threads_owned_casts(security: Option<&Security>, body: &Bytes, time: Duration) -> f64 {
    let (serving, dialing) = configs(security);
    let (address, rate, thread) = owner_on_a_thread(serving);
    let mut link = blocking::Exclusive::connect_with(&address, dialing).expect("it listens");
    let (many, start) = (vec![&body[..]; MANY], Instant::now());
    while start.elapsed() < time {
        let queued = match body.len() < LARGE {
            true => link.cast_many(1, black_box(&many)).map(drop),
            false => link.cast(1, body.clone()).map(drop),
        };
        if let Err(error) = queued {
            assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
            link.turn(&mut (), None).expect("open");
        }
    }
    while link.cast(1, vec![LAST; body.len()]).is_err() {
        link.turn(&mut (), None).expect("open");
    }
    link.close(&mut ());
    thread.join().expect("no panic");
    rate.recv().expect("the last message came")
}

/// On threads: calls, each side with one owner.
pub(crate) fn threads_owned_calls(
    security: Option<&Security>,
    body: &Bytes,
    in_flight: usize,
    time: Duration,
) -> f64 {
    let (serving, dialing) = configs(security);
    let (address, _, thread) = owner_on_a_thread(serving);
    let mut link = blocking::Exclusive::connect_with(&address, dialing).expect("it listens");
    let (mut owner, mut made, start) = (Owner::default(), 0, Instant::now());
    while start.elapsed() < time {
        while made - owner.replies < in_flight as u64 && call(link.call(1, &body[..])) {
            made += 1;
        }
        link.turn(&mut owner, None).expect("open");
    }
    let rate = owner.replies as f64 / start.elapsed().as_secs_f64();
    link.close(&mut owner);
    thread.join().expect("no panic");
    rate
}
