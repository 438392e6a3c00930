//! The numbers of socket types and options.

/// Types of sockets, with their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the types of sockets")]
#[repr(i32)]
pub enum Kind {
    Pair = 0,
    Pub = 1,
    Sub = 2,
    Req = 3,
    Rep = 4,
    Dealer = 5,
    Router = 6,
    Pull = 7,
    Push = 8,
    XPub = 9,
    XSub = 10,
    Server = 12,
    Client = 13,
    Radio = 14,
    Dish = 15,
    Gather = 16,
    Scatter = 17,
    Peer = 19,
    Channel = 20,
}

/// Options, with their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as zmq_setsockopt names them")]
#[repr(i32)]
pub enum Option {
    RoutingId = 5,
    Subscribe = 6,
    Unsubscribe = 7,
    Linger = 17,
    ReconnectInterval = 18,
    SendHighWater = 23,
    ReceiveHighWater = 24,
    ReceiveTimeout = 27,
    SendTimeout = 28,
    RouterMandatory = 33,
    Immediate = 39,
    XPubVerbose = 40,
    PlainServer = 44,
    PlainUsername = 45,
    PlainPassword = 46,
    CurveServer = 47,
    CurvePublicKey = 48,
    CurveSecretKey = 49,
    CurveServerKey = 50,
    ProbeRouter = 51,
    ReqCorrelate = 52,
    ReqRelaxed = 53,
    Conflate = 54,
    ZapDomain = 55,
    RouterHandover = 56,
    HandshakeInterval = 66,
    XPubWelcome = 72,
    InvertMatching = 74,
    HeartbeatInterval = 75,
    HeartbeatTtl = 76,
    HeartbeatTimeout = 77,
    XPubVerboser = 78,
    ZapEnforceDomain = 93,
    Metadata = 95,
    HelloMessage = 110,
}

/// The events of a monitor: their bits.
#[allow(missing_docs, reason = "as zmq_socket_monitor names them")]
pub mod events {
    pub const CONNECTED: u16 = 0x0001;
    pub const ACCEPTED: u16 = 0x0020;
    pub const CLOSED: u16 = 0x0080;
    pub const DISCONNECTED: u16 = 0x0200;
    pub const HANDSHAKE_FAILED_NO_DETAIL: u16 = 0x0800;
    pub const HANDSHAKE_SUCCEEDED: u16 = 0x1000;
    pub const HANDSHAKE_FAILED_PROTOCOL: u16 = 0x2000;
    pub const HANDSHAKE_FAILED_AUTH: u16 = 0x4000;
}
