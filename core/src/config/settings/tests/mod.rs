//! Every key, wrong values, limits, variables, files.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use super::{Settings, SettingsError};
use crate::config::{Config, Delivery};
use crate::frame::raw::Raw;
use crate::supervisor::ReconnectPolicy;

#[cfg(feature = "serde")]
mod files;
mod keys;

/// Settings as `key=value`, separated by spaces.
fn settings(texts: &str) -> Settings {
    let mut settings = Settings::default();
    for text in texts.split_whitespace() {
        let (key, value) = text.split_once('=').unwrap();
        settings.set(key, value).unwrap();
    }
    settings
}

/// What is said when these are to become a configuration.
fn refusal(texts: &str) -> alloc::string::String {
    settings(texts).build(Config::builder()).unwrap_err().to_string()
}

fn set(key: &str, value: &str) -> alloc::string::String {
    Settings::default().set(key, value).unwrap_err().to_string()
}

#[test]
fn nothing_set_changes_nothing() {
    assert!(Settings::default().is_empty());
    let builder = || Config::builder().call_timeout(Duration::from_secs(3));
    let same = Settings::default().apply(builder()).unwrap();
    assert_eq!(format!("{same:?}"), format!("{:?}", builder()));
}

#[test]
fn values_are_read_with_their_units() {
    for (text, millis) in [
        ("1500", 1_500),
        ("250ms", 250),
        ("10s", 10_000),
        ("10 s", 10_000),
        (" 5min ", 300_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
    ] {
        let mut settings = Settings::default();
        settings.set("call_timeout", text).unwrap();
        let config = settings.build(Config::builder()).unwrap();
        assert_eq!(config.call_timeout(), Duration::from_millis(millis), "{text}");
    }
    for (text, bytes) in [
        ("65536", 65_536),
        ("100B", 100),
        ("64KiB", 65_536),
        ("64 KiB", 65_536),
        ("1MiB", 1 << 20),
        ("64kB", 64_000),
        ("64KB", 64_000),
        ("1MB", 1_000_000),
        ("1GB", 1_000_000_000),
        ("1GiB", 1 << 30),
    ] {
        let mut settings = Settings::default();
        settings.set("max_message", text).unwrap();
        assert_eq!(settings.build(Config::builder()).unwrap().max_message(), bytes, "{text}");
    }
}

#[test]
fn what_cannot_be_read_names_the_key_the_value_and_what_it_has_to_be() {
    for text in ["", "soon", "10 seconds", "-1s", "1.5s", "10S", "99999999999999999999", "99999999999999999d"]
    {
        let error = set("call_timeout", text);
        let expected = format!("call_timeout is {text:?}, must be a time: \"250ms\"");
        assert!(error.starts_with(&expected), "{error}");
    }
    assert!(
        set("write_queue.bytes", "64K")
            .starts_with(r#"write_queue.bytes is "64K", must be a number of bytes"#)
    );
    assert_eq!(set("max_inbound", "1k"), r#"max_inbound is "1k", must be a whole number, without a unit"#);
    assert_eq!(set("sockets.tos", "256"), r#"sockets.tos is "256", must be at most 255; or "none""#);
    assert_eq!(set("normal_window", "8GiB"), r#"normal_window is "8GiB", must be at most 4294967295"#);
    assert_eq!(set("sockets.nodelay", "yes"), r#"sockets.nodelay is "yes", must be true or false"#);
    assert_eq!(
        set("on_disconnect", "Keep"),
        r#"on_disconnect is "Keep", must be one of "keep", "return", "drop""#
    );
    assert_eq!(
        set("sockets.bind", "localhost"),
        r#"sockets.bind is "localhost", must be an address: "10.0.0.1:0", "[::1]:0"; or "none""#
    );
    assert!(set("accept_limits.idle", "no").ends_with(r#"; or "none""#));
    // A time that is always there is not switched off so.
    assert!(set("call_timeout", "none").starts_with(r#"call_timeout is "none", must be"#));
    assert!(set("no_proxy", "10.0.0.0/99").starts_with(r#"no_proxy is "10.0.0.0/99", must be hosts"#));
}

#[test]
fn keys_that_do_not_exist_are_errors_and_the_nearest_one_is_named() {
    assert_eq!(set("call_timout", "1s"), "there is no setting call_timout; is call_timeout meant?");
    assert_eq!(
        set("accept_limits.ilde", "1s"),
        "there is no setting accept_limits.ilde; is accept_limits.idle meant?"
    );
    assert_eq!(set("colour", "red"), "there is no setting colour");
    assert_eq!(set("", ""), "there is no setting ");
    assert_eq!(set("write_queue", "5"), "there is no setting write_queue");
}

#[test]
fn limits_of_the_builder_are_errors_of_the_key() {
    let millis =
        ["call_timeout", "cast_timeout", "connect_timeout", "heartbeat", "dead_after", "write_stall"];
    let others = ["message_timeout", "expire_after", "session_expiry", "ack_delay"];
    let accepting =
        ["verification", "handshake", "idle", "message"].map(|name| format!("accept_limits.{name}"));
    let times = millis.iter().chain(&others).map(ToString::to_string).chain(accepting);
    for key in times {
        for value in ["0ms", "31d"] {
            let expected = format!("{key} is {value:?}, must be between 1 ms and 30 days");
            assert_eq!(refusal(&format!("{key}={value}")), expected);
        }
    }
    for key in [
        "write_queue.messages",
        "write_queue.bytes",
        "read_queue.messages",
        "read_queue.bytes",
        "event_queue",
        "errored_queue.messages",
        "errored_queue.bytes",
        "session_window",
        "max_in_flight",
        "max_inbound",
        "max_inbound_bytes",
        "answers_ahead",
        "max_answer",
        "accept_limits.connections",
        "accept_limits.per_address",
        "accept_limits.per_second",
        "accept_limits.burst",
        "accept_limits.per_identity",
        "accept_limits.verifications",
        "accept_limits.handshake_memory",
        "accept_limits.memory",
        "accept_limits.drain_rate",
        "reconnect.max_rounds",
    ] {
        assert_eq!(refusal(&format!("{key}=0")), format!(r#"{key} is "0", must be at least 1"#));
    }
    assert_eq!(refusal("fragment=512B"), r#"fragment is "512B", must be between 1024 and 65536"#);
    assert_eq!(refusal("bulk_ahead=1KiB"), r#"bulk_ahead is "1KiB", must be at least 131072"#);
    assert_eq!(refusal("normal_window=1B"), r#"normal_window is "1B", must be between 65536 and 1073741824"#);
    assert_eq!(refusal("max_in_flight=2000000"), r#"max_in_flight is "2000000", must be at most 1048576"#);
    assert!(refusal("max_message=0").starts_with(r#"max_message is "0", must be between 1 and"#));
}

#[test]
fn settings_that_do_not_go_together_are_errors_of_the_key() {
    assert_eq!(
        refusal("dead_after=5s"),
        r#"dead_after is "5s": must be longer than heartbeat, or a quiet peer is dead before it was asked"#
    );
    // What is wrong then is what the program did not set either: the builder's own words.
    let error = settings("heartbeat=60s").build(Config::builder()).unwrap_err();
    assert!(matches!(error, SettingsError::Config(_)), "{error}");
    assert!(
        refusal("delivery=at_least_once")
            .starts_with(r#"delivery is "at_least_once": AtLeastOnce is for framings"#)
    );
    assert_eq!(
        refusal("delivery_retry_limit=3"),
        r#"delivery_retry_limit is "3": is for the delivery at_least_once"#
    );
    assert_eq!(
        refusal("on_failure=answer"),
        r#"on_failure is "answer": needs on_failure_method, the type of such answers"#
    );
    assert_eq!(refusal("on_failure_method=3"), r#"on_failure_method is "3": is for the on_failure answer"#);
    assert_eq!(refusal("reconnect.policy=fixed"), r#"reconnect.policy is "fixed": needs reconnect.delay"#);
    assert_eq!(refusal("reconnect.delay=1s"), r#"reconnect.delay is "1s": is for the policy fixed"#);
    assert_eq!(
        refusal("reconnect.policy=never reconnect.cap=1s"),
        r#"reconnect.cap is "1s": is for the policy backoff"#
    );
    assert_eq!(
        refusal("reconnect.max_rounds=3 reconnect.cap=1ms"),
        r#"reconnect.cap is "1ms": base must be more than nothing and at most cap"#
    );
    assert_eq!(refusal("no_proxy=localhost"), r#"no_proxy is "localhost": there is no proxy"#);
}

#[test]
fn parts_of_a_policy_keep_what_the_program_chose() {
    let builder = || {
        let policy = ReconnectPolicy::fixed(Duration::from_secs(5)).stop_when_refused().max_rounds(3);
        Config::with_framing(Raw::new()).delivery(Delivery::AtLeastOnce { retry_limit: 9 }).reconnect(policy)
    };
    let config = settings("reconnect.delay=1s reconnect.stop_when_refused=false").build(builder()).unwrap();
    assert_eq!(*config.reconnect(), ReconnectPolicy::fixed(Duration::from_secs(1)).max_rounds(3));
    assert_eq!(config.delivery(), Delivery::AtLeastOnce { retry_limit: 9 });
    let config = settings("reconnect.policy=backoff delivery_retry_limit=2").build(builder()).unwrap();
    assert_eq!(*config.reconnect(), ReconnectPolicy::default().stop_when_refused().max_rounds(3));
    assert_eq!(config.delivery(), Delivery::AtLeastOnce { retry_limit: 2 });
}

#[test]
fn credentials_of_a_proxy_are_not_shown() {
    let set = settings("proxy=http://me:secret@proxy:3128");
    assert!(!format!("{set:?}").contains("secret"), "{set:?}");
    for url in ["ftp://me:secret@proxy", "me:secret@", "http://me:se@cret@", "http://me:%zzsecret@proxy"] {
        let error = Settings::default().set("proxy", url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("cret"), "{error:?}");
    }
}

#[test]
fn variables_are_the_keys_in_upper_case_behind_a_prefix() {
    let variables = [
        ("PATH", "/bin"),
        ("SHOP_CALL_TIMEOUT", "2s"),
        ("SHOP_ACCEPT_LIMITS_IDLE", "5min"),
        ("SHOP_HEARTBEAT", ""),
    ];
    let config = Settings::from_variables("SHOP_", variables).unwrap().build(Config::builder()).unwrap();
    assert_eq!(config.call_timeout(), Duration::from_secs(2));
    assert_eq!(config.accept_limits().idle, Some(Duration::from_secs(300)));

    let error = |name, value| Settings::from_variables("SHOP_", [(name, value)]).unwrap_err().to_string();
    assert_eq!(
        error("SHOP_CALL_TIMOUT", "2s"),
        "there is no setting SHOP_CALL_TIMOUT; is call_timeout meant?"
    );
    assert_eq!(
        error("SHOP_call_timeout", "2s"),
        "there is no setting SHOP_call_timeout; is call_timeout meant?"
    );
}

#[test]
fn no_two_keys_are_one_variable() {
    let mut names: alloc::vec::Vec<_> = Settings::keys().map(|key| key.replace('.', "_")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    // And none is a table as well.
    assert!(Settings::keys().all(|key| !Settings::keys().any(|other| other.starts_with(&format!("{key}.")))));
}

#[test]
fn errors_of_variables_name_the_variable() {
    let settings = Settings::from_variables("SHOP_", [("SHOP_MAX_INBOUND", "0")]).unwrap();
    let error = settings.build(Config::builder()).unwrap_err();
    assert_eq!(error.to_string(), r#"SHOP_MAX_INBOUND is "0", must be at least 1"#);
}

#[cfg(feature = "std")]
#[test]
fn the_environment_is_read_when_it_is_asked() {
    // What is in it is not this test's: nothing has that prefix.
    assert!(Settings::from_env("BOWLINE_SETTINGS_TEST_").unwrap().is_empty());
}

#[test]
fn others_go_over_these() {
    let file = settings("call_timeout=1s max_inbound=7");
    let both = file.overridden_by(settings("call_timeout=2s fragment=2KiB"));
    let expected = settings("max_inbound=7 call_timeout=2s fragment=2KiB");
    assert_eq!(both, expected);
    // The last one counts.
    assert_eq!(settings("max_inbound=7 max_inbound=8"), settings("max_inbound=8"));
}
