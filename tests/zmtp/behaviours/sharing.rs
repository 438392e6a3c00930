//! PUSH, PULL and PAIR: `test_spec_pushpull`, `test_immediate`, `test_pair_inproc`, `test_pair_ipc`, `test_pair_tcp`,
//! `test_maxmsgsize`, `test_metadata`, `test_many_sockets`.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::{SocketEvent, SocketType, kinds};
use bowline_zmtp_driver::Socket;

use super::{MS, close, link, named, next_event, nothing_comes, open, pause, peer_up, plain, recv, send};
use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;
type Pair<R> = Socket<R, kinds::Pair>;

/// `test_spec_pushpull`: sent in turn; received from all peers, whichever sends most.
pub(crate) async fn work_is_shared_and_taken_in_turn<R: Runtime>() {
    let push: Push<R> = plain();
    let pulls: [Pull<R>; 3] = [plain(), plain(), plain()];
    for pull in &pulls {
        link(pull, &push).await;
    }
    for number in 0..9_u8 {
        send(&push, vec![number]).await;
        assert_eq!(recv(&pulls[usize::from(number) % 3]).await, [[number]]);
    }
    close(push).await;
    let [pull, second, third] = pulls;
    close(second).await;
    close(third).await;
    let (many, one): (Push<R>, Push<R>) = (plain(), plain());
    let bound = link(&pull, &many).await;
    done::<R, _>(one.connect_ready(&bound)).await.expect("it listens");
    for _ in 0..300 {
        send(&many, "many").await;
    }
    send(&one, "one").await;
    pause::<R>(MS * 100).await;
    let mut before = 0;
    while recv(&pull).await != [b"one"] {
        before += 1;
    }
    assert!(before < 290, "it had to wait for {before}");
    close(many).await;
    close(one).await;
    close(pull).await;
}

/// `test_immediate`: messages go only to connected peers. With the option off they are also queued for peers
/// that were dialed and are not connected.
pub(crate) async fn nothing_waits_for_peers_that_are_not_there<R: Runtime>() {
    // A port that is bound, without a listener.
    let reserved =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    reserved.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = reserved.local_addr().expect("bound").as_socket().expect("TCP").port();
    let nowhere = format!("tcp://127.0.0.1:{port}");
    for immediate in [true, false] {
        let push: Push<R> = Socket::<R, kinds::Push>::builder()
            .options(|options| options.immediate(immediate))
            .linger(MS * 10)
            .open()
            .expect("sound");
        push.connect(&nowhere).expect("an endpoint");
        let pull: Pull<R> = plain();
        link(&pull, &push).await;
        for number in 0..10_u8 {
            send(&push, vec![number]).await;
        }
        let expected = if immediate { 10 } else { 5 };
        for _ in 0..expected {
            recv(&pull).await;
        }
        nothing_comes(&pull).await;
        let back = done::<R, _>(push.close()).await;
        assert_eq!(back.len(), 10 - expected, "what nobody got comes back");
        close(pull).await;
    }
}

/// `test_pair_inproc`, `_ipc`, `_tcp`: both directions; a second peer is refused and reported. libzmq leaves
/// it connected without delivering its messages.
pub(crate) async fn a_pair_has_one_peer<R: Runtime>() {
    let path = std::env::temp_dir().join(format!("bowline-{}-{}", std::process::id(), named::<R>("pair")));
    for endpoint in [
        "tcp://127.0.0.1:*".to_owned(),
        format!("ipc://{}", path.display()),
        format!("inproc://{}", named::<R>("pair")),
    ] {
        let (one, other): (Pair<R>, Pair<R>) = (plain(), plain());
        let bound = one.bind(&endpoint).expect("free");
        done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
        peer_up(&one).await;
        for number in 0..20_u8 {
            send(&one, [vec![number], vec![1; 1_000]]).await;
            send(&other, [vec![number]]).await;
            assert_eq!(recv(&other).await, [vec![number], vec![1; 1_000]]);
            assert_eq!(recv(&one).await, [[number]]);
        }
        let third: Pair<R> = plain();
        third.connect(&bound).expect("an endpoint");
        let SocketEvent::PeerRefused(_, error) = next_event(&one).await else { panic!("it has one already") };
        assert_eq!(error, ZmtpError::SecondPeer(SocketType::Pair));
        send(&one, "still here").await;
        assert_eq!(recv(&other).await, [b"still here"]);
        close(other).await;
        // After the first has disconnected the next one, which retries, is the peer. Within a process it does
        // not retry, because it got an error.
        if !bound.starts_with("inproc") {
            peer_up(&one).await;
            send(&one, "to the third").await;
            assert_eq!(recv(&third).await, [b"to the third"]);
        }
        close(third).await;
        close(one).await;
    }
}

/// `test_maxmsgsize`: a message over the limit ends its connection, is reported, and cannot be sent either.
pub(crate) async fn a_message_over_the_limit_ends_its_connection<R: Runtime>() {
    let pull: Pull<R> = open(|options| options.max_message(10));
    let (rude, other): (Push<R>, Push<R>) = (plain(), open(|options| options.max_message(10)));
    let bound = link(&pull, &rude).await;
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    peer_up(&pull).await;
    send(&rude, "ten bytes.").await;
    assert_eq!(recv(&pull).await, [b"ten bytes."]);
    send(&rude, "eleven byte").await;
    let SocketEvent::PeerDown(_, cause) = next_event(&pull).await else { panic!("it is told") };
    let error = ZmtpError::of(&cause).cloned();
    assert!(matches!(error, Some(ZmtpError::TooLong { value: 11, limit: 10, .. })), "{error:?}");
    assert!(other.try_send("eleven byte").is_err() && other.try_send(["two", "parts of"]).is_err());
    send(&other, "others are").await;
    assert_eq!(recv(&pull).await, [b"others are"]);
    close(rude).await;
    close(other).await;
    close(pull).await;
}

/// `test_metadata`, `test_app_meta`: the properties that each side sends.
pub(crate) async fn properties_are_told<R: Runtime>() {
    let pull: Pull<R> = open(|options| options.property("X-key", "of the pull"));
    let push: Push<R> = open(|options| options.property("X-key", "of the push").property("X-empty", ""));
    done::<R, _>(push.connect_ready(&pull.bind("tcp://127.0.0.1:*").expect("free")))
        .await
        .expect("it listens");
    let SocketEvent::PeerUp(_, peer) = next_event(&pull).await else { panic!("it is there") };
    assert_eq!(peer.socket_type, Some(SocketType::Push));
    assert_eq!(peer.metadata.get("x-KEY"), Some(&b"of the push"[..]));
    assert_eq!((peer.metadata.get("X-empty"), peer.metadata.get("X-none")), (Some(&b""[..]), None));
    let SocketEvent::PeerUp(_, peer) = next_event(&push).await else { panic!("it is there") };
    assert_eq!(peer.metadata.get("X-key"), Some(&b"of the pull"[..]));
    close(push).await;
    close(pull).await;
}

/// `test_many_sockets`: they work concurrently, and are closed together.
pub(crate) async fn many_sockets_work_side_by_side<R: Runtime>() {
    let mut pairs: Vec<(Pair<R>, Pair<R>)> = Vec::new();
    for number in 0..100_usize {
        let (one, other): (Pair<R>, Pair<R>) = (plain(), plain());
        let endpoint = match number % 2 {
            0 => "tcp://127.0.0.1:*".to_owned(),
            _ => format!("inproc://{}", named::<R>(&format!("many-{number}"))),
        };
        other.connect(&one.bind(&endpoint).expect("free")).expect("an endpoint");
        pairs.push((one, other));
    }
    for (number, (one, other)) in pairs.iter().enumerate() {
        send(one, number.to_string()).await;
        send(other, number.to_string()).await;
    }
    for (number, (one, other)) in pairs.iter().enumerate() {
        assert_eq!(recv(one).await, [number.to_string().into_bytes()]);
        assert_eq!(recv(other).await, [number.to_string().into_bytes()]);
    }
    for (one, other) in pairs {
        close(one).await;
        close(other).await;
    }
}
