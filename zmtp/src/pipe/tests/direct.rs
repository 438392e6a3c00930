//! Joined pipes.

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bytes::Bytes;
use proptest::prelude::*;

use crate::error::ZmtpError;
use crate::inbox::LARGE;
use crate::message::Message;
use crate::options::{Options, QueueLimit};
use crate::pipe::{Pipe, PipeEvent, Refusal, Role};
use crate::socket_type::SocketType;

/// Two pipes, each the receiving end of its socket.
fn joined(one: Options, other: Options) -> Result<[Pipe<u32>; 2], ZmtpError> {
    let options = [one.build().unwrap(), other.build().unwrap()];
    let mut pipes =
        [Pipe::new(options[0].clone(), Role::Dialing), Pipe::new(options[1].clone(), Role::Accepting)];
    pipes[0].join(&options[1])?;
    pipes[1].join(&options[0])?;
    Ok(pipes)
}

fn woken(pipe: &mut Pipe<u32>) -> Vec<u32> {
    let mut tokens = Vec::new();
    pipe.take_tokens(&mut tokens);
    tokens
}

fn receive(pipe: &mut Pipe<u32>) -> Option<Vec<Vec<u8>>> {
    let mut message = Message::new();
    pipe.receive_into(&mut message).then(|| message.iter().map(|part| part.to_vec()).collect())
}

#[test]
fn each_knows_who_the_other_is() {
    let dealer = Options::new(SocketType::Dealer).routing_id("me").property("X-Colour", "red");
    let [own, other] = joined(dealer, Options::new(SocketType::Router)).unwrap();
    let peer = other.peer().unwrap();
    assert_eq!((peer.socket_type, &peer.routing_id[..]), (Some(SocketType::Dealer), &b"me"[..]));
    assert_eq!(peer.metadata.get("X-Colour"), Some(&b"red"[..]));
    assert_eq!(own.peer().unwrap().socket_type, Some(SocketType::Router));
    let error = joined(Options::new(SocketType::Push), Options::new(SocketType::Rep)).unwrap_err();
    assert!(matches!(error, ZmtpError::SocketType { ours: SocketType::Push, .. }), "{error}");
}

#[test]
fn a_probe_goes_into_the_inbox_of_the_other_socket() {
    let options = || Options::new(SocketType::Dealer).probe_router(true);
    let [_, mut router] = joined(options(), Options::new(SocketType::Router)).unwrap();
    router.probe_joined();
    assert_eq!((receive(&mut router), receive(&mut router)), (Some(vec![vec![]]), None));
    // Without a joined pipe the connection has it.
    let mut alone = Pipe::<u32>::new(options().build().unwrap(), Role::Dialing);
    alone.probe_joined();
    assert!(alone.is_drained() && receive(&mut alone).is_none());
}

#[test]
fn the_socket_hears_of_the_first_message_and_the_sender_of_room() {
    let limit = |messages| QueueLimit { messages, bytes: 1 << 20 };
    let push = Options::new(SocketType::Push).send_limit(limit(2));
    let pull = Options::new(SocketType::Pull).receive_limit(limit(4)).max_message(100);
    let [_, mut pull] = joined(push, pull).unwrap();
    assert!(pull.take_news(7).is_none());
    assert_eq!(pull.send(&[], &[b"0".into()]), Ok(()));
    assert_eq!(woken(&mut pull), [7]);
    assert!(pull.take_news(7).unwrap().has_messages);
    assert!(pull.take_news(7).is_none(), "told once");
    for _ in 1..4 {
        assert_eq!(pull.send(&[], &[b"1".into()]), Ok(()));
    }
    assert!(woken(&mut pull).is_empty(), "it knows that there are messages");
    assert_eq!(pull.send(&[], &[b"4".into()]), Err(Refusal::Full));
    let long = pull.send(&[], &[Payload::from(&[0; 101])]);
    assert_eq!(long, Err(Refusal::TooLong { value: 101, limit: 100 }), "the receiver's limit");
    pull.watch_room(9);
    receive(&mut pull).unwrap();
    receive(&mut pull).unwrap();
    assert!(woken(&mut pull).is_empty(), "half of it has to be free");
    receive(&mut pull).unwrap();
    assert_eq!(woken(&mut pull), [9]);
}

#[test]
fn the_newest_is_enough_if_either_side_says_so() {
    for conflates in [0, 1] {
        let kinds = [SocketType::Dealer, SocketType::Dealer];
        let [one, other] = [0, 1].map(|side| Options::new(kinds[side]).conflate(side == conflates));
        let [_, mut pipe] = joined(one, other).unwrap();
        for number in 0..2_000_u32 {
            pipe.send(&[], &[b"topic".into(), Payload::from(&number.to_be_bytes())]).unwrap();
        }
        assert_eq!(receive(&mut pipe).unwrap()[1], 1_999_u32.to_be_bytes());
        assert_eq!((receive(&mut pipe), pipe.stats().conflated), (None, 1_999));
    }
}

#[test]
fn subscriptions_are_news() {
    let [_, mut publisher] = joined(Options::new(SocketType::Sub), Options::new(SocketType::XPub)).unwrap();
    publisher.send_control(b"\x04\x0b\x09SUBSCRIBEa");
    publisher.send_control(b"\x00\x02\x00b");
    let (mut said, kind) = (Vec::new(), SocketType::XPub);
    let news = publisher.take_news(1).unwrap();
    news.controls(kind, |event| {
        said.push(match event {
            PipeEvent::Subscribe(topic) => (true, topic.to_vec()),
            PipeEvent::Cancel(topic) => (false, topic.to_vec()),
            other => panic!("{other:?}"),
        });
    })
    .unwrap();
    assert_eq!(said, [(true, b"a".to_vec()), (false, b"b".to_vec())]);
}

#[test]
fn a_pipe_that_is_parted_takes_nothing_and_can_be_joined_again() {
    let [mut own, mut other] =
        joined(Options::new(SocketType::Pair), Options::new(SocketType::Pair)).unwrap();
    assert!(other.take_news(3).is_none());
    other.disconnect(ZmtpError::HandedOver);
    assert_eq!(woken(&mut other), [3]);
    assert_eq!(other.send(&[], &[b"x".into()]), Err(Refusal::Closed));
    assert!(matches!(other.take_news(3).unwrap().ended, Some(Disconnect::Foreign(_))));
    own.part();
    assert!(own.peer().is_none() && !own.is_closed());
    own.join(&Options::new(SocketType::Pair).build().unwrap()).unwrap();
    assert_eq!(own.send(&[], &[b"x".into()]), Ok(()));
}

proptest! {
    #[test]
    fn messages_arrive_as_they_were_sent(
        messages in proptest::collection::vec((
            proptest::collection::vec(0_usize..20, 0..3),
            proptest::collection::vec(
                (any::<bool>(), prop_oneof![0_usize..300, LARGE - 1..LARGE + 2]), 1..5),
            any::<bool>(),
        ), 1..20),
    ) {
        let [_, mut pull] =
            joined(Options::new(SocketType::Push), Options::new(SocketType::Pull)).unwrap();
        for (envelope, parts, encoded) in &messages {
            let front: Vec<_> = envelope.iter().map(|size| vec![1; *size]).collect();
            let front: Vec<&[u8]> = front.iter().map(|part| &part[..]).collect();
            let bodies: Vec<_> = parts.iter().map(|(_, size)| vec![2; *size]).collect();
            let parts: Vec<_> = parts.iter().zip(&bodies).map(|((owned, _), body)| match owned {
                true => Payload::from(Bytes::from(body.clone())),
                false => Payload::from(body),
            }).collect();
            let want: Vec<_> = front.iter().map(|part| part.to_vec()).chain(bodies.clone()).collect();
            if *encoded {
                let mut bytes = Vec::new();
                for (at, part) in want.iter().enumerate() {
                    let more = if at + 1 < want.len() { crate::wire::MORE } else { 0 };
                    crate::wire::put_header(&mut bytes, crate::wire::Version::V3_1, more, part.len());
                    bytes.extend_from_slice(part);
                }
                pull.send_encoded(&bytes).unwrap();
            } else {
                pull.send(&front, &parts).unwrap();
            }
            prop_assert_eq!(receive(&mut pull), Some(want));
            prop_assert_eq!((pull.inbox().messages(), pull.inbox().bytes()), (0, 0));
        }
    }
}
