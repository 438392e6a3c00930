//! Errors of sockets.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use crate::layer::LayerError;
use crate::supervisor::Endpoint;

type Source = Arc<dyn Error + Send + Sync>;

/// A socket could not be connected, or failed later: the kind of failure, the place, and the system's error
/// as [`source`](Error::source).
///
/// In a driver the source is the `std::io::Error`. Two values are equal if their kinds and places are equal,
/// and their sources display the same text.
#[derive(Clone)]
pub struct TransportError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: TransportKind,
    place: Option<Endpoint>,
    source: Source,
    is_final: bool,
}

impl TransportError {
    /// A failure of this kind, with an error (or text) as its source.
    #[must_use]
    pub fn new(kind: TransportKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, place: None, source: source.into().into(), is_final: false }))
    }

    /// A [layer](crate::layer) failed: the error of its protocol is the source.
    #[must_use]
    pub fn of_layer(error: LayerError) -> Self {
        let is_final = !error.is_retryable();
        Self(Box::new(Inner {
            kind: TransportKind::Insecure,
            place: None,
            source: error.into_inner(),
            is_final,
        }))
    }

    /// Whether another connection may succeed. Only errors of layers can say that none will.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.0.is_final
    }

    /// Adds the place, unless the error has one already.
    #[must_use]
    pub fn at(mut self, place: impl Into<Endpoint>) -> Self {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> TransportKind {
        self.0.kind
    }

    /// The other side of the connection, if it is known.
    #[must_use]
    pub fn place(&self) -> Option<&Endpoint> {
        self.0.place.as_ref()
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let predicate = match self.0.kind {
            TransportKind::Refused => "refused the connection",
            TransportKind::Reset => "reset the connection",
            TransportKind::Resolve => "could not be looked up",
            TransportKind::Unreachable => "cannot be reached",
            TransportKind::TimedOut => "did not answer in time",
            TransportKind::Resources => "cannot be connected: this side is out of resources",
            TransportKind::NotFound => "does not exist",
            TransportKind::Denied => "may not be connected to",
            TransportKind::Insecure => "could not be talked to securely",
            TransportKind::Other => "has a socket that failed",
        };
        match &self.0.place {
            Some(place) => write!(f, "{place} {predicate}"),
            None => write!(f, "the peer {predicate}"),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0.source)
    }
}

impl fmt::Debug for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, place, source, is_final } = &*self.0;
        let mut f = f.debug_struct("TransportError");
        f.field("kind", kind)
            .field("place", place)
            .field("source", source)
            .field("is_final", is_final)
            .finish()
    }
}

impl PartialEq for TransportError {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&*self.0, &*other.0);
        let same_source = || one.source.to_string() == other.source.to_string();
        one.kind == other.kind && one.place == other.place && same_source()
    }
}

impl Eq for TransportError {}

/// Kinds of transport failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TransportKind {
    /// No process listens at the address.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The name could not be resolved.
    Resolve,
    /// There is no route, or the network is down.
    Unreachable,
    /// The system gave up waiting.
    TimedOut,
    /// The system is out of descriptors, memory, threads or ports.
    Resources,
    /// There is no Unix socket with this path.
    NotFound,
    /// This process is not allowed to connect.
    Denied,
    /// The layer that secures the connection failed (TLS): the peer could not be verified, refused this side,
    /// or broke the layer's protocol. The source is the layer's own error.
    Insecure,
    /// Anything else.
    Other,
}
