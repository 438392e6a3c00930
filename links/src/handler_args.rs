//! The arguments of handlers, with the peer as a handle of its runtime.

use std::marker::PhantomData;
use std::ops::Deref;

use bowline_core::body::Body;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::runtime::Runtime;

use crate::handler::ContextCore;
use crate::peer::Peer;
use crate::request::RequestCore;

/// The operations of an inline handler besides answering. None of them waits.
#[derive(Debug)]
pub struct Context<'a, R: Runtime, F: Framing = Native> {
    core: &'a ContextCore<'a, F>,
    runtime: PhantomData<fn() -> R>,
}

impl<'a, R: Runtime, F: Framing> Context<'a, R, F> {
    #[inline]
    pub(crate) fn new(core: &'a ContextCore<'a, F>) -> Self {
        Self { core, runtime: PhantomData }
    }

    /// The sender: keep it to push messages to it later. Do not call it and wait within an inline handler:
    /// the reply would have to be read by the very task or thread that waits.
    #[must_use]
    pub fn peer(&self) -> Peer<R, F> {
        self.core.peer().clone().into()
    }
}

impl<'a, R: Runtime, F: Framing> Deref for Context<'a, R, F> {
    type Target = ContextCore<'a, F>;

    #[inline]
    fn deref(&self) -> &ContextCore<'a, F> {
        self.core
    }
}

/// A request for a handler that may wait.
#[derive(Debug)]
pub struct Request<R: Runtime, F: Framing = Native> {
    core: RequestCore<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> From<RequestCore<F>> for Request<R, F> {
    fn from(core: RequestCore<F>) -> Self {
        Self { core, runtime: PhantomData }
    }
}

impl<R: Runtime, F: Framing> Request<R, F> {
    /// The peer that sent the request.
    #[must_use]
    pub fn peer(&self) -> Peer<R, F> {
        self.core.peer().clone().into()
    }

    /// The body, by value.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.core.into_body()
    }
}

impl<R: Runtime, F: Framing> Deref for Request<R, F> {
    type Target = RequestCore<F>;

    fn deref(&self) -> &RequestCore<F> {
        &self.core
    }
}
