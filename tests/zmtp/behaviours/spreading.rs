//! PUB, SUB and forwarders between them: `test_sub_forward`, `test_conflate`, `test_unsubscribe`,
//! `test_xsub_…`, early and late subscriptions.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::kinds;
use bowline_zmtp_driver::Socket;

use super::{close, link, nothing_comes, open, plain, recv, send, until};
use crate::done;

type Pub<R> = Socket<R, kinds::Pub>;
type Sub<R> = Socket<R, kinds::Sub>;
type XPub<R> = Socket<R, kinds::XPub>;
type XSub<R> = Socket<R, kinds::XSub>;

/// `test_sub_forward`: subscriptions are passed upstream through a forwarder, messages downstream.
pub(crate) async fn a_forwarder_passes_both_ways<R: Runtime>() {
    let (xpub, xsub): (XPub<R>, XSub<R>) = (plain(), plain());
    let (publisher, sub): (Pub<R>, Sub<R>) = (plain(), plain());
    let (front, back) =
        (xpub.bind("tcp://127.0.0.1:*").expect("free"), xsub.bind("tcp://127.0.0.1:*").expect("free"));
    done::<R, _>(publisher.connect_ready(&back)).await.expect("it listens");
    done::<R, _>(sub.connect_ready(&front)).await.expect("it listens");
    sub.subscribe("");
    send(&xsub, recv(&xpub).await).await;
    done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
    send(&publisher, ["topic", "body"]).await;
    send(&xpub, recv(&xsub).await).await;
    assert_eq!(recv(&sub).await, [b"topic".to_vec(), b"body".to_vec()]);
    assert!(sub.unsubscribe(""));
    send(&xsub, recv(&xpub).await).await;
    until::<R>(|| publisher.subscriptions() == 0).await;
    // A message that is no subscription is passed upstream from an XSUB to an XPUB.
    let direct: XSub<R> = plain();
    done::<R, _>(direct.connect_ready(&front)).await.expect("it listens");
    send(&direct, ["any", "thing"]).await;
    assert_eq!(recv(&xpub).await, [b"any".to_vec(), b"thing".to_vec()]);
    for closing in [xsub, direct] {
        close(closing).await;
    }
    close(xpub).await;
    close(publisher).await;
    close(sub).await;
}

/// Subscriptions apply to publishers that connect later, and after a publisher has reconnected.
pub(crate) async fn subscriptions_hold_for_all<R: Runtime>() {
    let sub: Sub<R> = plain();
    sub.subscribe("a");
    sub.subscribe("a");
    sub.subscribe("b");
    assert!(!sub.unsubscribe("never"));
    let publishers: [Pub<R>; 2] = [plain(), plain()];
    let mut bounds = Vec::new();
    for publisher in &publishers {
        bounds.push(link(publisher, &sub).await);
        done::<R, _>(publisher.wait_for_subscribers(2)).await.expect("open");
        send(publisher, "c").await;
        send(publisher, ["a", "1"]).await;
        assert_eq!(recv(&sub).await, [b"a", b"1"]);
    }
    // It has to be unsubscribed as often as it was subscribed.
    assert!(!sub.unsubscribe("a"));
    assert_eq!(publishers[0].subscriptions(), 2);
    let [gone, stays] = publishers;
    close(gone).await;
    let again: Pub<R> = plain();
    until::<R>(|| again.bind(&bounds[0]).is_ok()).await;
    done::<R, _>(again.wait_for_subscribers(2)).await.expect("open");
    send(&again, "b").await;
    assert_eq!(recv(&sub).await, [b"b"]);
    assert!(sub.unsubscribe("a"));
    until::<R>(|| again.subscriptions() == 1 && stays.subscriptions() == 1).await;
    send(&stays, "a").await;
    assert_eq!(stays.stats().discarded, 2, "nobody wants it");
    nothing_comes(&sub).await;
    for publisher in [again, stays] {
        close(publisher).await;
    }
    close(sub).await;
}

/// `test_conflate`: only the newest queued message is kept. Bowline keeps it for each topic, and whole
/// messages.
pub(crate) async fn only_the_newest_waits<R: Runtime>() {
    let publisher: Pub<R> = plain();
    let sub: Sub<R> = open(|options| options.conflate(true));
    link(&publisher, &sub).await;
    sub.subscribe("");
    done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
    for number in 0..60_u8 {
        send(&publisher, [&b"even"[..], &[number * 2]]).await;
        send(&publisher, [&b"odd"[..], &[number * 2 + 1]]).await;
    }
    send(&publisher, "end").await;
    // A message that arrived before the others may be older.
    let (mut came, mut even, mut odd) = (0, None, None);
    loop {
        let message = recv(&sub).await;
        came += 1;
        match &message[0][..] {
            b"even" => assert!(even.replace(message[1][0]) < Some(message[1][0])),
            b"odd" => assert!(odd.replace(message[1][0]) < Some(message[1][0])),
            _ => break,
        }
    }
    assert_eq!((even, odd), (Some(118), Some(119)), "the newest of each topic is there");
    assert!(came <= 121);
    close(publisher).await;
    close(sub).await;
}

/// `test_hwm` and `test_conflate` together: a receiver that paused for long has only the newest message.
pub(crate) async fn a_late_receiver_has_the_newest<R: Runtime>() {
    let push: Socket<R, kinds::Push> = plain();
    let pull: Socket<R, kinds::Pull> = open(|options| options.conflate(true));
    link(&push, &pull).await;
    for number in 0..200_u8 {
        send(&push, [&b"state"[..], &[number]]).await;
    }
    let other: Socket<R, kinds::Push> = plain();
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    done::<R, _>(other.connect_ready(&bound)).await.expect("it listens");
    super::pause::<R>(super::MS * 100).await;
    let message = recv(&pull).await;
    assert_eq!(message, [b"state".to_vec(), vec![199]]);
    nothing_comes(&pull).await;
    close(push).await;
    close(other).await;
    close(pull).await;
}
