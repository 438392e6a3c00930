//! What handlers are given, with the peer that asks as their runtime knows it.

use std::marker::PhantomData;
use std::ops::Deref;

use bowline_core::body::Body;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::runtime::Runtime;

use crate::handler::ContextCore;
use crate::peer::Peer;
use crate::request::RequestCore;

/// What an inline handler may do besides answering: nothing that waits.
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

    /// Who sent it: keep it to push to it later. Calling it and waiting from within an inline handler
    /// would wait for the very task or thread that is to read the reply.
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

/// A request that may take its time.
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
    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> Peer<R, F> {
        self.core.peer().clone().into()
    }

    /// The bytes, taken.
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
