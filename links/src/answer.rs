//! The return value of an ordinary request handler.

use std::borrow::Cow;

use bowline_core::body::{Body, Payload, REFERENCED_FROM};
use bytes::Bytes;

/// The return value of an ordinary request handler. Any type that is bytes converts into it.
#[derive(Debug)]
pub struct Answer {
    pub(crate) kind: AnswerKind,
    pub(crate) method: u32,
}

#[derive(Debug)]
pub(crate) enum AnswerKind {
    Now(Bytes),
    // Short ones are copied from where they are: making `Bytes` of them would need an allocation.
    Body(Body),
    Vec(Vec<u8>),
    Later,
}

impl AnswerKind {
    /// Calls `send` with the bytes, unless they follow later.
    pub(crate) fn send(self, send: impl FnOnce(Payload<'_>)) {
        match self {
            Self::Later => {}
            Self::Now(bytes) => send(bytes.into()),
            Self::Body(body) if body.len() < REFERENCED_FROM => send(body.as_slice().into()),
            Self::Body(body) => send(body.into()),
            Self::Vec(bytes) if bytes.len() < REFERENCED_FROM => send(bytes.as_slice().into()),
            Self::Vec(bytes) => send(bytes.into()),
        }
    }
}

impl Answer {
    /// Sets the message type of the answer, on framings whose answers carry one (tcpstream). On other
    /// framings any value but 0 turns the answer into a failure. Default 0.
    ///
    /// ```
    /// use bowline_links::Answer;
    ///
    /// let answer = Answer::from("pong").with_method(7);
    /// ```
    #[must_use]
    pub fn with_method(mut self, method: u32) -> Self {
        self.method = method;
        self
    }
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Self { kind: AnswerKind::Now(bytes), method: 0 }
    }
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { kind: AnswerKind::Vec(bytes), method: 0 }
    }
}

impl From<Box<[u8]>> for Answer {
    fn from(bytes: Box<[u8]>) -> Self {
        bytes.into_vec().into()
    }
}

impl From<Cow<'static, [u8]>> for Answer {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl From<Cow<'static, str>> for Answer {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<const N: usize> From<&'static [u8; N]> for Answer {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Body> for Answer {
    fn from(body: Body) -> Self {
        Self { kind: AnswerKind::Body(body), method: 0 }
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&'static str> for Answer {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Answer {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Bytes::new().into()
    }
}
