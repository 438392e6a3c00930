//! Calls and their outcomes on a working connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::error::{CallError, LinkWas, Outcome, Status};
use bowline::frame::native::Native;
use bowline::links::Responder;
use bowline::{CallOptions, Config};

use crate::harness::{Client, Handlers, Harness, Server};

const MS: Duration = Duration::from_millis(1);

/// Requests that handlers hold back.
type Held<T> = Arc<Mutex<Vec<T>>>;

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body.try_into().expect("four bytes"))
}

pub async fn a_thousand_calls_from_many_tasks<H: Harness>() {
    let double = Handlers::none()
        .request(|asked| async move { Ok((number(&asked.body) * 2).to_be_bytes().to_vec().into()) });
    let (server, client) = H::pair(Config::default(), double, Handlers::none()).await;
    let mut tasks = Vec::new();
    for task in 0..16_u32 {
        let client = client.clone();
        tasks.push(H::spawn(async move {
            for i in 0..64 {
                let n = task * 1000 + i;
                let reply =
                    client.call(CallOptions::new(1), n.to_be_bytes().to_vec()).await.expect("a reply");
                assert_eq!(number(&reply), n * 2);
            }
        }));
    }
    for task in tasks {
        task.await;
    }
    let counters = client.peer().counters();
    assert_eq!((counters.calls, counters.calls_replied, counters.connections), (1024, 1024, 1));
    client.close().await;
    server.shutdown().await;
}

pub async fn both_directions_at_once<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::echo()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let peer = server.peers().remove(0);
    let there = (0..100_u32).map(|i| client.call(CallOptions::new(1), i.to_be_bytes().to_vec()));
    let back = (0..100_u32).map(|i| {
        let peer = peer.clone();
        H::spawn(async move { peer.call(1, (i + 1000).to_be_bytes().to_vec()).await })
    });
    let (there, back): (Vec<_>, Vec<_>) = (there.collect(), back.collect());
    for (i, call) in there.into_iter().enumerate() {
        assert_eq!(number(&call.await.expect("a reply")), i as u32);
    }
    for (i, call) in back.into_iter().enumerate() {
        assert_eq!(number(&call.await.expect("a reply")), i as u32 + 1000);
    }
    client.close().await;
    server.shutdown().await;
}

pub async fn a_handler_calls_back<H: Harness>() {
    let ask_back = Handlers::none().request(|asked| async move {
        let reply = asked.peer.call(2, b"who are you?").await.map_err(|e| e.to_string())?;
        Ok([&asked.body[..], b" from ", &reply].concat().into())
    });
    let name = Handlers::none().request(|asked| async move {
        assert_eq!((asked.method, &asked.body[..]), (2, &b"who are you?"[..]));
        Ok("a client".into())
    });
    let (server, client) = H::pair(Config::default(), ask_back, name).await;
    let reply = client.call(CallOptions::new(1), b"hello".to_vec()).await.expect("a reply");
    assert_eq!(&reply[..], b"hello from a client");
    client.close().await;
    server.shutdown().await;
}

pub async fn inline_handlers_answer<H: Harness>() {
    let inline = Handlers::none().inline(|_, request, reply| {
        if request.method() == 9 {
            panic!("on purpose");
        }
        if request.body.is_empty() {
            return Err("nothing to say".into());
        }
        reply.extend_from_slice(request.body);
        reply.extend_from_slice(b"!");
        Ok(())
    });
    let (server, client) = H::pair(Config::default(), inline, Handlers::none()).await;
    let reply = client.call(CallOptions::new(1), b"hey".to_vec()).await.expect("a reply");
    assert_eq!(&reply[..], b"hey!");
    for (method, status) in [(1, Status::FAILED), (9, Status::PANICKED)] {
        let error = client.call(CallOptions::new(method), Vec::new()).await.expect_err("a failure");
        assert!(matches!(&error, CallError::Failed(failure) if failure.status == status), "{error}");
    }
    client.close().await;
    server.shutdown().await;
}

pub async fn replies_out_of_order<H: Harness>() {
    let held: Held<(u32, Responder<Native>)> = Held::default();
    let hold = Arc::clone(&held);
    let holder = Handlers::none().request(move |asked| {
        let responder = (asked.responder)();
        let later = responder.later();
        hold.lock().expect("not poisoned").push((number(&asked.body), responder));
        async move { Ok(later) }
    });
    let (server, client) = H::pair(Config::default(), holder, Handlers::none()).await;
    let calls: Vec<_> =
        (0..8_u32).map(|i| H::spawn(client.call(CallOptions::new(1), i.to_be_bytes().to_vec()))).collect();
    H::until("all are held", || held.lock().expect("not poisoned").len() == 8).await;
    let mut responders = std::mem::take(&mut *held.lock().expect("not poisoned"));
    responders.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    for (number, responder) in responders {
        responder.reply((number + 100).to_be_bytes().to_vec());
    }
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(number(&call.await.expect("a reply")), i as u32 + 100);
    }
    client.close().await;
    server.shutdown().await;
}

/// A handler that holds every request, for ever.
fn silent() -> (Held<Responder<Native>>, Handlers<Native>) {
    let held = Held::default();
    let hold = Arc::clone(&held);
    let handlers = Handlers::none().request(move |asked| {
        let responder = (asked.responder)();
        let later = responder.later();
        hold.lock().expect("not poisoned").push(responder);
        async move { Ok(later) }
    });
    (held, handlers)
}

pub async fn deadlines_end_calls<H: Harness>() {
    let (held, silent) = silent();
    let (server, client) = H::pair(Config::default(), silent, Handlers::none()).await;
    let error = client.call(CallOptions::new(1).timeout(MS * 30), Vec::new()).await.expect_err("too late");
    assert_eq!(
        error,
        CallError::DeadlineExceeded { outcome: Outcome::MaybeDelivered, link: LinkWas::Connected }
    );
    H::until("the server learns it", || {
        held.lock().expect("not poisoned").first().is_some_and(Responder::is_cancelled)
    })
    .await;
    assert_eq!(client.peer().counters().calls_expired, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_late_reply_is_counted<H: Harness>() {
    // On tcpstream, which has no cancel: the reply arrives.
    let config = || Config::with_framing(bowline::frame::tcpstream::Tcpstream::new()).build().expect("sound");
    let (go, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (wait, told) = (Arc::clone(&go), Arc::clone(&gone));
    let slow = Handlers::none().request(move |asked| {
        let (wait, told) = (Arc::clone(&wait), Arc::clone(&told));
        async move {
            if asked.method == 7 {
                H::until("it may go", || wait.load(Ordering::Acquire) == 1).await;
                told.store(1, Ordering::Release);
            }
            Ok(asked.body.into())
        }
    });
    let (server, client) = H::pair(config(), slow, Handlers::none()).await;
    let error = client.call(CallOptions::new(7).timeout(MS * 30), b"x".to_vec()).await.expect_err("too late");
    assert_eq!(error.outcome(), Outcome::MaybeDelivered);
    go.store(1, Ordering::Release);
    H::until("the late reply is counted", || client.peer().counters().late_replies == 1).await;
    let reply = client.call(CallOptions::new(1), b"still here".to_vec()).await.expect("a reply");
    assert_eq!(&reply[..], b"still here");
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_dropped_call_is_cancelled_there<H: Harness>() {
    let (held, silent) = silent();
    let (server, client) = H::pair(Config::default(), silent, Handlers::none()).await;
    let pending = client.start_call(CallOptions::new(1), Vec::new()).await.expect("begun");
    H::until("it is there", || held.lock().expect("not poisoned").len() == 1).await;
    assert!(!held.lock().expect("not poisoned")[0].is_cancelled());
    drop(pending);
    H::until("it is cancelled there", || held.lock().expect("not poisoned")[0].is_cancelled()).await;
    let counters = client.peer().counters();
    assert_eq!((counters.calls, counters.calls_cancelled), (1, 1));
    client.close().await;
    server.shutdown().await;
}

pub async fn pending_calls_from_one_place<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::none()).await;
    let mut pending = Vec::new();
    for i in 0..200_u32 {
        pending.push(client.start_call(CallOptions::new(1), i.to_be_bytes().to_vec()).await.expect("begun"));
    }
    for (i, call) in pending.into_iter().enumerate() {
        assert_eq!(number(&H::Client::<Native>::wait(call).await.expect("a reply")), i as u32);
    }
    client.close().await;
    server.shutdown().await;
}

pub async fn more_calls_than_places<H: Harness>() {
    let config = Config::builder().max_in_flight(1_024).call_timeout(Duration::from_secs(60)).build();
    let (server, client) = H::pair(config.expect("sound"), Handlers::echo(), Handlers::none()).await;
    let done = Arc::new(AtomicU32::new(0));
    let calls: Vec<_> = (0..H::MANY as u32)
        .map(|i| {
            let (client, done) = (client.clone(), Arc::clone(&done));
            async move {
                let reply =
                    client.call(CallOptions::new(1), i.to_be_bytes().to_vec()).await.expect("a reply");
                assert_eq!(number(&reply), i);
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
        .map(H::spawn)
        .collect();
    for call in calls {
        call.await;
    }
    assert_eq!(done.load(Ordering::Relaxed), H::MANY as u32);

    // Beyond the limit, a call waits until its own deadline.
    let (held, silent) = silent();
    let config = Config::builder().max_in_flight(1).build().expect("sound");
    let (other, narrow) = H::pair(config, silent, Handlers::none()).await;
    let first = narrow.start_call(CallOptions::new(1), Vec::new()).await.expect("begun");
    let error = narrow.call(CallOptions::new(1).timeout(MS * 20), Vec::new()).await.expect_err("no place");
    assert_eq!(error, CallError::DeadlineExceeded { outcome: Outcome::Expired, link: LinkWas::Connected });
    H::until("the first is there", || held.lock().expect("not poisoned").len() == 1).await;
    drop(first);
    client.close().await;
    server.shutdown().await;
    narrow.close().await;
    other.shutdown().await;
}

pub async fn answering_later_and_never<H: Harness>() {
    let responders = Handlers::none().request(|asked| {
        let responder = (asked.responder)();
        let later = responder.later();
        if asked.method == 1 {
            drop(H::spawn(async move {
                H::sleep(MS * 5).await;
                responder.reply(b"later");
            }));
        } else {
            drop(responder);
        }
        async move { Ok(later) }
    });
    let (server, client) = H::pair(Config::default(), responders, Handlers::none()).await;
    let later = client.start_call(CallOptions::new(1), Vec::new()).await.expect("begun");
    let error = client.call(CallOptions::new(2), Vec::new()).await.expect_err("no answer");
    assert!(matches!(error, CallError::Failed(failure) if failure.status == Status::NO_ANSWER));
    // smol cancels a task whose handle is dropped; then the responder itself sends the answer.
    match H::Client::<Native>::wait(later).await {
        Ok(reply) => assert_eq!(&reply[..], b"later"),
        Err(CallError::Failed(failure)) => assert_eq!(failure.status, Status::NO_ANSWER),
        Err(error) => panic!("{error}"),
    }
    client.close().await;
    server.shutdown().await;
}
