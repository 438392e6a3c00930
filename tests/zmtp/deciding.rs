//! Slow authenticators.

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::mechanism::{Credentials, Decision, Mechanism};
use bowline::zmtp::{HandshakeFailure, ReceiveError, SocketEvent, kinds};
use bowline::{AcceptLimits, ReconnectPolicy};
use bowline_zmtp_driver::Socket;

use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

const MS: Duration = Duration::from_millis(1);

fn client<R: Runtime>(name: &str) -> Push<R> {
    let mechanism = Mechanism::PlainClient { username: name.into(), password: "secret".into() };
    Push::<R>::builder()
        .options(|options| options.mechanism(mechanism))
        .reconnect(ReconnectPolicy::fixed(MS * 5))
        .open()
        .expect("sound")
}

/// Comes back a few times before it is ready.
fn after_a_while() -> impl Future<Output = ()> + Send {
    let mut left = 3;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Counts those that are there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn failure<R: Runtime>(push: &Push<R>) -> HandshakeFailure {
    loop {
        if let SocketEvent::HandshakeFailed { why, .. } =
            done::<R, _>(push.next_event()).await.expect("the socket is open")
        {
            return why;
        }
    }
}

/// Asks about its peers; `count` counts those that it is asked about.
fn server<R: Runtime>(handshake: Duration, count: &Arc<AtomicUsize>) -> Pull<R> {
    let count = Arc::clone(count);
    Pull::<R>::builder()
        .options(|options| options.mechanism(Mechanism::PlainServer).handshake(handshake))
        .authenticate_async(move |request| {
            let counted = Counted::new(&count);
            async move {
                let _counted = counted;
                let Credentials::Plain { username, .. } = &request.credentials else {
                    return Decision::Refuse { status: 400 };
                };
                after_a_while().await;
                match &username[..] {
                    b"friend" => Decision::Accept { user_id: "friend".into() },
                    b"bug" => panic!("a bug of the authenticator's, which is meant to be here"),
                    b"slow" => pending().await,
                    _ => Decision::Refuse { status: 400 },
                }
            }
        })
        .open()
        .expect("sound")
}

pub(crate) async fn a_decision_may_take_its_time<R: Runtime>() {
    let there = Arc::new(AtomicUsize::new(0));
    let pull = server::<R>(Duration::from_secs(30), &there);
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let friend = client::<R>("friend");
    done::<R, _>(friend.connect_ready(&bound)).await.expect("it is let in");
    done::<R, _>(friend.send("let in")).await.expect("open");
    assert_eq!(&done::<R, _>(pull.recv()).await.expect("a message")[0][..], b"let in");
    let [info] = &pull.pipes()[..] else { panic!("one peer") };
    assert_eq!(info.peer.as_ref().and_then(|peer| peer.user_id.as_deref()), Some("friend"));

    for (name, status) in [("stranger", 400), ("bug", 500)] {
        let other = client::<R>(name);
        other.connect(&bound).expect("an endpoint");
        assert_eq!(failure(&other).await.status(), Some(status), "{name}");
        done::<R, _>(other.close()).await;
    }
    // One that is never decided about ends with the time for the handshake, and so does the question.
    let hasty = server::<R>(MS * 200, &there);
    let slow = client::<R>("slow");
    slow.connect(&hasty.bind("tcp://127.0.0.1:*").expect("it is free")).expect("an endpoint");
    let why = loop {
        if let SocketEvent::HandshakeFailed { why, .. } =
            done::<R, _>(hasty.next_event()).await.expect("the socket is open")
        {
            break why;
        }
    };
    assert_eq!(why, HandshakeFailure::Timeout { limit: MS * 200 });
    done::<R, _>(slow.close()).await;
    done::<R, _>(hasty.close()).await;
    // One whose socket closes meanwhile.
    let slow = client::<R>("slow");
    slow.connect(&bound).expect("an endpoint");
    while there.load(SeqCst) == 0 {
        done::<R, _>(pull.recv_timeout(MS)).await.expect_err("nothing is there");
    }
    let other = pull.clone();
    done::<R, _>(slow.close()).await;
    done::<R, _>(friend.close()).await;
    done::<R, _>(pull.close()).await;
    assert_eq!(there.load(SeqCst), 0, "closing waits for its tasks, also those that decide");
    assert_eq!(done::<R, _>(other.recv()).await, Err(ReceiveError::Closed));
}

/// As many are asked about as handshakes may be under way.
pub(crate) async fn only_so_many_are_decided_about_at_once<R: Runtime>() {
    let (there, most, asked) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&there), Arc::clone(&most), Arc::clone(&asked));
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = 2 * bowline::core::config::HANDSHAKE_COST;
    assert_eq!(limits.handshakes(), 2);
    let pull = Pull::<R>::builder()
        .options(|options| options.mechanism(Mechanism::PlainServer))
        .accept_limits(limits)
        .authenticate_async(move |_| {
            let counted = Counted::new(&counts.0);
            counts.1.fetch_max(counts.0.load(SeqCst), SeqCst);
            counts.2.fetch_add(1, SeqCst);
            async move {
                let _counted = counted;
                pending().await
            }
        })
        .open()
        .expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let clients: Vec<_> = (0..6).map(|number| client::<R>(&number.to_string())).collect();
    for client in &clients {
        client.connect(&bound).expect("an endpoint");
    }
    // Each that comes takes the place of the oldest, again and again.
    let mut failures = 0;
    while failures < 40 {
        let event = done::<R, _>(pull.next_event()).await.expect("the socket is open");
        failures += usize::from(matches!(event, SocketEvent::HandshakeFailed { .. }));
    }
    assert!(asked.load(SeqCst) >= 2, "{asked:?}");
    assert!((1..=2).contains(&most.load(SeqCst)), "{most:?} at once");
    for client in clients {
        done::<R, _>(client.close()).await;
    }
    done::<R, _>(pull.close()).await;
    assert_eq!(there.load(SeqCst), 0);
}
