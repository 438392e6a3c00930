//! What errors say, and what they leave to their sources.

use alloc::vec;
use core::error::Error;

use bowline_core::error::{TransportError, TransportKind};

use super::*;
use crate::wire::DecodeError;

/// No level of the chain says what one below it says.
fn is_said_once(error: &(dyn Error + 'static)) {
    let mut level = Some(error);
    while let Some(error) = level {
        let (message, mut below) = (error.to_string(), error.source());
        assert!(!message.is_empty());
        while let Some(source) = below {
            assert!(!message.contains(&source.to_string()), "{message:?} repeats its source {source}");
            below = source.source();
        }
        level = error.source();
    }
}

fn causes() -> Vec<NodeCause> {
    let disconnect = || {
        let error = TransportError::new(TransportKind::Refused, "os error 111");
        Disconnect::from(error.at("a:3000".parse::<bowline_core::supervisor::Endpoint>().unwrap()))
    };
    let unreadable = DecodeError::Type { field: "ID", at: 3, found: "a map", expected: "an integer" };
    let bounds = ReplyError::Bounds { first: 3, last: 2, commit: 1 };
    let unfit = Unfit::IdCount { value: 1, expected: 2 };
    vec![
        NodeCause::Dial(disconnect()),
        NodeCause::Lost(disconnect()),
        NodeCause::Call(disconnect()),
        NodeCause::Silent { limit: Duration::from_secs(1) },
        NodeCause::NotLeader { leader: String::new() },
        NodeCause::NotLeader { leader: "b:3000".into() },
        NodeCause::LeadershipLost,
        NodeCause::Stopping,
        NodeCause::Avoided,
        NodeCause::CommitUnknown,
        NodeCause::Lagging { commit: 1, others: 2 },
        NodeCause::Rejected("no".into()),
        NodeCause::Status { code: Code::Shutdown, description: "no".into() },
        NodeCause::BadReply(ReplyError::OtherMethod),
        NodeCause::BadReply(Box::new(unreadable).into()),
        NodeCause::BadReply(unfit.into()),
        NodeCause::BadReply(bounds),
        NodeCause::Disconnected,
        NodeCause::OtherCluster { found: "c".into() },
    ]
}

#[test]
fn each_level_is_said_once_and_lists_say_everything() {
    let failures = || causes().into_iter().map(|cause| NodeFailure { node: "a:3000".into(), cause });
    for failure in failures() {
        is_said_once(&failure);
        is_said_once(&ClusterError::Node(failure.clone()));
        let cause = Box::new(ClusterError::Node(failure.clone()));
        is_said_once(&ClusterError::MaybeAppended { node: "b:3000".into(), cause });
        let chain = bowline_core::error::Chain(&failure).to_string();
        let causes = vec![failure];
        for error in [ClusterError::NoNodes { causes: causes.clone() }, ClusterError::Deadline { causes }] {
            is_said_once(&error);
            assert!(error.to_string().ends_with(&chain), "{error} leaves something out of {chain}");
        }
    }
    let all = ClusterError::NoNodes { causes: failures().collect() };
    assert!(all.to_string().contains("a:3000 refused the connection: os error 111"), "{all}");
}
