//! Settings from JSON, which stands for any self-describing format.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use serde::Deserialize;

use super::Settings;
use crate::config::Config;

fn error(json: &str) -> String {
    serde_json::from_str::<Settings>(json).unwrap_err().to_string()
}

#[test]
fn a_file_has_tables() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Program {
        listen: String,
        #[serde(default)]
        link: Settings,
    }
    let json = r#"{
        "listen": "0.0.0.0:7001",
        "link": {
            "call_timeout": "2s",
            "cast_timeout": 1500,
            "max_message": "1MiB",
            "expire_after": null,
            "write_queue": { "messages": 7, "bytes": "64KiB" },
            "reconnect": { "policy": "fixed", "delay": "5s" },
            "sockets": { "nodelay": false, "keepalive": "none" },
            "accept_limits": { "idle": "5min", "connections": 1000 }
        }
    }"#;
    let program: Program = serde_json::from_str(json).unwrap();
    assert_eq!(program.listen, "0.0.0.0:7001");
    let config = program.link.build(Config::builder()).unwrap();
    assert_eq!(config.call_timeout(), Duration::from_secs(2));
    assert_eq!(config.cast_timeout(), Duration::from_millis(1_500));
    assert_eq!(config.max_message(), 1 << 20);
    assert_eq!(config.accept_limits().idle, Some(Duration::from_secs(300)));
    assert_eq!(config.accept_limits().connections, 1_000);
    assert!(!config.sockets().nodelay && config.sockets().keepalive.is_none());

    let program: Program = serde_json::from_str(r#"{ "listen": "x" }"#).unwrap();
    assert!(program.link.is_empty());
}

#[test]
fn numbers_and_switches_are_those_of_the_format() {
    let text = super::settings("max_inbound=7 sockets.nodelay=false").apply(Config::builder()).unwrap();
    let json: Settings =
        serde_json::from_str(r#"{"max_inbound": 7, "sockets": {"nodelay": false}}"#).unwrap();
    assert_eq!(format!("{:?}", json.apply(Config::builder()).unwrap()), format!("{text:?}"));
}

#[test]
fn errors_name_the_key_the_value_and_the_limit() {
    let begins = |json, text: &str| {
        let error = error(json);
        assert!(error.starts_with(text), "{error}");
    };
    begins(r#"{"call_timeout": "soon"}"#, r#"call_timeout is "soon", must be a time"#);
    begins(r#"{"call_timeout": -5}"#, "call_timeout is -5, must be a time");
    begins(r#"{"call_timeout": 1.5}"#, "call_timeout is 1.5, must be a time");
    begins(r#"{"call_timeout": true}"#, "call_timeout is true, must be a time");
    begins(r#"{"call_timeout": null}"#, "call_timeout is null, must be a time");
    begins(r#"{"call_timeout": [1]}"#, "call_timeout is a list, must be a time");
    begins(r#"{"call_timeout": {"s": 1}}"#, "call_timeout is a table, must be a time");
    begins(
        r#"{"write_queue": {"bytes": "64K"}}"#,
        r#"write_queue.bytes is "64K", must be a number of bytes"#,
    );
    begins(r#"{"sockets": {"tos": 256}}"#, "sockets.tos is 256, must be at most 255");
    begins(r#"{"call_timout": 1}"#, "there is no setting call_timout; is call_timeout meant?");
    begins(
        r#"{"sockets": {"no_delay": true}}"#,
        "there is no setting sockets.no_delay; is sockets.nodelay meant?",
    );
    begins(r#"{"max_inbound": 1, "max_inbound": 2}"#, "max_inbound is given twice");
    begins(
        r#"{"write_queue": 5}"#,
        "invalid type: integer `5`, expected a table of settings for write_queue",
    );
    begins("5", "invalid type: integer `5`, expected a table of settings");
    // Limits are the builder's.
    let settings: Settings = serde_json::from_str(r#"{"accept_limits": {"idle": 0}}"#).unwrap();
    let error = settings.build(Config::builder()).unwrap_err().to_string();
    assert_eq!(error, "accept_limits.idle is 0, must be between 1 ms and 30 days");
}
