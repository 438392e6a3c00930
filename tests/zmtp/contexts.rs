//! Contexts: sockets that end together.

use std::time::{Duration, Instant};

use bowline::ReconnectPolicy;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{OpenError, ReceiveError, Refusal, SocketType, kinds};
use bowline_zmtp_driver::{Context, Socket};

use crate::done;

const MS: Duration = Duration::from_millis(1);

/// A port that stays closed: it is bound, without a listener.
pub(crate) fn closed_port() -> (socket2::Socket, String) {
    let reserved =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    reserved.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = reserved.local_addr().expect("bound").as_socket().expect("TCP").port();
    (reserved, format!("tcp://127.0.0.1:{port}"))
}

pub(crate) async fn a_shutdown_ends_every_socket<R: Runtime>() {
    let context = Context::<R>::builder().name("orders").open().expect("sound");
    let pull = context.socket::<kinds::Pull>().expect("open");
    let push = Socket::<R, kinds::Push>::builder().context(&context).name("out").linger(MS * 20);
    let push = push.options(|options| options.immediate(false)).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let (_reserved, nowhere) = closed_port();
    push.connect(&nowhere).expect("an endpoint");
    for number in 0..3_u8 {
        done::<R, _>(push.send(vec![number])).await.expect("there is room in the queue");
    }
    // A socket of another context, which continues.
    let other =
        Socket::<R, kinds::Push>::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).open().expect("sound");
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    assert_eq!(context.sockets(), 2);
    let receiver = std::thread::spawn({
        let pull = pull.clone();
        move || bowline::blocking::block_on(done::<R, _>(pull.recv()))
    });
    let stuck = context.socket::<kinds::Push>().expect("open");
    let sender = std::thread::spawn({
        let stuck = stuck.clone();
        move || bowline::blocking::block_on(done::<R, _>(stuck.send("nobody is there")))
    });

    let began = Instant::now();
    let unsent = done::<R, _>(context.shutdown()).await;
    assert!(began.elapsed() < Duration::from_secs(7), "the linger time is 5 s, and nothing waits that long");
    let [unsent] = &unsent[..] else { panic!("one had something: {unsent:?}") };
    assert_eq!((unsent.socket.as_str(), unsent.kind), ("out", SocketType::Push));
    let numbers: Vec<_> = unsent.messages.iter().map(|message| message[0][0]).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(receiver.join().expect("no panic"), Err(ReceiveError::Closed));
    let refused = sender.join().expect("no panic").expect_err("the socket is closed");
    assert_eq!(refused.reason(), &Refusal::Closed);
    assert_eq!(refused.into_message()[0][..], b"nobody is there"[..]);
    assert!(pull.bind("tcp://127.0.0.1:*").is_err() && push.connect(&bound).is_err());

    // There is no listener any more, and the other socket is unchanged.
    let next = Socket::<R, kinds::Pull>::new();
    while next.bind(&bound).is_err() {
        done::<R, _>(next.recv_timeout(MS * 10)).await.expect_err("nothing is there");
    }
    done::<R, _>(other.send("here")).await.expect("open");
    assert_eq!(&done::<R, _>(next.recv()).await.expect("open")[0][..], b"here");
    assert!(done::<R, _>(context.shutdown()).await.is_empty(), "once is enough");
    done::<R, _>(other.close()).await;
    done::<R, _>(next.close()).await;
    drop((pull, push, stuck));
    assert_eq!(context.sockets(), 0);
}

pub(crate) async fn no_socket_is_made_beyond_the_end_or_the_limit<R: Runtime>() {
    let context = Context::<R>::builder().name("few").max_sockets(2).open().expect("sound");
    let one = context.socket::<kinds::Pair>().expect("one");
    let two = context.socket::<kinds::Pair>().expect("two");
    let third = context.socket::<kinds::Pair>().map(drop);
    assert_eq!(third, Err(OpenError::Sockets { context: "few".into(), value: 3, limit: 2 }));
    done::<R, _>(one.close()).await;
    let three = context.socket::<kinds::Pair>().expect("one is closed");
    assert!(!context.is_shut_down());
    assert!(done::<R, _>(context.shutdown_within(Duration::ZERO)).await.is_empty());
    assert!(context.is_shut_down());
    let late = context.socket::<kinds::Pair>().map(drop);
    assert_eq!(late, Err(OpenError::ShutDown { context: "few".into() }));
    assert!(two.connect("tcp://127.0.0.1:1").is_err());
    drop((two, three));
}

/// Sockets whose handles were dropped send in the background: the shutdown waits for them, too.
pub(crate) async fn what_closes_in_the_background_is_waited_for<R: Runtime>() {
    let context = Context::<R>::builder().linger(MS * 30).open().expect("sound");
    let (_reserved, nowhere) = closed_port();
    let push = Socket::<R, kinds::Push>::builder().context(&context).linger(Duration::from_secs(50));
    let push = push.options(|options| options.immediate(false)).open().expect("sound");
    push.connect(&nowhere).expect("an endpoint");
    done::<R, _>(push.send("late")).await.expect("there is room in the queue");
    drop(push);
    assert_eq!(context.sockets(), 1);
    let began = Instant::now();
    let unsent = done::<R, _>(context.shutdown()).await;
    assert!(began.elapsed() < Duration::from_secs(20), "the context's linger time holds");
    assert_eq!((unsent.len(), unsent[0].messages.len(), context.sockets()), (1, 1, 0));
}
