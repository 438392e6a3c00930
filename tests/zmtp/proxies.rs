//! Proxies.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline::QueueLimit;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{ProxyError, ProxyReason, SocketType, kinds};
use bowline_zmtp_driver::{Proxy, Socket};

use crate::behaviours::until;
use crate::{aside, done};

const MS: Duration = Duration::from_millis(1);

type Of<R, K> = Socket<R, K>;

fn bound<R: Runtime, K: bowline::zmtp::Kind>(socket: &Of<R, K>) -> String {
    socket.bind("tcp://127.0.0.1:*").expect("it is free")
}

/// Questions of two REQ go to a REP through ROUTER and DEALER; a third socket sees everything.
pub(crate) async fn requests_go_through<R: Runtime>() {
    let (front, back) = (Of::<R, kinds::Router>::new(), Of::<R, kinds::Dealer>::new());
    let (reqs, rep) = ([Of::<R, kinds::Req>::new(), Of::new()], Of::<R, kinds::Rep>::new());
    let (capture, seen) = (Of::<R, kinds::Push>::new(), Of::<R, kinds::Pull>::new());
    done::<R, _>(seen.connect_ready(&bound(&capture))).await.expect("it listens");
    let endpoint = bound(&front);
    for req in &reqs {
        done::<R, _>(req.connect_ready(&endpoint)).await.expect("it listens");
    }
    done::<R, _>(rep.connect_ready(&bound(&back))).await.expect("it listens");
    let proxy = Proxy::<R>::builder(&front, &back).capture(&capture).start().expect("they fit");
    let large = vec![7; 200_000];
    for number in 0..20_u8 {
        let req = &reqs[usize::from(number % 2)];
        done::<R, _>(req.send([&[number][..], &large])).await.expect("its turn");
        let asked = done::<R, _>(rep.recv()).await.expect("a question");
        assert_eq!((&asked[0][..], asked[1][..] == large), (&[number][..], true));
        done::<R, _>(rep.send(vec![number + 100])).await.expect("its turn");
        assert_eq!(done::<R, _>(req.recv()).await.expect("an answer")[0][..], [number + 100]);
        for part in [number, number + 100] {
            // The routing id and the delimiter stand in front.
            let copy = done::<R, _>(seen.recv()).await.expect("a copy");
            assert_eq!((&copy[1][..], &copy[2][..]), (&b""[..], &[part][..]));
        }
    }
    let stats = proxy.stats();
    assert_eq!((stats.forth.messages, stats.back.messages, stats.forth.refused), (20, 20, 0));
    assert!(stats.forth.bytes >= 20 * 200_001 && stats.back.bytes < 1_000 && stats.capture_lost == 0);

    // While it is paused, nothing is forwarded; messages of that time are forwarded afterwards.
    proxy.pause();
    done::<R, _>(reqs[0].send("while paused")).await.expect("its turn");
    done::<R, _>(rep.recv_timeout(MS * 50)).await.expect_err("it is paused");
    // Another task or thread steers it.
    let other = proxy.clone();
    aside(move || async move { other.resume() }).join().expect("no panic");
    assert_eq!(&done::<R, _>(rep.recv()).await.expect("a question")[0][..], b"while paused");
    done::<R, _>(rep.send("answer")).await.expect("its turn");
    done::<R, _>(reqs[0].recv()).await.expect("an answer");
    // Copies that no one receives block nothing.
    done::<R, _>(seen.close()).await;
    done::<R, _>(capture.close()).await;
    done::<R, _>(reqs[1].send("unseen")).await.expect("its turn");
    done::<R, _>(rep.recv()).await.expect("a question");

    proxy.stop();
    let end = done::<R, _>(proxy.ended()).await;
    assert_eq!((end.reason, end.unsent.len(), end.stats.capture_lost), (ProxyReason::Stopped, 0, 1));
    // The sockets are as they were.
    done::<R, _>(rep.send("by hand")).await.expect("its turn");
    let reply = done::<R, _>(back.recv()).await.expect("a reply");
    done::<R, _>(front.send(&reply)).await.expect("the peer is there");
    assert_eq!(&done::<R, _>(reqs[1].recv()).await.expect("an answer")[0][..], b"by hand");
}

/// Without anybody behind it a proxy takes nothing: the back-pressure reaches who sends.
pub(crate) async fn a_proxy_reads_nothing_that_it_cannot_pass_on<R: Runtime>() {
    let limit = QueueLimit { messages: 5, bytes: 1 << 20 };
    let push = Of::<R, kinds::Push>::builder().options(|options| options.send_limit(limit)).open();
    let (push, front) = (push.expect("sound"), Of::<R, kinds::Pull>::builder());
    let front = front.options(|options| options.receive_limit(limit)).open().expect("sound");
    let back = Of::<R, kinds::Push>::builder().options(|options| options.send_limit(limit)).open();
    let (back, pull) = (back.expect("sound"), Of::<R, kinds::Pull>::builder());
    let pull = pull.options(|options| options.receive_limit(limit)).open().expect("sound");
    done::<R, _>(push.connect_ready(&bound(&front))).await.expect("it listens");
    let proxy = Proxy::<R>::builder(&front, &back).start().expect("they fit");
    let (mut sent, body) = (0_u32, vec![7; 50_000]);
    while done::<R, _>(push.send_timeout([&sent.to_be_bytes()[..], &body], MS * 100)).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "somebody holds it all");
    }
    assert_eq!(proxy.stats().forth.messages, 0);
    // Another receiver of the same socket gets the first message: the proxy has none in hand.
    let first = done::<R, _>(front.recv()).await.expect("open");
    assert_eq!(first[0][..], 0_u32.to_be_bytes());
    done::<R, _>(pull.connect_ready(&bound(&back))).await.expect("it listens");
    for number in 1..sent {
        assert_eq!(done::<R, _>(pull.recv()).await.expect("open")[0][..], number.to_be_bytes());
    }
    let end = {
        proxy.stop();
        done::<R, _>(proxy.ended()).await
    };
    assert_eq!((end.stats.forth.messages, end.unsent.len()), (u64::from(sent) - 1, 0));
}

pub(crate) async fn a_proxy_ends_with_its_sockets<R: Runtime>() {
    for closes_front in [true, false] {
        let (push, pull) = (Of::<R, kinds::Push>::new(), Of::<R, kinds::Pull>::new());
        let (front, back) = (Of::<R, kinds::Pull>::new(), Of::<R, kinds::Push>::new());
        done::<R, _>(push.connect_ready(&bound(&front))).await.expect("it listens");
        done::<R, _>(pull.connect_ready(&bound(&back))).await.expect("it listens");
        let proxy = Proxy::<R>::builder(&front, &back).start().expect("they fit");
        done::<R, _>(push.send("through")).await.expect("open");
        done::<R, _>(pull.recv()).await.expect("open");
        let reason = if closes_front {
            done::<R, _>(front.close()).await;
            ProxyReason::FrontClosed
        } else {
            done::<R, _>(back.close()).await;
            ProxyReason::BackClosed
        };
        let end = done::<R, _>(proxy.ended()).await;
        assert_eq!((end.reason, end.stats.forth.messages, end.stats.back.messages), (reason, 1, 0));
        assert!(end.unsent.is_empty());
    }
    // The last handle stops it.
    let (front, back) = (Of::<R, kinds::Router>::new(), Of::<R, kinds::Dealer>::new());
    let proxy = Proxy::<R>::builder(&front, &back).paused().start().expect("they fit");
    let other = proxy.clone();
    drop(proxy);
    let waiting = aside(move || async move { done::<R, _>(other.ended()).await });
    std::thread::sleep(MS * 10);
    assert!(!waiting.is_finished(), "a handle is there");
    done::<R, _>(back.close()).await;
    assert_eq!(waiting.join().expect("no panic").reason, ProxyReason::BackClosed);
}

/// Subscriptions go one way, and what is published the other.
pub(crate) async fn subscriptions_go_through<R: Runtime>() {
    let (front, back) = (Of::<R, kinds::XSub>::new(), Of::<R, kinds::XPub>::new());
    let (publisher, sub) = (Of::<R, kinds::Pub>::new(), Of::<R, kinds::Sub>::new());
    done::<R, _>(publisher.connect_ready(&bound(&front))).await.expect("it listens");
    let proxy = Proxy::<R>::builder(&front, &back).start().expect("they fit");
    sub.subscribe("a");
    sub.connect(&bound(&back)).expect("an endpoint");
    done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
    let mut seen = BTreeSet::new();
    for text in ["a1", "b", "a2"] {
        done::<R, _>(publisher.send(text)).await.expect("open");
    }
    while seen.len() < 2 {
        seen.insert(done::<R, _>(sub.recv()).await.expect("open")[0].to_vec());
    }
    assert!(seen.contains(&b"a1"[..]) && seen.contains(&b"a2"[..]));
    assert_eq!((proxy.stats().forth.messages, proxy.stats().back.messages), (2, 1));
}

/// Whichever peer ends a topic last, no subscription without a peer remains upstream.
pub(crate) async fn no_subscription_stays_behind_a_proxy<R: Runtime>() {
    let (front, back) = (Of::<R, kinds::XSub>::new(), Of::<R, kinds::XPub>::new());
    let publisher = Of::<R, kinds::Pub>::new();
    done::<R, _>(publisher.connect_ready(&bound(&front))).await.expect("it listens");
    let proxy = Proxy::<R>::builder(&front, &back).start().expect("they fit");
    let (endpoint, subs) = (bound(&back), [(); 4].map(|()| Of::<R, kinds::Sub>::new()));
    for sub in &subs {
        done::<R, _>(sub.connect_ready(&endpoint)).await.expect("it listens");
    }
    for topic in ["a", "b", "c", "d"] {
        for _ in 0..50 {
            subs.iter().for_each(|sub| sub.subscribe(topic));
            assert!(subs.iter().all(|sub| sub.unsubscribe(topic)));
        }
        subs[0].subscribe(topic);
        done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
        assert!(subs[0].unsubscribe(topic));
    }
    // The last message of a peer is handled after all earlier ones.
    for (at, sub) in subs.iter().enumerate() {
        let last = format!("last {at}");
        sub.subscribe(&last);
        loop {
            done::<R, _>(publisher.send(last.as_str())).await.expect("open");
            if done::<R, _>(sub.recv_timeout(5 * MS)).await.is_ok() {
                break;
            }
        }
    }
    until::<R>(|| (back.subscriptions(), publisher.subscriptions()) == (4, 4)).await;
    proxy.stop();
}

pub(crate) async fn a_proxy_of_types_that_do_not_fit_is_refused<R: Runtime>() {
    let (pull, push) = (Of::<R, kinds::Pull>::new(), Of::<R, kinds::Push>::new());
    let refused = Proxy::<R>::builder(&pull, &pull).start().expect_err("neither sends");
    assert!(matches!(refused, ProxyError::NoFlow(SocketType::Pull, SocketType::Pull)));
    let rep = Of::<R, kinds::Rep>::new();
    let refused = Proxy::<R>::builder(&rep, &push).start().expect_err("it takes turns");
    assert!(matches!(refused, ProxyError::TakesTurns(SocketType::Rep)));
    // The order does not matter.
    let proxy = Proxy::<R>::builder(&push, &pull).start().expect("one receives, one sends");
    proxy.stop();
    assert_eq!(done::<R, _>(proxy.ended()).await.reason, ProxyReason::Stopped);
}
