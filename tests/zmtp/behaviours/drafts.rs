//! The draft types: `test_client_server`, `test_radio_dish`, `test_scatter_gather`, `test_peer`,
//! `test_channel`.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{PipeId, SocketEvent, SocketType, kinds};
use bowline_zmtp::socket::SendError as Unsent;
use bowline_zmtp_driver::Socket;

use super::{close, link, next_event, nothing_comes, peer_up, plain, recv, refusal, send, until};
use crate::done;

type Client<R> = Socket<R, kinds::Client>;
type Server<R> = Socket<R, kinds::Server>;
type Radio<R> = Socket<R, kinds::Radio>;
type Dish<R> = Socket<R, kinds::Dish>;
type Scatter<R> = Socket<R, kinds::Scatter>;
type Gather<R> = Socket<R, kinds::Gather>;
type Channel<R> = Socket<R, kinds::Channel>;
type Peer<R> = Socket<R, kinds::Peer>;

/// Messages of these types have one part.
fn has_one_part(error: bowline::zmtp::SendError) {
    let reason = refusal(error);
    assert!(matches!(reason, Unsent::Refused(_) | Unsent::Envelope(..)), "{reason}");
}

pub(crate) async fn a_server_answers_its_clients<R: Runtime>() {
    let server: Server<R> = plain();
    let clients: [Client<R>; 2] = [plain(), plain()];
    let bound = server.bind("tcp://127.0.0.1:*").expect("free");
    let mut numbers = Vec::new();
    for (at, client) in clients.iter().enumerate() {
        done::<R, _>(client.connect_ready(&bound)).await.expect("it listens");
        send(client, vec![at as u8]).await;
        let asked = recv(&server).await;
        assert_eq!((asked[0].len(), &asked[1][..]), (4, &[at as u8][..]));
        assert_ne!(asked[0], [0; 4]);
        numbers.push(asked[0].clone());
    }
    // In any order, and without a request.
    for (client, number) in clients.iter().zip(&numbers).rev() {
        send(&server, [&number[..], b"answer"]).await;
        send(&server, [&number[..], b"and more"]).await;
        assert_eq!(recv(client).await, [b"answer"]);
        assert_eq!(recv(client).await, [b"and more"]);
    }
    has_one_part(clients[0].try_send(["two", "parts"]).expect_err("one part"));
    has_one_part(server.try_send([&numbers[0][..], b"two", b"parts"]).expect_err("one part"));
    assert!(matches!(refusal(server.try_send(["nobody", "x"]).expect_err("nobody")), Unsent::Unroutable(_)));
    for client in clients {
        close(client).await;
    }
    until::<R>(|| server.try_send([&numbers[0][..], b"x"]).is_err()).await;
    close(server).await;
}

pub(crate) async fn a_dish_gets_what_its_groups_get<R: Runtime>() {
    let radio: Radio<R> = plain();
    let dishes: [Dish<R>; 2] = [plain(), plain()];
    for (dish, group) in dishes.iter().zip(["movies", "tv"]) {
        let bound = radio.bind("tcp://127.0.0.1:*").expect("free");
        done::<R, _>(dish.connect_ready(&bound)).await.expect("it listens");
        dish.subscribe(group);
    }
    done::<R, _>(radio.wait_for_subscribers(2)).await.expect("open");
    // The whole name is compared, not a prefix.
    for group in ["tv", "movies", "movie", "movies2", "none"] {
        send(&radio, [group, "body"]).await;
    }
    assert_eq!(radio.stats().discarded, 3);
    assert_eq!(recv(&dishes[0]).await, [&b"movies"[..], b"body"]);
    assert_eq!(recv(&dishes[1]).await, [&b"tv"[..], b"body"]);
    assert!(dishes[0].unsubscribe("movies") && !dishes[0].unsubscribe("movies"));
    let longest = "g".repeat(255);
    dishes[0].subscribe(&longest);
    until::<R>(|| radio.try_send(["movies", "x"]).is_ok() && radio.stats().discarded == 4).await;
    until::<R>(|| radio.subscriptions() == 2).await;
    send(&radio, [&longest[..], "body"]).await;
    let came = recv(&dishes[0]).await;
    assert!(came[0] == longest.as_bytes() && came[1] == b"body");
    assert_eq!(refusal(radio.try_send([&*"g".repeat(256), "x"]).expect_err("too long")), Unsent::Group(256));
    assert!(matches!(
        refusal(radio.try_send("no group").expect_err("one part")),
        Unsent::Envelope(SocketType::Radio, 1)
    ));
    for dish in &dishes {
        nothing_comes(dish).await;
    }
    for dish in dishes {
        close(dish).await;
    }
    close(radio).await;
}

pub(crate) async fn what_is_scattered_is_gathered<R: Runtime>() {
    let scatter: Scatter<R> = plain();
    has_one_part(scatter.try_send(["two", "parts"]).expect_err("one part"));
    assert_eq!(refusal(scatter.try_send("x").expect_err("nobody is there")), Unsent::WouldBlock);
    let gathers: [Gather<R>; 2] = [plain(), plain()];
    for gather in &gathers {
        link(gather, &scatter).await;
    }
    for number in 0..6_u8 {
        send(&scatter, vec![number]).await;
        assert_eq!(recv(&gathers[usize::from(number) % 2]).await, [[number]]);
    }
    close(scatter).await;
    for gather in gathers {
        close(gather).await;
    }
}

pub(crate) async fn a_channel_has_one_peer<R: Runtime>() {
    let (one, other, third): (Channel<R>, Channel<R>, Channel<R>) = (plain(), plain(), plain());
    let bound = link(&one, &other).await;
    send(&one, "there").await;
    send(&other, "and back").await;
    assert_eq!(recv(&other).await, [b"there"]);
    assert_eq!(recv(&one).await, [b"and back"]);
    has_one_part(one.try_send(["two", "parts"]).expect_err("one part"));
    third.connect(&bound).expect("an endpoint");
    let SocketEvent::PeerRefused(..) = next_event(&one).await else { panic!("it has one already") };
    for socket in [one, other, third] {
        close(socket).await;
    }
}

pub(crate) async fn peers_know_each_other_by_number<R: Runtime>() {
    let (one, other): (Peer<R>, Peer<R>) = (plain(), plain());
    let bound = one.bind("tcp://127.0.0.1:*").expect("free");
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    // Both sides learn it with the connection, so that either may send first.
    let number = |socket: &Peer<R>, peer: PipeId| socket.routing_id(peer).expect("it is there");
    let (to_other, to_one) = (number(&one, peer_up(&one).await), number(&other, peer_up(&other).await));
    assert!(to_other.len() == 4 && to_one.len() == 4);
    send(&one, [&to_other[..], b"there"]).await;
    assert_eq!(recv(&other).await, [to_one.clone(), b"there".to_vec()]);
    send(&other, [&to_one[..], b"and back"]).await;
    assert_eq!(recv(&one).await, [to_other.clone(), b"and back".to_vec()]);
    has_one_part(one.try_send([&to_other[..], b"two", b"parts"]).expect_err("one part"));
    close(other).await;
    until::<R>(|| one.try_send([&to_other[..], b"x"]).is_err()).await;
    close(one).await;
}
