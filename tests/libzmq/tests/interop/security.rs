//! Authentication and encryption.

use bowline::zmtp::mechanism::{Admission, Mechanism, SecretKey};
use bowline::zmtp::{Options, z85};
use bowline_libzmq::{Context, Option as TheirOption, Socket as Theirs, Zap, key_pair};

/// A mechanism, and which side is its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    Null,
    Plain { we_serve: bool },
    Curve { we_serve: bool },
}

pub(crate) const EVERY: [Security; 5] = [
    Security::Null,
    Security::Plain { we_serve: true },
    Security::Plain { we_serve: false },
    Security::Curve { we_serve: true },
    Security::Curve { we_serve: false },
];

/// A key pair as both sides say it.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) public: String,
    pub(crate) secret: String,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let (public, secret) = key_pair();
        Self { public, secret }
    }

    pub(crate) fn our_public(&self) -> [u8; 32] {
        bytes(&self.public)
    }

    pub(crate) fn our_secret(&self) -> SecretKey {
        SecretKey::new(bytes(&self.secret))
    }
}

fn bytes(key: &str) -> [u8; 32] {
    z85::decode(key).expect("a key").try_into().expect("of 32 bytes")
}

/// The settings of both sides.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) security: Security,
    pub(crate) server: Keys,
    pub(crate) client: Keys,
}

impl Secured {
    pub(crate) fn new(security: Security) -> Self {
        Self { security, server: Keys::new(), client: Keys::new() }
    }

    /// Our side.
    pub(crate) fn ours(&self, options: Options) -> Options {
        match self.security {
            Security::Null => options,
            Security::Plain { we_serve: true } => {
                options.mechanism(Mechanism::PlainServer).admission(Admission::AllowAny)
            }
            Security::Plain { we_serve: false } => options.mechanism(plain("user", "password")),
            Security::Curve { we_serve: true } => options
                .mechanism(Mechanism::CurveServer { secret_key: self.server.our_secret() })
                .allowed_keys([self.client.our_public()]),
            Security::Curve { we_serve: false } => options.mechanism(self.curve_client()),
        }
    }

    pub(crate) fn curve_client(&self) -> Mechanism {
        Mechanism::CurveClient { secret_key: self.client.our_secret(), server_key: self.server.our_public() }
    }

    /// Their side. What comes back lets ours in while it is there.
    pub(crate) fn theirs(&self, context: &Context, socket: &Theirs) -> Option<Zap> {
        match self.security {
            Security::Null => None,
            Security::Plain { we_serve: true } => {
                socket.be_plain_client("user", "password");
                None
            }
            Security::Plain { we_serve: false } => {
                socket.set(TheirOption::PlainServer, 1);
                Some(Zap::new(context, "", |request| {
                    assert_eq!(request.mechanism, "PLAIN");
                    if request.credentials == [b"user".to_vec(), b"password".to_vec()] { 200 } else { 400 }
                }))
            }
            Security::Curve { we_serve: true } => {
                socket.be_curve_client((&self.client.public, &self.client.secret), &self.server.public);
                None
            }
            Security::Curve { we_serve: false } => {
                socket.be_curve_server(&self.server.secret);
                let key = self.client.our_public().to_vec();
                Some(Zap::new(context, "", move |request| {
                    assert_eq!(request.mechanism, "CURVE");
                    if request.credentials == [key.clone()] { 200 } else { 400 }
                }))
            }
        }
    }
}

pub(crate) fn plain(username: &str, password: &str) -> Mechanism {
    Mechanism::PlainClient { username: username.to_owned(), password: password.to_owned() }
}
