//! What one send may hold.

use std::time::Duration;

use bowline_forestbus::cluster::{CheckedSettings, ClusterError};
use bytes::Bytes;

/// What the settings allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Items of a list, at most.
    items: usize,
    /// Messages of one send, at most.
    messages: usize,
    /// Bytes of one send's messages, at most.
    bytes: usize,
    /// Bytes of a request, at most.
    request: usize,
    /// The length of the cluster's id.
    cluster_id: usize,
    /// How long a command may take that does not say.
    pub(crate) deadline: Duration,
}

/// The bytes of a send's map without its values, but with the value of `WaitForCommit`.
const KEYS: usize = 1 + 10 + 6 + 13 + 14 + 1;

/// The bytes of the head of a string or list of that length.
const fn head(len: usize) -> usize {
    match len {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 5,
    }
}

impl Limits {
    pub(crate) fn new(settings: &CheckedSettings, items: usize, request: usize) -> Self {
        Self {
            items,
            messages: settings.max_send_messages(),
            bytes: settings.max_send(),
            request,
            cluster_id: settings.cluster_id().len(),
            deadline: settings.deadline(),
        }
    }

    /// The bytes of a send's body beside its messages with their heads.
    const fn body(&self, topic: &str, messages: usize) -> usize {
        let cluster_id = head(self.cluster_id) + self.cluster_id;
        KEYS + cluster_id + head(topic.len()) + topic.len() + head(messages)
    }

    /// Whether a send can be written at all: no node would change that.
    ///
    /// # Errors
    /// More messages than a list has, or more bytes than a request.
    pub(crate) fn check(&self, topic: &str, messages: &[Bytes]) -> Result<(), ClusterError> {
        let too_large = |what, value, limit| Err(ClusterError::TooLarge { what, value, limit });
        if messages.len() > self.items {
            return too_large("messages", messages.len(), self.items);
        }
        let bytes = messages.iter().map(|message| message.len() + head(message.len())).sum::<usize>();
        let (bytes, limit) = (bytes + self.body(topic, messages.len()), self.request);
        if bytes > limit { too_large("bytes of a request", bytes, limit) } else { Ok(()) }
    }

    /// How many of the messages, from the first one on, one send can have. At least 1: a message that no send can
    /// have is refused when it is sent.
    pub(crate) fn fitting(&self, topic: &str, messages: &[Bytes]) -> usize {
        let (mut count, mut bytes, mut with_heads) = (0, 0, 0);
        for message in messages.iter().take(self.items.min(self.messages)) {
            bytes += message.len();
            with_heads += message.len() + head(message.len());
            if bytes > self.bytes || with_heads + self.body(topic, count + 1) > self.request {
                break;
            }
            count += 1;
        }
        count.max(1)
    }

    /// The longest message that a send to the topic can have, in bytes.
    pub(crate) fn max_record(&self, topic: &str) -> usize {
        let room = self.request.saturating_sub(self.body(topic, 1));
        let mut longest = room.saturating_sub(1);
        while longest > 0 && longest + head(longest) > room {
            longest -= 1;
        }
        longest.min(self.bytes)
    }
}

#[cfg(all(test, not(bowline_loom)))]
mod tests {
    use bowline_core::config::QueueLimit;
    use bowline_forestbus::cluster::Settings;
    use bowline_forestbus::protocol::{Request, Send};
    use bowline_forestbus::wire::Codec;

    use super::*;

    fn limits(cluster_id: &str, request: usize) -> Limits {
        let settings = Settings::new(["a:1"])
            .cluster_id(cluster_id)
            .topic_queue(QueueLimit { messages: 300, bytes: 2_000 })
            .build()
            .expect("sound settings");
        Limits::new(&settings, 400, request)
    }

    fn zeros(len: usize, count: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![0; len]); count]
    }

    /// The bytes of a send, as the codec writes it.
    fn written(cluster_id: &str, topic: &str, messages: &[Bytes]) -> usize {
        let send = Send {
            cluster_id: cluster_id.into(),
            topic: topic.into(),
            messages: messages.to_vec(),
            wait_for_commit: true,
        };
        let mut body = Vec::new();
        Codec::new().write_request(&Request::Send(send), &mut body).expect("few messages");
        body.len()
    }

    /// Lengths around those at which a head becomes longer.
    const LENGTHS: [usize; 8] = [0, 1, 23, 24, 255, 256, 65_535, 65_536];

    #[test]
    fn a_send_is_refused_if_and_only_if_it_is_too_long_as_the_codec_writes_it() {
        for id in [0, 4, 23, 24, 255, 256, 1_024] {
            for name in [1, 23, 24, 255, 256, 1_024] {
                for len in LENGTHS {
                    for count in [1, 23, 24, 256] {
                        if len * count > 1 << 20 {
                            continue;
                        }
                        let (id, topic, messages) = ("i".repeat(id), "t".repeat(name), zeros(len, count));
                        let exact = written(&id, &topic, &messages);
                        assert_eq!(limits(&id, exact).check(&topic, &messages), Ok(()));
                        let error = limits(&id, exact - 1).check(&topic, &messages);
                        let error = error.expect_err("a byte too long");
                        let wanted = ClusterError::TooLarge {
                            what: "bytes of a request",
                            value: exact,
                            limit: exact - 1,
                        };
                        assert_eq!(error, wanted);
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_record_fits_and_a_longer_one_does_not() {
        for request in (100..400).chain(1_000..1_100) {
            let limits = limits("shop", request);
            let longest = limits.max_record("orders");
            assert_eq!(limits.check("orders", &zeros(longest, 1)), Ok(()), "{request}");
            assert!(limits.check("orders", &zeros(longest + 1, 1)).is_err(), "{request}");
        }
        assert_eq!(limits("shop", 8 << 20).max_record("orders"), 2_000, "of a topic's queue");
        assert_eq!(limits("shop", 10).max_record("orders"), 0);
    }

    #[test]
    fn as_many_messages_fit_as_no_limit_forbids() {
        let fitting = |request, messages: &[Bytes]| limits("shop", request).fitting("orders", messages);
        assert_eq!(fitting(8 << 20, &zeros(1, 500)), 300, "messages of a topic's queue");
        assert_eq!(fitting(8 << 20, &zeros(300, 10)), 6, "bytes of a topic's queue");
        assert_eq!(fitting(1_000, &zeros(300, 10)), 3, "bytes of a request");
        assert_eq!(fitting(1_000, &zeros(300, 2)), 2);
        assert_eq!(fitting(1_000, &zeros(3_000, 2)), 1, "it is refused alone");
        for request in 100..400 {
            let limits = limits("shop", request);
            let messages = zeros(9, 50);
            let count = limits.fitting("orders", &messages);
            assert_eq!(limits.check("orders", &messages[..count]), Ok(()), "{request}");
            let one_more = &messages[..messages.len().min(count + 1)];
            assert!(one_more.len() == count || limits.check("orders", one_more).is_err(), "{request}");
        }
    }
}
