use super::*;

fn wrong(options: Options) -> &'static str {
    options.build().expect_err("it cannot be built").field
}

#[test]
fn what_cannot_be_is_found_when_it_is_built() {
    let new = || Options::new(SocketType::Dealer);
    assert!(new().routing_id([7; 255]).build().is_ok());
    assert_eq!(wrong(new().routing_id([7; 256])), "routing id length");
    assert_eq!(wrong(new().routing_id([0])), "first byte of the routing id");
    let plain = |name: usize, word: usize| Mechanism::PlainClient {
        username: "x".repeat(name),
        password: "x".repeat(word),
    };
    assert!(new().mechanism(plain(255, 255)).build().is_ok());
    assert_eq!(wrong(new().mechanism(plain(256, 0))), "PLAIN user name length");
    assert_eq!(wrong(new().mechanism(plain(0, 256))), "PLAIN password length");
    assert_eq!(wrong(new().mechanism(Mechanism::PlainServer)), "PLAIN server without an admission rule");
    assert!(new().mechanism(Mechanism::PlainServer).admission(Admission::Ask).build().is_ok());
    assert_eq!(wrong(new().property("", "")), "property name length");
    assert_eq!(wrong(new().property("X-Long", [7; 1000])), "metadata length");
    assert_eq!(wrong(new().send_limit(QueueLimit { messages: 0, bytes: 1 })), "send limit, messages");
    assert_eq!(wrong(new().receive_limit(QueueLimit { messages: 1, bytes: 0 })), "receive limit, bytes");
    assert_eq!(wrong(new().max_parts(0)), "max parts");
    let req = Options::new(SocketType::Req).conflate(true);
    assert_eq!(wrong(req), "conflate, where messages have envelopes");
    let beat = |interval, ttl| {
        let (interval, ttl) = (Duration::from_secs(interval), Duration::from_millis(ttl));
        Some(Heartbeat { interval, ttl, ..Heartbeat::default() })
    };
    assert_eq!(wrong(new().heartbeat(beat(0, 0))), "heartbeat interval or timeout");
    assert!(new().heartbeat(beat(1, 65_500)).build().is_ok());
    assert_eq!(wrong(new().heartbeat(beat(1, 65_600))), "heartbeat TTL in tenths of a second");
}
