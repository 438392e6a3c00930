//! CURVE between two pipes, and with peers that violate it.

use super::*;
use crate::mechanism::SecretKey;

const SERVER: [u8; 32] = [3; 32];
const CLIENT: [u8; 32] = [5; 32];

fn server(options: Options) -> Options {
    options.mechanism(Mechanism::CurveServer { secret_key: SERVER.into() })
}

fn client(options: Options) -> Options {
    let server_key = SecretKey::from(SERVER).public_key();
    options.mechanism(Mechanism::CurveClient { secret_key: CLIENT.into(), server_key })
}

fn router() -> Options {
    server(Options::new(SocketType::Router)).admission(Admission::AllowAny)
}

fn pipe(options: Options, role: Role, seed: u8) -> Pipe<u32> {
    let mut next = seed;
    let fill = move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            next = next.wrapping_mul(31).wrapping_add(7);
            next
        });
    };
    Pipe::new(options.build().unwrap(), role).with_entropy(fill)
}

/// A server and a client, whose bytes are exchanged when the test requests it.
fn pair(server: Options) -> [Driven; 2] {
    let client = client(dealer().routing_id("me"));
    [Driven::of(pipe(server, Role::Accepting, 1)), Driven::of(pipe(client, Role::Dialing, 2))]
}

/// Exchanges all bytes. Returns the output of each side.
fn settle(ends: &mut [Driven; 2]) -> [Vec<u8>; 2] {
    let mut said = [Vec::new(), Vec::new()];
    loop {
        let sent = [ends[0].sent(), ends[1].sent()];
        if sent.iter().all(Vec::is_empty) {
            return said;
        }
        ends[1].feed(&sent[0]);
        ends[0].feed(&sent[1]);
        said.iter_mut().zip(sent).for_each(|(said, sent)| said.extend(sent));
    }
}

fn ready(options: Options) -> [Driven; 2] {
    let mut ends = pair(options);
    settle(&mut ends);
    assert!(ends.iter().all(|end| end.pipe.is_ready()), "{:?} {:?}", ends[0].ended, ends[1].ended);
    ends
}

#[test]
fn everything_is_sealed_and_comes_through() {
    let mut ends = ready(router());
    assert_eq!(ends[0].told, ["ready ZMTP 3.1 me"]);
    let large = vec![7; 100_000];
    let [server, client] = &mut ends;
    client.pipe.send(&[], &[b"secret".into(), (&large).into(), b"".into()]).unwrap();
    client.pipe.send(&[], &[b"secret".into()]).unwrap();
    server.pipe.send(&[], &[b"secret answer".into()]).unwrap();
    ends.iter_mut().for_each(Driven::work);
    let said = settle(&mut ends);
    assert!(said.iter().all(|said| !said.windows(6).any(|window| window == b"secret")));
    assert_eq!(ends[0].received(), [vec![b"secret".to_vec(), large, vec![]], vec![b"secret".to_vec()]]);
    assert_eq!(ends[1].received(), [vec![b"secret answer".to_vec()]]);
    // Heartbeats, too.
    ends[0].pass_time(SECOND * 10);
    let said = settle(&mut ends);
    assert_eq!(ends[1].ended, None);
    assert!(said.iter().all(|said| said.len() > 30 && said[0] == 0), "a box each way: {said:?}");
}

#[test]
fn subscriptions_are_sealed() {
    let publisher = server(Options::new(SocketType::Pub)).admission(Admission::AllowAny);
    let subscriber = client(Options::new(SocketType::Sub));
    let mut ends =
        [Driven::of(pipe(publisher, Role::Accepting, 1)), Driven::of(pipe(subscriber, Role::Dialing, 2))];
    settle(&mut ends);
    let mut said = Vec::new();
    put_command(&mut said, "SUBSCRIBE", &[b"A"]);
    said.extend(frame(0, b"\x01B"));
    put_command(&mut said, "CANCEL", &[b"A"]);
    ends[1].pipe.send_control(&said);
    ends[1].work();
    settle(&mut ends);
    assert_eq!(ends[0].told[1..], ["+A", "+B", "-A"]);
    // The memory in which a long one was decrypted is not kept.
    let topic = vec![b'C'; 60_000];
    said.clear();
    put_command(&mut said, "SUBSCRIBE", &[&topic]);
    ends[1].pipe.send_control(&said);
    ends[1].work();
    settle(&mut ends);
    assert_eq!(ends[0].told.last().map(|told| told.len()), Some(60_001));
    let kept = ends[0].reader.as_ref().map(|reader| reader.opened.capacity());
    assert!(kept.is_some_and(|kept| kept < 20_000), "{kept:?}");
}

#[test]
fn the_application_is_asked_about_the_key() {
    let mut ends = pair(server(Options::new(SocketType::Router)).admission(Admission::Ask));
    settle(&mut ends);
    let key = SecretKey::from(CLIENT).public_key();
    assert_eq!(ends[0].told, [alloc::format!("asks Curve({key:02x?})")]);
    ends[0].pipe.decide(1, Decision::Accept { user_id: "me".into() });
    ends[0].work();
    settle(&mut ends);
    assert!(ends[1].pipe.is_ready());
    let mut ends = pair(server(Options::new(SocketType::Router)).admission(Admission::Ask));
    settle(&mut ends);
    ends[0].pipe.decide(1, Decision::Refuse { status: 400 });
    ends[0].work();
    settle(&mut ends);
    assert_eq!(ends[1].error(), Some(&ZmtpError::Refused { reason: "400".into() }));
}

#[test]
fn a_list_of_keys_lets_those_in_and_nobody_else() {
    let listed =
        |keys: &[[u8; 32]]| server(Options::new(SocketType::Router)).allowed_keys(keys.iter().copied());
    ready(listed(&[SecretKey::from(CLIENT).public_key()]));
    let mut ends = pair(listed(&[[9; 32]]));
    settle(&mut ends);
    assert_eq!(ends[0].error(), Some(&ZmtpError::NotAuthenticated { status: 400 }));
    assert_eq!(ends[1].error(), Some(&ZmtpError::Refused { reason: "400".into() }));
}

#[test]
fn a_wrong_configuration_is_found_when_it_is_built() {
    let open = server(Options::new(SocketType::Router)).build().unwrap_err();
    assert_eq!(open.field, "CURVE server without an admission rule or keys");
    let none = Mechanism::CurveClient { secret_key: CLIENT.into(), server_key: [0; 32] };
    assert_eq!(dealer().mechanism(none).build().unwrap_err().field, "CURVE server key, which is no key");
}

#[test]
fn without_random_bytes_there_is_no_connection() {
    let mut driven = Driven::of(Pipe::new(router().build().unwrap(), Role::Accepting));
    driven.feed(&greeting(1, "CURVE"));
    assert_eq!(driven.error(), Some(&ZmtpError::NoEntropy));
}

#[test]
fn who_has_the_wrong_server_key_hears_nothing() {
    let wrong = Mechanism::CurveClient {
        secret_key: CLIENT.into(),
        server_key: SecretKey::from([9; 32]).public_key(),
    };
    let wrong = pipe(dealer().mechanism(wrong), Role::Dialing, 2);
    let mut ends = [Driven::of(pipe(router(), Role::Accepting, 1)), Driven::of(wrong)];
    let said = settle(&mut ends);
    assert_eq!(ends[0].error(), Some(&ZmtpError::Sealed { field: "HELLO" }));
    assert_eq!(said[0].len(), 64, "the greeting and nothing more");
}

#[test]
fn old_peers_and_other_mechanisms_are_refused() {
    for bytes in [&b"\x01\0"[..], b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05", &greeting(1, "NULL")] {
        let mut driven = Driven::of(pipe(router(), Role::Accepting, 1));
        driven.feed(bytes);
        let refused = driven.error();
        assert!(
            matches!(refused, Some(ZmtpError::OldPeer { .. } | ZmtpError::Mechanism { .. })),
            "{refused:?}"
        );
    }
}

/// The bytes that a client sends in its handshake, recorded: greeting and HELLO, then INITIATE.
fn recorded() -> [Vec<u8>; 2] {
    let mut ends = pair(router());
    let (mut said, mut initiate) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let sent = [ends[0].sent(), ends[1].sent()];
        ends[1].feed(&sent[0]);
        ends[0].feed(&sent[1]);
        match sent[1].windows(9).any(|window| window == b"\x08INITIATE") {
            true => initiate = sent[1].clone(),
            false => said.extend_from_slice(&sent[1]),
        }
    }
    assert!(ends[0].pipe.is_ready() && !initiate.is_empty());
    [said, initiate]
}

#[test]
fn an_initiate_of_another_connection_is_worth_nothing() {
    let [hello, initiate] = recorded();
    // Another connection of the same server draws another key and another cookie.
    let mut again = Driven::of(pipe(router(), Role::Accepting, 77));
    again.feed(&hello);
    assert_eq!(again.ended, None);
    again.feed(&initiate);
    assert_eq!(again.error(), Some(&ZmtpError::Sealed { field: "cookie" }));
    assert!(again.told.is_empty());
}

#[test]
fn any_bit_that_is_changed_in_a_handshake_ends_it() {
    let [hello, initiate] = recorded();
    for (at, byte) in (0..initiate.len()).filter(|at| *at > 18).step_by(7).map(|at| (at, 1 << (at % 8))) {
        let mut changed = initiate.clone();
        changed[at] ^= byte;
        let mut driven = Driven::of(pipe(router(), Role::Accepting, 1));
        driven.feed(&hello);
        driven.feed(&changed);
        assert!(driven.error().is_some() && driven.told.is_empty(), "at {at}");
    }
    // Without the padding, which has no meaning.
    let begins = hello.len() - 200 + 8 + 72;
    for at in (begins..hello.len()).step_by(5) {
        let mut changed = hello.clone();
        changed[at] ^= 0x10;
        let mut driven = Driven::of(pipe(router(), Role::Accepting, 1));
        driven.feed(&changed);
        assert!(driven.error().is_some(), "at {at}");
    }
}

#[test]
fn a_message_that_is_repeated_changed_or_in_clear_ends_the_connection_and_is_not_delivered() {
    let said = || {
        let mut ends = ready(router());
        for text in [b"one", b"two"] {
            ends[1].pipe.send(&[], &[text.into()]).unwrap();
            ends[1].work();
        }
        let sent = ends[1].sent();
        let [server, _] = ends;
        (server, sent)
    };
    let (mut server, sent) = said();
    let (one, two) = sent.split_at(sent.len() / 2);
    server.feed(one);
    server.feed(one);
    assert!(
        matches!(server.error(), Some(ZmtpError::BadField { value: 3, limit: 3, .. })),
        "{:?}",
        server.ended
    );
    assert_eq!(server.received(), [vec![b"one".to_vec()]], "once");
    let (mut server, _) = said();
    server.feed(two);
    server.feed(one);
    assert!(
        matches!(server.error(), Some(ZmtpError::BadField { value: 3, limit: 4, .. })),
        "a falling number"
    );
    for at in [3, 12, 20, one.len() - 1] {
        let (mut server, _) = said();
        let mut changed = one.to_vec();
        changed[at] ^= 1;
        server.feed(&changed);
        assert!(server.error().is_some(), "at {at}");
        assert!(server.received().is_empty());
    }
    for clear in [&b"\x00\x02hi"[..], b"\x04\x07\x04PING\0\0", b"\x01\x02hi", b"\x00\x00"] {
        let (mut server, _) = said();
        server.feed(clear);
        assert!(server.error().is_some(), "{clear:?}");
        assert!(server.received().is_empty() && server.sent().is_empty());
    }
}

#[test]
fn limits_hold_for_what_is_in_the_boxes() {
    let mut ends = ready(router().max_message(70_000).max_parts(3));
    ends[1].pipe.send(&[], &[(&vec![7; 60_000]).into(), (&vec![7; 20_000]).into()]).unwrap();
    ends[1].work();
    settle(&mut ends);
    assert_eq!(ends[0].error(), Some(&ZmtpError::TooLong { field: "message", value: 80_000, limit: 70_000 }));
    let mut ends = ready(router().max_message(70_000));
    ends[0].feed(&[LONG, 0, 0, 0, 0, 0, 2, 0, 0]);
    assert!(
        matches!(ends[0].error(), Some(ZmtpError::TooLong { field: "message", .. })),
        "before the box is there"
    );
}

#[test]
fn what_was_not_sent_is_sealed_anew_on_the_next_connection() {
    let mut ends = ready(router());
    for text in [b"one", b"two"] {
        ends[1].pipe.send(&[], &[text.into()]).unwrap();
    }
    let mut batch = ends[1].pipe.begin_write(Instant::ZERO).unwrap();
    let first = batch.len() / 2;
    batch.wrote(first + 5);
    let [_, mut client] = ends;
    client.reader = None;
    client.pipe.handle_disconnected(Instant::ZERO, Some(batch), Disconnect::PeerClosed);
    assert_eq!((client.pipe.stats().sent, client.pipe.waiting()), (1, 1));
    let mut ends = [Driven::of(pipe(router(), Role::Accepting, 99)), Driven::of(client.pipe)];
    settle(&mut ends);
    assert_eq!(ends[0].received(), [vec![b"two".to_vec()]]);
}

#[test]
fn any_split_of_sealed_bytes_gives_the_same() {
    let mut ends = ready(router());
    for size in [0, 1, 300, 20_000, 70_000] {
        ends[1].pipe.send(&[b"head"], &[(&vec![7; size]).into()]).unwrap();
    }
    ends[1].work();
    let bytes = ends[1].sent();
    let whole = {
        ends[0].feed(&bytes);
        ends[0].received()
    };
    assert_eq!(whole.len(), 5);
    for step in [1, 7, 4096] {
        let mut ends = ready(router());
        bytes.chunks(step).for_each(|piece| ends[0].feed(piece));
        assert_eq!(ends[0].received(), whole, "by {step}");
    }
}
