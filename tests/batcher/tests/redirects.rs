//! A pool whose endpoints redirect calls to one another.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_core::error::{CallError, Failure, Status};
use bowline_core::frame::native::Native;
use bowline_core::link::CallOptions;
use bowline_core::routing::{AttemptRules, Policy};
use bowline_driver::runtime::Runtime;
use bowline_links::{Pool, Redirect, Server};

use world::{MS, World, address, done, on_all_runtimes};

const NOT_HERE: Status = Status(1_000);
const LEAVING: Status = Status(1_001);
const NOBODY: usize = usize::MAX;

/// Servers of which one leads, and what each was asked.
struct Cluster<R: Runtime> {
    servers: Vec<Server<R, Native>>,
    leader: Arc<AtomicUsize>,
    /// Whether those that do not lead know who does.
    hints: Arc<AtomicUsize>,
    asked: Vec<Arc<AtomicUsize>>,
}

impl<R: Runtime> Cluster<R> {
    async fn start(size: usize) -> Self {
        let (leader, hints) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(NOBODY)));
        let addresses: Arc<std::sync::OnceLock<Vec<String>>> = Arc::default();
        let (mut servers, mut asked) = (Vec::new(), Vec::new());
        for own in 0..size {
            let count = Arc::new(AtomicUsize::new(0));
            asked.push(Arc::clone(&count));
            let (leader, hints, addresses) =
                (Arc::clone(&leader), Arc::clone(&hints), Arc::clone(&addresses));
            let builder = Server::<R, Native>::builder().on_request_inline(move |_, request, reply| {
                count.fetch_add(1, Ordering::SeqCst);
                match request.method() {
                    // For a key without a leader.
                    2 => return Err(Failure::new(LEAVING, "")),
                    3 => return Err(Failure::new(Status::FAILED, "no")),
                    _ => {}
                }
                if leader.load(Ordering::SeqCst) == own {
                    reply.extend_from_slice(&[u8::try_from(own).unwrap_or(0)]);
                    return Ok(());
                }
                let known = addresses.get().and_then(|all| all.get(hints.load(Ordering::SeqCst)));
                Err(Failure::new(NOT_HERE, known.map_or("", String::as_str)))
            });
            let server = done::<R, _>(builder.bind("127.0.0.1:0")).await.expect("a free port");
            server.start().expect("a runtime");
            servers.push(server);
        }
        addresses.set(servers.iter().map(address).collect()).expect("once");
        Self { servers, leader, hints, asked }
    }

    fn lead(&self, leader: usize, hint: usize) {
        self.leader.store(leader, Ordering::SeqCst);
        self.hints.store(hint, Ordering::SeqCst);
    }

    async fn pool(&self, rules: Option<AttemptRules>) -> Pool<R, Native> {
        let mut builder =
            Pool::<R, Native>::builder().policy(Policy::First).redirects(|answer| match answer {
                Ok(_) => Redirect::Here,
                Err(failure) if failure.status == NOT_HERE => {
                    let text = String::from_utf8_lossy(&failure.body).into_owned();
                    Redirect::NotHere(Some(text).filter(|text| !text.is_empty()))
                }
                Err(failure) if failure.status == LEAVING => Redirect::Avoid(MS * 200),
                Err(_) => Redirect::Here,
            });
        if let Some(rules) = rules {
            builder = builder.attempts(rules);
        }
        for server in &self.servers {
            builder = builder.endpoint(server.local_addr());
        }
        let pool = builder.open().expect("addresses");
        done::<R, _>(pool.ready()).await.expect("they listen");
        world::until("all are connected", || pool.clients().iter().all(|client| client.is_open()));
        pool
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.iter().map(|count| count.swap(0, Ordering::SeqCst)).collect()
    }

    async fn stop(self, pool: Pool<R, Native>) {
        done::<R, _>(pool.close()).await;
        for server in self.servers {
            done::<R, _>(server.shutdown()).await;
        }
    }
}

async fn call<R: Runtime>(pool: &Pool<R, Native>, options: CallOptions) -> Result<u8, CallError> {
    done::<R, _>(pool.call_for("topic", options, b"x")).await.map(|reply| reply[0])
}

async fn a_hint_leads_to_the_leader_which_is_remembered<R: World>() {
    let cluster = Cluster::<R>::start(4).await;
    let pool = cluster.pool(None).await;
    cluster.lead(3, 3);
    assert_eq!(pool.leader("topic"), None);
    assert_eq!(call(&pool, CallOptions::new(1)).await, Ok(3));
    assert_eq!(cluster.asked(), [1, 0, 0, 1], "one wrong guess, one attempt");
    assert_eq!(pool.leader("topic"), Some(address(&cluster.servers[3])));
    assert_eq!(call(&pool, CallOptions::new(1)).await, Ok(3));
    assert_eq!(cluster.asked(), [0, 0, 0, 1]);
    // It moves; the old one knows nothing, so the others are asked in turn.
    cluster.lead(1, NOBODY);
    assert_eq!(call(&pool, CallOptions::new(1)).await, Ok(1));
    assert_eq!(cluster.asked(), [1, 1, 0, 1]);
    assert_eq!(pool.leader("topic"), Some(address(&cluster.servers[1])));
    // Calls without a key know nothing of that.
    let plain = done::<R, _>(pool.call(1, b"x")).await;
    assert!(matches!(plain, Err(CallError::Failed(failure)) if failure.status == NOT_HERE));
    cluster.stop(pool).await;
}

async fn without_a_leader_rounds_go_on_until_there_is_one<R: World>() {
    let cluster = Cluster::<R>::start(3).await;
    let pool = cluster.pool(None).await;
    // Everybody points to one that is not it.
    cluster.lead(NOBODY, 2);
    let leader = Arc::clone(&cluster.leader);
    let asked = cluster.asked.clone();
    let elects = std::thread::spawn(move || {
        // After the second round has begun.
        world::until("a second round", || asked[0].load(Ordering::SeqCst) >= 2);
        leader.store(1, Ordering::SeqCst);
    });
    assert_eq!(call(&pool, CallOptions::new(1)).await, Ok(1));
    elects.join().expect("it ends");
    // No leader again: the last answer is the result, by the deadline. Late rounds are far apart, so that none of them is
    // under way then.
    cluster.lead(NOBODY, NOBODY);
    let result = call(&pool, CallOptions::new(1).timeout(MS * 1_000)).await;
    assert!(matches!(result, Err(CallError::Failed(failure)) if failure.status == NOT_HERE));
    assert_eq!(pool.leader("topic"), None, "the one that was says that it is not");
    cluster.stop(pool).await;
}

async fn one_round_and_a_budget_end_it_sooner<R: World>() {
    let cluster = Cluster::<R>::start(3).await;
    let pool = cluster.pool(Some(AttemptRules::one_round())).await;
    cluster.lead(NOBODY, NOBODY);
    assert!(call(&pool, CallOptions::new(1)).await.is_err());
    assert_eq!(cluster.asked(), [1, 1, 1]);
    done::<R, _>(pool.close()).await;
    let pool = cluster.pool(Some(AttemptRules::until_deadline().budget(2))).await;
    assert!(call(&pool, CallOptions::new(1)).await.is_err());
    assert_eq!(cluster.asked(), [1, 1, 0]);
    // An answer that is no redirect holds.
    let failed = call(&pool, CallOptions::new(3)).await;
    assert!(matches!(failed, Err(CallError::Failed(failure)) if failure.status == Status::FAILED));
    assert_eq!(cluster.asked().iter().sum::<usize>(), 1);
    cluster.stop(pool).await;
}

async fn one_that_is_leaving_is_left_alone<R: World>() {
    let cluster = Cluster::<R>::start(2).await;
    let pool = cluster.pool(Some(AttemptRules::one_round())).await;
    cluster.lead(1, NOBODY);
    // Both are avoided; the last attempt is made all the same.
    assert!(call(&pool, CallOptions::new(2)).await.is_err());
    assert_eq!(cluster.asked(), [1, 1]);
    let plain = done::<R, _>(pool.call(2, b"x")).await;
    assert!(plain.is_err());
    assert_eq!(cluster.asked().iter().sum::<usize>(), 1, "tried all the same, once");
    cluster.stop(pool).await;
}

on_all_runtimes! {
    a_hint_leads_to_the_leader_which_is_remembered
    without_a_leader_rounds_go_on_until_there_is_one
    one_round_and_a_budget_end_it_sooner
    one_that_is_leaving_is_left_alone
}
