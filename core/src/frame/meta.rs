//! The metadata of frames.

use core::ops::Range;

/// The kind of a frame.
///
/// A framing without calls writes and reads [`Kind::Cast`] only; one whose frames carry a number but not
/// which side chose it (tcpstream) reads [`Kind::Numbered`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Kind {
    /// Limits and version, first on a connection (only with [`Profile::handshake`](super::Profile::handshake)).
    Hello,
    /// A call, which is to be answered.
    Request,
    /// The answer to a request.
    Reply,
    /// The answer to a request that failed.
    ErrorReply,
    /// A message that is not answered.
    #[default]
    Cast,
    /// The caller no longer wants the answer.
    Cancel,
    /// Asks for a [`Kind::Pong`] with the same id.
    Ping,
    /// The answer to a ping.
    Pong,
    /// The sender will accept no more requests on this connection.
    GoAway,
    /// How many frames of the session the sender has received ([`Meta::id`]; only in a session).
    Ack,
    /// The session that a connection belongs to (only with sessions).
    Resume,
    /// How much more the receiver accepts (only with
    /// [`Profile::flow_control`](super::Profile::flow_control)).
    Credit,
    /// A piece of a long message's frame (only with [`Profile::flow_control`](super::Profile::flow_control)).
    Fragment,
    /// The message of the fragments received so far will not be completed.
    Abort,
    /// The accepting side asks the peer to authenticate (only with authentication, as the next three).
    Challenge,
    /// The credentials of the dialing side.
    Credentials,
    /// The dialing side is let in.
    Accepted,
    /// The dialing side is refused, at once or later.
    Refused,
    /// Carries a number; the link decides by its own range of ids whether it is a reply
    /// ([`Profile::calls`](super::Profile::calls) = [`Calls::ByRange`](super::Calls::ByRange)).
    Numbered,
}

impl Kind {
    /// Whether frames of this kind belong to a session: they are counted, acknowledged, and sent again on its
    /// next connection. Other frames belong to their connection.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        matches!(
            self,
            Self::Request
                | Self::Reply
                | Self::ErrorReply
                | Self::Cast
                | Self::Cancel
                | Self::Fragment
                | Self::Abort
        )
    }
}

/// The priority class of a message. Order is guaranteed within a class, not between classes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[non_exhaustive]
pub enum Class {
    /// Heartbeats and other control frames; sent first. Not for messages of applications.
    Control,
    /// The default.
    #[default]
    Normal,
    /// Large transfers that may wait behind normal messages.
    Bulk,
}

impl Class {
    /// The number of classes.
    pub const COUNT: usize = 3;

    /// 0 control, 1 normal, 2 bulk: the value on the wire.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }

    /// The class with that index, if there is one.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::Control),
            1 => Some(Self::Normal),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }
}

/// The metadata of a frame. If a framing cannot express a field, it is zero in received frames and refused in
/// frames to send; only hints that do not change the meaning of a message (`class`, `attempt`,
/// `remaining_ms`, `retry_after_ms`) are left out instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Meta {
    /// The kind of the frame.
    pub kind: Kind,
    /// Priority class.
    pub class: Class,
    /// Attempt number of a request, counted from 1; 0 if it does not apply.
    pub attempt: u8,
    /// Call id (native), Seq (tcpstream), token (ping and pong), last call id taken (go-away),
    /// message id (fragment and abort), frames received (ack).
    pub id: u64,
    /// Method id (native), message type (tcpstream).
    pub method: u32,
    /// Time left until the caller's deadline when the request was queued, in milliseconds.
    pub remaining_ms: Option<u32>,
    /// Why a request failed; [`crate::error::Status`] has the meanings. Zero except in error replies and
    /// go-aways.
    pub status: u16,
    /// How long the caller should wait before it tries again, in milliseconds (error reply).
    pub retry_after_ms: Option<u32>,
}

impl Meta {
    /// A frame of `kind` with call id (or token) `id`, all else zero.
    #[must_use]
    pub fn new(kind: Kind, id: u64) -> Self {
        Self { kind, id, ..Self::default() }
    }

    /// A frame of the control class.
    pub(crate) fn control(kind: Kind, id: u64) -> Self {
        Self { class: Class::Control, ..Self::new(kind, id) }
    }
}

/// The result of [`Framing::next_frame`](super::Framing::next_frame): what the unread bytes begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The frame is incomplete: at least this many bytes, counted from the start of the unread bytes, are
    /// needed for progress. More than the call was given.
    Need(usize),
    /// A complete frame. Ranges count from the start of the unread bytes.
    Frame {
        /// The metadata in its header.
        meta: Meta,
        /// Its extensions (encoded, native only; empty elsewhere).
        extensions: Range<usize>,
        /// Its body.
        body: Range<usize>,
        /// The number of bytes to remove; at least one.
        consumed: usize,
    },
}

/// A frame of one of the most frequent kinds, see [`Framing::plain`](super::Framing::plain).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// [`Kind::Cast`], [`Kind::Request`] or [`Kind::Reply`].
    pub kind: Kind,
    /// Attempt number of a request; otherwise 0.
    pub attempt: u8,
    /// Method id; 0 for a reply.
    pub method: u32,
    /// Call id; 0 for a cast.
    pub id: u64,
    /// Time left until the caller's deadline, in milliseconds.
    pub remaining_ms: Option<u32>,
    /// Where its body begins; it ends where the frame does.
    pub body: usize,
    /// Length of the frame in bytes.
    pub end: usize,
}

impl Plain {
    /// The metadata as [`Framing::next_frame`](super::Framing::next_frame) would return it.
    #[must_use]
    pub fn meta(&self) -> Meta {
        let Self { kind, attempt, method, id, remaining_ms, .. } = *self;
        Meta {
            kind,
            class: Class::Normal,
            attempt,
            id,
            method,
            remaining_ms,
            status: 0,
            retry_after_ms: None,
        }
    }
}
