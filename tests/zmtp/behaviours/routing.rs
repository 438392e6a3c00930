//! ROUTER and DEALER: `test_spec_router`, `test_spec_dealer`, `test_router_mandatory`, `test_router_handover`,
//! `test_probe_router`, `test_connect_rid`.

use bowline::QueueLimit;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::error::ZmtpError;
use bowline::zmtp::{SocketEvent, kinds};
use bowline_zmtp::socket::{Drop, SendError as Unsent};
use bowline_zmtp_driver::Socket;

use super::{
    close, link, next_event, nothing_comes, open, open_once, peer_down, peer_up, plain, recv, refusal, send,
    until,
};
use crate::done;

type Req<R> = Socket<R, kinds::Req>;
type Dealer<R> = Socket<R, kinds::Dealer>;
type Router<R> = Socket<R, kinds::Router>;

fn called<R: Runtime>(id: &str) -> Dealer<R> {
    let id = id.to_owned();
    open(|options| options.routing_id(id))
}

/// `test_router_mandatory`: sending to a peer that is not connected, or has no room, is an error; or the
/// message is dropped and counted.
pub(crate) async fn a_router_says_whom_it_cannot_reach<R: Runtime>() {
    let limit = QueueLimit { messages: 5, bytes: 1 << 20 };
    let router: Router<R> = open(|options| options.send_limit(limit));
    router.bind("tcp://127.0.0.1:*").expect("free");
    let error = router.try_send(["X", "hello"]).expect_err("it is not there");
    assert_eq!(error.clone().into_message().len(), 2, "it comes back");
    assert!(matches!(refusal(error), Unsent::Unroutable(id) if id.as_slice() == b"X"));
    let few = QueueLimit { messages: 2, bytes: 1 << 20 };
    let dealer: Dealer<R> = open(|options| options.routing_id("X").receive_limit(few));
    link(&router, &dealer).await;
    // As many as both queues and the system accept.
    let body = vec![7; 100_000];
    let mut sent = 0;
    let full = loop {
        match router.try_send([b"X", &body[..]]) {
            Ok(()) => sent += 1,
            Err(error) => break refusal(error),
        }
        if sent % 3 == 0 {
            super::pause::<R>(super::MS).await;
        }
        assert!(sent < 10_000, "somebody holds it all");
    };
    assert_eq!(full, Unsent::Full);
    for _ in 0..sent {
        assert_eq!(recv(&dealer).await[0].len(), body.len());
    }
    until::<R>(|| router.try_send(["X", "there is room"]).is_ok()).await;
    assert_eq!(recv(&dealer).await, [b"there is room"]);
    close(dealer).await;
    close(router).await;

    let lenient: Router<R> = open(|options| options.router_mandatory(false));
    lenient.try_send(["X", "hello"]).expect("it is dropped");
    assert_eq!(lenient.stats().discarded, 1);
    close(lenient).await;
}

/// `test_router_handover`: with the option, a new peer with an id in use replaces the earlier one. Otherwise
/// Bowline's ROUTER disconnects the new peer and reports it; libzmq leaves it connected without delivering
/// its messages.
pub(crate) async fn an_id_is_handed_over<R: Runtime>() {
    for hands_over in [true, false] {
        let router: Router<R> = open(|options| options.router_handover(hands_over));
        // One that redials would take its id back.
        let first: Dealer<R> = open_once(|options| options.routing_id("X"));
        let second: Dealer<R> = called("X");
        let bound = link(&router, &first).await;
        send(&first, "first").await;
        assert_eq!(recv(&router).await, [b"X".to_vec(), b"first".to_vec()]);
        second.connect(&bound).expect("an endpoint");
        if hands_over {
            peer_up(&router).await;
            send(&router, ["X", "hello"]).await;
            assert_eq!(recv(&second).await, [b"hello"]);
            nothing_comes(&first).await;
        } else {
            loop {
                if let SocketEvent::PeerRefused(_, error) = next_event(&router).await {
                    assert_eq!(error, ZmtpError::DuplicateRoutingId { length: 1 });
                    break;
                }
            }
            send(&router, ["X", "hello"]).await;
            assert_eq!(recv(&first).await, [b"hello"]);
            // After the first has disconnected the second, which retries, gets the id.
            close(first).await;
            send(&second, "second").await;
            assert_eq!(recv(&router).await, [b"X".to_vec(), b"second".to_vec()]);
            close(second).await;
            close(router).await;
            continue;
        }
        close(first).await;
        close(second).await;
        close(router).await;
    }
}

/// `test_probe_router`: an empty message announces a peer.
pub(crate) async fn a_probe_says_who_is_there<R: Runtime>() {
    let router: Router<R> = plain();
    let bound = router.bind("tcp://127.0.0.1:*").expect("free");
    let dealer: Dealer<R> = open(|options| options.routing_id("dealer").probe_router(true));
    dealer.connect(&bound).expect("an endpoint");
    assert_eq!(recv(&router).await, [&b"dealer"[..], b""]);
    send(&router, ["dealer", "hello"]).await;
    assert_eq!(recv(&dealer).await, [b"hello"]);
    // From one ROUTER to another; both sides probe.
    let other: Router<R> = open(|options| options.routing_id("other").probe_router(true));
    other.connect(&bound).expect("an endpoint");
    assert_eq!(recv(&router).await, [&b"other"[..], b""]);
    send(&router, ["other", "hello"]).await;
    assert_eq!(recv(&other).await[1], b"hello");
    let req: Req<R> = open(|options| options.routing_id("req").probe_router(true));
    req.connect(&bound).expect("an endpoint");
    assert_eq!(recv(&router).await, [&b"req"[..], b""]);
    close(dealer).await;
    close(other).await;
    close(req).await;
    close(router).await;
}

/// `test_connect_rid`: the connecting side chooses the peer's id.
pub(crate) async fn a_router_names_whom_it_connects_to<R: Runtime>() {
    let router: Router<R> = plain();
    let dealers: [Dealer<R>; 2] = [called("own name"), plain()];
    for (dealer, name) in dealers.iter().zip(["one", "two"]) {
        let bound = dealer.bind("tcp://127.0.0.1:*").expect("free");
        router.connect_as(&bound, name).expect("an endpoint");
        let peer = peer_up(&router).await;
        assert_eq!(router.routing_id(peer).as_deref(), Some(name.as_bytes()));
        send(&router, [name, "hello"]).await;
        assert_eq!(recv(dealer).await, [b"hello"]);
        send(dealer, "answer").await;
        assert_eq!(recv(&router).await, [name.as_bytes(), b"answer"]);
    }
    assert!(router.connect_as("tcp://127.0.0.1:1", "").is_err());
    assert!(router.connect_as("tcp://127.0.0.1:1", [1; 256]).is_err());
    // An id that another peer has: the connection is closed, and that is reported.
    let third: Dealer<R> = plain();
    router.connect_as(&third.bind("tcp://127.0.0.1:*").expect("free"), "one").expect("an endpoint");
    loop {
        if let SocketEvent::PeerRefused(_, error) = next_event(&router).await {
            assert_eq!(error, ZmtpError::DuplicateRoutingId { length: 3 });
            break;
        }
    }
    close(router).await;
    close(third).await;
    for dealer in dealers {
        close(dealer).await;
    }
}

/// `test_spec_router`: messages for a peer that disconnects are dropped and reported; its id is free at once.
pub(crate) async fn what_waits_for_a_peer_goes_with_it<R: Runtime>() {
    let router: Router<R> = plain();
    let few = QueueLimit { messages: 2, bytes: 1 << 20 };
    let dealer: Dealer<R> = open(|options| options.routing_id("X").receive_limit(few));
    link(&router, &dealer).await;
    let mut sent = 0;
    // It accepts less than is queued for it.
    while sent < 200 && router.try_send([b"X", &vec![7; 100_000][..]]).is_ok() {
        sent += 1;
    }
    close(dealer).await;
    loop {
        match next_event(&router).await {
            SocketEvent::Dropped { count, why, .. } => {
                assert!(why == Drop::PeerGone && count <= sent);
                break;
            }
            SocketEvent::PeerUp(..) | SocketEvent::PeerDown(..) => {}
            other => panic!("{other:?}"),
        }
    }
    until::<R>(|| router.try_send(["X", "hello"]).is_err()).await;
    let again: Dealer<R> = called("X");
    link(&router, &again).await;
    send(&router, ["X", "hello"]).await;
    assert_eq!(recv(&again).await, [b"hello"], "and nothing of before");
    close(again).await;
    close(router).await;
}

/// `test_spec_dealer`: sends in turn, receives from all, and waits without a peer.
pub(crate) async fn a_dealer_sends_in_turn<R: Runtime>() {
    let dealer: Dealer<R> = plain();
    assert_eq!(refusal(dealer.try_send("x").expect_err("nobody is there")), Unsent::WouldBlock);
    let peers: [Dealer<R>; 3] = [plain(), plain(), plain()];
    for peer in &peers {
        link(peer, &dealer).await;
    }
    for number in 0..9_u8 {
        send(&dealer, [vec![], vec![number]]).await;
        assert_eq!(recv(&peers[usize::from(number) % 3]).await, [vec![], vec![number]]);
    }
    let mut came = Vec::new();
    for (at, peer) in peers.iter().enumerate() {
        send(peer, vec![at as u8]).await;
    }
    for _ in 0..3 {
        came.push(recv(&dealer).await[0][0]);
    }
    came.sort_unstable();
    assert_eq!(came, [0, 1, 2]);
    // Messages for a peer that disconnects go to the others.
    let [gone, stays, other] = peers;
    close(gone).await;
    peer_down(&dealer).await;
    for number in 0..4_u8 {
        send(&dealer, vec![number]).await;
    }
    let mut came = vec![recv(&stays).await[0][0], recv(&stays).await[0][0]];
    came.extend([recv(&other).await[0][0], recv(&other).await[0][0]]);
    came.sort_unstable();
    assert_eq!(came, [0, 1, 2, 3]);
    for socket in [dealer, stays, other] {
        close(socket).await;
    }
}

/// The ids of peers without one: five bytes, all different.
pub(crate) async fn peers_without_a_name_get_one<R: Runtime>() {
    let router: Router<R> = plain();
    let dealers: [Dealer<R>; 2] = [plain(), plain()];
    let bound = router.bind("tcp://127.0.0.1:*").expect("free");
    let mut ids = Vec::new();
    for dealer in &dealers {
        done::<R, _>(dealer.connect_ready(&bound)).await.expect("it listens");
        send(dealer, "hello").await;
        let (peer, message) = done::<R, _>(router.recv_from()).await.expect("open");
        assert_eq!(router.routing_id(peer.pipe()).as_deref(), Some(&message[0][..]));
        ids.push(message[0].to_vec());
    }
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 5 && id[0] == 0), "{ids:?}");
    for dealer in dealers {
        close(dealer).await;
    }
    close(router).await;
}
