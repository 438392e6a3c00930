//! PLAIN, CURVE and authentication.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::mechanism::{Admission, Credentials, Decision, Mechanism, SecretKey};
use bowline::zmtp::{ReceiveError, kinds};
use bowline_zmtp_driver::Socket;

use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

const MS: Duration = Duration::from_millis(1);

fn plain(username: &str, password: &str) -> Mechanism {
    Mechanism::PlainClient { username: username.to_owned(), password: password.to_owned() }
}

/// A free port, and a Unix socket of that name.
fn endpoints<R: Runtime>(name: &str) -> Vec<String> {
    let mut endpoints = vec!["tcp://127.0.0.1:*".to_owned()];
    if cfg!(unix) {
        let runtime = std::any::type_name::<R>().rsplit("::").next().expect("a name");
        let file = format!("bowline-zmtp-{}-{name}-{runtime}", std::process::id());
        endpoints.push(format!("ipc://{}", std::env::temp_dir().join(file).display()));
    }
    endpoints
}

pub(crate) async fn names_and_passwords<R: Runtime>() {
    for endpoint in endpoints::<R>("passwords") {
        names_and_passwords_at::<R>(&endpoint).await;
    }
}

async fn names_and_passwords_at<R: Runtime>(endpoint: &str) {
    let pull = Pull::<R>::builder()
        .options(|options| options.mechanism(Mechanism::PlainServer))
        .authenticate(|request| match &request.credentials {
            Credentials::Plain { username, password } if password == b"secret" => {
                Decision::Accept { user_id: String::from_utf8_lossy(username).into_owned() }
            }
            _ => Decision::Refuse { status: 400 },
        })
        .open()
        .expect("sound");
    let bound = pull.bind(endpoint).expect("it is free");
    let as_user = |password: &str| {
        let mechanism = plain("somebody", password);
        Push::<R>::builder().options(|options| options.mechanism(mechanism)).open().expect("sound")
    };
    let friend = as_user("secret");
    done::<R, _>(friend.connect_ready(&bound)).await.expect("it is let in");
    done::<R, _>(friend.send("let in")).await.expect("open");
    assert_eq!(&done::<R, _>(pull.recv()).await.expect("a message")[0][..], b"let in");
    // It is refused permanently, and does not retry.
    let stranger = as_user("guessed");
    assert!(done::<R, _>(stranger.connect_ready(&bound)).await.is_err(), "it is refused for good");
    stranger.try_send("x").expect_err("there is no peer");
    // One that says nothing of itself is not let in either.
    let other = Push::<R>::new();
    other.connect(&bound).expect("an endpoint");
    done::<R, _>(other.send_timeout("x", MS * 100)).await.expect_err("it has no name");
    assert_eq!(done::<R, _>(pull.recv_timeout(MS * 20)).await, Err(ReceiveError::TimedOut));
    for push in [friend, stranger, other] {
        done::<R, _>(push.close()).await;
    }
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn keys<R: Runtime>() {
    for endpoint in endpoints::<R>("keys") {
        keys_at::<R>(&endpoint).await;
    }
}

async fn keys_at<R: Runtime>(endpoint: &str) {
    let (server, client, stranger) =
        (SecretKey::new([1; 32]), SecretKey::new([2; 32]), SecretKey::new([3; 32]));
    let (server_key, client_key) = (server.public_key(), client.public_key());
    let pull = Pull::<R>::builder()
        .options(|options| {
            options.mechanism(Mechanism::CurveServer { secret_key: server }).allowed_keys([client_key])
        })
        .open()
        .expect("sound");
    let bound = pull.bind(endpoint).expect("it is free");
    let with = |secret_key| {
        let mechanism = Mechanism::CurveClient { secret_key, server_key };
        Push::<R>::builder().options(|options| options.mechanism(mechanism)).open().expect("sound")
    };
    let friend = with(client);
    done::<R, _>(friend.connect_ready(&bound)).await.expect("it is let in");
    for size in [0, 1, 255, 256, 70_000, 1_000_000] {
        done::<R, _>(friend.send([vec![5], vec![7; size]])).await.expect("open");
        let came = done::<R, _>(pull.recv()).await.expect("a message");
        assert!(came[0][..] == [5] && came[1].len() == size && came[1].iter().all(|&byte| byte == 7));
    }
    let stranger = with(stranger);
    stranger.connect(&bound).expect("an endpoint");
    done::<R, _>(stranger.send_timeout("x", MS * 100)).await.expect_err("its key is not known");
    assert_eq!(done::<R, _>(pull.recv_timeout(MS * 20)).await, Err(ReceiveError::TimedOut));
    for push in [friend, stranger] {
        done::<R, _>(push.close()).await;
    }
    done::<R, _>(pull.close()).await;
}

/// A server that says nothing of who is let in is not made.
pub(crate) async fn a_server_says_who_is_let_in<R: Runtime>() {
    let open = Pull::<R>::builder()
        .options(|options| options.mechanism(Mechanism::CurveServer { secret_key: SecretKey::new([1; 32]) }))
        .open();
    assert!(open.is_err());
    let all = Pull::<R>::builder()
        .options(|options| {
            let mechanism = Mechanism::CurveServer { secret_key: SecretKey::new([1; 32]) };
            options.mechanism(mechanism).admission(Admission::AllowAny)
        })
        .open();
    done::<R, _>(all.expect("it says so").close()).await;
}
