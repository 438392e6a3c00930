//! The recordings, and the values in them.

use std::fs;
use std::path::{Path, PathBuf};

use bowline_core::frame::{Framing, Meta, Step};
use bowline_forestbus::protocol::{
    Bounds, ClusterDetails, Code, Receive, Received, Reply, Request, Send, Sent, Status, TopicDetails,
};
use bowline_forestbus::wire::{CborRpc, Codec, Empty, KeyOrder, text_of};
use bytes::Bytes;
use serde_json::Value;

/// One vector: a connection.
pub(crate) struct Record {
    pub(crate) name: String,
    /// The bytes that the client sent, and the reaction of the node.
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// The entry of `index.json`.
    pub(crate) index: Value,
    pub(crate) order: KeyOrder,
}

/// A call of a vector.
pub(crate) struct Call {
    pub(crate) method: String,
    /// `None`: a method that only nodes or administrators use.
    pub(crate) request: Option<Request>,
    /// The decoded reply, or the header's error. `None`: the connection ended first.
    pub(crate) reply: Option<Result<Reply, String>>,
    /// How its empty lists were written.
    pub(crate) sent_empty: Empty,
    pub(crate) reply_empty: Empty,
}

/// A frame out of a stream.
pub(crate) struct Frame {
    pub(crate) meta: Meta,
    pub(crate) name: String,
    pub(crate) body: Bytes,
    /// All of its bytes.
    pub(crate) whole: Vec<u8>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn hex(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// All vectors of a folder.
pub(crate) fn all(name: &str) -> Vec<Record> {
    let folder = folder(name);
    let index = fs::read_to_string(folder.join("index.json")).unwrap();
    let Value::Array(entries) = serde_json::from_str(&index).unwrap() else { panic!("no list") };
    assert!(entries.len() > 25, "{} has only {} vectors", folder.display(), entries.len());
    let order = if name == "cbor_2015" { KeyOrder::Alphabetical } else { KeyOrder::Declared };
    let records = entries.into_iter().map(|index| {
        let name = text(&index["name"]);
        let request = hex(&folder.join(format!("{name}.req.hex")));
        let response = hex(&folder.join(format!("{name}.resp.hex")));
        Record { name, request, response, index, order }
    });
    records.collect()
}

impl Record {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.index["calls"].as_array().unwrap().iter().map(Call::new).collect()
    }

    pub(crate) fn codec(&self, empty: Empty) -> Codec {
        Codec::new().with_order(self.order).with_empty(empty)
    }

    pub(crate) fn framing(&self) -> CborRpc {
        CborRpc::new().with_order(self.order)
    }
}

/// The frames of a stream, and how many bytes of it are left.
pub(crate) fn frames(stream: &[u8]) -> (Vec<Frame>, usize) {
    let (mut framing, mut frames, mut at) = (CborRpc::new(), Vec::new(), 0);
    while let Step::Frame { meta, extensions, body, consumed } = framing.next_frame(&stream[at..]).unwrap() {
        let whole = stream[at..at + consumed].to_vec();
        let name = text_of(&whole[extensions]).into_owned();
        let body = Bytes::copy_from_slice(&whole[body]);
        frames.push(Frame { meta, name, body, whole });
        at += consumed;
    }
    (frames, stream.len() - at)
}

impl Call {
    fn new(call: &Value) -> Self {
        let (method, args, reply) = (text(&call["method"]), &call["args"], &call["reply"]);
        let reply = match call.get("error").map(text) {
            // The client's own words for a connection that ended.
            Some(error) if error == "unexpected EOF" => None,
            Some(error) => Some(Err(error)),
            None => decoded_reply(&method, reply).map(Ok),
        };
        let lists = ["Peers", "Topics", "IDs", "ReceivedMessages"];
        let has_empty = lists.iter().any(|list| call["reply"][list].as_array().is_some_and(Vec::is_empty));
        Self {
            request: decoded_request(&method, args),
            method,
            reply,
            sent_empty: if args["SentMessages"].is_array() { Empty::Array } else { Empty::Null },
            reply_empty: if has_empty { Empty::Array } else { Empty::Null },
        }
    }
}

fn decoded_request(method: &str, args: &Value) -> Option<Request> {
    Some(match method {
        "RPCHandler.GetClusterDetails" => Request::ClusterDetails,
        "RPCHandler.GetTopicDetails" => Request::TopicDetails { topic: text(&args["Topic"]) },
        "RPCHandler.SendMessages" => Request::Send(Send {
            cluster_id: text(&args["ClusterID"]),
            topic: text(&args["Topic"]),
            messages: messages(&args["SentMessages"]),
            wait_for_commit: args["WaitForCommit"].as_bool().unwrap(),
        }),
        "RPCHandler.ReceiveMessages" => Request::Receive(Receive {
            cluster_id: text(&args["ClusterID"]),
            topic: text(&args["Topic"]),
            id: number(&args["ID"]),
            quantity: number(&args["Quantity"]),
            wait: args["WaitForMessages"].as_bool().unwrap(),
        }),
        _ => return None,
    })
}

fn decoded_reply(method: &str, reply: &Value) -> Option<Reply> {
    let result = &reply["Result"];
    let status = || Status {
        code: Code::from_number(number(&result["Code"])),
        description: text(&result["Description"]),
        extra: text(&result["Extra1"]),
    };
    Some(match method {
        "RPCHandler.GetClusterDetails" => Reply::ClusterDetails(ClusterDetails {
            status: status(),
            cluster_id: text(&reply["ClusterID"]),
            peers: list(&reply["Peers"], text),
            topics: list(&reply["Topics"], text),
        }),
        "RPCHandler.GetTopicDetails" => Reply::TopicDetails(TopicDetails {
            status: status(),
            bounds: Bounds {
                first: number(&reply["FirstIndex"]),
                last: number(&reply["LastIndex"]),
                commit: number(&reply["CommitIndex"]),
            },
        }),
        "RPCHandler.SendMessages" => Reply::Sent(Sent { status: status(), ids: list(&reply["IDs"], number) }),
        "RPCHandler.ReceiveMessages" => Reply::Received(Received {
            status: status(),
            messages: messages(&reply["ReceivedMessages"]),
            next_id: number(&reply["NextID"]),
        }),
        _ => return None,
    })
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).into()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list<T>(value: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    match value {
        Value::Null => Vec::new(),
        list => list.as_array().unwrap().iter().map(each).collect(),
    }
}

fn messages(value: &Value) -> Vec<Bytes> {
    list(value, |message| {
        let text = text(message);
        // The longest one is cut in the index: 65,536 times the same byte, as its vector's name says.
        match text.split_once("...") {
            None => base64(&text).into(),
            Some((begin, rest)) => {
                assert_eq!(rest, " (87384 base64 characters)");
                vec![base64(begin)[0]; 65_536].into()
            }
        }
    })
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut have) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|digit| *digit == byte).unwrap() as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes
}
