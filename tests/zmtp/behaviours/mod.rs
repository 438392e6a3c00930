//! The behavior of Bowline's sockets, type by type, with the subjects of libzmq's own tests.
//!
//! Each scenario names the libzmq test with the same subject. Where Bowline's sockets differ intentionally,
//! the scenario asserts the difference, and `docs/zeromq.md` gives the reason.

use std::time::Duration;

use bowline::ReconnectPolicy;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{
    Kind, Message, Options, Outgoing, ReceiveError, Receives, Refusal, Sends, SocketEvent, kinds,
};
use bowline_zmtp::socket::SendError as Unsent;
use bowline_zmtp_driver::Socket;

use crate::done;

pub(crate) mod drafts;
pub(crate) mod endpoints;
pub(crate) mod publishing;
pub(crate) mod raw;
pub(crate) mod requests;
pub(crate) mod routing;
pub(crate) mod sharing;
pub(crate) mod spreading;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A message in the form that tests use.
pub(crate) type Parts = Vec<Vec<u8>>;

fn parts(message: &Message) -> Parts {
    message.iter().map(|part| part.to_vec()).collect()
}

/// A socket that redials after 5 ms.
fn open<R: Runtime, K: Kind>(set: impl FnOnce(Options) -> Options) -> Socket<R, K> {
    let builder = Socket::<R, K>::builder().options(set).reconnect(ReconnectPolicy::fixed(MS * 5));
    builder.open().expect("sound")
}

/// A socket that does not redial.
fn open_once<R: Runtime, K: Kind>(set: impl FnOnce(Options) -> Options) -> Socket<R, K> {
    let builder = Socket::<R, K>::builder().options(set).reconnect(ReconnectPolicy::never());
    builder.open().expect("sound")
}

fn plain<R: Runtime, K: Kind>() -> Socket<R, K> {
    open(|options| options)
}

async fn send<'a, R: Runtime, K: Sends>(socket: &'a Socket<R, K>, message: impl Into<Outgoing<'a>>) {
    done::<R, _>(socket.send(message)).await.expect("there is room");
}

async fn recv<R: Runtime, K: Receives>(socket: &Socket<R, K>) -> Parts {
    parts(&done::<R, _>(socket.recv()).await.expect("open"))
}

/// Checks that nothing arrives for a while.
async fn nothing_comes<R: Runtime, K: Receives>(socket: &Socket<R, K>) {
    let came = done::<R, _>(socket.recv_timeout(MS * 30)).await;
    assert_eq!(came.map(|message| parts(&message)), Err(ReceiveError::TimedOut));
}

async fn pause<R: Runtime>(time: Duration) {
    let idle = Socket::<R, kinds::Pull>::new();
    done::<R, _>(idle.recv_timeout(time)).await.expect_err("nobody sends to it");
    done::<R, _>(idle.close()).await;
}

/// Waits until the condition holds.
pub(crate) async fn until<R: Runtime>(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        pause::<R>(MS * 2).await;
    }
}

/// Binds one socket, connects the other, and waits until both have a peer.
async fn link<R: Runtime, A: Kind, B: Kind>(binder: &Socket<R, A>, connector: &Socket<R, B>) -> String {
    let bound = binder.bind("tcp://127.0.0.1:*").expect("free");
    done::<R, _>(connector.connect_ready(&bound)).await.expect("it listens");
    peer_up(binder).await;
    bound
}

/// Whether an event is about a peer, and not about listening, accepting or dialing.
fn is_about_a_peer(event: &SocketEvent) -> bool {
    matches!(
        event,
        SocketEvent::PeerUp(..)
            | SocketEvent::PeerDown(..)
            | SocketEvent::PeerRefused(..)
            | SocketEvent::HandshakeFailed { .. }
            | SocketEvent::Dropped { .. }
    )
}

/// The next event of a socket that is about a peer.
async fn next_event<R: Runtime, K: Kind>(socket: &Socket<R, K>) -> SocketEvent {
    loop {
        match socket.take_event() {
            Some(event) if is_about_a_peer(&event) => return event,
            Some(_) => {}
            None => pause::<R>(MS * 2).await,
        }
    }
}

/// Waits until a peer is connected.
async fn peer_up<R: Runtime, K: Kind>(socket: &Socket<R, K>) -> bowline::zmtp::PipeId {
    loop {
        if let SocketEvent::PeerUp(peer, _) = next_event(socket).await {
            return peer;
        }
    }
}

/// Waits until a peer has disconnected.
async fn peer_down<R: Runtime, K: Kind>(socket: &Socket<R, K>) {
    while !matches!(next_event(socket).await, SocketEvent::PeerDown(..)) {}
}

async fn close<R: Runtime, K: Kind>(socket: Socket<R, K>) {
    done::<R, _>(socket.close()).await;
}

/// A name of a socket of this runtime only.
fn named<R: Runtime>(name: &str) -> String {
    format!("{name}-{}", std::any::type_name::<R>().rsplit("::").next().unwrap_or_default())
}

fn refusal(error: bowline::zmtp::SendError) -> Unsent {
    match error.reason() {
        Refusal::Socket(reason) => reason.clone(),
        other => panic!("{other}"),
    }
}
