//! Methods: text on the wire, numbers in the link.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use super::head;
use super::read::Cursor;
use crate::protocol::Request;

/// A method of Forest Bus. A link's calls and requests carry [`Method::number`]; 0 is an unknown method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Method {
    /// `RPCHandler.GetClusterDetails`.
    ClusterDetails,
    /// `RPCHandler.GetTopicDetails`.
    TopicDetails,
    /// `RPCHandler.SendMessages`.
    Send,
    /// `RPCHandler.ReceiveMessages`.
    Receive,
}

/// The names of the methods of Forest Bus; [`Method::number`] of the first is 1.
pub const METHODS: &[&str] = &[
    "RPCHandler.GetClusterDetails",
    "RPCHandler.GetTopicDetails",
    "RPCHandler.SendMessages",
    "RPCHandler.ReceiveMessages",
];

impl Method {
    /// All methods, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::ClusterDetails, Self::TopicDetails, Self::Send, Self::Receive];

    /// The method's number with [`METHODS`] as the table, from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The method with that number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == number)
    }

    /// The method's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        METHODS[self as usize]
    }
}

impl Request {
    /// The method of the request.
    ///
    /// ```
    /// use bowline_forestbus::protocol::Request;
    ///
    /// let method = Request::ClusterDetails.method();
    /// assert_eq!((method.name(), method.number()), ("RPCHandler.GetClusterDetails", 1));
    /// ```
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::ClusterDetails => Method::ClusterDetails,
            Self::TopicDetails { .. } => Method::TopicDetails,
            Self::Send(_) => Method::Send,
            Self::Receive(_) => Method::Receive,
        }
    }
}

/// The error text with which Go's `net/rpc` refuses a method that is not in the table. For a method in the
/// table the text likewise says that it cannot be found.
///
/// ```
/// use bowline_forestbus::wire::{METHODS, refusal};
///
/// assert_eq!(refusal("RPCHandler.Nope", METHODS), "rpc: can't find method RPCHandler.Nope");
/// assert_eq!(refusal("Other.Nope", METHODS), "rpc: can't find service Other.Nope");
/// assert_eq!(refusal("nope", METHODS), "rpc: service/method request ill-formed: nope");
/// ```
#[must_use]
pub fn refusal(name: &str, methods: &[&str]) -> String {
    let Some((service, _)) = name.rsplit_once('.') else {
        return format!("{ILL_FORMED}{name}");
    };
    let is_known =
        methods.iter().any(|known| known.rsplit_once('.').is_some_and(|(known, _)| known == service));
    let what = if is_known { "method" } else { "service" };
    format!("{NOT_FOUND}{what} {name}")
}

const NOT_FOUND: &str = "rpc: can't find ";
const ILL_FORMED: &str = "rpc: service/method request ill-formed: ";

/// Whether `text` is that of a [`refusal`].
pub(super) fn is_refusal(text: &[u8]) -> bool {
    [NOT_FOUND, ILL_FORMED].iter().any(|begin| text.starts_with(begin.as_bytes()))
}

/// Converts the bytes that a frame of [`CborRpc`](super::CborRpc) delivers as a request's extensions (the
/// method's name) or as an error reply's body into text. The bytes are the text itself or, if it was encoded
/// in several chunks, its whole item. The two are distinguishable, because such an item ends with a byte that
/// cannot occur in UTF-8.
///
/// ```
/// use bowline_forestbus::wire::text_of;
///
/// assert_eq!(text_of(b"RPCHandler.SendMessages"), "RPCHandler.SendMessages");
/// assert_eq!(text_of(b"\x7f\x63RPC\x67Handler\xff"), "RPCHandler");
/// ```
#[must_use]
pub fn text_of(handed_over: &[u8]) -> Cow<'_, str> {
    if let ([0x5f | 0x7f, ..], Some(&head::BREAK)) = (handed_over, handed_over.last()) {
        let mut cursor = Cursor::new(handed_over);
        if let Ok(text) = cursor.text("text")
            && cursor.finish().is_ok()
        {
            return text.into();
        }
    }
    String::from_utf8_lossy(handed_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_together() {
        for method in Method::ALL {
            assert_eq!(Method::from_number(method.number()), Some(method));
            assert_eq!(METHODS[method.number() as usize - 1], method.name());
        }
        assert_eq!(METHODS.len(), Method::ALL.len());
        assert_eq!(Method::from_number(0), None);
        assert_eq!(Method::from_number(5), None);
    }

    #[test]
    fn refusals_are_known_by_their_text() {
        for name in ["RPCHandler.X", "X.Y", "", "x"] {
            assert!(is_refusal(refusal(name, METHODS).as_bytes()));
        }
        assert!(!is_refusal(b"Topic not found on server."));
    }
}
