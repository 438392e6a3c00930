//! Features of handles that are the same on every runtime: time limits, errors in handlers, addresses.
#![allow(clippy::needless_question_mark, reason = "that it works in a handler is what is tested")]

use std::time::Duration;

use bowline::error::{CallError, Failure, Outcome, Status};
use bowline::frame::Class;
use bowline::frame::tcpstream::Tcpstream;
use bowline::{CastOptions, Config, LinkEvent, QueueLimit, ReconnectPolicy};

const MS: Duration = Duration::from_millis(1);

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An address without a listener.
fn nobody() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn hasty() -> Result<Config> {
    let reconnect = ReconnectPolicy::fixed(MS);
    Ok(Config::builder().cast_timeout(MS * 50).linger(MS * 50).reconnect(reconnect).build()?)
}

/// A handler that fails in several ways.
fn sum(body: &[u8]) -> std::result::Result<String, Failure> {
    let text = std::str::from_utf8(body)?;
    let (a, b) = text.split_once('+').ok_or("no sum")?;
    if a == "file" {
        std::fs::read("/nowhere/at/all")?;
    }
    Ok((a.parse::<u32>()? + b.parse::<u32>()?).to_string())
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Failed(failure) => failure,
        other => panic!("{other}"),
    }
}

#[test]
fn on_threads() -> Result {
    use bowline::blocking::{Client, Server};
    let server = Server::builder().on_request(|request| Ok(sum(request.body())?)).bind("127.0.0.1:0")?;
    server.start()?;
    let at = server.local_addr();
    let socket = at.socket_addr().expect("over TCP");
    Client::connect(socket)?.close();
    Client::connect(("127.0.0.1", socket.port()))?.close();
    Client::connect(at.to_string())?.close();
    let client = Client::connect(&at)?;
    assert_eq!(&client.call(1, "1+2")?[..], b"3");
    for wrong in ["1", "x+2", "file+1"] {
        assert_eq!(failure(client.call(1, wrong).expect_err("wrong")).status, Status::FAILED);
    }
    let here = client.local_addr();
    let peer = server.hub().peers().into_iter().find(|peer| peer.remote_addr() == here).ok_or("no peer")?;
    assert_eq!(client.remote_addr(), peer.local_addr());
    assert!(client.local_addr().is_some() && client.local_addr() != client.remote_addr());

    assert!(client.try_next_errored()?.is_none() && client.next_errored_timeout(MS)?.is_none());
    assert!(client.try_receive()?.is_none() && client.receive_timeout(MS)?.is_none());
    let _ = peer.try_cast(2, "pushed")?;
    assert_eq!(client.receive_timeout(Duration::MAX)?.as_deref(), Some(&b"pushed"[..]));
    while client.try_next_event()?.is_some() {}
    assert!(client.next_event_timeout(MS)?.is_none());
    client.reconnect_now();
    assert!(client.next_event_timeout(Duration::MAX)?.is_some());
    client.close();
    server.shutdown();

    let lonely = Client::with_config(&nobody()?, hasty()?).connect_lazy()?;
    let options = CastOptions::new(7).class(Class::Bulk);
    let error = lonely.cast_and_wait_with(options, "a message").expect_err("nobody is there");
    assert_eq!(
        (error.outcome(), error.clone().into_body().as_deref()),
        (Outcome::Expired, Some(&b"a message"[..]))
    );
    let back = error.into_undelivered().ok_or("it was queued")?;
    assert_eq!(
        (back.number, back.method, back.class, &back.body[..]),
        (1, 7, Class::Bulk, &b"a message"[..])
    );
    let queued = lonely.cast(7, "another")?;
    assert_eq!(queued.number, 2);
    let undelivered = lonely.close();
    assert_eq!(undelivered.len(), 1, "what was told does not come back again: {undelivered:?}");
    Ok(())
}

/// A message whose deadline passes while it is being written is not in the link; it is nevertheless returned
/// unchanged.
#[test]
fn a_message_that_is_being_written_comes_back_as_it_was_given() -> Result {
    use bowline::blocking::Client;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let config = Config::with_framing(Tcpstream::new()).build()?;
    let client = Client::with_config(listener.local_addr()?, config).connect()?;
    let body = vec![5; 6 << 20];
    let error = loop {
        // The bytes that the system accepts are written; no one reads them.
        let options = CastOptions::new(7).seq(9).timeout(200 * MS);
        match client.cast_and_wait_with(options, &body) {
            Ok(outcome) => assert_eq!(outcome, Outcome::Written),
            Err(error) => break error,
        }
    };
    assert_eq!(error.outcome(), Outcome::MaybeDelivered);
    let back = error.into_undelivered().ok_or("it was queued")?;
    assert_eq!((back.method, back.seq, back.class), (7, 9, Class::Normal));
    assert!(back.body[..] == body[..]);
    Ok(())
}

/// A message whose deadline passes while there is no room is returned whole, too.
#[test]
fn a_message_without_room_comes_back_as_it_was_given() -> Result {
    use bowline::blocking::Client;
    let queue = QueueLimit { messages: 1, bytes: 1 << 20 };
    let config = Config::with_framing(Tcpstream::new()).write_queue(queue).build()?;
    let lonely = Client::with_config(&nobody()?, config).connect_lazy()?;
    let _queued = lonely.try_cast(1, "fills the queue")?;
    let options = CastOptions::new(7).seq(9).timeout(20 * MS);
    let error = lonely.cast_and_wait_with(options, "no room").expect_err("nobody takes it");
    assert_eq!(error.outcome(), Outcome::Expired);
    let back = error.into_undelivered().ok_or("it was taken")?;
    assert_eq!((back.number, back.method, back.seq, &back.body[..]), (0, 7, 9, &b"no room"[..]));
    Ok(())
}

macro_rules! on_tasks {
    ($module:ident) => {{
        use bowline::$module::{Client, Server};
        let server = Server::builder()
            .on_request(|request| async move {
                let text = std::str::from_utf8(request.body())?.to_owned();
                Ok(sum(text.as_bytes())?)
            })
            .bind("127.0.0.1:0")
            .await?;
        server.start()?;
        let at = server.local_addr();
        let socket = at.socket_addr().expect("over TCP");
        Client::connect(socket).await?.close().await;
        Client::connect(("127.0.0.1", socket.port())).await?.close().await;
        Client::connect(at.to_string()).await?.close().await;
        let client = Client::connect(&at).await?;
        assert_eq!(&client.call(1, &String::from("1+2")).await?[..], b"3");
        for wrong in [&b"1"[..], b"x+2", b"file+1", b"\xff"] {
            assert_eq!(failure(client.call(1, wrong).await.expect_err("wrong")).status, Status::FAILED);
        }
        let here = client.local_addr();
        let peer =
            server.hub().peers().into_iter().find(|peer| peer.remote_addr() == here).ok_or("no peer")?;
        assert_eq!(client.remote_addr(), peer.local_addr());
        assert!(client.local_addr().is_some() && client.local_addr() != client.remote_addr());

        assert!(client.try_next_errored()?.is_none() && client.next_errored_timeout(MS).await?.is_none());
        assert!(client.try_receive()?.is_none() && client.receive_timeout(MS).await?.is_none());
        while client.try_next_event()?.is_some() {}
        assert!(client.next_event_timeout(MS).await?.is_none());
        client.reconnect_now();
        let told = client.next_event_timeout(Duration::from_secs(10)).await?;
        assert!(matches!(told, Some(LinkEvent::Disconnected { .. })), "{told:?}");
        client.close().await;
        server.shutdown().await;

        let lonely = Client::with_config(&nobody()?, hasty()?).connect_lazy()?;
        let message = b"a message".to_vec();
        let error = lonely.cast_and_wait(7, message.clone()).await.expect_err("nobody is there");
        assert_eq!(error.outcome(), Outcome::Expired);
        assert_eq!(error.clone().into_body().as_deref(), Some(&message[..]));
        let back = error.into_undelivered().ok_or("it was queued")?;
        assert_eq!((back.method, &back.body[..]), (7, &message[..]));
        assert!(lonely.close().await.is_empty());
        Ok(())
    }};
}

#[tokio::test]
async fn on_tokio() -> Result {
    on_tasks!(tokio)
}

#[test]
fn on_smol() -> Result {
    smol::block_on(async { on_tasks!(smol) })
}

#[tokio::test]
async fn serving_is_interrupted_and_continued() -> Result {
    use bowline::tokio::{Client, Server};
    let server = Server::builder()
        .on_request(|request| async move { Ok(sum(request.body())?) })
        .bind("127.0.0.1:0")
        .await?;
    let at = server.local_addr();
    let client = tokio::select! {
        () = server.serve() => return Err("it was not shut down".into()),
        client = Client::connect(at.to_string()) => client?,
    };
    assert_eq!(&client.call(1, "1+2").await?[..], b"3", "a connection that exists is served");
    let later = Client::with_config(at.to_string(), Config::default()).connect_lazy()?;
    tokio::select! {
        () = server.serve() => return Err("it was not shut down".into()),
        reply = later.call(1, "2+2") => assert_eq!(&reply?[..], b"4"),
    }
    server.stop_accepting();
    let socket = at.socket_addr().expect("over TCP");
    assert!(std::net::TcpStream::connect(socket).is_err(), "the listening socket is closed");
    assert_eq!(&client.call(1, "3+2").await?[..], b"5");
    client.close().await;
    later.close().await;
    server.shutdown().await;
    Ok(())
}
