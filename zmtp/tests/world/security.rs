//! Mechanisms: which side is the server, which clients it lets in, and how connections may end.

use bowline_core::error::Disconnect;
use bowline_zmtp::error::ZmtpError;
use bowline_zmtp::mechanism::{Admission, Credentials, Decision, Mechanism};
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{AuthRequest, Pipe};

use super::network::{Connection, Network};

/// How the nodes of a run authenticate each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    Null,
    Plain,
    #[cfg(feature = "curve")]
    Curve,
}

/// A node's side of the mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// There are no servers and clients: NULL.
    Open,
    Server,
    /// A client, and the status with which every server refuses it.
    Client(Option<u16>),
    /// A client that expects another server.
    Misled,
}

impl Standing {
    pub(crate) fn is_let_in(self) -> bool {
        matches!(self, Self::Open | Self::Server | Self::Client(None))
    }
}

/// A refusal for good, after which the client does not dial again, and one for now.
const STATUSES: [u16; 2] = [400, 300];

impl Security {
    /// The mechanism that a number selects. Most runs have none.
    pub(crate) fn of(number: usize) -> Self {
        match number {
            0 => Self::Plain,
            #[cfg(feature = "curve")]
            1 => Self::Curve,
            _ => Self::Null,
        }
    }

    /// Its place among the counters of mechanisms.
    pub(crate) fn index(self) -> Option<usize> {
        match self {
            Self::Null => None,
            Self::Plain => Some(0),
            #[cfg(feature = "curve")]
            Self::Curve => Some(1),
        }
    }

    /// The standing that a number selects. One client in four is not let in.
    pub(crate) fn standing(self, is_server: bool, number: usize) -> Standing {
        match (self, number) {
            (Self::Null, _) => Standing::Open,
            _ if is_server => Standing::Server,
            (_, 0 | 1) => Standing::Client(Some(STATUSES[number])),
            #[cfg(feature = "curve")]
            (Self::Curve, 2) => Standing::Misled,
            _ => Standing::Client(None),
        }
    }

    pub(crate) fn apply(self, options: Options, standing: Standing) -> Options {
        match self {
            Self::Null => options,
            Self::Plain => options.mechanism(plain(standing)).admission(Admission::Ask),
            #[cfg(feature = "curve")]
            Self::Curve => options.mechanism(curve::mechanism(standing)).admission(Admission::Ask),
        }
    }
}

/// The password of a client, and the program's decision about it.
fn password(standing: Standing) -> String {
    match standing {
        Standing::Client(Some(status)) => status.to_string(),
        _ => "let me in".to_owned(),
    }
}

fn plain(standing: Standing) -> Mechanism {
    match standing {
        Standing::Server => Mechanism::PlainServer,
        _ => Mechanism::PlainClient { username: "client".to_owned(), password: password(standing) },
    }
}

/// The decision of a server's program.
pub(crate) fn decide(request: &AuthRequest) -> Decision {
    let status = match &request.credentials {
        Credentials::Plain { username, password } => {
            assert_eq!(username, b"client");
            std::str::from_utf8(password).expect("text").parse().ok()
        }
        #[cfg(feature = "curve")]
        Credentials::Curve { public_key } => curve::status(public_key),
        other => panic!("{other:?}"),
    };
    match status {
        Some(status) => Decision::Refuse { status },
        None => Decision::Accept { user_id: "user".to_owned() },
    }
}

#[cfg(not(feature = "curve"))]
pub(crate) fn with_entropy(pipe: Pipe<u32>, _: u64) -> Pipe<u32> {
    pipe
}

#[cfg(feature = "curve")]
pub(crate) fn with_entropy(pipe: Pipe<u32>, seed: u64) -> Pipe<u32> {
    let mut random = bowline_netsim::Random::new(seed);
    pipe.with_entropy(move |bytes: &mut [u8]| bytes.fill_with(|| random.number() as u8))
}

impl Network {
    /// The number of connections that a mechanism refused.
    pub(crate) fn refused(&self) -> usize {
        let is_refused = |(_, cause): &(u64, Disconnect)| {
            matches!(
                ZmtpError::of(cause),
                Some(ZmtpError::NotAuthenticated { .. } | ZmtpError::Sealed { .. })
            )
        };
        let is_refused = |one: &&Connection| one.ended.iter().flatten().any(is_refused);
        self.connections.iter().filter(is_refused).count()
    }

    /// The only errors that a conforming end may report about another are that the stream was cut or silent.
    /// Peers beyond a type's limit, with a routing id in use, or without the right credentials, are refused.
    pub(crate) fn assert_no_fault(&self) {
        use ZmtpError::{DuplicateRoutingId, HandedOver, NotAuthenticated, Refused, SecondPeer, Truncated};
        for connection in &self.connections {
            let nodes = connection.ends.map(|end| end.node);
            for (at, (_, cause)) in
                connection.ended.iter().enumerate().filter_map(|(at, end)| Some((at, end.as_ref()?)))
            {
                let is_server = self.nodes[nodes[at]].standing == Standing::Server;
                let fault = ZmtpError::of(cause).filter(|error| match error {
                    Truncated { .. } | SecondPeer(_) | HandedOver | DuplicateRoutingId { .. } => false,
                    NotAuthenticated { status } => {
                        !is_server || self.nodes[nodes[1 - at]].standing != Standing::Client(Some(*status))
                    }
                    // Only a refusal for good is sent.
                    Refused { reason } => {
                        let standing = self.nodes[nodes[at]].standing;
                        reason != "400" || standing != Standing::Client(Some(400))
                    }
                    _ => self.nodes[nodes[1 - at]].standing != Standing::Misled || !is_server,
                });
                assert!(fault.is_none(), "{fault:?}");
            }
        }
    }
}

#[cfg(feature = "curve")]
mod curve {
    use bowline_zmtp::mechanism::{Mechanism, PublicKey, SecretKey};

    use super::{STATUSES, Standing};

    fn key(number: u16) -> SecretKey {
        SecretKey::new([number as u8; 32])
    }

    /// The number of a node's key.
    fn number(standing: Standing) -> u16 {
        match standing {
            Standing::Client(Some(status)) => status / 100,
            Standing::Server => 100,
            _ => 101,
        }
    }

    pub(super) fn mechanism(standing: Standing) -> Mechanism {
        let secret_key = key(number(standing));
        let server = if standing == Standing::Misled { 102 } else { number(Standing::Server) };
        match standing {
            Standing::Server => Mechanism::CurveServer { secret_key },
            _ => Mechanism::CurveClient { secret_key, server_key: key(server).public_key() },
        }
    }

    /// The status with which a client with that key is refused.
    pub(super) fn status(public_key: &PublicKey) -> Option<u16> {
        if *public_key == key(number(Standing::Client(None))).public_key() {
            return None;
        }
        let is_its = |status: &u16| key(number(Standing::Client(Some(*status)))).public_key() == *public_key;
        Some(STATUSES.into_iter().find(is_its).expect("the key of a client"))
    }
}
