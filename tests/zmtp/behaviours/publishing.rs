//! XPUB and its options: `test_xpub_verbose`, `test_xpub_manual`, `test_xpub_nodrop`, `test_xpub_welcome_msg`,
//! `test_invert_matching`, `test_hwm_pubsub`.

use bowline::QueueLimit;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{SubscribeError, kinds};
use bowline_zmtp::socket::SendError as Unsent;
use bowline_zmtp_driver::Socket;

use super::{MS, close, link, nothing_comes, open, pause, plain, recv, refusal, send, until};
use crate::done;

type Pub<R> = Socket<R, kinds::Pub>;
type Sub<R> = Socket<R, kinds::Sub>;
type XPub<R> = Socket<R, kinds::XPub>;
type XSub<R> = Socket<R, kinds::XSub>;

/// `test_xpub_verbose`: which subscriptions, and ends of them, the application receives.
pub(crate) async fn an_xpub_hears_of_subscriptions<R: Runtime>() {
    for (verbose, verboser) in [(false, false), (true, false), (false, true)] {
        let xpub: XPub<R> = open(|options| options.xpub_verbose(verbose).xpub_verboser(verboser));
        let (one, other): (Sub<R>, Sub<R>) = (plain(), plain());
        let bound = link(&xpub, &one).await;
        done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
        one.subscribe("A");
        assert_eq!(recv(&xpub).await, [b"\x01A"]);
        other.subscribe("A");
        if verbose || verboser {
            assert_eq!(recv(&xpub).await, [b"\x01A"]);
        }
        other.subscribe("B");
        assert_eq!(recv(&xpub).await, [b"\x01B"]);
        assert!(one.unsubscribe("A"));
        if verboser {
            assert_eq!(recv(&xpub).await, [b"\0A"]);
        }
        // The end of a topic that no peer has any more is received in every mode, also when a peer
        // disconnects.
        assert!(other.unsubscribe("A"));
        assert_eq!(recv(&xpub).await, [b"\0A"]);
        close(other).await;
        assert_eq!(recv(&xpub).await, [b"\0B"]);
        assert_eq!(xpub.subscriptions(), 0);
        close(one).await;
        close(xpub).await;
    }
}

/// `test_xpub_manual`: the application decides about each subscription.
pub(crate) async fn an_xpub_subscribes_its_peers<R: Runtime>() {
    let xpub: XPub<R> = open(|options| options.xpub_manual(true));
    let (one, other): (Sub<R>, XSub<R>) = (plain(), plain());
    let bound = link(&xpub, &one).await;
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    one.subscribe("A");
    let (peer, asked) = done::<R, _>(xpub.recv_from()).await.expect("open");
    assert_eq!(&asked[0][..], b"\x01A");
    send(&xpub, "A is not given out").await;
    assert_eq!(xpub.subscribe_peer(peer, "XA"), Ok(()));
    // The SUB itself filters, too: it accepts only messages that begin with A.
    one.subscribe("XA");
    let (same, _) = done::<R, _>(xpub.recv_from()).await.expect("open");
    assert_eq!(same, peer);
    send(&other, [&b"\x01B"[..]]).await;
    let (second, asked) = done::<R, _>(xpub.recv_from()).await.expect("open");
    assert_eq!(&asked[0][..], b"\x01B");
    assert!(second != peer && xpub.subscribe_peer(second, "XB").is_ok());
    for topic in ["A", "B", "XA", "XB"] {
        send(&xpub, topic).await;
    }
    assert_eq!(recv(&one).await, [b"XA"]);
    assert_eq!(recv(&other).await, [b"XB"]);
    // The application also decides about its end.
    send(&other, [&b"\0B"[..]]).await;
    let (_, asked) = done::<R, _>(xpub.recv_from()).await.expect("open");
    assert_eq!(&asked[0][..], b"\0B");
    send(&xpub, "XB").await;
    assert_eq!(recv(&other).await, [b"XB"]);
    assert_eq!(xpub.unsubscribe_peer(second, "XB"), Ok(true));
    assert_eq!(xpub.unsubscribe_peer(second, "XB"), Ok(false));
    send(&xpub, "XB").await;
    nothing_comes(&other).await;
    nothing_comes(&one).await;
    close(one).await;
    // It disconnects with its subscriptions, and nothing more is done for it.
    assert_eq!(recv(&xpub).await, [b"\0A"]);
    assert_eq!(recv(&xpub).await, [b"\0XA"]);
    assert_eq!(xpub.subscribe_peer(peer, "XA"), Err(SubscribeError::PeerGone));
    close(other).await;
    close(xpub).await;
    // Without the option the application cannot decide.
    let (xpub, sub): (XPub<R>, Sub<R>) = (plain(), plain());
    link(&xpub, &sub).await;
    sub.subscribe("A");
    let (peer, _) = done::<R, _>(xpub.recv_from()).await.expect("open");
    assert_eq!(xpub.subscribe_peer(peer, "B"), Err(SubscribeError::NotManual));
    assert_eq!(xpub.unsubscribe_peer(peer, "A"), Err(SubscribeError::NotManual));
    close(sub).await;
    close(xpub).await;
}

const FEW: QueueLimit = QueueLimit { messages: 5, bytes: 1 << 20 };

/// `test_xpub_nodrop`: sending fails instead of skipping a peer without room.
pub(crate) async fn a_publisher_may_fail_instead_of_dropping<R: Runtime>() {
    let publisher: XPub<R> = open(|options| options.send_limit(FEW).pub_nodrop(true));
    let sub: Sub<R> = open(|options| options.receive_limit(FEW));
    link(&publisher, &sub).await;
    sub.subscribe("");
    assert_eq!(recv(&publisher).await, [b"\x01"]);
    let (mut sent, body) = (0_u32, vec![7; 50_000]);
    loop {
        match publisher.try_send([&sent.to_be_bytes()[..], &body]) {
            Ok(()) => sent += 1,
            // A moment later the system may have accepted it.
            Err(error) => {
                assert_eq!(refusal(error), Unsent::Full);
                pause::<R>(MS * 50).await;
                if publisher.try_send([&sent.to_be_bytes()[..], &body]).is_err() {
                    break;
                }
                sent += 1;
            }
        }
        assert!(sent < 10_000, "somebody holds it all");
    }
    for number in 0..sent {
        assert_eq!(recv(&sub).await[0], number.to_be_bytes());
    }
    until::<R>(|| publisher.try_send("there is room").is_ok()).await;
    assert_eq!(recv(&sub).await, [b"there is room"]);
    assert_eq!(publisher.stats().overflowed, 0);
    close(sub).await;
    close(publisher).await;
}

/// `test_hwm_pubsub`: a subscriber that does not receive is skipped above its limit, which is counted; others
/// get everything.
pub(crate) async fn a_slow_subscriber_is_left_out<R: Runtime>() {
    let publisher: Pub<R> = open(|options| options.send_limit(FEW));
    let (slow, quick): (Sub<R>, Sub<R>) = (open(|options| options.receive_limit(FEW)), plain());
    let bound = link(&publisher, &slow).await;
    done::<R, _>(quick.connect_ready(&bound)).await.expect("it listens");
    slow.subscribe("a");
    quick.subscribe("");
    done::<R, _>(publisher.wait_for_subscribers(2)).await.expect("open");
    let body = vec![7; 100_000];
    for number in 0..300_u32 {
        send(&publisher, [&b"a"[..], &number.to_be_bytes(), &body]).await;
        assert_eq!(recv(&quick).await[1], number.to_be_bytes());
    }
    send(&publisher, "b").await;
    assert_eq!(recv(&quick).await, [b"b"]);
    let left_out = publisher.stats().overflowed;
    assert!(left_out > 0 && left_out < 300, "{left_out}");
    let mut before = None;
    for _ in 0..300 - left_out {
        let number = recv(&slow).await[1].clone();
        assert!(before < Some(number.clone()), "in order");
        before = Some(number);
    }
    nothing_comes(&slow).await;
    close(slow).await;
    close(quick).await;
    close(publisher).await;
}

/// `test_xpub_welcome_msg`: the first message of a new subscriber, if it has a matching topic.
pub(crate) async fn a_subscriber_is_welcomed<R: Runtime>() {
    let xpub: XPub<R> = open(|options| options.xpub_welcome("W"));
    let sub: Sub<R> = plain();
    link(&xpub, &sub).await;
    sub.subscribe("other");
    assert_eq!(recv(&xpub).await, [b"\x01other"]);
    sub.subscribe("W");
    assert_eq!(recv(&xpub).await, [b"\x01W"]);
    assert_eq!(recv(&sub).await, [b"W"]);
    send(&xpub, "other things").await;
    assert_eq!(recv(&sub).await, [b"other things"], "and it is welcomed once");
    close(sub).await;
    close(xpub).await;
}

/// `test_invert_matching`: subscribers get the messages that they did not subscribe to.
pub(crate) async fn matching_may_be_turned_round<R: Runtime>() {
    let publisher: Pub<R> = open(|options| options.invert_matching(true));
    let subs: [Sub<R>; 2] = std::array::from_fn(|_| open(|options| options.invert_matching(true)));
    for (sub, topics) in subs.iter().zip([&["first"][..], &["first", "second"]]) {
        let bound = publisher.bind("tcp://127.0.0.1:*").expect("free");
        done::<R, _>(sub.connect_ready(&bound)).await.expect("it listens");
        topics.iter().for_each(|topic| sub.subscribe(topic));
    }
    done::<R, _>(publisher.wait_for_subscribers(3)).await.expect("open");
    for message in ["first, to nobody", "second, to one", "third, to both"] {
        send(&publisher, message).await;
    }
    assert_eq!(recv(&subs[0]).await, [b"second, to one"]);
    for sub in &subs {
        assert_eq!(recv(sub).await, [b"third, to both"]);
    }
    for sub in subs {
        close(sub).await;
    }
    close(publisher).await;
}
