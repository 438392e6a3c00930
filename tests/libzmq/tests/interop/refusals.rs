//! Connections that fail: this side reports the exact cause, and no message is delivered.

use std::time::Duration;

use bowline::core::error::Disconnect;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::mechanism::{Admission, Credentials, Decision, Mechanism};
use bowline::zmtp::{HandshakeFailure, Options, ReceiveError, SocketEvent, SocketType};
use bowline_libzmq::{Context, Kind, Monitor, Option as TheirOption, Socket as Theirs, Zap, events};

use crate::ours::{Ours, open, open_asking};
use crate::security::{Keys, Secured, Security, plain};

const MS: Duration = Duration::from_millis(1);

/// The cause of a connection's end.
fn cause_of(why: HandshakeFailure) -> Disconnect {
    match why {
        HandshakeFailure::Protocol(error) => error.into(),
        HandshakeFailure::Authentication { status } => ZmtpError::NotAuthenticated { status }.into(),
        HandshakeFailure::Refused { reason } => ZmtpError::Refused { reason }.into(),
        HandshakeFailure::Timeout { limit } => Disconnect::ConnectTimeout { limit },
        HandshakeFailure::Connection(cause) => cause,
        other => panic!("{other}"),
    }
}

/// Why the next connection of ours did not come about.
fn next_failure(ours: &dyn Ours) -> Disconnect {
    let started = std::time::Instant::now();
    loop {
        match ours.take_event() {
            Some(SocketEvent::HandshakeFailed { why, .. }) => return cause_of(why),
            Some(SocketEvent::PeerUp(..)) => panic!("it was let in"),
            Some(_) => {}
            None => std::thread::sleep(MS),
        }
        assert!(started.elapsed() < crate::MESSAGE_LIMIT, "nothing failed");
    }
}

/// As above, with a cause of the protocol.
pub(crate) fn next_error(ours: &dyn Ours) -> ZmtpError {
    let cause = next_failure(ours);
    ZmtpError::of(&cause).cloned().unwrap_or_else(|| panic!("{cause:?}"))
}

/// Both sides find that they do not go together, and who finds it first closes at once: the other one may see the end
/// only. If it dials it sees the reason in a later attempt; if it is dialed there may be no other attempt.
fn next_final_error(ours: &dyn Ours, we_bind: bool, expected: &ZmtpError) {
    loop {
        let cause = next_failure(ours);
        match ZmtpError::of(&cause) {
            Some(error) if error == expected => return,
            None if matches!(cause, Disconnect::PeerClosed | Disconnect::Transport(_)) => {}
            Some(ZmtpError::Truncated { field: "the stream", .. }) => {}
            _ => panic!("{cause:?}"),
        }
        if we_bind {
            return;
        }
    }
}

/// What refuses in libzmq's server answers with `status`; what becomes of our PUSH there.
async fn we_are_refused<R: Runtime>(
    set_theirs: impl FnOnce(&Theirs),
    status: Option<u16>,
    ours: impl FnOnce(Options) -> Options,
) -> (Box<dyn Ours>, Context, Theirs, Option<Zap>, String) {
    let context = Context::default();
    let zap = status.map(|status| Zap::new(&context, "", move |_| status));
    let pull = context.socket(Kind::Pull);
    set_theirs(&pull);
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    let push = open::<R>(SocketType::Push, |options| ours(options.handshake(MS * 200)));
    (push, context, pull, zap, bound)
}

/// Their handler says no: what is said for good ends our dialing, anything else does not.
pub(crate) async fn their_handler_refuses_us<R: Runtime>() {
    let keys = Secured::new(Security::Curve { we_serve: false });
    let server_secret = keys.server.secret.clone();
    let be_plain = |socket: &Theirs| socket.set(TheirOption::PlainServer, 1);
    let be_curve = |socket: &Theirs| socket.be_curve_server(&server_secret);
    let be_null = |socket: &Theirs| {
        socket.set_bytes(TheirOption::ZapDomain, b"global");
    };
    type Set<'a> = (&'a dyn Fn(&Theirs), &'a dyn Fn(Options) -> Options);
    let as_plain = |options: Options| options.mechanism(plain("user", "wrong"));
    let as_curve = |options: Options| options.mechanism(keys.curve_client());
    let as_null = |options: Options| options;
    let sides: [Set<'_>; 3] = [(&be_plain, &as_plain), (&be_curve, &as_curve), (&be_null, &as_null)];
    for (theirs, ours) in sides {
        for status in [400, 500] {
            let (push, _context, pull, _zap, bound) = we_are_refused::<R>(theirs, Some(status), ours).await;
            assert!(!push.connect_ready(&bound).await, "it is refused for good");
            assert_eq!(next_error(&*push), ZmtpError::Refused { reason: status.to_string() });
            push.send_within(vec![b"x".to_vec()], MS * 5).await.expect_err("there is no peer");
            assert!(pull.recv_within(20).is_err_and(|error| error.is_again()));
            push.close().await;
        }
    }
    // Without an answer: a temporary failure, of which it says nothing.
    for (theirs, ours) in sides {
        let (push, _context, _pull, _zap, bound) = we_are_refused::<R>(theirs, Some(300), ours).await;
        push.connect(&bound);
        for _ in 0..2 {
            let cause = next_failure(&*push);
            assert!(ZmtpError::of(&cause).is_none_or(|error| !error.is_final()), "{cause:?}");
        }
        push.close().await;
    }
    // There is no authenticator: PLAIN accepts no peer, and this side retries.
    let (push, _context, _pull, _zap, bound) = we_are_refused::<R>(be_plain, None, as_plain).await;
    push.connect(&bound);
    for _ in 0..2 {
        assert_eq!(next_failure(&*push), Disconnect::PeerClosed);
    }
    push.close().await;
}

/// We know another key than the server has: it says nothing, and we try again.
pub(crate) async fn we_have_the_wrong_server_key<R: Runtime>() {
    let keys = Secured::new(Security::Curve { we_serve: false });
    let theirs = |socket: &Theirs| socket.be_curve_server(&keys.server.secret);
    let other = Secured { server: Keys::new(), ..Secured::new(Security::Curve { we_serve: false }) };
    let ours = |options: Options| options.mechanism(other.curve_client());
    let (push, _context, pull, _zap, bound) = we_are_refused::<R>(theirs, Some(200), ours).await;
    let monitor = Monitor::new(&pull);
    push.connect(&bound);
    for _ in 0..2 {
        let cause = next_failure(&*push);
        assert!(ZmtpError::of(&cause).is_none_or(|error| !error.is_final()), "{cause:?}");
        assert_eq!(monitor.wait_for(!(events::ACCEPTED)).bit, events::HANDSHAKE_FAILED_PROTOCOL);
        let _closed = monitor.wait_for(events::CLOSED | events::DISCONNECTED);
    }
    push.close().await;
}

/// How one side is set up, by a name.
const SETUPS: [&str; 5] = ["NULL", "PLAIN client", "PLAIN server", "CURVE client", "CURVE server"];

fn set_ours(setup: &str, options: Options, keys: &Secured) -> Options {
    match setup {
        "PLAIN client" => options.mechanism(plain("user", "password")),
        "PLAIN server" => options.mechanism(Mechanism::PlainServer).admission(Admission::AllowAny),
        "CURVE client" => options.mechanism(keys.curve_client()),
        "CURVE server" => options
            .mechanism(Mechanism::CurveServer { secret_key: keys.server.our_secret() })
            .admission(Admission::AllowAny),
        _ => options,
    }
}

fn set_theirs(setup: &str, socket: &Theirs, keys: &Secured) {
    match setup {
        "PLAIN client" => socket.be_plain_client("user", "password"),
        "PLAIN server" => socket.set(TheirOption::PlainServer, 1),
        "CURVE client" => {
            socket.be_curve_client((&keys.client.public, &keys.client.secret), &keys.server.public);
        }
        "CURVE server" => socket.be_curve_server(&keys.server.secret),
        _ => {}
    }
}

/// Every mechanism against every other one, whichever side binds.
pub(crate) async fn mechanisms_have_to_be_the_same<R: Runtime>() {
    let keys = Secured::new(Security::Null);
    for ours in SETUPS {
        for theirs in SETUPS {
            if ours[..4] == theirs[..4] {
                continue;
            }
            for we_bind in [false, true] {
                let context = Context::default();
                let pull = open::<R>(SocketType::Pull, |options| set_ours(ours, options, &keys));
                let push = context.socket(Kind::Push);
                set_theirs(theirs, &push, &keys);
                push.set(TheirOption::Immediate, 1);
                push.set(TheirOption::SendTimeout, 10);
                if we_bind {
                    push.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
                } else {
                    let bound = push.bind("tcp://127.0.0.1:*").expect("free");
                    assert!(!pull.connect_ready(&bound).await, "{ours}, {theirs}: it is in vain for good");
                }
                let names = |setup: &'static str| setup.split(' ').next().expect("a name");
                let expected = ZmtpError::Mechanism { ours: names(ours), theirs: names(theirs).to_owned() };
                next_final_error(&*pull, we_bind, &expected);
                assert!(push.send(&["x"]).is_err_and(|error| error.is_again()), "there is no peer");
                pull.close().await;
            }
        }
    }
}

/// Both sides are clients, or both are servers, of one mechanism.
pub(crate) async fn a_mechanism_takes_a_client_and_a_server<R: Runtime>() {
    let keys = Secured::new(Security::Null);
    for setup in &SETUPS[1..] {
        let context = Context::default();
        let pull = open::<R>(SocketType::Pull, |options| set_ours(setup, options.handshake(MS * 200), &keys));
        let push = context.socket(Kind::Push);
        set_theirs(setup, &push, &keys);
        push.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
        let cause = next_failure(&*pull);
        match (ZmtpError::of(&cause), setup.ends_with("client")) {
            (Some(ZmtpError::Unexpected { found: "HELLO", expected: "WELCOME" }), true) => {}
            // It broke off first.
            (None, true) => assert!(matches!(cause, Disconnect::PeerClosed | Disconnect::Transport(_))),
            // Each waits for the other to begin.
            (None, false) => assert_eq!(cause, Disconnect::ConnectTimeout { limit: MS * 200 }),
            (Some(error), _) => panic!("{setup}: {error}"),
        }
        assert_eq!(pull.recv_within(MS * 5).await, Err(ReceiveError::TimedOut));
        pull.close().await;
    }
}

/// We are asked and refuse: with a status that is said, they stay away; with another one they come again.
pub(crate) async fn we_refuse_them<R: Runtime>() {
    let keys = Secured::new(Security::Null);
    for client in ["NULL", "PLAIN client", "CURVE client"] {
        for status in [400, 500, 300, 404] {
            let server = client.replace("client", "server");
            let pull = open_asking::<R>(
                SocketType::Pull,
                |options| set_ours(&server, options, &keys).domain("test"),
                move |request| {
                    let said = match &request.credentials {
                        Credentials::Null => "NULL",
                        Credentials::Plain { username, password } => {
                            assert!(username == b"user" && password == b"password");
                            "PLAIN"
                        }
                        Credentials::Curve { .. } => "CURVE",
                        _ => "?",
                    };
                    assert!(client.starts_with(said) && request.domain == "test");
                    Decision::Refuse { status }
                },
            );
            let context = Context::default();
            let push = context.socket(Kind::Push);
            set_theirs(client, &push, &keys);
            let monitor = Monitor::new(&push);
            push.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
            assert_eq!(next_error(&*pull), ZmtpError::NotAuthenticated { status });
            if status == 400 || status == 500 {
                // libzmq's PLAIN knows a misspelt ERROR only.
                let failed = monitor.wait_for(
                    events::HANDSHAKE_FAILED_AUTH | events::HANDSHAKE_FAILED_PROTOCOL | events::DISCONNECTED,
                );
                match client {
                    "PLAIN client" => assert_eq!(failed.bit, events::HANDSHAKE_FAILED_PROTOCOL),
                    _ => {
                        assert_eq!((failed.bit, failed.value), (events::HANDSHAKE_FAILED_AUTH, status.into()))
                    }
                }
                std::thread::sleep(MS * 50);
                assert!(pull.take_event().is_none(), "{client}: it stays away");
            } else {
                // It comes again, and is asked again.
                assert_eq!(next_error(&*pull), ZmtpError::NotAuthenticated { status });
            }
            assert_eq!(pull.recv_within(MS * 5).await, Err(ReceiveError::TimedOut));
            pull.close().await;
        }
    }
}

/// Clients of CURVE whose key is not on our list, or that take us for another server.
pub(crate) async fn their_keys_are_wrong<R: Runtime>() {
    let keys = Secured::new(Security::Curve { we_serve: true });
    let context = Context::default();
    let pull = open::<R>(SocketType::Pull, |options| keys.ours(options));
    let bound = pull.bind("tcp://127.0.0.1:*");
    let stranger = Keys::new();
    let push = context.socket(Kind::Push);
    push.be_curve_client((&stranger.public, &stranger.secret), &keys.server.public);
    let monitor = Monitor::new(&push);
    push.connect(&bound).expect("an endpoint");
    assert_eq!(next_error(&*pull), ZmtpError::NotAuthenticated { status: 400 });
    let failed = monitor.wait_for(events::HANDSHAKE_FAILED_AUTH | events::HANDSHAKE_SUCCEEDED);
    assert_eq!((failed.bit, failed.value), (events::HANDSHAKE_FAILED_AUTH, 400));
    drop(push);
    let push = context.socket(Kind::Push);
    push.be_curve_client((&keys.client.public, &keys.client.secret), &stranger.public);
    push.connect(&bound).expect("an endpoint");
    for _ in 0..2 {
        let error = next_error(&*pull);
        assert!(matches!(error, ZmtpError::Sealed { field: "HELLO" }), "{error:?}");
    }
    drop(push);
    assert_eq!(pull.recv_within(MS * 20).await, Err(ReceiveError::TimedOut));
    pull.close().await;
}

/// Types that do not go together, whichever side binds.
pub(crate) async fn types_have_to_go_together<R: Runtime>() {
    for we_bind in [false, true] {
        let context = Context::default();
        let pull = open::<R>(SocketType::Pull, |options| options);
        let theirs = context.socket(Kind::Pub);
        if we_bind {
            theirs.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
        } else {
            let bound = theirs.bind("tcp://127.0.0.1:*").expect("free");
            assert!(!pull.connect_ready(&bound).await, "it is in vain for good");
        }
        let expected = ZmtpError::SocketType { ours: SocketType::Pull, theirs: "PUB".to_owned() };
        next_final_error(&*pull, we_bind, &expected);
        pull.close().await;
    }
}

/// Accepted peers are reported, in both directions: names, keys, properties.
pub(crate) async fn who_is_let_in_is_told<R: Runtime>() {
    let keys = Secured::new(Security::Null);
    for client in ["NULL", "PLAIN client", "CURVE client"] {
        let server = client.replace("client", "server");
        let public = keys.client.our_public();
        let pull = open_asking::<R>(
            SocketType::Pull,
            |options| set_ours(&server, options, &keys).property("X-Ours", "from us"),
            move |request| match &request.credentials {
                Credentials::Null => Decision::Accept { user_id: "anybody".to_owned() },
                Credentials::Plain { username, .. } => {
                    Decision::Accept { user_id: String::from_utf8_lossy(username).into_owned() }
                }
                Credentials::Curve { public_key } if *public_key == public => {
                    Decision::Accept { user_id: "a key".to_owned() }
                }
                _ => Decision::Refuse { status: 400 },
            },
        );
        let context = Context::default();
        let push = context.socket(Kind::Push);
        set_theirs(client, &push, &keys);
        push.set_bytes(TheirOption::Metadata, b"X-Theirs:from them");
        push.connect(&pull.bind("tcp://127.0.0.1:*")).expect("an endpoint");
        push.send(&["x"]).expect("there is room");
        assert_eq!(pull.recv().await.expect("a message"), [b"x"]);
        let Some(SocketEvent::PeerUp(_, peer)) = pull.take_event() else { panic!("it is there") };
        let user = match client {
            "NULL" => "anybody",
            "PLAIN client" => "user",
            _ => "a key",
        };
        assert_eq!(peer.user_id.as_deref(), Some(user));
        assert_eq!(peer.metadata.get("X-Theirs"), Some(&b"from them"[..]));
        pull.close().await;
    }
    // And what libzmq knows of us.
    let context = Context::default();
    let _zap = Zap::new(&context, "somebody", |request| {
        assert_eq!((&*request.domain, &*request.mechanism), ("global", "NULL"));
        200
    });
    let theirs = context.socket(Kind::Dealer);
    theirs.set_bytes(TheirOption::ZapDomain, b"global");
    let ours =
        open::<R>(SocketType::Dealer, |options| options.routing_id("me").property("X-Ours", "from us"));
    ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free"));
    ours.send(vec![b"x".to_vec()]).await.expect("open");
    let came = theirs.recv_one("X-Ours").expect("a message");
    assert_eq!((came.property.as_deref(), &came.body[..]), (Some("from us"), &b"x"[..]));
    ours.send(vec![b"x".to_vec()]).await.expect("open");
    assert_eq!(theirs.recv_one("User-Id").expect("a message").property.as_deref(), Some("somebody"));
    ours.close().await;
}
