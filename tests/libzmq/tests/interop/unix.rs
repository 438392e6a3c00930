//! Refusals over Unix sockets: a connection without an address of the peer.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::mechanism::{Credentials, Decision, Mechanism};
use bowline::zmtp::{ReceiveError, SocketType};
use bowline_libzmq::{Context, Kind, Option as TheirOption, Zap};

use crate::endpoints;
use crate::ours::{open, open_asking};
use crate::refusals::next_error;
use crate::security::{Keys, Secured, Security, plain};

const MS: Duration = Duration::from_millis(1);

/// A wrong password and an unknown key, by either side; then the right ones at the same endpoint.
pub(crate) async fn credentials_are_refused_over_unix_sockets<R: Runtime>() {
    let runtime = std::any::type_name::<R>().rsplit("::").next().expect("a name");
    let [_, endpoint] = endpoints(&format!("refused-{runtime}"));
    they_refuse::<R>(&endpoint).await;
    we_refuse_passwords::<R>(&endpoint).await;
    we_refuse_keys::<R>(&endpoint).await;
}

async fn they_refuse<R: Runtime>(endpoint: &str) {
    let context = Context::default();
    let keys = Secured::new(Security::Curve { we_serve: false });
    let key = keys.client.our_public().to_vec();
    let _zap = Zap::new(&context, "", move |request| {
        let is_let_in = match &*request.mechanism {
            "PLAIN" => request.credentials == [b"user".to_vec(), b"password".to_vec()],
            _ => request.credentials == [key.clone()],
        };
        if is_let_in { 200 } else { 400 }
    });
    let stranger =
        Secured { client: Keys::new(), server: keys.server.clone(), ..Secured::new(keys.security) };
    let plain_sides = [plain("user", "guessed"), plain("user", "password")];
    let curve_sides = [stranger.curve_client(), keys.curve_client()];
    for (is_curve, [wrong, right]) in [(false, plain_sides), (true, curve_sides)] {
        let pull = context.socket(Kind::Pull);
        match is_curve {
            true => pull.be_curve_server(&keys.server.secret),
            false => pull.set(TheirOption::PlainServer, 1),
        }
        let bound = pull.bind(endpoint).expect("free");
        let push = open::<R>(SocketType::Push, |options| options.mechanism(wrong));
        assert!(!push.connect_ready(&bound).await, "it is refused for good");
        assert_eq!(next_error(&*push), ZmtpError::Refused { reason: "400".to_owned() });
        assert!(pull.recv_within(20).is_err_and(|error| error.is_again()));
        push.close().await;
        let push = open::<R>(SocketType::Push, |options| options.mechanism(right));
        assert!(push.connect_ready(&bound).await, "it is let in");
        push.send(vec![b"x".to_vec()]).await.expect("open");
        assert_eq!(pull.recv().expect("a message"), [b"x"]);
        push.close().await;
    }
}

async fn we_refuse_passwords<R: Runtime>(endpoint: &str) {
    let pull = open_asking::<R>(
        SocketType::Pull,
        |options| options.mechanism(Mechanism::PlainServer),
        |request| match &request.credentials {
            Credentials::Plain { password, .. } if password == b"password" => {
                Decision::Accept { user_id: "user".to_owned() }
            }
            _ => Decision::Refuse { status: 400 },
        },
    );
    let bound = pull.bind(endpoint);
    let context = Context::default();
    let wrong = context.socket(Kind::Push);
    wrong.be_plain_client("user", "guessed");
    wrong.connect(&bound).expect("an endpoint");
    wrong.send(&["wrong"]).expect("there is room");
    assert_eq!(next_error(&*pull), ZmtpError::NotAuthenticated { status: 400 });
    assert_eq!(pull.recv_within(MS * 20).await, Err(ReceiveError::TimedOut));
    let right = context.socket(Kind::Push);
    right.be_plain_client("user", "password");
    right.connect(&bound).expect("an endpoint");
    right.send(&["right"]).expect("there is room");
    assert_eq!(pull.recv().await.expect("a message"), [b"right"]);
    pull.close().await;
}

async fn we_refuse_keys<R: Runtime>(endpoint: &str) {
    let keys = Secured::new(Security::Curve { we_serve: true });
    let pull = open::<R>(SocketType::Pull, |options| keys.ours(options));
    let bound = pull.bind(endpoint);
    let (context, stranger) = (Context::default(), Keys::new());
    for (client, is_let_in) in [(&stranger, false), (&keys.client, true)] {
        let push = context.socket(Kind::Push);
        push.be_curve_client((&client.public, &client.secret), &keys.server.public);
        push.connect(&bound).expect("an endpoint");
        push.send(&["x"]).expect("there is room");
        if is_let_in {
            assert_eq!(pull.recv().await.expect("a message"), [b"x"]);
        } else {
            assert_eq!(next_error(&*pull), ZmtpError::NotAuthenticated { status: 400 });
            assert_eq!(pull.recv_within(MS * 20).await, Err(ReceiveError::TimedOut));
        }
    }
    pull.close().await;
}
