//! What stands between a socket and a machine: a layer of bytes, as TLS is one.
//!
//! A [`Layer`] is sans-IO, as a machine is: bytes of the peer go in, bytes for the peer come out, and between them is
//! what the machine reads and writes. It opens no socket, keeps no time and takes no lock. The driver puts one over each
//! connection of a link whose settings have a [`DialLayer`] or an [`AcceptLayer`]; without them no byte takes another
//! way than before.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::error::ConfigError;
use crate::supervisor::Endpoint;

/// One connection's layer.
///
/// The driver's side of the contract:
///
/// 1. [`transmit`](Self::transmit) whenever [`wants_transmit`](Self::wants_transmit) says so; what it gives goes to the
///    peer before anything else.
/// 2. [`receive`](Self::receive) with what came from the peer. What it does not take is offered again after
///    [`read`](Self::read) has made room. At the end of the stream [`end_of_stream`](Self::end_of_stream).
/// 3. While [`is_handshaking`](Self::is_handshaking) nothing is written; then [`write`](Self::write) makes one record at a
///    time of what the machine lends.
/// 4. [`close`](Self::close) when this side has nothing more to say; what it makes of that has to be transmitted.
///
/// After an error only [`transmit`](Self::transmit) makes sense: it may have something that tells the peer.
pub trait Layer: fmt::Debug + Send {
    /// Whether the handshake is not done yet.
    fn is_handshaking(&self) -> bool;

    /// Takes bytes that the peer sent, from the front; how many it took. None: what it has has to be read first.
    ///
    /// # Errors
    /// The peer broke the layer's protocol, or is not who it should be.
    fn receive(&mut self, bytes: &[u8]) -> Result<usize, LayerError>;

    /// Takes out what the peer wrote, as far as it came. 0: there is nothing now.
    fn read(&mut self, buf: &mut [u8]) -> usize;

    /// Whether [`read`](Self::read) has something.
    fn has_plain(&self) -> bool;

    /// Makes one record of the front of `plain`, and puts it behind `out`; how much of it is in the record. 0: nothing can
    /// be written now.
    ///
    /// # Errors
    /// The layer is broken.
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, LayerError>;

    /// Whether [`transmit`](Self::transmit) has something.
    fn wants_transmit(&self) -> bool;

    /// Puts what the layer itself has to say to the peer behind `out`.
    fn transmit(&mut self, out: &mut Vec<u8>);

    /// This side has nothing more to say: the peer is to be told so. From then on the layer may throw away what comes: the
    /// driver waits for the peer's end of the stream, and for nothing else.
    fn close(&mut self);

    /// Whether the peer said that it has nothing more to say.
    fn is_peer_closed(&self) -> bool;

    /// The socket's stream ended.
    ///
    /// # Errors
    /// The peer had not said so before: what came may have been cut short by anybody. Or the handshake was not done.
    fn end_of_stream(&mut self) -> Result<(), LayerError>;

    /// What is known of the peer, once the handshake is done.
    fn secured(&self) -> Option<Arc<Secured>>;
}

/// What a layer knows of its connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Secured {
    /// The certificates of the peer, its own first, in DER; none if it showed none.
    pub certificates: Vec<Vec<u8>>,
    /// The application protocol that both agreed upon (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The name that the client asked for (SNI): the accepting side's.
    pub server_name: Option<String>,
    /// The version of the layer's protocol, such as `TLSv1.3`.
    pub version: &'static str,
    /// It resumed an earlier session: no certificate was sent on this connection.
    pub resumed: bool,
}

/// Makes the layers of dialed connections.
pub trait DialLayer: fmt::Debug + Send + Sync {
    /// The layer of a connection to that place, as it was given: with the host's name, if it has one.
    ///
    /// # Errors
    /// The place has no name that the layer can ask for, or the settings do not work.
    fn dial(&self, to: &Endpoint) -> Result<Box<dyn Layer>, LayerError>;
}

/// Makes the layers of accepted connections.
pub trait AcceptLayer: fmt::Debug + Send + Sync {
    /// The layer of a connection that was accepted.
    ///
    /// # Errors
    /// The settings do not work (any more).
    fn accept(&self) -> Result<Box<dyn Layer>, LayerError>;
}

/// The layers of a link, a server or a socket: for connections that it dials, and for those that it accepts.
///
/// Where there is one, every connection of that kind has it: nothing falls back to plain text.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Layers {
    /// Of connections that are dialed.
    pub dial: Option<Arc<dyn DialLayer>>,
    /// Of connections that are accepted.
    pub accept: Option<Arc<dyn AcceptLayer>>,
}

// What makes a layer is called on its own each time: one that panicked leaves the settings as they were.
impl core::panic::UnwindSafe for Layers {}
impl core::panic::RefUnwindSafe for Layers {}

impl Layers {
    /// Of dialed connections.
    pub fn dialing(layer: impl DialLayer + 'static) -> Self {
        Self { dial: Some(Arc::new(layer)), accept: None }
    }

    /// Of accepted connections.
    pub fn accepting(layer: impl AcceptLayer + 'static) -> Self {
        Self { dial: None, accept: Some(Arc::new(layer)) }
    }

    /// Those of `other` as well, in place of its own of the same kind.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { dial: other.dial.or(self.dial), accept: other.accept.or(self.accept) }
    }

    /// The address to dial, without a `tls://` before it.
    ///
    /// # Errors
    /// It asks for TLS and there are no settings for that, or the settings are those of a server only.
    pub fn dialed<'a>(&self, address: &'a str) -> Result<&'a str, ConfigError> {
        let (plain, wants_tls) = strip_tls(address);
        match (&self.dial, &self.accept) {
            (None, Some(_)) => Err(ConfigError::Conflict {
                field: "tls",
                why: "is for connections that are accepted, and one is to be dialed: it needs a TlsClient",
            }),
            (None, None) if wants_tls => Err(NO_SETTINGS),
            _ => Ok(plain),
        }
    }

    /// The address to listen at, without a `tls://` before it.
    ///
    /// # Errors
    /// It asks for TLS and there are no settings for that, or the settings are those of a client only.
    pub fn listened<'a>(&self, address: &'a str) -> Result<&'a str, ConfigError> {
        let (plain, wants_tls) = strip_tls(address);
        match (&self.accept, &self.dial) {
            (None, Some(_)) => Err(ConfigError::Conflict {
                field: "tls",
                why: "is for connections that are dialed, and some are to be accepted: it needs a TlsServer",
            }),
            (None, None) if wants_tls => Err(NO_SETTINGS),
            _ => Ok(plain),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dial.is_none() && self.accept.is_none()
    }
}

const NO_SETTINGS: ConfigError =
    ConfigError::Conflict { field: "tls", why: "is not set, and the address begins with tls://" };

/// A layer failed: the error of its protocol, kept as it is, and whether another connection may fare better.
#[derive(Clone)]
pub struct LayerError {
    source: Arc<dyn Error + Send + Sync>,
    is_retryable: bool,
}

impl LayerError {
    /// The error of a layer's protocol.
    pub fn new(source: impl Error + Send + Sync + 'static, is_retryable: bool) -> Self {
        Self { source: Arc::new(source), is_retryable }
    }

    /// Whether another connection may fare better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// The error of the layer's protocol.
    #[must_use]
    pub fn into_inner(self) -> Arc<dyn Error + Send + Sync> {
        self.source
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerError")
            .field("source", &self.source)
            .field("is_retryable", &self.is_retryable)
            .finish()
    }
}

impl Error for LayerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// The address without a `tls://` before it, and whether there was one.
///
/// ```
/// use bowline_core::layer::strip_tls;
///
/// assert_eq!(strip_tls("tls://example.org:7001"), ("example.org:7001", true));
/// assert_eq!(strip_tls("example.org:7001"), ("example.org:7001", false));
/// ```
#[must_use]
pub fn strip_tls(address: &str) -> (&str, bool) {
    match address.strip_prefix("tls://") {
        Some(plain) => (plain, true),
        None => (address, false),
    }
}
