//! Layers between a socket and a machine, such as TLS.
//!
//! A [`Layer`] is sans-IO like a machine: bytes from the peer go in, bytes for the peer come out, and the
//! machine reads and writes plain bytes on its other side. It opens no socket, reads no clock and takes no
//! lock. The driver puts one over each connection of a link whose settings have a [`DialLayer`] or an
//! [`AcceptLayer`]; without them the bytes take the same path as before.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::error::ConfigError;
use crate::supervisor::Endpoint;

/// The layer of one connection.
///
/// The driver's side of the contract:
///
/// 1. Call [`transmit`](Self::transmit) whenever [`wants_transmit`](Self::wants_transmit) is true; send its
///    bytes to the peer before anything else.
/// 2. Call [`receive`](Self::receive) with the bytes from the peer. Bytes that it does not take are offered
///    again after [`read`](Self::read) has made room. At the end of the stream call
///    [`end_of_stream`](Self::end_of_stream).
/// 3. While [`is_handshaking`](Self::is_handshaking) nothing is written; afterwards [`write`](Self::write) and
///    [`write_pieces`](Self::write_pieces) make one record at a time of the machine's bytes.
/// 4. Call [`close`](Self::close) when this side has nothing more to send, and transmit the result.
///
/// After an error only [`transmit`](Self::transmit) may be called: it may have an alert for the peer.
pub trait Layer: fmt::Debug + Send {
    /// Whether the handshake is not done yet.
    fn is_handshaking(&self) -> bool;

    /// Takes bytes of the peer, from the front; returns how many. 0: [`read`](Self::read) must be called
    /// first.
    ///
    /// # Errors
    /// The peer broke the layer's protocol, or could not be verified.
    fn receive(&mut self, bytes: &[u8]) -> Result<usize, LayerError>;

    /// Reads decrypted bytes of the peer, as far as they have arrived. 0: there are none now.
    fn read(&mut self, buf: &mut [u8]) -> usize;

    /// Whether [`read`](Self::read) has something.
    fn has_plain(&self) -> bool;

    /// Appends one record, made of the front of `plain`, to `out`; returns how many bytes are in the record.
    /// 0: nothing can be written now.
    ///
    /// # Errors
    /// The layer has failed.
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, LayerError>;

    /// As [`write`](Self::write), for bytes in several pieces, none of which is empty: one record may contain
    /// several pieces. By default a record contains the first piece or a part of it. A layer should combine
    /// pieces if it can do so without a copy, because large messages have small headers between their bodies.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_pieces(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<usize, LayerError> {
        match pieces.first() {
            Some(first) => self.write(first, out),
            None => Ok(0),
        }
    }

    /// Whether [`transmit`](Self::transmit) has something.
    fn wants_transmit(&self) -> bool;

    /// Appends the layer's own bytes for the peer to `out`.
    fn transmit(&mut self, out: &mut Vec<u8>);

    /// This side has nothing more to send: the peer is to be notified. From then on the layer may discard
    /// received bytes: the driver only waits for the peer's end of the stream.
    fn close(&mut self);

    /// Whether the peer has notified this side that it has nothing more to send.
    fn is_peer_closed(&self) -> bool;

    /// The socket's stream ended.
    ///
    /// # Errors
    /// The peer had not announced it, so that the stream may have been truncated by an attacker; or the
    /// handshake was not done.
    fn end_of_stream(&mut self) -> Result<(), LayerError>;

    /// Bytes of memory that the layer holds because of what its peer sent, or has not read: received bytes
    /// that are not decoded, plain bytes that are not read, bytes for the peer that were not transmitted, and
    /// what it keeps of the handshake. What every connection of the layer takes does not count. It may be
    /// more than is held, never less. A server counts these bytes in its memory limit: see
    /// [`crate::memory`].
    fn held(&self) -> usize {
        0
    }

    /// The properties of the peer, once the handshake is done. Each call may create them anew.
    fn secured(&self) -> Option<Arc<Secured>>;
}

/// The properties of a layer's connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Secured {
    /// The certificates of the peer in DER, its own first; empty if it showed none.
    pub certificates: Vec<Vec<u8>>,
    /// The DNS names among the subject alternative names of the peer's own certificate, unchanged, wildcards
    /// included.
    pub names: Vec<String>,
    /// The application protocol that was negotiated (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The name that the client asked for (SNI), on the accepting side.
    pub server_name: Option<String>,
    /// The version of the layer's protocol, such as `TLSv1.3`.
    pub version: &'static str,
    /// Whether the connection resumed an earlier TLS session: no certificate was sent on it.
    pub resumed: bool,
}

/// Makes the layers of dialed connections.
pub trait DialLayer: fmt::Debug + Send + Sync {
    /// A layer for a connection to this place, as it was given: with the host's name, if it has one.
    ///
    /// # Errors
    /// The place has no name that the layer can verify, or the settings are invalid.
    fn dial(&self, to: &Endpoint) -> Result<Box<dyn Layer>, LayerError>;
}

/// Makes the layers of accepted connections.
pub trait AcceptLayer: fmt::Debug + Send + Sync {
    /// A layer for an accepted connection.
    ///
    /// # Errors
    /// The settings are invalid.
    fn accept(&self) -> Result<Box<dyn Layer>, LayerError>;
}

/// The layers of a link, a server or a socket: for dialed connections, and for accepted ones.
///
/// If there is one, every connection of that kind uses it: there is no fallback to plain text.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Layers {
    /// For dialed connections.
    pub dial: Option<Arc<dyn DialLayer>>,
    /// For accepted connections.
    pub accept: Option<Arc<dyn AcceptLayer>>,
}

// Each layer is made by a separate call: a panic in it leaves the settings unchanged.
impl core::panic::UnwindSafe for Layers {}
impl core::panic::RefUnwindSafe for Layers {}

impl Layers {
    /// A layer for dialed connections.
    pub fn dialing(layer: impl DialLayer + 'static) -> Self {
        Self { dial: Some(Arc::new(layer)), accept: None }
    }

    /// A layer for accepted connections.
    pub fn accepting(layer: impl AcceptLayer + 'static) -> Self {
        Self { dial: None, accept: Some(Arc::new(layer)) }
    }

    /// Adds the layers of `other`, which replace those of the same kind.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { dial: other.dial.or(self.dial), accept: other.accept.or(self.accept) }
    }

    /// The address to dial, without the prefix `tls://`.
    ///
    /// # Errors
    /// The prefix requires TLS, but there are no TLS settings, or only those of a server.
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

    /// The address to listen at, without the prefix `tls://`.
    ///
    /// # Errors
    /// The prefix requires TLS, but there are no TLS settings, or only those of a client.
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

    /// Whether there are no layers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dial.is_none() && self.accept.is_none()
    }
}

const NO_SETTINGS: ConfigError =
    ConfigError::Conflict { field: "tls", why: "is not set, and the address begins with tls://" };

/// A layer failed: the error of its protocol, and whether another connection may succeed.
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

    /// Whether another connection may succeed.
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

/// The address without the prefix `tls://`, and whether it had it.
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
