//! A framing without flow control and error replies, as its users see it: pushes that are not received, types
//! of answers, handlers that fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::error::{CallError, Disconnect, Failure, Status};
use bowline::frame::Framing;
use bowline::frame::tcpstream::Tcpstream;
use bowline::{Answer, CallOptions, CastOptions, Config, ConfigBuilder, LinkEvent, OnFailure, QueueLimit};

use crate::harness::{Client, Handlers, Harness, Server};

const MS: Duration = Duration::from_millis(1);

fn config() -> ConfigBuilder<Tcpstream> {
    Config::with_framing(Tcpstream::new())
}

pub async fn pushes_that_nobody_receives_hold_up_no_reply<H: Harness>() {
    let few = config().read_queue(QueueLimit { messages: 100, bytes: 1 << 20 }).build().expect("sound");
    let (server, client) = H::pair(few, Handlers::echo(), Handlers::none()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let peer = server.peers().remove(0);
    for i in 0..3_000_u32 {
        let _ = peer.cast(7, &i.to_be_bytes()).await.expect("queued");
    }
    // The reply comes after all of them.
    assert_eq!(&client.call(CallOptions::new(1), b"ask".to_vec()).await.expect("a reply")[..], b"ask");
    assert_eq!(client.peer().counters().messages_dropped, 2_900);
    let mut told = false;
    while !told {
        told = matches!(client.next_event().await.expect("open"), LinkEvent::MessageDropped);
    }
    // Messages that had room can be received, and a receiver is waited for.
    for i in 0..100_u32 {
        assert_eq!(client.receive().await.expect("kept")[..], i.to_be_bytes());
    }
    let pushes = H::spawn(async move {
        for i in 0..500_u32 {
            let _ = peer.cast(7, &i.to_be_bytes()).await.expect("queued");
        }
    });
    for i in 0..500_u32 {
        assert_eq!(client.receive().await.expect("kept")[..], i.to_be_bytes());
    }
    pushes.await;
    assert_eq!(client.peer().counters().messages_dropped, 2_900);
    client.close().await;
    server.shutdown().await;
}

/// Answers with the type of the request and one more.
fn typed<F: Framing>() -> Handlers<F> {
    Handlers::none().request(|asked| {
        let responder = (asked.responder)();
        let (method, body) = (asked.method, asked.body);
        async move {
            if method == 9 {
                let later = responder.later();
                responder.reply_as(10, &body);
                return Ok(later);
            }
            // The handler's own answer counts; this one would be a failure.
            std::mem::forget(responder);
            Ok(Answer::from(body).with_method(method + 1))
        }
    })
}

pub async fn answers_have_types<H: Harness>() {
    let config = config().build().expect("sound");
    let inline = Handlers::none().inline(|_, request, out| {
        out.extend_from_slice(request.body);
        out.set_method(request.method() + 1);
        Ok(())
    });
    for handlers in [typed(), inline] {
        let (server, client) = H::pair(config.clone(), handlers, Handlers::none()).await;
        for method in [7, 9] {
            let reply = client.call(CallOptions::new(method), b"ask".to_vec()).await.expect("a reply");
            assert_eq!((&reply[..], reply.method), (&b"ask"[..], method + 1));
        }
        client.close().await;
        server.shutdown().await;
    }
    // Bowline's own answers carry none: a caller that asks for it gets an error.
    let (server, client) = H::pair(Config::default(), typed(), Handlers::none()).await;
    for method in [7, 9] {
        let error = client.call(CallOptions::new(method), b"ask".to_vec()).await.expect_err("no room for it");
        let CallError::Failed(failure) = error else { panic!("{error}") };
        assert_eq!(failure.status, Status::FAILED);
        assert!(String::from_utf8_lossy(&failure.body).contains("message type"), "{failure}");
    }
    client.close().await;
    server.shutdown().await;
}

/// Fails in one of several ways, by the method.
fn failing<F: Framing>() -> Handlers<F> {
    Handlers::none().request(|asked| {
        let responder = (asked.responder)();
        async move {
            match asked.method {
                1 => {
                    std::mem::forget(responder);
                    Err(Failure::new(Status(1001), "not today"))
                }
                2 => {
                    std::mem::forget(responder);
                    panic!("on purpose")
                }
                _ => Ok(responder.later()),
            }
        }
    })
}

pub async fn failures_without_error_replies<H: Harness>() {
    let inline = || {
        Handlers::none().inline(|_, request, out| match request.method() {
            1 => Err(Failure::new(Status(1001), "not today")),
            2 => panic!("on purpose"),
            _ => {
                out.extend_from_slice(b"no answer");
                Ok(())
            }
        })
    };
    // A message of a custom type, which callers know.
    let answer = config().on_failure(OnFailure::Answer { method: 99 }).build().expect("sound");
    for handlers in [failing(), inline()] {
        let is_inline = handlers.on_request_inline.is_some();
        let (server, client) = H::pair(answer.clone(), handlers, Handlers::none()).await;
        for (method, text) in [(1, "not today"), (2, "the handler panicked"), (3, "no answer")] {
            let reply = client.call(CallOptions::new(method), Vec::new()).await.expect("a reply");
            let kind = if is_inline && method == 3 { 0 } else { 99 };
            assert_eq!((&reply[..], reply.method), (text.as_bytes(), kind));
        }
        client.close().await;
        server.shutdown().await;
    }
    // Or the end of the connection.
    let end = config().on_failure(OnFailure::Disconnect).build().expect("sound");
    for handlers in [failing(), inline()] {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::clone(&ends);
        let handlers = handlers.disconnect(move |_, cause| {
            ended.lock().expect("not poisoned").push(cause.clone());
        });
        let (server, client) = H::pair(end.clone(), handlers, Handlers::none()).await;
        let error = client.call(CallOptions::new(1), Vec::new()).await.expect_err("it failed");
        assert!(matches!(error, CallError::MaybeDelivered(Disconnect::PeerClosed)), "{error}");
        // Not if it has no peers: the client soon reconnects.
        H::until("the server's side ended, too", || !ends.lock().expect("not poisoned").is_empty()).await;
        let first = ends.lock().expect("not poisoned")[0].clone();
        assert_eq!(first, Disconnect::HandlerFailed { status: Status(1001) });
        client.close().await;
        server.shutdown().await;
    }
    // By default nothing is sent, and the caller's deadline is the end.
    let silent = config().build().expect("sound");
    let (server, client) = H::pair(silent, failing(), Handlers::none()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let peer = server.peers().remove(0);
    let error = client.call(CallOptions::new(1).timeout(MS * 50), Vec::new()).await.expect_err("it failed");
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    assert_eq!((peer.counters().handler_failures, peer.counters().answers_dropped), (1, 1));
    let _ = client.cast(CastOptions::new(1), b"it goes on".to_vec()).await.expect("queued");
    client.close().await;
    server.shutdown().await;
}
