//! The connection string: `cluster#topic@node,node`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

/// A parsed connection string: `cluster#topic@node,node`.
///
/// The cluster's id and `#topic` are optional, and without both the `@` is optional too. They end at the
/// first `@`; the cluster's id ends at the first `#` before it, so that a topic may contain further `#`.
///
/// ```
/// use bowline_forestbus::cluster::ConnectionString;
///
/// let parsed: ConnectionString = "shop#orders@a:3000,b:3000".parse()?;
/// assert_eq!((parsed.cluster_id.as_str(), parsed.topic.as_str()), ("shop", "orders"));
/// assert_eq!(parsed.nodes, ["a:3000", "b:3000"]);
/// assert_eq!("a:3000".parse::<ConnectionString>()?.cluster_id, "");
/// assert!("shop@a:3000,,b:3000".parse::<ConnectionString>().is_err());
/// # Ok::<(), bowline_forestbus::cluster::ConnectionStringError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionString {
    /// The cluster's id, or empty.
    pub cluster_id: String,
    /// The topic, or empty.
    pub topic: String,
    /// The nodes as written; at least one.
    pub nodes: Vec<String>,
}

/// Why a connection string is invalid. `at` is an offset in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// There is no node.
    #[error("the connection string has no nodes (byte {at})")]
    NoNodes {
        /// Where the first node was expected.
        at: usize,
    },
    /// A node is empty because of an extra comma.
    #[error("node {number} of the connection string is empty (byte {at})")]
    EmptyNode {
        /// The number of the node, from 1.
        number: usize,
        /// Where the node was expected.
        at: usize,
    },
    /// A space, a line break or another character that no name may contain.
    #[error("the connection string holds {found:?} (byte {at})")]
    Blank {
        /// The character.
        found: char,
        /// Its offset.
        at: usize,
    },
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((at, found)) = text.char_indices().find(|(_, c)| c.is_whitespace() || c.is_control()) {
            return Err(ConnectionStringError::Blank { found, at });
        }
        let (names, list, start) = match text.split_once('@') {
            Some((names, list)) => (names, list, names.len() + 1),
            // `cluster#topic` without nodes; the name of a node contains no `#`.
            None if text.contains('#') => return Err(ConnectionStringError::NoNodes { at: text.len() }),
            None => ("", text, 0),
        };
        if list.is_empty() {
            return Err(ConnectionStringError::NoNodes { at: start });
        }
        let (cluster_id, topic) = names.split_once('#').unwrap_or((names, ""));
        let mut at = start;
        let mut nodes = Vec::new();
        for node in list.split(',') {
            if node.is_empty() {
                return Err(ConnectionStringError::EmptyNode { number: nodes.len() + 1, at });
            }
            at += node.len() + 1;
            nodes.push(node.to_string());
        }
        Ok(Self { cluster_id: cluster_id.to_string(), topic: topic.to_string(), nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn parse(text: &str) -> Result<ConnectionString, ConnectionStringError> {
        text.parse()
    }

    #[test]
    fn parts_may_be_missing() {
        for (text, cluster, topic, nodes) in [
            ("c#t@a:1,b:2", "c", "t", &["a:1", "b:2"][..]),
            ("c@a:1", "c", "", &["a:1"]),
            ("#t@a:1", "", "t", &["a:1"]),
            ("@a:1", "", "", &["a:1"]),
            ("a:1,b:2", "", "", &["a:1", "b:2"]),
            ("c#t#u@a:1", "c", "t#u", &["a:1"]),
            ("c@a:1@b", "c", "", &["a:1@b"]),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!((parsed.cluster_id.as_str(), parsed.topic.as_str()), (cluster, topic), "{text}");
            assert_eq!(parsed.nodes, nodes, "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, error) in [
            ("", ConnectionStringError::NoNodes { at: 0 }),
            ("c#t@", ConnectionStringError::NoNodes { at: 4 }),
            ("c#t", ConnectionStringError::NoNodes { at: 3 }),
            ("c@a:1,,b:2", ConnectionStringError::EmptyNode { number: 2, at: 6 }),
            ("c@,a:1", ConnectionStringError::EmptyNode { number: 1, at: 2 }),
            ("a:1,", ConnectionStringError::EmptyNode { number: 2, at: 4 }),
            ("c@a:1, b:2", ConnectionStringError::Blank { found: ' ', at: 6 }),
            ("c@a:1\n", ConnectionStringError::Blank { found: '\n', at: 5 }),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            cluster in "[a-z]{0,8}", topic in "[a-z#]{0,8}",
            nodes in proptest::collection::vec("[a-z0-9:.\\[\\]]{1,12}", 1..5),
        ) {
            let parsed = parse(&format!("{cluster}#{topic}@{}", nodes.join(","))).unwrap();
            proptest::prop_assert_eq!(parsed, ConnectionString { cluster_id: cluster, topic, nodes });
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,40}") {
            if let Ok(parsed) = parse(&text) {
                proptest::prop_assert!(!parsed.nodes.is_empty());
                proptest::prop_assert!(parsed.nodes.iter().all(|node| !node.is_empty()));
            }
        }
    }
}
