//! Many links: manager, pool, monitor, transports, and the release of all resources.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::frame::buffstreams::Buffstreams;
use bowline::{
    Address, Blacklist, CallOptions, CastOptions, Config, ConfigBuilder, Hedging, ManagerError, Monitor,
    Policy, ReconnectPolicy, State,
};

use super::child::{self, Child};
use super::fairness::Gate;
use crate::harness::{Client, Handlers, Harness, Manager, Pool, PoolSetup, Server, closed_port};

const MS: Duration = Duration::from_millis(1);

fn quick() -> ConfigBuilder {
    Config::builder().reconnect(ReconnectPolicy::fixed(MS * 2)).linger(Duration::from_secs(2))
}

pub async fn a_manager_from_sixteen_threads<H: Harness>() {
    let framing = || Config::with_framing(Buffstreams::new()).build().expect("sound");
    let came = Arc::new(AtomicUsize::new(0));
    let handlers = |came: &Arc<AtomicUsize>| {
        let came = Arc::clone(came);
        Handlers::none().message(move |_, _| {
            came.fetch_add(1, Ordering::Relaxed);
        })
    };
    let manager = <H::Manager<Buffstreams>>::make(Some(framing()));
    let mut addresses = Vec::new();
    for _ in 0..3 {
        let address = manager.listen("127.0.0.1:0", framing(), handlers(&came)).await.expect("a free port");
        addresses.push(address);
    }
    let again = manager.listen(&addresses[0], framing(), Handlers::none()).await;
    assert!(matches!(again, Err(ManagerError::AlreadyOpened(address)) if address == addresses[0]));
    // All write to all from the start: there is one link to each address.
    let mut tasks = Vec::new();
    for task in 0..16_usize {
        let (manager, addresses) = (manager.clone(), addresses.clone());
        tasks.push(H::spawn(async move {
            for i in 0..30 {
                let address = &addresses[(task + i) % addresses.len()];
                let bytes = manager.write(address, vec![1; 100]).await.expect("written");
                assert_eq!(bytes, 103, "the body and its header");
            }
        }));
    }
    for task in tasks {
        task.await;
    }
    H::until("all came", || came.load(Ordering::Relaxed) == 16 * 30).await;
    let (links, servers) = manager.addresses();
    assert_eq!((links.len(), servers.len()), (3, 3));
    for address in &addresses {
        assert_eq!(manager.peer(address).expect("a link").counters().connections, 1, "one each");
        assert!(matches!(manager.dial(address, framing()).await, Err(ManagerError::AlreadyOpened(_))));
    }
    // A link that was closed elsewhere is opened again by the next write.
    let first = manager.peer(&addresses[0]).expect("a link");
    first.abort();
    H::until("it is closed", || first.state() == State::Closed).await;
    assert_eq!(manager.write(&format!("tcp://{}", addresses[0]), vec![1; 10]).await.expect("written"), 13);
    assert!(manager.close_link(&addresses[1]).await.expect("it was there").is_empty());
    assert!(matches!(manager.close_link(&addresses[1]).await, Err(ManagerError::NotOpened(_))));
    manager.close_listener(&addresses[2]).await.expect("it was there");
    let closed = manager.close_and_wait(Duration::from_secs(2)).await;
    assert_eq!((closed.undelivered.len(), closed.servers.len()), (0, 2));
    assert_eq!(manager.addresses(), (Vec::new(), Vec::new()));

    // Without defaults no link is opened implicitly.
    let strict = <H::Manager<Buffstreams>>::make(None);
    let refused = strict.write(&addresses[0], vec![1]).await;
    assert!(matches!(&refused, Err(ManagerError::NotOpened(address)) if *address == addresses[0]));
    assert!(matches!(strict.dial(&addresses[0], framing()).await, Err(ManagerError::Connect(_))));
    assert_eq!(strict.addresses().0.len(), 0, "what did not come about is not there");
    assert!(matches!(strict.write("no address", vec![1]).await, Err(ManagerError::Config(_))));
}

/// Servers that answer with their number.
async fn numbered<H: Harness>(count: usize) -> Vec<H::Server<bowline::frame::native::Native>> {
    let mut servers = Vec::new();
    for i in 0..count {
        servers.push(numbered_at::<H>("127.0.0.1:0", i).await);
    }
    servers
}

async fn numbered_at<H: Harness>(address: &str, i: usize) -> H::Server<bowline::frame::native::Native> {
    let gate = Gate::default();
    let handlers = Handlers::none().request(move |asked| {
        let gate = gate.clone();
        async move {
            match asked.method {
                2 => H::sleep(Duration::from_millis(u64::from(asked.body[0]))).await,
                3 if i == 0 => H::sleep(MS * 300).await,
                4 if i == 0 => gate.passed::<H>().await,
                5 => gate.open(),
                _ => {}
            }
            Ok(vec![i as u8].into())
        }
    });
    let server = H::bind(address, quick().build().expect("sound"), handlers).await.expect("a free port");
    server.start();
    server
}

fn setup<S>(servers: &[S], policy: Policy) -> PoolSetup<bowline::frame::native::Native>
where
    S: Server<bowline::frame::native::Native>,
{
    PoolSetup {
        config: quick().build().expect("sound"),
        endpoints: servers.iter().map(Server::address).collect(),
        connections: 1,
        policy,
        blacklist: Blacklist::new(2, Duration::from_secs(60)),
        hedging: None,
    }
}

type NativePool<H> = <H as Harness>::Pool<bowline::frame::native::Native>;

async fn asks<P: Pool<bowline::frame::native::Native>>(pool: &P, times: usize) -> Vec<u8> {
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(pool.call(CallOptions::new(1), vec![0]).await.expect("an answer")[0]);
    }
    answers
}

async fn all_ready<H: Harness>(pool: &NativePool<H>) {
    H::until("all are connected", || pool.peers().iter().all(|peer| peer.state() == State::Ready)).await;
}

pub async fn a_pool_spreads_its_calls<H: Harness>() {
    let servers = numbered::<H>(3).await;
    let pool = NativePool::<H>::open(setup(&servers, Policy::RoundRobin));
    pool.ready().await.expect("they listen");
    all_ready::<H>(&pool).await;
    assert_eq!(asks(&pool, 6).await, [0, 1, 2, 0, 1, 2]);
    // Removed and added again while the pool is in use.
    assert!(pool.remove(&servers[1].address()) && !pool.remove(&servers[1].address()));
    let answers: HashSet<u8> = asks(&pool, 6).await.into_iter().collect();
    assert_eq!(answers, HashSet::from([0, 2]));
    assert!(pool.add(&servers[1].address()) && !pool.add(&servers[1].address()));
    all_ready::<H>(&pool).await;
    assert_eq!(pool.endpoints().len(), 3);
    let answers: HashSet<u8> = asks(&pool, 6).await.into_iter().collect();
    assert_eq!(answers.len(), 3);
    // A key stays with its leader.
    let mut leaders = HashSet::new();
    for _ in 0..5 {
        leaders.insert(pool.call_for("topic", CallOptions::new(1), vec![0]).await.expect("an answer")[0]);
    }
    assert_eq!(leaders.len(), 1);
    let leader = usize::from(leaders.into_iter().next().expect("one"));
    assert_eq!(pool.leader("topic"), Some(servers[leader].address()));
    servers[leader].shutdown().await;
    let moved = pool.call_for("topic", CallOptions::new(1), vec![0]).await.expect("another takes over")[0];
    assert_ne!(usize::from(moved), leader);
    // The slow server gets fewer calls.
    let pool2 = NativePool::<H>::open(PoolSetup { connections: 2, ..setup(&servers, Policy::LeastInFlight) });
    pool2.ready().await.expect("two listen");
    assert_eq!(pool2.peers().len(), 6);
    H::until("both have both", || {
        pool2.peers().iter().filter(|peer| peer.state() == State::Ready).count() == 4
    })
    .await;
    let mut calls = Vec::new();
    for begun in 1..=4 {
        let call = H::spawn(pool2.call(CallOptions::new(2), vec![100]));
        H::until("it is under way", || {
            pool2.peers().iter().map(|peer| peer.stats().in_flight).sum::<usize>() == begun
        })
        .await;
        calls.push(call);
    }
    let busy = pool2.peers().iter().filter(|peer| peer.stats().in_flight == 1).count();
    assert_eq!(busy, 4, "one on each link that works");
    for call in calls {
        call.await.expect("an answer");
    }
    pool.close().await;
    pool2.close().await;
    for server in servers {
        server.shutdown().await;
    }
}

pub async fn a_pool_leaves_dead_endpoints_alone<H: Harness>() {
    let address = closed_port();
    let servers = [numbered_at::<H>(&address, 0).await, numbered_at::<H>("127.0.0.1:0", 1).await];
    let pool = NativePool::<H>::open(setup(&servers, Policy::First));
    pool.ready().await.expect("they listen");
    all_ready::<H>(&pool).await;
    assert_eq!(asks(&pool, 2).await, [0, 0]);
    servers[0].shutdown().await;
    H::until("it is known", || pool.peers()[0].state() != State::Ready).await;
    assert_eq!(asks(&pool, 3).await, [1, 1, 1], "nothing fails while one is there");
    let back = numbered_at::<H>(&address, 0).await;
    H::until("it is back", || pool.peers()[0].state() == State::Ready).await;
    assert_eq!(asks(&pool, 2).await, [0, 0]);
    // Two calls in a row whose deadlines pass: the endpoint is avoided for a while.
    for _ in 0..2 {
        let slow = CallOptions::new(3).timeout(MS * 20);
        assert!(pool.call(slow, vec![0]).await.is_err());
    }
    assert_eq!(asks(&pool, 3).await, [1, 1, 1]);
    pool.close().await;
    back.shutdown().await;
    servers[1].shutdown().await;
}

pub async fn a_hedged_call_is_answered_by_the_faster<H: Harness>() {
    let servers = numbered::<H>(2).await;
    let mut hedging = Hedging::default();
    (hedging.at_least, hedging.at_most) = (MS * 5, MS * 20);
    let pool = NativePool::<H>::open(PoolSetup { hedging: Some(hedging), ..setup(&servers, Policy::First) });
    pool.ready().await.expect("they listen");
    all_ready::<H>(&pool).await;
    // The first does not answer, the second at once.
    let reply = pool.call(CallOptions::new(4).idempotent(true), vec![0]).await.expect("an answer");
    assert_eq!(&reply[..], [1]);
    H::until("the other is cancelled", || pool.peers()[0].counters().calls_cancelled == 1).await;
    let reply = pool.call(CallOptions::new(5), vec![0]).await.expect("an answer");
    assert_eq!(&reply[..], [0], "it answers again");
    // A call that must not run twice is not repeated.
    let reply = pool.call(CallOptions::new(3), vec![0]).await.expect("an answer");
    assert_eq!(&reply[..], [0]);
    // The budget limits the number of repeated calls.
    let second = pool.peers()[1].clone();
    for _ in 0..8 {
        pool.call(CallOptions::new(3).idempotent(true), vec![0]).await.expect("an answer");
    }
    assert!(second.counters().calls <= 6, "{}", second.counters().calls);
    pool.close().await;
    for server in servers {
        server.shutdown().await;
    }
}

pub async fn a_monitor_sees_everything_and_keeps_nothing<H: Harness>() {
    let monitor = Monitor::new();
    let config = quick().heartbeat(MS * 20).build().expect("sound");
    let echo = Handlers::echo().monitor(&monitor, "served");
    let server = H::bind("127.0.0.1:0", config.clone(), echo).await.expect("a free port");
    server.start();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let handlers = Handlers::none().monitor(&monitor, "dialed");
        clients.push(H::connect(&server.address(), config.clone(), handlers).await.expect("it listens"));
    }
    for _ in 0..5 {
        clients[0].call(CallOptions::new(1), vec![1; 100]).await.expect("an answer");
    }
    let _ = clients[1].cast(CastOptions::new(1), vec![1]).await.expect("queued");
    H::until("all are counted", || (monitor.open_as("served"), monitor.open_as("dialed")) == (3, 3)).await;
    let id = clients[0].peer().id().0;
    H::until("the round trip is known", || {
        monitor.snapshot().links.iter().all(|link| link.stats.round_trip.is_some())
    })
    .await;
    let snapshot = monitor.snapshot();
    assert_eq!((monitor.open(), snapshot.open["served"], snapshot.open["dialed"]), (6, 3, 3));
    let link = snapshot.links.iter().find(|link| link.id == id).expect("it is there");
    assert_eq!((&link.label[..], link.remote.as_deref()), ("dialed", Some(&server.address()[..])));
    let (stats, counters) = (&link.stats, &link.stats.counters);
    assert_eq!((stats.state, stats.in_flight, counters.calls, counters.connections), (State::Ready, 0, 5, 1));
    assert!(counters.bytes_out > 500 && counters.bytes_in > 500, "{counters:?}");
    assert!(stats.round_trip.expect("known") < Duration::from_secs(1));
    assert!(stats.quiet_for.expect("there was something") < Duration::from_secs(5));
    // One in flight, one queued: both are reported.
    drop(clients);
    H::until("they are gone", || monitor.open_as("dialed") == 0).await;
    H::until("the other ends, too", || monitor.open() == 0).await;
    server.shutdown().await;
    assert!(monitor.snapshot().links.is_empty());
}

pub async fn every_transport_carries_calls<H: Harness>() {
    let directory = std::env::temp_dir();
    let path = directory.join(format!("bowline-{}-{}.sock", std::process::id(), H::NAME));
    let inproc = format!("inproc://conformance-{}", H::NAME);
    for address in [&format!("tcp://{}", closed_port()), &format!("unix://{}", path.display()), &inproc] {
        let seen = Arc::new(Mutex::new(None));
        let note = Arc::clone(&seen);
        let handlers = Handlers::echo()
            .connect(move |peer| *note.lock().expect("not poisoned") = peer.remote_addr())
            .message_inline(|context, message| {
                let _ = context.try_cast(message.method(), message.body);
            });
        let config = quick().build().expect("sound");
        let server = H::bind(address, config.clone(), handlers).await.expect("it can be bound");
        server.start();
        let address = server.address();
        let client = H::connect(&address, config.clone(), Handlers::none()).await.expect("it listens");
        assert_eq!(client.peer().remote_addr().expect("known").to_string(), address);
        H::until("the server saw it", || seen.lock().expect("not poisoned").is_some()).await;
        let from = seen.lock().expect("not poisoned").clone().expect("seen");
        assert_eq!(
            std::mem::discriminant(&from),
            std::mem::discriminant(&address.parse::<Address>().expect("an address"))
        );
        // Small and large, both ways.
        for len in [0, 100, 300_000] {
            let reply = client.call(CallOptions::new(1), vec![7; len]).await.expect("a reply");
            assert!(reply.len() == len && reply.iter().all(|byte| *byte == 7));
            let _ = client.cast(CastOptions::new(2), vec![9; len]).await.expect("queued");
            let back = client.receive().await.expect("a message");
            assert_eq!(back.body.len(), len);
        }
        let mut calls = Vec::new();
        for i in 0..200_u8 {
            calls.push(client.start_call(CallOptions::new(1), vec![i; 2_000]).await.expect("begun"));
        }
        for (i, call) in calls.into_iter().enumerate() {
            let reply = H::Client::<bowline::frame::native::Native>::wait(call).await.expect("a reply");
            assert_eq!(reply[0], i as u8);
        }
        // A single listener there; then none, then one again.
        let second = H::bind(&address, config.clone(), Handlers::echo()).await;
        assert!(second.is_err(), "{address} is taken");
        server.shutdown().await;
        H::until("the client knows", || client.peer().state() != State::Ready).await;
        let server = H::bind(&address, config, Handlers::echo()).await.expect("it is free again");
        server.start();
        assert!(client.call(CallOptions::new(1), vec![1]).await.is_ok(), "it reconnects");
        client.close().await;
        server.shutdown().await;
    }
    assert!(!path.exists(), "the file goes with the listener");
    // A socket file of a dead server is replaced.
    let stale = std::os::unix::net::UnixListener::bind(&path).expect("a free path");
    drop(stale);
    let address = format!("unix://{}", path.display());
    let server = H::bind(&address, Config::default(), Handlers::echo()).await.expect("taken over");
    server.shutdown().await;
}

pub async fn everything_is_given_back<H: Harness>() {
    let child = Child::start("child_that_counts", H::NAME);
    assert_eq!(child.expect("LEFT "), "nothing");
    child.succeed();
}

/// The other process of [`everything_is_given_back`].
pub async fn count_what_is_left<H: Harness>() {
    use_everything::<H>().await;
    // The runtime's own threads and descriptors exist by now; handler threads end by themselves. A leak shows
    // in every sample, so the smallest sample counts. A thread that slept for this test may still be ending.
    let settle = || async {
        let mut least = (child::held(), H::tasks());
        let mut since = Instant::now();
        while since.elapsed() < MS * 700 {
            H::sleep(MS * 50).await;
            let ((descriptors, threads), tasks) = (child::held(), H::tasks());
            let ((fewest, few), least_tasks) = least;
            let now = ((descriptors.min(fewest), threads.min(few)), tasks.min(least_tasks));
            if now != least {
                (least, since) = (now, Instant::now());
            }
        }
        least
    };
    let before = settle().await;
    for _ in 0..3 {
        use_everything::<H>().await;
    }
    let begun = Instant::now();
    let mut after = settle().await;
    while after.0.0 > before.0.0 || after.0.1 > before.0.1 || after.1 > before.1 {
        if begun.elapsed() > Duration::from_secs(20) {
            println!("LEFT {before:?}, then {after:?}");
            return;
        }
        after = settle().await;
    }
    println!("LEFT nothing");
}

async fn use_everything<H: Harness>() {
    let monitor = Monitor::new();
    let servers = numbered::<H>(2).await;
    let pool = NativePool::<H>::open(setup(&servers, Policy::RoundRobin));
    pool.ready().await.expect("they listen");
    asks(&pool, 10).await;
    let manager = <H::Manager<bowline::frame::native::Native>>::make(Some(quick().build().expect("sound")));
    for server in &servers {
        manager.write(&server.address(), vec![1]).await.expect("written");
    }
    let inproc = format!("inproc://left-{}", H::NAME);
    manager.listen(&inproc, quick().build().expect("sound"), Handlers::none()).await.expect("free");
    manager.write(&inproc, vec![1]).await.expect("written");
    let mut clients = Vec::new();
    for i in 0..20 {
        let handlers = Handlers::echo().monitor(&monitor, "client");
        let config = match i % 2 {
            0 => quick(),
            _ => quick().delivery(bowline::Delivery::Session),
        };
        let config = config.build().expect("sound");
        let server = match i % 2 {
            0 => servers[0].clone(),
            _ => {
                let server =
                    H::bind("127.0.0.1:0", config.clone(), Handlers::echo()).await.expect("a free port");
                server.start();
                server
            }
        };
        let client = H::connect(&server.address(), config, handlers).await.expect("it listens");
        client.call(CallOptions::new(1), vec![1]).await.expect("a reply");
        clients.push((client, server));
    }
    assert_eq!(monitor.open(), 20);
    for (i, (client, server)) in clients.into_iter().enumerate() {
        if i % 2 == 1 {
            server.shutdown_within(MS * 50).await;
        }
        if i % 4 < 2 {
            client.close().await;
        }
    }
    pool.close().await;
    manager.close_and_wait(Duration::from_secs(1)).await;
    for server in servers {
        server.shutdown().await;
    }
    H::until("the monitor sees nothing", || monitor.open() == 0).await;
}
