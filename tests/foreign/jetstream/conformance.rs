//! Every scenario on a real server, with and without direct gets, and on a cluster of three.
#![allow(missing_docs)]

mod support;

use bowline_log::conformance;
use support::{Servers, run};

mod one_server {
    use super::*;
    bowline_log::conformance_tests!(Servers::one(), run);
}

#[test]
fn one_server_without_direct_gets() {
    run(async {
        let mut servers = Servers::one();
        servers.direct = false;
        let report = conformance::all(&servers).await;
        println!("{report}");
        assert!(report.violations().next().is_none(), "{report}");
    });
}

#[test]
fn three_servers() {
    run(async {
        let report = conformance::all(&Servers::three()).await;
        println!("{report}");
        assert!(report.violations().next().is_none(), "{report}");
        // JetStream cannot truncate a stream at its end.
        assert_eq!(report.skipped().map(|(name, _)| name).collect::<Vec<_>>(), ["truncated"]);
    });
}
