//! Every error of this crate follows the rules for errors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::error::ConfigError;
use bowline_driver::{RuntimeMissing, StartError};
use bowline_error_rules::{check_delivery, walk};
use bowline_forestbus::cluster::{ClusterError, ConnectionString, NodeCause, NodeFailure};

use crate::log::{CommitUnknown, NotRead};
use crate::{ClientError, OpenError};

fn clients() -> [ClientError; 4] {
    let failure = NodeFailure { node: "node-a:3000".into(), cause: NodeCause::LeadershipLost };
    let maybe =
        ClusterError::MaybeAppended { node: "node-a:3000".into(), cause: ClusterError::Node(failure).into() };
    [
        ClientError::Cluster(ClusterError::Full { what: "calls", limit: 2 }),
        ClientError::Cluster(maybe),
        ClientError::Cluster(ClusterError::Closed),
        ClientError::WouldPark,
    ]
}

#[test]
fn every_error_follows_the_rules() {
    walk!(ClientError { Cluster, WouldPark }, clients());
    let thread = StartError::Thread(Arc::new(io::Error::from_raw_os_error(11)));
    walk!(
        OpenError { ConnectionString, Config, Start },
        [
            OpenError::ConnectionString("".parse::<ConnectionString>().expect_err("it has no node")),
            OpenError::Config(ConfigError::OutOfRange { field: "max_calls", value: 0, must: "at least 1" }),
            OpenError::Start(StartError::Runtime(RuntimeMissing("tokio"))),
            OpenError::Start(thread),
        ]
    );
    walk!(CommitUnknown, [CommitUnknown]);
    walk!(NotRead, [NotRead { index: 3, commit: 2, limit: Duration::from_secs(1) }]);
}

#[test]
fn what_says_of_delivery_is_what_the_cluster_says() {
    for error in clients() {
        let is_maybe = matches!(error.cluster(), Some(ClusterError::MaybeAppended { .. }));
        check_delivery(&error, is_maybe, error.is_retryable());
    }
    assert!(!ClientError::WouldPark.is_retryable());
}
