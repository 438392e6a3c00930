//! A message that could not be delivered, and how it is read back from the frame that was queued.

use alloc::vec::Vec;

use super::{CastOptions, Link};
use crate::arena::{FrameRef, Sent};
use crate::body::Body;
use crate::error::{Outcome, Undeliverable};
use crate::frame::native::Hello;
use crate::frame::{Class, Framing, Kind, Meta, Step};

/// A message that could not be delivered, given back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Undelivered {
    /// Request or cast.
    pub kind: Kind,
    /// The number of the cast, or the id of the call.
    pub number: u64,
    /// Method id or message type.
    pub method: u32,
    /// The priority class (native; otherwise normal).
    pub class: Class,
    /// The Seq of a cast (tcpstream; otherwise 0).
    pub seq: u64,
    /// The encoded extensions; usually empty (native).
    pub extensions: Body,
    /// The body as it was given.
    pub body: Body,
    /// The outcome.
    pub outcome: Outcome,
    /// The number of attempts.
    pub attempts: u32,
    /// The reason.
    pub reason: Undeliverable,
}

impl Undelivered {
    /// A cast with these options that has no number and was never tried.
    pub(super) fn cast(
        options: &CastOptions,
        class: Class,
        body: Body,
        outcome: Outcome,
        reason: Undeliverable,
    ) -> Self {
        Self {
            kind: Kind::Cast,
            number: 0,
            method: options.method,
            class,
            seq: options.seq,
            extensions: options.extensions.as_deref().map_or_else(Body::empty, Body::copy_from),
            body,
            outcome,
            attempts: 0,
            reason,
        }
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.body.len() + self.extensions.len()
    }

    /// Sets the method, Seq, extensions and body that were given to the cast.
    #[must_use]
    pub fn with_given(self, options: &CastOptions, body: Body) -> Self {
        let Self { number, class, outcome, attempts, reason, .. } = self;
        Self { number, attempts, ..Self::cast(options, class, body, outcome, reason) }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A cast whose deadline passed while its caller waited for room: it was never queued and has the number
    /// 0.
    #[must_use]
    pub fn expired_cast(&self, options: &CastOptions, body: Body) -> Undelivered {
        let class = self.told_class(self.cast_class(options, body.len()));
        Undelivered::cast(options, class, body, Outcome::Expired, Undeliverable::Expired(self.doing()))
    }

    /// The class in a message that is given back: without flow control, the class only orders waiting
    /// messages, and is not in the frame.
    pub(super) fn told_class(&self, class: Class) -> Class {
        if self.framing.profile().flow_control { class } else { Class::Normal }
    }
}

/// Reads a queued frame of this side back.
pub(super) fn decode<F: Framing>(
    framing: &F,
    frame: &FrameRef<'_>,
    outcome: Outcome,
    reason: &Undeliverable,
) -> Option<Undelivered> {
    let (kind, number) = match frame.sent {
        Sent::Call(id) => (Kind::Request, id),
        Sent::Cast(number) => (Kind::Cast, number),
        _ => return None,
    };
    let mut whole = frame.bytes.to_vec();
    whole.extend_from_slice(frame.external.map_or(&[][..], |body| body));
    let mut reading = past_hello(framing.clone());
    let (meta, extensions) = match reading.next_frame(&whole) {
        Ok(Step::Frame { meta, extensions, .. }) => (meta, Body::copy_from(&whole[extensions])),
        _ => (Meta::default(), Body::empty()),
    };
    debug_assert!(meta.kind != Kind::Fragment, "a part is handed back as its message");
    let seq = if meta.kind == Kind::Numbered && kind == Kind::Cast { meta.id } else { 0 };
    let body = match frame.external {
        Some(body) if body.len() == frame.body => Body::from(body.clone()),
        // Nothing is written after a body: it is the end of the frame.
        _ if framing.profile().external_bodies => {
            Body::copy_from(&whole[whole.len().saturating_sub(frame.body)..])
        }
        _ => read_back(framing, &whole, frame.body, &meta, &extensions),
    };
    Some(Undelivered {
        kind,
        number,
        method: meta.method,
        class: meta.class,
        seq,
        extensions,
        body,
        outcome,
        attempts: 0,
        reason: reason.clone(),
    })
}

/// The body in a frame of a framing that may write behind a body, or change it: read as it would be
/// received, in as many pieces as it takes. Where receivers get more than the body, it is looked for behind the header
/// that is written for such a message.
fn read_back<F: Framing>(framing: &F, whole: &[u8], len: usize, meta: &Meta, extensions: &[u8]) -> Body {
    let (mut frame, mut body, mut reading) = (whole, Vec::new(), framing.clone());
    while let Ok(Step::Frame { body: piece, consumed, .. }) = reading.next_frame(frame) {
        body.extend_from_slice(&frame[piece]);
        frame = frame.get(consumed.max(1)..).unwrap_or_default();
        if frame.is_empty() {
            break;
        }
    }
    if body.len() == len {
        return body.into();
    }
    let mut header = Vec::new();
    let begun = framing.begin(&mut header, meta, extensions);
    match whole.get(header.len()..).and_then(|rest| rest.get(..len)) {
        Some(body) if begun.is_ok() => Body::copy_from(body),
        // What cannot be read is given as it stood in the queue, rather than nothing.
        _ => Body::copy_from(whole),
    }
}

/// A framing that reads as if the handshake were done.
pub(super) fn past_hello<F: Framing>(mut framing: F) -> F {
    if framing.profile().handshake {
        let (mut hello, mut body) = (Vec::new(), Vec::new());
        Hello::new().encode(&mut body);
        if let Ok(mark) = framing.begin(&mut hello, &Meta::control(Kind::Hello, 0), &[]) {
            hello.extend_from_slice(&body);
            let finished = framing.finish(&mut hello, mark, 0);
            let read = framing.next_frame(&hello);
            debug_assert!(finished.is_ok() && read.is_ok(), "our own hello");
        }
    }
    framing
}
