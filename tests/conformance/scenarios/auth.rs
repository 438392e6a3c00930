//! Authentication: it ends before any message is delivered, and may be revoked.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::auth::{
    Attempt, BearerToken, Challenge, CredentialSource, Credentials, CredentialsError, Deciding, Grant,
    Identity, Refusal, RefusalCode, SharedSecret, SharedSecrets, Tokens,
};
use bowline::error::{CallError, Disconnect, Failure, Status};
use bowline::frame::buffstreams::Buffstreams;
use bowline::frame::native::Native;
use bowline::{
    AcceptLimits, Address, BindError, CallOptions, CastOptions, Config, ConfigBuilder, ConnectError,
    Delivery, ReconnectPolicy, ServerEvent, State,
};

use crate::harness::{Client, Handlers, Harness, Server};

mod strangers;

pub use strangers::{a_thousand_stalled_verifications, hostile_peers_are_not_let_in};

const MS: Duration = Duration::from_millis(1);

fn tokens() -> Tokens {
    Tokens::new()
        .with("alice's", Identity::new("alice").with("role", "admin"))
        .with("bob's", Identity::new("bob"))
}

/// Settings of a client that presents that token.
fn showing(token: &str) -> ConfigBuilder<Native> {
    Config::builder().credentials(BearerToken::new(token).expect("short"))
}

/// Handlers of a server that knows the tokens, and returns its caller's identity.
fn knowing() -> Handlers<Native> {
    Handlers::none().verifier_inline(|attempt| tokens().verify(attempt)).request(|asked| async move {
        let identity = asked.peer.identity().ok_or_else(|| Failure::from("nobody"))?;
        Ok(identity.name().to_owned().into_bytes().into())
    })
}

async fn who<C: Client<Native>>(client: &C) -> String {
    let reply = client.call(CallOptions::new(1), Vec::new()).await.expect("an answer");
    String::from_utf8_lossy(&reply).into_owned()
}

fn code(error: &ConnectError) -> Option<RefusalCode> {
    match error.cause() {
        Some(Disconnect::Refused(refusal)) => Some(refusal.code),
        _ => None,
    }
}

type Names = Arc<Mutex<Vec<(&'static str, Option<String>)>>>;

fn note(names: &Names, place: &'static str, identity: Option<Identity>) {
    let name = identity.map(|identity| format!("{} {:?}", identity.name(), identity.attribute("role")));
    names.lock().expect("not poisoned").push((place, name));
}

pub async fn a_verified_peer_is_known_to_every_handler<H: Harness>() {
    let names = Names::default();
    let [connect, message, request, gone, seen] = [(); 5].map(|()| Arc::clone(&names));
    let handlers =
        Handlers::none()
            .verifier(move |attempt: Attempt| {
                let local = attempt.connection().remote.as_ref().and_then(|remote| remote.ip());
                let is_there = local.is_some_and(|ip| ip.is_loopback()) && attempt.challenge().len() == 32;
                note(&seen, "verifier", None);
                async move {
                    if is_there { tokens().verify(&attempt) } else { Err(RefusalCode::FORBIDDEN.into()) }
                }
            })
            .connect(move |peer| note(&connect, "connect", peer.identity()))
            .message(move |peer, _| note(&message, "message", peer.identity()))
            .inline(move |context, _, reply| {
                note(&request, "request", context.identity());
                reply.extend_from_slice(b"yes");
                Ok(())
            })
            .disconnect(move |peer, _| note(&gone, "gone", peer.identity()));
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let config = showing("alice's").build().expect("sound");
    let client = H::connect(&server.address(), config, Handlers::none()).await.expect("let in");
    let _ = client.cast(CastOptions::new(1), vec![1]).await.expect("queued");
    H::until("it came", || names.lock().expect("not poisoned").len() == 3).await;
    client.call(CallOptions::new(1), vec![1]).await.expect("an answer");
    assert_eq!(server.peers()[0].identity().map(|alice| alice.name().to_owned()), Some("alice".into()));
    assert_eq!(client.peer().identity(), None, "a client asked nobody");
    client.close().await;
    H::until("it is gone", || names.lock().expect("not poisoned").len() == 5).await;
    let alice = Some("alice Some(\"admin\")".to_owned());
    let all = names.lock().expect("not poisoned").clone();
    let places = ["connect", "message", "request", "gone"].map(|place| (place, alice.clone()));
    assert_eq!(all, [&[("verifier", None)][..], &places].concat());
    server.shutdown().await;
}

pub async fn a_verifier_may_decide_later<H: Harness>() {
    let waiting = Arc::new(Mutex::new(Vec::<(Attempt, Deciding)>::new()));
    let put = Arc::clone(&waiting);
    let handlers = knowing().verifier_later(move |attempt, deciding| {
        put.lock().expect("not poisoned").push((attempt, deciding));
    });
    let handlers = Handlers { verifier_inline: None, ..handlers };
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let config = || showing("bob's").reconnect(ReconnectPolicy::never()).build().expect("sound");
    let client = H::connect_lazy(&server.address(), config(), Handlers::none()).expect("an address");
    let early = client.start_call(CallOptions::new(1), Vec::new()).await.expect("queued");
    H::until("it is asked for", || waiting.lock().expect("not poisoned").len() == 1).await;
    assert_eq!(server.peers()[0].state(), State::Handshaking);
    let (attempt, deciding) = waiting.lock().expect("not poisoned").remove(0);
    assert!(!deciding.is_over());
    let decider = std::thread::spawn(move || deciding.decide(tokens().verify(&attempt)));
    assert_eq!(&H::Client::wait(early).await.expect("an answer")[..], b"bob");
    decider.join().expect("no panic");
    client.close().await;
    // A dropped `Deciding` is a refusal; one whose peer has disconnected is over.
    let client = H::connect_lazy(&server.address(), config(), Handlers::none()).expect("an address");
    H::until("it is asked for", || waiting.lock().expect("not poisoned").len() == 1).await;
    drop(waiting.lock().expect("not poisoned").remove(0));
    let refused = client.ready().await.expect_err("undecided is no");
    assert_eq!(code(&refused), Some(RefusalCode::UNAVAILABLE));
    let client = H::connect_lazy(&server.address(), config(), Handlers::none()).expect("an address");
    H::until("it is asked for", || waiting.lock().expect("not poisoned").len() == 1).await;
    let (_, deciding) = waiting.lock().expect("not poisoned").remove(0);
    client.close().await;
    H::until("nobody waits", || deciding.is_over()).await;
    deciding.decide(Ok(Identity::new("bob").into()));
    H::until("nobody is there", || server.peers().is_empty()).await;
    assert_eq!(server.accept_counters().denied, 1);
    server.shutdown().await;
}

/// The codes of the peers that were denied, as the server's events told them.
type Denied = Arc<Mutex<Vec<RefusalCode>>>;

/// Keeps them. Each comes from this machine, and is what a connection of its own was told.
fn denied_to(told: &Denied) -> impl Fn(&ServerEvent) + Send + Sync + use<> {
    let (told, peers) = (Arc::clone(told), Mutex::new(HashSet::new()));
    move |event| {
        if let ServerEvent::Denied { peer, from, refusal } = event {
            assert!(from.as_ref().and_then(Address::ip).is_some_and(|ip| ip.is_loopback()), "{from:?}");
            assert!(peers.lock().expect("not poisoned").insert(*peer), "once");
            told.lock().expect("not poisoned").push(refusal.code);
        }
    }
}

pub async fn a_refusal_ends_dialing_or_not<H: Harness>() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let told = Denied::default();
    let handlers = Handlers::echo().verifier(move |attempt: Attempt| {
        let nth = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match attempt.credentials() {
                b"panics" => panic!("as a test wants it"),
                b"later" if nth == 0 => {
                    Err(Refusal::new(RefusalCode::APPLICATION).text("not yet").retry_after(MS * 300))
                }
                b"later" => Ok(Identity::new("late").into()),
                _ => tokens().verify(&attempt),
            }
        }
    });
    let handlers = handlers.event(denied_to(&told));
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    // A peer may read its refusal before the server's task goes on, which then tells of it.
    let all_are_told = async |count| {
        H::until("all are told", || told.lock().expect("not poisoned").len() == count).await;
    };
    // A wrong token is not presented again.
    let config = showing("guessed").reconnect(ReconnectPolicy::fixed(MS)).build().expect("sound");
    let client = H::connect_lazy(&server.address(), config, Handlers::none()).expect("an address");
    let error = client.ready().await.expect_err("it is wrong");
    assert_eq!((code(&error), error.is_retryable()), (Some(RefusalCode::WRONG), false));
    let call = client.call(CallOptions::new(1), Vec::new()).await;
    assert!(matches!(&call, Err(CallError::Closed | CallError::NeverSent(_))), "{call:?}");
    assert_eq!((tries.load(Ordering::Relaxed), client.peer().state()), (1, State::Closed));
    client.close().await;
    // Unless the policy says so.
    let policy = ReconnectPolicy::fixed(MS).retry_when_denied().max_rounds(3);
    let config = showing("guessed").reconnect(policy).build().expect("sound");
    let client = H::connect_lazy(&server.address(), config, Handlers::none()).expect("an address");
    assert_eq!(code(&client.ready().await.expect_err("it is wrong")), Some(RefusalCode::WRONG));
    assert_eq!(tries.load(Ordering::Relaxed), 1 + 3);
    client.close().await;
    all_are_told(1 + 3).await;
    // A delay in the refusal permits a retry, and is respected.
    tries.store(0, Ordering::Relaxed);
    let config = showing("later").reconnect(ReconnectPolicy::fixed(MS)).build().expect("sound");
    let began = std::time::Instant::now();
    let client = H::connect_lazy(&server.address(), config, Handlers::none()).expect("an address");
    client.ready().await.expect("let in the second time");
    assert!(began.elapsed() >= MS * 300, "not before it was told");
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    client.close().await;
    all_are_told(1 + 3 + 1).await;
    // A panic is a refusal that does not concern the credentials.
    let config = showing("panics").reconnect(ReconnectPolicy::never()).build().expect("sound");
    let error = H::connect(&server.address(), config, Handlers::none()).await.err().expect("refused");
    assert_eq!((code(&error), error.is_retryable()), (Some(RefusalCode::UNAVAILABLE), true));
    all_are_told(1 + 3 + 1 + 1).await;
    H::until("all are counted", || server.accept_counters().denied == 1 + 3 + 1 + 1).await;
    let wrong = [RefusalCode::WRONG; 4];
    let codes = [&wrong[..], &[RefusalCode::APPLICATION, RefusalCode::UNAVAILABLE]].concat();
    assert_eq!(*told.lock().expect("not poisoned"), codes);
    server.shutdown().await;
}

pub async fn a_verifier_that_never_answers<H: Harness>() {
    let mut limits = AcceptLimits::default();
    limits.verification = Some(MS * 100);
    let config = Config::builder().accept_limits(limits).build().expect("sound");
    let told = Denied::default();
    let handlers = Handlers::echo().verifier_later(|_, deciding| std::mem::forget(deciding));
    let handlers = handlers.event(denied_to(&told));
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let config = showing("bob's").reconnect(ReconnectPolicy::never()).build().expect("sound");
    let error = H::connect(&server.address(), config, Handlers::none()).await.err().expect("refused");
    assert_eq!(code(&error), Some(RefusalCode::UNAVAILABLE));
    H::until("nobody is there", || server.peers().is_empty()).await;
    H::until("it is counted", || server.accept_counters().denied == 1).await;
    H::until("it is told", || !told.lock().expect("not poisoned").is_empty()).await;
    assert_eq!(*told.lock().expect("not poisoned"), [RefusalCode::UNAVAILABLE]);
    server.shutdown().await;
}

/// Another token each time.
struct Rotating(AtomicUsize);

impl CredentialSource for Rotating {
    fn credentials(&self, _: &Challenge) -> Result<Credentials, CredentialsError> {
        let token = ["alice's", "bob's"][self.0.fetch_add(1, Ordering::Relaxed) % 2];
        Credentials::new(token.as_bytes())
    }
}

pub async fn a_withdrawn_identity_is_told_and_may_come_again<H: Harness>() {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let there = Arc::clone(&causes);
    let handlers =
        knowing().disconnect(move |_, cause| there.lock().expect("not poisoned").push(cause.clone()));
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let config = Config::builder().credentials(Rotating(AtomicUsize::new(0)));
    let config = config.reconnect(ReconnectPolicy::fixed(MS)).build().expect("sound");
    let client = H::connect(&server.address(), config, Handlers::none()).await.expect("let in");
    assert_eq!(who(&client).await, "alice");
    assert_eq!(server.withdraw("bob", RefusalCode::WITHDRAWN.into()), 0);
    let refusal = Refusal::new(RefusalCode::WITHDRAWN).text("she left");
    assert_eq!(server.withdraw("alice", refusal.clone()), 1);
    H::until("it is gone", || !causes.lock().expect("not poisoned").is_empty()).await;
    assert_eq!(causes.lock().expect("not poisoned").remove(0), Disconnect::Denied(refusal.clone()));
    // On the next connection it presents another token.
    assert_eq!(who(&client).await, "bob");
    assert_eq!(client.peer().last_disconnect(), Some(Disconnect::Refused(refusal)));
    // A withdrawal with that code is permanent.
    assert_eq!(server.withdraw("bob", RefusalCode::FORBIDDEN.into()), 1);
    H::until("it is over", || client.peer().state() == State::Closed).await;
    client.close().await;
    server.shutdown().await;
}

fn session() -> ConfigBuilder<Native> {
    Config::builder().delivery(Delivery::Session).reconnect(ReconnectPolicy::fixed(MS))
}

pub async fn a_shared_secret_under_a_session<H: Harness>() {
    let secrets = SharedSecrets::new().with("carol", [7; 32], Identity::new("carol"));
    let handlers = Handlers { verifier_inline: None, ..knowing() };
    let handlers = handlers.verifier_inline(move |attempt| secrets.verify(attempt));
    let server =
        H::bind("127.0.0.1:0", session().build().expect("sound"), handlers).await.expect("a free port");
    server.start();
    let secret = SharedSecret::new("carol", [7; 32]).expect("a name");
    let config = session().credentials(secret).build().expect("sound");
    let client = H::connect(&server.address(), config, Handlers::none()).await.expect("let in");
    for round in 1..=3 {
        assert_eq!(who(&client).await, "carol");
        client.peer().reconnect_now();
        let resumed = || client.peer().counters().connections == round + 1;
        H::until("another connection", resumed).await;
    }
    assert_eq!(who(&client).await, "carol");
    assert_eq!(server.peers().len(), 1, "one session");
    let wrong = SharedSecret::new("carol", [8; 32]).expect("a name");
    let config = session().credentials(wrong).build().expect("sound");
    let error = H::connect(&server.address(), config, Handlers::none()).await.err().expect("refused");
    assert_eq!(code(&error), Some(RefusalCode::WRONG));
    client.close().await;
    server.shutdown().await;
}

pub async fn a_session_stays_with_its_identity<H: Harness>() {
    let told = Denied::default();
    let handlers = knowing().event(denied_to(&told));
    let server =
        H::bind("127.0.0.1:0", session().build().expect("sound"), handlers).await.expect("a free port");
    server.start();
    let config = session().credentials(Rotating(AtomicUsize::new(0))).build().expect("sound");
    let client = H::connect(&server.address(), config, Handlers::none()).await.expect("let in");
    assert_eq!(who(&client).await, "alice");
    // Bob is refused alice's session; the third connection is alice's again, with a new session: the messages
    // that the refusal cost are lost.
    client.peer().reconnect_now();
    H::until("another session", || client.peer().counters().connections == 2).await;
    assert_eq!(who(&client).await, "alice");
    // Bob may read his refusal before the first session's task goes on.
    H::until("the first session waits for its own", || {
        server.peers().iter().filter(|peer| peer.state() == State::Disconnected).count() == 1
    })
    .await;
    let names: Vec<_> = server.peers().iter().filter_map(|peer| peer.identity()).collect();
    assert_eq!(names.iter().map(Identity::name).collect::<Vec<_>>(), ["alice", "alice"]);
    assert_eq!(server.accept_counters().denied, 1);
    H::until("it is told", || !told.lock().expect("not poisoned").is_empty()).await;
    assert_eq!(*told.lock().expect("not poisoned"), [RefusalCode::OTHER_IDENTITY]);
    // Both connections are withdrawn.
    assert_eq!(server.withdraw("alice", RefusalCode::FORBIDDEN.into()), 2);
    H::until("nobody is there", || server.peers().is_empty()).await;
    client.close().await;
    server.shutdown().await;
}

pub async fn connections_of_an_identity_are_limited<H: Harness>() {
    let mut limits = AcceptLimits::default();
    limits.per_identity = 2;
    let config = Config::builder().accept_limits(limits).build().expect("sound");
    let handlers = Handlers { verifier_inline: None, ..knowing() };
    let handlers = handlers.verifier_inline(|attempt| {
        let grant = tokens().verify(attempt)?;
        Ok(if grant.identity.name() == "bob" { grant.connections(1).max_inbound(3) } else { grant })
    });
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let connect = |token: &str| {
        let config = showing(token).reconnect(ReconnectPolicy::never()).build().expect("sound");
        H::connect(&server.address(), config, Handlers::none())
    };
    let mut inside = Vec::new();
    for token in ["alice's", "alice's", "bob's"] {
        inside.push(connect(token).await.expect("there is room"));
    }
    for token in ["alice's", "bob's"] {
        let error = connect(token).await.err().expect("there is none");
        assert_eq!((code(&error), error.is_retryable()), (Some(RefusalCode::BUSY), true));
    }
    inside.remove(0).close().await;
    H::until("one is gone", || server.peers().len() == 2).await;
    inside.push(connect("alice's").await.expect("there is room again"));
    for client in inside {
        client.close().await;
    }
    server.shutdown().await;
}

pub async fn what_a_peer_may_do<H: Harness>() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let handlers = knowing()
        .message_inline(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .authorize(|who, method, _| match who.and_then(|who| who.attribute("role")) {
            _ if method == 99 => panic!("as a test wants it"),
            Some("admin") => Ok(()),
            _ if method < 10 => Ok(()),
            _ => Err(Status::FORBIDDEN),
        });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let status = |result: Result<_, CallError>| match result {
        Ok::<bowline::Reply, _>(_) => None,
        Err(CallError::Failed(failure)) => Some(failure.status),
        Err(other) => panic!("{other}"),
    };
    for (token, forbidden, messages) in [("alice's", None, 20), ("bob's", Some(Status::FORBIDDEN), 10)] {
        let config = showing(token).build().expect("sound");
        let client = H::connect(&server.address(), config, Handlers::none()).await.expect("let in");
        assert_eq!(status(client.call(CallOptions::new(1), Vec::new()).await), None);
        assert_eq!(status(client.call(CallOptions::new(10), Vec::new()).await), forbidden);
        assert_eq!(status(client.call(CallOptions::new(99), Vec::new()).await), Some(Status::PANICKED));
        taken.store(0, Ordering::Relaxed);
        // Usually in one batch.
        for n in 0..20_u32 {
            let _ = client.cast(CastOptions::new(n / 10 * 10), vec![7]).await.expect("queued");
        }
        client.call(CallOptions::new(1), Vec::new()).await.expect("behind them");
        assert_eq!(taken.load(Ordering::Relaxed), messages);
        let dropped = server.peers()[0].counters().messages_dropped;
        assert_eq!(dropped, 20 - messages as u64);
        client.close().await;
        H::until("it is gone", || server.peers().is_empty()).await;
    }
    server.shutdown().await;
}

pub async fn a_framing_without_a_handshake_verifies_nobody<H: Harness>() {
    let config = Config::with_framing(Buffstreams::new()).build().expect("sound");
    let handlers = Handlers::none().verifier_inline(|_| Ok(Grant::new(Identity::new("anybody"))));
    let refused = H::bind("127.0.0.1:0", config, handlers).await.err().expect("nobody could be asked");
    assert!(matches!(refused, BindError::Config(_)), "{refused}");
    let config = Config::with_framing(Buffstreams::new()).credentials(BearerToken::new("x").expect("short"));
    assert!(config.build().is_err());
}
