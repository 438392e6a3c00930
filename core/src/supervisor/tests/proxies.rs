//! Dialing through proxies: look-ups, dials and reported failures.

use super::*;
use crate::error::PreambleError;
use crate::proxy::{ProxyFault, SocksReply};

fn through(proxy: Proxy, endpoints: &[&str], policy: ReconnectPolicy) -> Supervisor {
    let endpoints = endpoints.iter().map(|e| e.parse().unwrap()).collect();
    let mut supervisor = Supervisor::new(endpoints, policy, S * 10, 1);
    supervisor.set_proxy(Some(proxy));
    supervisor.start(Instant::ZERO);
    supervisor
}

fn denied(target: &str) -> Disconnect {
    let proxy = Proxy::socks5("10.0.0.1:1080").unwrap();
    let step = proxy.steps(&target.parse().unwrap()).remove(0);
    Box::new(step.failed(ProxyFault::Socks(SocksReply::NotAllowed))).into()
}

#[test]
fn the_proxy_is_dialed_and_the_targets_name_is_not_looked_up() {
    let proxy = Proxy::socks5("10.0.0.1:1080").unwrap();
    let mut s = through(proxy, &["host:1"], ReconnectPolicy::default());
    let Some(Action::Dial { address, endpoint, .. }) = todo(&mut s) else { panic!() };
    assert_eq!((address.to_string(), endpoint.to_string()), ("10.0.0.1:1080".into(), "host:1".into()));
}

#[test]
fn a_proxys_name_is_looked_up_and_its_addresses_race() {
    let proxy = Proxy::http_connect("proxy:3128").unwrap();
    let mut s = through(proxy, &["host:1"], ReconnectPolicy::fixed(S));
    let Some(Action::Resolve { attempt, host, port }) = todo(&mut s) else { panic!() };
    assert_eq!((host.as_str(), port), ("proxy", 3128));
    let given = ["[::1]:3128".parse().unwrap(), "1.1.1.1:3128".parse().unwrap()];
    s.handle_resolved(Instant::ZERO, attempt, Ok(&given));
    assert_eq!(dial(&mut s).1, given[0]);
    s.handle_timeout(Instant::ZERO + MS * 250);
    let (second, address) = dial(&mut s);
    assert_eq!(address, given[1]);
    assert!(matches!(s.handle_dialed(Instant::ZERO + MS * 250, second, Ok(())), Dialed::Use(_)));
}

#[test]
fn a_failure_names_the_target_and_the_proxy() {
    let proxy = Proxy::http_connect("proxy:3128").unwrap();
    let mut s = through(proxy, &["host:1"], ReconnectPolicy::never());
    let attempt = match todo(&mut s) {
        Some(Action::Resolve { attempt, .. }) => attempt,
        other => panic!("{other:?}"),
    };
    s.handle_resolved(Instant::ZERO, attempt, Ok(&["1.1.1.1:3128".parse().unwrap()]));
    fail(&mut s, Instant::ZERO);
    let [failure] = s.last_round() else { panic!("{:?}", s.last_round()) };
    let text = "could not connect to host:1 through the proxy proxy:3128 (1.1.1.1:3128): \
        1.1.1.1:3128 refused the connection: refused";
    assert_eq!(Chain(failure).to_string(), text);
    assert_eq!(failure.via, Some("proxy:3128".parse().unwrap()));

    let proxy = Proxy::http_connect("proxy:3128").unwrap();
    let mut s = through(proxy, &["host:1"], ReconnectPolicy::never());
    let Some(Action::Resolve { attempt, .. }) = todo(&mut s) else { panic!() };
    s.handle_resolved(Instant::ZERO, attempt, Ok(&[]));
    let text = "could not connect to host:1 through the proxy proxy:3128: \
        proxy:3128 could not be looked up: the name has no addresses";
    assert_eq!(Chain(&s.last_round()[0]).to_string(), text);
}

#[test]
fn a_denial_ends_dialing_unless_the_policy_goes_on() {
    let refused = Disconnect::Preamble(PreambleError::refused(denied("host:1")));
    for cause in [denied("host:1"), refused] {
        for goes_on in [false, true] {
            let policy = ReconnectPolicy::fixed(S);
            let policy = if goes_on { policy.retry_when_denied() } else { policy };
            let mut s = through(Proxy::socks5("10.0.0.1:1080").unwrap(), &["host:1"], policy);
            let epoch = connected(&mut s, Instant::ZERO);
            s.handle_down(Instant::ZERO, epoch, &cause);
            assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
            assert_eq!(s.is_stopped(), !goes_on, "{cause}");
        }
    }
    // A failure that may pass is retried.
    let mut s = through(Proxy::socks5("10.0.0.1:1080").unwrap(), &["host:1"], ReconnectPolicy::fixed(S));
    let epoch = connected(&mut s, Instant::ZERO);
    let cause = Disconnect::Preamble(PreambleError::failed(denied("host:1")));
    s.handle_down(Instant::ZERO, epoch, &cause);
    assert!(!s.is_stopped());
}

#[test]
fn what_is_excepted_is_dialed_itself() {
    let proxy = Proxy::socks5("10.0.0.1:1080").unwrap().except("host, 127.0.0.1").unwrap();
    let mut s = through(proxy, &["host:1", "127.0.0.1:2", "unix:///x"], ReconnectPolicy::never());
    let attempt = resolve(&mut s);
    s.handle_resolved(Instant::ZERO, attempt, Ok(&[]));
    assert_eq!(fail(&mut s, Instant::ZERO).to_string(), "127.0.0.1:2");
    let Some(Action::Dial { address, .. }) = todo(&mut s) else { panic!() };
    assert_eq!(address.path(), Some("/x"), "only TCP goes through proxies");
    assert!(s.last_round().iter().all(|failure| failure.via.is_none()));
}
