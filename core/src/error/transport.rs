//! What the system said of a socket.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use crate::layer::LayerError;
use crate::supervisor::Endpoint;

type Source = Arc<dyn Error + Send + Sync>;

/// A socket could not be connected, or failed later: of what kind the failure is, where it was, and as
/// [`source`](Error::source) what the system said.
///
/// In a driver the source is the `std::io::Error` itself. Two of these are equal if their kinds and
/// places are, and their sources say the same.
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
    /// A failure of that kind, and the error (or text) that says more.
    #[must_use]
    pub fn new(kind: TransportKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, place: None, source: source.into().into(), is_final: false }))
    }

    /// A [layer](crate::layer) failed: its protocol's error is the source.
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

    /// Whether another connection may fare better. Only a layer says that none will.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.0.is_final
    }

    /// The same at that place, unless it was said already where it was.
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

    /// Where the connection led, or should have led, if that is known.
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
    /// No process listens there.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The name could not be looked up.
    Resolve,
    /// No route, network down.
    Unreachable,
    /// The system gave up waiting.
    TimedOut,
    /// Out of descriptors, memory, threads or ports.
    Resources,
    /// There is no such Unix socket.
    NotFound,
    /// This process may not connect there.
    Denied,
    /// The layer that secures the connection failed (TLS): the peer is not who it should be, refused this side, or
    /// broke the layer's protocol. The source is the layer's own error.
    Insecure,
    /// Anything else.
    Other,
}
