//! PUSH and PULL.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{Message, ReceiveError, Refusal, kinds};
use bowline::{QueueLimit, ReconnectPolicy};
use bowline_zmtp_driver::Socket;

use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

const MS: Duration = Duration::from_millis(1);

fn quick<R: Runtime>() -> Push<R> {
    Push::<R>::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).open().expect("sound")
}

/// Over each transport, whichever side binds; messages of every size and number of parts.
pub(crate) async fn messages_arrive_once_and_in_order<R: Runtime>() {
    let name = std::any::type_name::<R>().replace("::", "-");
    let path = std::env::temp_dir().join(format!("bowline-zmtp-{}-{name}", std::process::id()));
    for endpoint in
        ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}", path.display()), format!("inproc://{name}")]
    {
        for binder_pushes in [false, true] {
            let (push, pull) = (quick::<R>(), Pull::<R>::new());
            if binder_pushes {
                let bound = push.bind(&endpoint).expect("it is free");
                done::<R, _>(pull.connect_ready(&bound)).await.expect("it listens");
            } else {
                let bound = pull.bind(&endpoint).expect("it is free");
                done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
            }
            let sizes = [0, 1, 255, 256, 8_192, 100_000];
            for number in 0..300_usize {
                let body = vec![number as u8; sizes[number % sizes.len()]];
                let sent = if number % 3 == 0 {
                    done::<R, _>(push.send([&b"head"[..], b"", &body])).await
                } else {
                    done::<R, _>(push.send(body)).await
                };
                sent.expect("open");
                if number % 50 == 49 {
                    for number in number - 49..=number {
                        let message = done::<R, _>(pull.recv()).await.expect("open");
                        let size = sizes[number % sizes.len()];
                        let body = &message[message.len() - 1];
                        assert_eq!((message.len(), body.len()), (if number % 3 == 0 { 3 } else { 1 }, size));
                        assert!(body.iter().all(|&byte| byte == number as u8), "message {number}");
                    }
                }
            }
            assert!(pull.try_recv().expect("open").is_none(), "none came twice");
            assert!(done::<R, _>(push.close()).await.is_empty());
            done::<R, _>(pull.close()).await;
        }
    }
}

pub(crate) async fn a_pusher_waits_for_room_and_for_a_peer<R: Runtime>() {
    let limit = QueueLimit { messages: 10, bytes: 1 << 20 };
    let push = Push::<R>::builder().options(|options| options.send_limit(limit)).open().expect("sound");
    let refused = push.try_send("nobody").expect_err("there is no peer");
    assert!(refused.is_retryable());
    assert_eq!(refused.into_message(), Message::from_iter([b"nobody".to_vec()]));
    let late = done::<R, _>(push.send_timeout(["a", "b"], MS * 20)).await.expect_err("there is no peer");
    assert_eq!((late.reason(), late.clone().into_message().len()), (&Refusal::TimedOut, 2));

    let pull = Pull::<R>::builder().options(|options| options.receive_limit(limit)).open().expect("sound");
    let bound = push.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(pull.connect_ready(&bound)).await.expect("it listens");
    // Both queues and what the system holds are full at some point: nothing is lost.
    let (mut sent, body) = (0_u32, vec![7; 50_000]);
    loop {
        match done::<R, _>(push.send_timeout([&sent.to_be_bytes()[..], &body], MS * 200)).await {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.reason(), &Refusal::TimedOut);
                break;
            }
        }
        assert!(sent < 10_000, "somebody holds it all");
    }
    for number in 0..sent {
        let message = done::<R, _>(pull.recv()).await.expect("open");
        assert_eq!((&message[0][..], message[1].len()), (&number.to_be_bytes()[..], body.len()));
    }
    done::<R, _>(push.send("there is room again")).await.expect("open");
    assert_eq!(done::<R, _>(pull.recv()).await.expect("open").len(), 1);
    done::<R, _>(push.close()).await;
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn pullers_share_the_work<R: Runtime>() {
    let push = Push::<R>::new();
    let bound = push.bind("tcp://127.0.0.1:*").expect("it is free");
    let pulls = [Pull::<R>::new(), Pull::<R>::new(), Pull::<R>::new()];
    for pull in &pulls {
        done::<R, _>(pull.connect_ready(&bound)).await.expect("it listens");
    }
    // The binder knows of a peer a moment after the peer does.
    let mut all = BTreeSet::new();
    for number in 0..300_u32 {
        done::<R, _>(push.send(&number.to_be_bytes())).await.expect("open");
    }
    while all.len() < 300 {
        for pull in &pulls {
            if let Ok(message) = done::<R, _>(pull.recv_timeout(MS * 20)).await {
                let number = u32::from_be_bytes(message[0][..].try_into().expect("a number"));
                assert!(all.insert(number), "{number} came twice");
            }
        }
    }
    done::<R, _>(push.close()).await;
    for pull in pulls {
        done::<R, _>(pull.close()).await;
    }
}

pub(crate) async fn what_no_peer_got_comes_back<R: Runtime>() {
    let push = Push::<R>::builder()
        .options(|options| options.immediate(false))
        .linger(MS * 20)
        .open()
        .expect("sound");
    // A port that stays closed: it is bound, without a listener.
    let reserved =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    reserved.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = reserved.local_addr().expect("bound").as_socket().expect("TCP").port();
    push.connect(&format!("tcp://127.0.0.1:{port}")).expect("an endpoint");
    for number in 0..5_u8 {
        done::<R, _>(push.send([vec![number], vec![9; 20_000]])).await.expect("there is room in the queue");
    }
    let back = done::<R, _>(push.close()).await;
    let back: Vec<_> = back.iter().map(|message| (message[0][0], message[1].len())).collect();
    assert_eq!(back, (0..5).map(|number| (number, 20_000)).collect::<Vec<_>>());
}

/// The side that binds goes and comes back at the same port: what waits goes to it.
pub(crate) async fn the_binder_comes_back<R: Runtime>() {
    let push = quick::<R>();
    let mut pull = Pull::<R>::new();
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    push.connect(&bound).expect("an endpoint");
    for round in 0..3_u8 {
        done::<R, _>(push.send(vec![round])).await.expect("open");
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], [round]);
        done::<R, _>(pull.close()).await;
        pull = Pull::<R>::new();
        // Its connections may still be in TIME_WAIT on the binder's side.
        while pull.bind(&bound).is_err() {
            done::<R, _>(pull.recv_timeout(MS * 10)).await.expect_err("nothing is there");
        }
    }
    done::<R, _>(push.close()).await;
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn a_closed_socket_says_so<R: Runtime>() {
    let push = Push::<R>::new();
    let other = push.clone();
    done::<R, _>(push.close()).await;
    let refused = done::<R, _>(other.send("late")).await.expect_err("it is closed");
    assert_eq!(refused.reason(), &Refusal::Closed);
    assert!(other.bind("tcp://127.0.0.1:*").is_err() && other.connect("tcp://127.0.0.1:1").is_err());
    let pull = Pull::<R>::new();
    let other = pull.clone();
    done::<R, _>(pull.close()).await;
    assert_eq!(done::<R, _>(other.recv()).await, Err(ReceiveError::Closed));
}
