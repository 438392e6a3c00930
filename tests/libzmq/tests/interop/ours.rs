//! Bowline's sockets of every type behind one interface, for table-driven tests.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bowline::ReconnectPolicy;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::mechanism::Decision;
use bowline::zmtp::pipe::AuthRequest;
use bowline::zmtp::{
    Message, Options, PipeId, ReceiveError, SendError, SocketEvent, SocketStats, SocketType, kinds,
};
use bowline_zmtp_driver::Socket;

use crate::{MESSAGE_LIMIT, done};

/// A message as tests write it.
pub(crate) type Parts = Vec<Vec<u8>>;

/// A future.
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A socket of Bowline.
pub(crate) trait Ours {
    fn try_bind(&self, endpoint: &str) -> bool;
    fn bind(&self, endpoint: &str) -> String;
    fn connect(&self, endpoint: &str);
    fn connect_ready<'a>(&'a self, endpoint: &'a str) -> Soon<'a, bool>;
    fn send(&self, parts: Parts) -> Soon<'_, Result<(), SendError>>;
    fn send_within(&self, parts: Parts, limit: Duration) -> Soon<'_, Result<(), SendError>>;
    fn recv(&self) -> Soon<'_, Result<Parts, ReceiveError>>;
    fn recv_within(&self, limit: Duration) -> Soon<'_, Result<Parts, ReceiveError>>;
    fn subscribe(&self, topic: &[u8]);
    fn unsubscribe(&self, topic: &[u8]) -> bool;
    fn subscriptions(&self) -> usize;
    fn routing_id(&self, peer: PipeId) -> Option<Vec<u8>>;
    /// The next event that is about a peer.
    fn take_event(&self) -> Option<SocketEvent>;
    fn stats(&self) -> SocketStats;
    fn close(&self) -> Soon<'_, ()>;
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

pub(crate) fn parts(message: &Message) -> Parts {
    message.iter().map(|part| part.to_vec()).collect()
}

/// The operations of a type; panics if the test uses one that the type does not have.
macro_rules! what {
    (send $socket:ident $sent:ident) => {
        Box::pin(done::<R, _>($socket.send_timeout($sent.0, $sent.1)))
    };
    (recv $socket:ident $limit:ident) => {
        Box::pin(
            async move { done::<R, _>($socket.recv_timeout($limit)).await.map(|message| parts(&message)) },
        )
    };
    (subscribes $socket:ident $topic:ident) => {
        match $topic {
            (topic, true) => {
                $socket.subscribe(topic);
                true
            }
            (topic, false) => $socket.unsubscribe(topic),
        }
    };
    (publishes $socket:ident $none:ident) => {{
        let () = $none;
        $socket.subscriptions()
    }};
    (routes $socket:ident $peer:ident) => {
        $socket.routing_id($peer)
    };
    (no $socket:ident $argument:ident) => {{
        let _ = $argument;
        unreachable!("{:?} cannot do that", $socket)
    }};
}

macro_rules! ours {
    ($($name:ident: $send:ident $recv:ident $subscribe:ident $publish:ident $route:ident;)*) => {
        $(
            impl<R: Runtime> Ours for Socket<R, kinds::$name> {
                fn try_bind(&self, endpoint: &str) -> bool {
                    Self::bind(self, endpoint).is_ok()
                }
                fn bind(&self, endpoint: &str) -> String {
                    Self::bind(self, endpoint).expect("free")
                }
                fn connect(&self, endpoint: &str) {
                    Self::connect(self, endpoint).expect("an endpoint");
                }
                fn connect_ready<'a>(&'a self, endpoint: &'a str) -> Soon<'a, bool> {
                    Box::pin(async move { done::<R, _>(Self::connect_ready(self, endpoint)).await.is_ok() })
                }
                fn send(&self, parts: Parts) -> Soon<'_, Result<(), SendError>> {
                    Ours::send_within(self, parts, MESSAGE_LIMIT)
                }
                fn send_within(&self, parts: Parts, limit: Duration) -> Soon<'_, Result<(), SendError>> {
                    let sent = (parts, limit);
                    what!($send self sent)
                }
                fn recv(&self) -> Soon<'_, Result<Parts, ReceiveError>> {
                    Ours::recv_within(self, MESSAGE_LIMIT)
                }
                fn recv_within(&self, limit: Duration) -> Soon<'_, Result<Parts, ReceiveError>> {
                    what!($recv self limit)
                }
                fn subscribe(&self, topic: &[u8]) {
                    let begins = (topic, true);
                    what!($subscribe self begins);
                }
                fn unsubscribe(&self, topic: &[u8]) -> bool {
                    let ends = (topic, false);
                    what!($subscribe self ends)
                }
                fn subscriptions(&self) -> usize {
                    let none = ();
                    what!($publish self none)
                }
                fn routing_id(&self, peer: PipeId) -> Option<Vec<u8>> {
                    what!($route self peer)
                }
                fn take_event(&self) -> Option<SocketEvent> {
                    std::iter::from_fn(|| Self::take_event(self)).find(is_about_a_peer)
                }
                fn stats(&self) -> SocketStats {
                    Self::stats(self)
                }
                fn close(&self) -> Soon<'_, ()> {
                    let closing = done::<R, _>(self.clone().close());
                    Box::pin(async move { _ = closing.await })
                }
            }
        )*

        /// One of that type, which dials again after 10 ms.
        pub(crate) fn open<R: Runtime>(kind: SocketType, set: impl FnOnce(Options) -> Options) -> Box<dyn Ours> {
            match kind {
                $(SocketType::$name => {
                    let builder = Socket::<R, kinds::$name>::builder()
                        .options(set)
                        .reconnect(ReconnectPolicy::fixed(Duration::from_millis(10)));
                    Box::new(builder.open().expect("sound"))
                })*
            }
        }

        /// One that asks who is let in.
        pub(crate) fn open_asking<R: Runtime>(
            kind: SocketType,
            set: impl FnOnce(Options) -> Options,
            decide: impl Fn(&AuthRequest) -> Decision + Send + Sync + 'static,
        ) -> Box<dyn Ours> {
            match kind {
                $(SocketType::$name => {
                    let builder = Socket::<R, kinds::$name>::builder().options(set).authenticate(decide);
                    Box::new(builder.open().expect("sound"))
                })*
            }
        }

        /// libzmq's number of the same type.
        pub(crate) fn theirs(kind: SocketType) -> bowline_libzmq::Kind {
            match kind {
                $(SocketType::$name => bowline_libzmq::Kind::$name,)*
            }
        }
    };
}

ours! {
    Req: send recv no no no;
    Rep: send recv no no no;
    Dealer: send recv no no no;
    Router: send recv no no routes;
    Pub: send no no publishes no;
    Sub: no recv subscribes no no;
    XPub: send recv no publishes no;
    XSub: send recv subscribes no no;
    Push: send no no no no;
    Pull: no recv no no no;
    Pair: send recv no no no;
    Client: send recv no no no;
    Server: send recv no no routes;
    Radio: send no no publishes no;
    Dish: no recv subscribes no no;
    Scatter: send no no no no;
    Gather: no recv no no no;
    Channel: send recv no no no;
    Peer: send recv no no routes;
}
