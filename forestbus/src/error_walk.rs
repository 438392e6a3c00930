//! Every error of this crate follows the rules for errors; lists of failures say everything.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::error::{Chain, Disconnect, TransportError, TransportKind};
use bowline_core::supervisor::Endpoint;
use bowline_error_rules::{check, check_delivery, cover, walk};

use crate::cluster::{
    ClusterError, ConnectionString, ConnectionStringError, NodeCause, NodeFailure, ReplyError,
};
use crate::node::NodeError;
use crate::protocol::Code;
use crate::wire::{DecodeError, Float, ItemError, TooManyItems, Unfit};

const CODES: [Code; 7] = [
    Code::Success,
    Code::ClusterIdMismatch,
    Code::TopicNotFound,
    Code::Internal,
    Code::NotLeader,
    Code::Shutdown,
    Code::Other(9),
];

fn decode_errors() -> [DecodeError; 7] {
    let (field, at, value, limit) = ("ID", 3, 3, 2);
    [
        DecodeError::Type { field, at, found: "a map", expected: "an integer" },
        DecodeError::Range { field, at, value: 9, least: 1, limit: 2 },
        DecodeError::Fraction { field, at, value: Float(1.5) },
        DecodeError::TooMany { field, at, value, limit },
        DecodeError::Utf8 { field, at },
        DecodeError::Malformed { field, at },
        DecodeError::Trailing { at, value },
    ]
}

fn item_errors() -> [ItemError; 8] {
    let (at, value, limit) = (3, 9, 2);
    [
        ItemError::Reserved { at, byte: 0x1c },
        ItemError::LoneBreak { at },
        ItemError::OddMap { at },
        ItemError::TooDeep { at, value, limit },
        ItemError::TooLong { what: "a text", at, value, limit },
        ItemError::Chunk { at, found: "a map", expected: "a text" },
        ItemError::Tag { at },
        ItemError::Simple { at, value },
    ]
}

fn unfits() -> [Unfit; 4] {
    [
        Unfit::IdCount { value: 1, expected: 2 },
        Unfit::Id { position: 0, value: 1, expected: 2 },
        Unfit::NextId { value: 1, messages: 3, id: 7, expected: 9 },
        Unfit::Overflow { messages: 3, id: 7 },
    ]
}

fn reply_errors() -> Vec<ReplyError> {
    let mut errors = vec![ReplyError::OtherMethod, ReplyError::Bounds { first: 3, last: 2, commit: 1 }];
    errors.extend(decode_errors().map(|error| ReplyError::Unreadable(Box::new(error))));
    errors.extend(unfits().map(ReplyError::Unfit));
    errors
}

fn causes() -> Vec<NodeCause> {
    let disconnect = || {
        let error = TransportError::new(TransportKind::Refused, "os error 111");
        Disconnect::from(error.at("node-a:3000".parse::<Endpoint>().unwrap()))
    };
    let mut causes = vec![
        NodeCause::Dial(disconnect()),
        NodeCause::Lost(disconnect()),
        NodeCause::Call(disconnect()),
        NodeCause::Silent { limit: Duration::from_secs(1) },
        NodeCause::NotLeader { leader: String::new() },
        NodeCause::NotLeader { leader: "there.example:3000".into() },
        NodeCause::LeadershipLost,
        NodeCause::Stopping,
        NodeCause::Avoided,
        NodeCause::CommitUnknown,
        NodeCause::Lagging { commit: 1, others: 2 },
        NodeCause::Rejected("no".into()),
        NodeCause::Disconnected,
        NodeCause::OtherCluster { found: "c".into() },
    ];
    causes.extend(CODES.map(|code| NodeCause::Status { code, description: "no".into() }));
    causes.extend(reply_errors().into_iter().map(NodeCause::BadReply));
    causes
}

fn failures() -> Vec<NodeFailure> {
    causes().into_iter().map(|cause| NodeFailure { node: "node-a:3000".into(), cause }).collect()
}

fn node() -> String {
    "node-a:3000".into()
}

/// Without those that contain others.
fn plain() -> Vec<ClusterError> {
    let (what, value, limit) = ("messages", 3, 2);
    let mut errors = vec![
        ClusterError::Argument { field: "limit", value: 0, must: "at least 1" },
        ClusterError::TooLarge { what, value, limit },
        ClusterError::Full { what: "calls", limit },
        ClusterError::TopicNotFound { topic: "t".into(), node: node() },
        ClusterError::ClusterIdMismatch { node: node(), expected: "c".into(), found: "d".into() },
        ClusterError::Rejected { node: node(), message: "no".into() },
        ClusterError::Truncated { topic: "t".into(), position: 3, last: 2 },
        ClusterError::Deadline { causes: vec![] },
        ClusterError::Deadline { causes: failures() },
        ClusterError::NoNodes { causes: failures() },
        ClusterError::Cancelled,
        ClusterError::Closed,
    ];
    errors.extend(failures().into_iter().map(ClusterError::Node));
    errors
}

fn cluster_errors() -> Vec<ClusterError> {
    let maybe =
        |cause| ClusterError::MaybeAppended { node: "there.example:3000".into(), cause: Box::new(cause) };
    plain().into_iter().chain(plain().into_iter().map(maybe)).collect()
}

#[test]
fn every_error_follows_the_rules() {
    walk!(DecodeError { Type, Range, Fraction, TooMany, Utf8, Malformed, Trailing }, decode_errors());
    walk!(ItemError { Reserved, LoneBreak, OddMap, TooDeep, TooLong, Chunk, Tag, Simple }, item_errors());
    walk!(TooManyItems, [TooManyItems { field: "IDs", value: 3, limit: 2 }]);
    walk!(Unfit { IdCount, Id, NextId, Overflow }, unfits());
    walk!(ReplyError { OtherMethod, Unreadable, Unfit, Bounds }, reply_errors());
    walk!(
        NodeCause {
            Dial,
            Lost,
            Silent,
            NotLeader,
            LeadershipLost,
            Stopping,
            Avoided,
            CommitUnknown,
            Lagging,
            Rejected,
            Status,
            BadReply,
            Call,
            Disconnected,
            OtherCluster,
        },
        causes()
    );
    cover!(Code { Success, ClusterIdMismatch, TopicNotFound, Internal, NotLeader, Shutdown, Other }, CODES);
    walk!(NodeFailure, failures());
    walk!(
        ClusterError {
            Argument,
            TooLarge,
            Full,
            TopicNotFound,
            ClusterIdMismatch,
            Rejected,
            NoNodes,
            Deadline,
            MaybeAppended,
            Node,
            Truncated,
            Cancelled,
            Closed,
        },
        cluster_errors()
    );
    let wrong = ["", "node-a:3000,,", "node-a:3000, node-b:3000"];
    let errors = wrong.map(|text| text.parse::<ConnectionString>().unwrap_err());
    walk!(ConnectionStringError { NoNodes, EmptyNode, Blank }, errors);
    walk!(
        NodeError { TooManyTopics, TopicName },
        [NodeError::TooManyTopics { limit: 2 }, NodeError::TopicName { length: 256, limit: 255 }]
    );
}

#[test]
fn a_message_says_whether_messages_may_have_been_appended() {
    for error in cluster_errors() {
        let may_be_appended = matches!(error, ClusterError::MaybeAppended { .. });
        check_delivery(&error, may_be_appended, error.is_retryable());
    }
}

/// A list is no source: nothing else says what is behind the failures in it.
#[test]
fn lists_of_failures_say_everything() {
    for failure in failures() {
        let chain = Chain(&failure).to_string();
        let causes = vec![failure];
        for error in [ClusterError::NoNodes { causes: causes.clone() }, ClusterError::Deadline { causes }] {
            check(&error);
            assert!(error.to_string().ends_with(&chain), "{error} leaves something out of {chain}");
        }
    }
    let all = ClusterError::NoNodes { causes: failures() };
    assert!(all.to_string().contains("node-a:3000 refused the connection: os error 111"), "{all}");
}
