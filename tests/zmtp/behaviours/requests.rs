//! REQ and REP: `test_spec_req`, `test_spec_rep`, `test_req_correlate`, `test_req_relaxed`.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{SocketType, kinds};
use bowline_zmtp::socket::SendError as Unsent;
use bowline_zmtp_driver::Socket;

use super::{MS, close, link, nothing_comes, open, pause, peer_up, plain, recv, refusal, send};
use crate::done;

type Req<R> = Socket<R, kinds::Req>;
type Rep<R> = Socket<R, kinds::Rep>;
type Dealer<R> = Socket<R, kinds::Dealer>;
type Router<R> = Socket<R, kinds::Router>;

/// `test_spec_req`: requests go to the peers in turn.
pub(crate) async fn a_req_asks_its_peers_in_turn<R: Runtime>() {
    let req: Req<R> = plain();
    let reps: [Rep<R>; 3] = [plain(), plain(), plain()];
    for rep in &reps {
        link(rep, &req).await;
    }
    for number in 0..9_u8 {
        send(&req, vec![number]).await;
        let rep = &reps[usize::from(number) % 3];
        assert_eq!(recv(rep).await, [[number]]);
        send(rep, vec![number, 1]).await;
        assert_eq!(recv(&req).await, [[number, 1]]);
    }
    close(req).await;
    for rep in reps {
        close(rep).await;
    }
}

/// `test_spec_req`: a message of another peer is not the reply.
pub(crate) async fn a_req_listens_to_the_peer_that_it_asked<R: Runtime>() {
    let req: Req<R> = open(|options| options.routing_id("asker"));
    let routers: [Router<R>; 2] = [plain(), plain()];
    for router in &routers {
        link(router, &req).await;
    }
    for number in 0..4 {
        send(&req, "question").await;
        let (asked, other) = (&routers[number % 2], &routers[(number + 1) % 2]);
        assert_eq!(recv(asked).await, [&b"asker"[..], b"", b"question"]);
        send(other, ["asker", "", "wrong"]).await;
        // A message without a delimiter is not a reply either.
        send(asked, ["asker", "wrong, too"]).await;
        send(asked, ["asker", "", "right"]).await;
        assert_eq!(recv(&req).await, [b"right"]);
        // Unrequested messages are discarded before their sender is asked: without numbers one could pass for
        // the reply.
        super::until::<R>(|| req.stats().dropped == 2 * (number as u64 + 1)).await;
    }
    close(req).await;
    for router in routers {
        close(router).await;
    }
}

/// `test_spec_req`: without a peer it waits.
pub(crate) async fn a_req_waits_for_a_peer<R: Runtime>() {
    let req: Req<R> = plain();
    assert_eq!(refusal(req.try_send("question").expect_err("nobody is there")), Unsent::WouldBlock);
    let rep: Rep<R> = plain();
    let bound = rep.bind("tcp://127.0.0.1:*").expect("free");
    req.connect(&bound).expect("an endpoint");
    send(&req, "question").await;
    assert_eq!(recv(&rep).await, [b"question"]);
    close(req).await;
    close(rep).await;
}

/// `test_spec_rep`: peers are answered in turn, whichever asks most.
pub(crate) async fn a_rep_takes_questions_in_turn<R: Runtime>() {
    let rep: Rep<R> = plain();
    let (many, one): (Dealer<R>, Dealer<R>) = (plain(), plain());
    let bound = link(&rep, &many).await;
    done::<R, _>(one.connect_ready(&bound)).await.expect("it listens");
    peer_up(&rep).await;
    for _ in 0..300 {
        send(&many, ["", "many"]).await;
    }
    send(&one, ["", "one"]).await;
    pause::<R>(MS * 100).await;
    let mut before = 0;
    loop {
        let asked = recv(&rep).await;
        send(&rep, asked[0].clone()).await;
        if asked == [b"one"] {
            break;
        }
        before += 1;
    }
    assert!(before < 290, "it had to wait for {before}");
    assert_eq!(recv(&one).await, [&b""[..], b"one"], "and each gets its own answer");
    assert_eq!(recv(&rep).await, [b"many"]);
    send(&rep, "many").await;
    assert_eq!(recv(&many).await, [&b""[..], b"many"]);
    for socket in [many, one] {
        close(socket).await;
    }
    close(rep).await;
}

/// `test_spec_rep`: everything before the first empty part is sent back with the reply; a message without an
/// empty part is not a request.
pub(crate) async fn an_envelope_comes_back_whole<R: Runtime>() {
    let (rep, dealer): (Rep<R>, Dealer<R>) = (plain(), plain());
    link(&rep, &dealer).await;
    send(&dealer, ["no", "delimiter"]).await;
    send(&dealer, ["A", "B", "", "body", "", "more"]).await;
    assert_eq!(recv(&rep).await, [&b"body"[..], b"", b"more"]);
    send(&rep, ["reply", "of parts"]).await;
    assert_eq!(recv(&dealer).await, [&b"A"[..], b"B", b"", b"reply", b"of parts"]);
    assert_eq!(rep.stats().dropped, 1);
    assert_eq!(refusal(rep.try_send("again").expect_err("answered")), Unsent::State(SocketType::Rep));
    close(dealer).await;
    close(rep).await;
}

/// `test_req_correlate`: only the reply with the request's number is accepted.
pub(crate) async fn a_numbered_question_takes_its_own_reply<R: Runtime>() {
    let (req, router): (Req<R>, Router<R>) = (open(|options| options.req_correlate(true)), plain());
    link(&router, &req).await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        send(&req, "question").await;
        let asked = recv(&router).await;
        let [id, number, delimiter, body] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((number.len(), &delimiter[..], &body[..]), (4, &b""[..], &b"question"[..]));
        assert!(!numbers.contains(number), "each has another one");
        let wrong = vec![number[0] ^ 0xff, number[1], number[2], number[3]];
        let strays: [Vec<Vec<u8>>; 3] = [
            vec![id.clone(), b"".to_vec(), b"no number".to_vec()],
            vec![id.clone(), wrong, b"".to_vec(), b"another number".to_vec()],
            vec![id.clone(), number.clone(), b"no delimiter".to_vec()],
        ];
        for stray in strays {
            send(&router, stray).await;
        }
        send(&router, vec![id.clone(), number.clone(), b"".to_vec(), b"right".to_vec()]).await;
        assert_eq!(recv(&req).await, [b"right"]);
        numbers.push(number.clone());
    }
    assert_eq!(req.stats().dropped, 9);
    close(req).await;
    close(router).await;
}

/// `test_req_relaxed`: a request may be given up for another one, and a late reply to it is not accepted.
pub(crate) async fn a_relaxed_req_asks_again<R: Runtime>() {
    let relaxed = |options: bowline::zmtp::Options| options.req_relaxed(true).req_correlate(true);
    let (req, router): (Req<R>, Router<R>) = (open(relaxed), plain());
    link(&router, &req).await;
    send(&req, "first").await;
    send(&req, "second").await;
    let (first, second) = (recv(&router).await, recv(&router).await);
    assert_eq!((&first[3][..], &second[3][..]), (&b"first"[..], &b"second"[..]));
    for (mut reply, body) in [(first, "late"), (second, "in time")] {
        reply[3] = body.into();
        send(&router, reply).await;
    }
    assert_eq!(recv(&req).await, [b"in time"]);
    // A strict one may not.
    let strict: Req<R> = plain();
    let bound = router.bind("tcp://127.0.0.1:*").expect("free");
    done::<R, _>(strict.connect_ready(&bound)).await.expect("it listens");
    send(&strict, "first").await;
    assert_eq!(refusal(strict.try_send("second").expect_err("asked")), Unsent::State(SocketType::Req));
    close(strict).await;
    // The peer disconnected, and another one is asked.
    close(router).await;
    let rep: Rep<R> = plain();
    link(&rep, &req).await;
    send(&req, "third").await;
    assert_eq!(recv(&rep).await, [b"third"]);
    send(&rep, "reply").await;
    assert_eq!(recv(&req).await, [b"reply"]);
    nothing_comes(&rep).await;
    close(req).await;
    close(rep).await;
}
