//! Binding and connecting: `test_term_endpoint`, `test_unbind_wildcard`, `test_last_endpoint`,
//! `test_rebind_ipc`, `test_bind_after_connect_tcp`, `test_inproc_connect`, `test_disconnect_inproc`,
//! `test_reconnect_inproc`.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{ConnectError, kinds};
use bowline_zmtp_driver::Socket;

use super::{MS, close, named, nothing_comes, open, peer_down, peer_up, plain, recv, send, until};
use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;
type Pub<R> = Socket<R, kinds::Pub>;
type Sub<R> = Socket<R, kinds::Sub>;
type Dealer<R> = Socket<R, kinds::Dealer>;

fn path<R: Runtime>(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("bowline-{}-{}", std::process::id(), named::<R>(name)));
    format!("ipc://{}", path.display())
}

/// `test_last_endpoint`, `test_unbind_wildcard`: bind returns the endpoint, which can be connected to and
/// unbound.
pub(crate) async fn an_endpoint_is_said_with_its_port<R: Runtime>() {
    let pull: Pull<R> = plain();
    for wild in ["tcp://127.0.0.1:*", "tcp://*:*", "tcp://[::1]:*"] {
        let Ok(bound) = pull.bind(wild) else {
            assert!(wild.contains("::1"), "only IPv6 may be missing");
            continue;
        };
        let port = bound.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        assert!(port.is_some_and(|port| port != 0), "{bound}");
        let host = if wild.contains("::1") { "[::1]" } else { "127.0.0.1" };
        let push: Push<R> = plain();
        let reachable = format!("tcp://{host}:{}", port.unwrap_or_default());
        done::<R, _>(push.connect_ready(&reachable)).await.expect("it listens");
        send(&push, wild).await;
        assert_eq!(recv(&pull).await, [wild.as_bytes()]);
        assert!(matches!(pull.unbind(wild), Err(ConnectError::Unknown(_))), "it is not called so");
        pull.unbind(&bound).expect("it is bound there");
        assert!(matches!(pull.unbind(&bound), Err(ConnectError::Unknown(_))), "not any more");
        // Connected peers stay, and no new one connects.
        send(&push, "still here").await;
        assert_eq!(recv(&pull).await, [b"still here"]);
        let late: Push<R> = plain();
        late.connect(&reachable).expect("an endpoint");
        done::<R, _>(late.send_timeout("x", MS * 50)).await.expect_err("nobody listens");
        close(late).await;
        close(push).await;
    }
    close(pull).await;
}

/// `test_term_endpoint`: an unbound endpoint is free, and a disconnected one gets no more messages.
pub(crate) async fn endpoints_are_given_up<R: Runtime>() {
    let (push, pull): (Push<R>, Pull<R>) = (plain(), plain());
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    peer_up(&pull).await;
    send(&push, "first").await;
    assert_eq!(recv(&pull).await, [b"first"]);
    assert!(matches!(push.disconnect("tcp://127.0.0.1:1"), Err(ConnectError::Unknown(_))));
    push.disconnect(&bound).expect("it is connected there");
    peer_down(&pull).await;
    until::<R>(|| push.try_send("x").is_err()).await;
    assert!(matches!(push.disconnect(&bound), Err(ConnectError::Unknown(_))));
    // After it is connected again, it works again.
    done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
    send(&push, "again").await;
    let mut came = recv(&pull).await;
    if came == [b"x"] {
        came = recv(&pull).await;
    }
    assert_eq!(came, [b"again"]);
    pull.unbind(&bound).expect("it is bound there");
    let other: Pull<R> = plain();
    until::<R>(|| other.bind(&bound).is_ok()).await;
    let late: Push<R> = plain();
    done::<R, _>(late.connect_ready(&bound)).await.expect("it listens");
    send(&late, "to the other").await;
    assert_eq!(recv(&other).await, [b"to the other"]);
    for closing in [push, late] {
        close(closing).await;
    }
    for closing in [pull, other] {
        close(closing).await;
    }
}

/// `test_rebind_ipc`, and an endpoint that is in use.
pub(crate) async fn an_endpoint_has_one_binder<R: Runtime>() {
    for endpoint in
        ["tcp://127.0.0.1:*".to_owned(), path::<R>("rebind"), format!("inproc://{}", named::<R>("rebind"))]
    {
        let pull: Pull<R> = plain();
        let bound = pull.bind(&endpoint).expect("free");
        let other: Pull<R> = plain();
        let error = other.bind(&bound).expect_err("it is in use");
        assert!(matches!(error, ConnectError::Bind { .. }), "{error}");
        close(pull).await;
        until::<R>(|| other.bind(&bound).is_ok()).await;
        let push: Push<R> = plain();
        done::<R, _>(push.connect_ready(&bound)).await.expect("it listens");
        send(&push, "x").await;
        assert_eq!(recv(&other).await, [b"x"]);
        close(push).await;
        close(other).await;
    }
}

/// `test_inproc_connect`, `test_bind_after_connect_tcp`: connecting before the bind is no error, on every
/// transport.
pub(crate) async fn connecting_may_come_first<R: Runtime>() {
    let free: Pull<R> = plain();
    let tcp = free.bind("tcp://127.0.0.1:*").expect("free");
    close(free).await;
    for endpoint in [tcp, path::<R>("later"), format!("inproc://{}", named::<R>("later"))] {
        let pushes: [Push<R>; 3] = [plain(), plain(), plain()];
        for push in &pushes {
            push.connect(&endpoint).expect("an endpoint");
        }
        let pull: Pull<R> = plain();
        until::<R>(|| pull.bind(&endpoint).is_ok()).await;
        for (number, push) in pushes.iter().enumerate() {
            send(push, number.to_string()).await;
        }
        let mut came = Vec::new();
        for _ in 0..3 {
            came.push(recv(&pull).await.remove(0));
        }
        came.sort();
        assert_eq!(came, [b"0", b"1", b"2"]);
        for push in pushes {
            close(push).await;
        }
        close(pull).await;
    }
    // No socket ever binds: closing takes no time, and waiting messages are returned.
    let push: Push<R> = Socket::<R, kinds::Push>::builder()
        .options(|options| options.immediate(false))
        .linger(MS)
        .open()
        .expect("sound");
    push.connect(&format!("inproc://{}", named::<R>("never"))).expect("an endpoint");
    send(&push, "x").await;
    assert_eq!(done::<R, _>(push.close()).await.len(), 1);
}

/// `test_disconnect_inproc`, `test_reconnect_inproc`.
pub(crate) async fn inproc_is_connected_again<R: Runtime>() {
    let endpoint = format!("inproc://{}", named::<R>("again"));
    let (publisher, sub): (Pub<R>, Sub<R>) = (plain(), plain());
    publisher.bind(&endpoint).expect("free");
    sub.subscribe("foo");
    for _ in 0..3 {
        done::<R, _>(sub.connect_ready(&endpoint)).await.expect("it listens");
        done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
        send(&publisher, ["foo", "1"]).await;
        assert_eq!(recv(&sub).await, [b"foo".to_vec(), b"1".to_vec()]);
        sub.disconnect(&endpoint).expect("it is connected there");
        until::<R>(|| publisher.subscriptions() == 0).await;
        send(&publisher, ["foo", "2"]).await;
        nothing_comes(&sub).await;
    }
    // The binding side closes and binds again.
    done::<R, _>(sub.connect_ready(&endpoint)).await.expect("it listens");
    close(publisher).await;
    let publisher: Pub<R> = plain();
    until::<R>(|| publisher.bind(&endpoint).is_ok()).await;
    done::<R, _>(publisher.wait_for_subscribers(1)).await.expect("open");
    send(&publisher, ["foo", "3"]).await;
    assert_eq!(recv(&sub).await, [b"foo".to_vec(), b"3".to_vec()]);
    close(publisher).await;
    close(sub).await;
}

/// One socket with many bound and connected endpoints.
pub(crate) async fn a_socket_has_many_places<R: Runtime>() {
    let middle: Dealer<R> = plain();
    let (mut ends, mut places) = (Vec::new(), vec!["tcp://127.0.0.1:*".to_owned(), path::<R>("places")]);
    places.push(format!("inproc://{}", named::<R>("places")));
    for (number, place) in places.iter().enumerate() {
        let end: Dealer<R> = open(|options| options.routing_id(vec![b'a' + number as u8]));
        let bound = middle.bind(place).expect("free");
        done::<R, _>(end.connect_ready(&bound)).await.expect("it listens");
        peer_up(&middle).await;
        let other: Dealer<R> = plain();
        let elsewhere = format!("{}{}", place, if place.starts_with("tcp") { "" } else { "-other" });
        let bound = other.bind(&elsewhere).expect("free");
        done::<R, _>(middle.connect_ready(&bound)).await.expect("it listens");
        peer_up(&middle).await;
        ends.extend([end, other]);
    }
    for _ in 0..ends.len() {
        send(&middle, "out").await;
    }
    for end in &ends {
        assert_eq!(recv(end).await, [b"out"], "each in turn");
        send(end, "in").await;
    }
    for _ in 0..ends.len() {
        assert_eq!(recv(&middle).await, [b"in"]);
    }
    close(middle).await;
    for end in ends {
        close(end).await;
    }
}
