//! PUSH, PULL, DEALER, PAIR and similar types.

use super::*;

#[test]
fn messages_go_round_and_come_in_turn() {
    let mut net = Net::default();
    let push = net.add(of(SocketType::Push));
    let pulls = [net.add(of(SocketType::Pull)), net.add(of(SocketType::Pull))];
    assert_eq!(net.send(push, &["early"]), Err(SendError::WouldBlock));
    for pull in pulls {
        net.connect(push, pull);
    }
    for at in 0..4 {
        net.send(push, &[&at.to_string(), "x"]).unwrap();
    }
    assert_eq!(net.all(pulls[0]), ["0|x", "2|x"]);
    assert_eq!(net.all(pulls[1]), ["1|x", "3|x"]);
    assert_eq!(net.nodes[pulls[0]].recv(), Err(RecvError::WouldBlock));

    let pull = net.add(of(SocketType::Pull));
    let pushes = [net.add(of(SocketType::Push)), net.add(of(SocketType::Push))];
    for push in pushes {
        net.connect(push, pull);
        for at in 0..3 {
            net.send(push, &[&format!("{push} {at}")]).unwrap();
        }
    }
    assert_eq!(net.all(pull), ["4 0", "5 0", "4 1", "5 1", "4 2", "5 2"]);
}

#[test]
fn a_full_peer_is_passed_over_and_full_ones_make_the_sender_wait() {
    let mut net = Net::default();
    let push = net.add(limited(SocketType::Push, 2));
    let pulls = [net.add(of(SocketType::Pull)), net.add(of(SocketType::Pull))];
    for pull in pulls {
        net.connect(push, pull);
    }
    net.deaf = vec![pulls[0]];
    for at in 0..6 {
        net.send(push, &[&at.to_string()]).unwrap();
    }
    net.deaf = pulls.to_vec();
    while net.send(push, &["more"]).is_ok() {}
    assert_eq!(net.send(push, &["refused"]), Err(SendError::WouldBlock));
    net.deaf.clear();
    net.run();
    let [first, second] = pulls.map(|pull| net.all(pull));
    assert_eq!(first, ["0", "2"]);
    assert_eq!(second, ["1", "3", "4", "5", "more", "more"]);
}

#[test]
fn what_a_full_peer_is_not_sent_follows_the_policy() {
    let sent_to_deaf = |overflow| {
        let mut net = Net::default();
        let push = net.add(limited(SocketType::Push, 2).overflow(overflow));
        let pull = net.add(of(SocketType::Pull));
        net.connect(push, pull);
        net.deaf = vec![pull];
        let sent: Vec<_> = (0..4).map(|at| net.send(push, &[&at.to_string()])).collect();
        net.deaf.clear();
        net.run();
        let overflowed = net.nodes[push].socket.stats().overflowed;
        (sent.last().cloned().unwrap(), net.all(pull), overflowed)
    };
    assert_eq!(sent_to_deaf(Overflow::AsType), (Err(SendError::WouldBlock), vec!["0".into(), "1".into()], 0));
    assert_eq!(sent_to_deaf(Overflow::Reject), (Err(SendError::Full), vec!["0".into(), "1".into()], 0));
    assert_eq!(sent_to_deaf(Overflow::DropNewest), (Ok(()), vec!["0".into(), "1".into()], 2));
    assert_eq!(sent_to_deaf(Overflow::DropOldest), (Ok(()), vec!["2".into(), "3".into()], 2));
}

#[test]
fn no_message_waits_for_a_peer_that_is_about_to_go() {
    use bowline_core::machine::Machine;
    use bowline_core::time::Instant;
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let mut net = Net::default();
        let push = net.add(limited(SocketType::Push, 1).overflow(overflow));
        let pulls = [net.add(of(SocketType::Pull)), net.add(of(SocketType::Pull))];
        let [going, staying] = pulls.map(|pull| net.connect(push, pull)[0].1);
        net.deaf = pulls.to_vec();
        for text in ["0", "1"] {
            net.send(push, &[text]).unwrap();
        }
        let close = |net: &mut Net, id| {
            let pipe = net.nodes[push].pipes.get_mut(&id).unwrap();
            pipe.close(Instant::ZERO, std::time::Duration::from_secs(1));
        };
        close(&mut net, going);
        for text in ["2", "3"] {
            net.send(push, &[text]).unwrap();
        }
        assert_eq!(net.nodes[push].socket.stats().overflowed, 2);
        // No peer is left, and nothing is dropped for lack of room.
        close(&mut net, staying);
        assert_eq!(net.send(push, &["4"]), Err(SendError::WouldBlock));
        net.deaf.clear();
        net.run();
        let last = if overflow == Overflow::DropOldest { "3" } else { "1" };
        assert_eq!(pulls.map(|pull| net.all(pull)), [["0"], [last]]);
    }
}

#[test]
fn what_a_dead_peer_was_not_sent_goes_to_others_in_order() {
    let mut net = Net::default();
    let push = net.add(of(SocketType::Push));
    let pulls = [net.add(of(SocketType::Pull)), net.add(of(SocketType::Pull))];
    let [dying, _] = net.connect(push, pulls[0]);
    net.deaf = pulls.to_vec();
    for at in 0..4 {
        net.send(push, &[&at.to_string(), "x"]).unwrap();
    }
    net.connect(push, pulls[1]);
    net.deaf.clear();
    net.run();
    assert_eq!(net.all(pulls[0]), ["0|x", "1|x", "2|x", "3|x"], "they were for the only peer there was");
    net.deaf = vec![pulls[0]];
    for at in 4..8 {
        net.send(push, &[&at.to_string()]).unwrap();
    }
    net.cut(dying);
    net.run();
    let mut there = net.all(pulls[1]);
    there.sort();
    assert_eq!(there, ["4", "5", "6", "7"]);
}

#[test]
fn messages_wait_for_a_peer_that_comes_again_and_for_any_when_it_does_not() {
    // A connecting PUSH keeps returned messages in its pipe.
    let mut net = Net::default();
    let (push, pull) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Pull)));
    let [from, _] = net.connect(push, pull);
    net.deaf = vec![pull];
    net.send(push, &["a"]).unwrap();
    net.cut(from);
    assert_eq!(net.nodes[push].socket.returned(), 0);
    assert_eq!(net.send(push, &["b"]), Err(SendError::WouldBlock), "nobody is there");
    net.deaf.clear();
    net.dial(from, pull);
    assert_eq!(net.all(pull), ["a"]);
    // A binding PUSH keeps them for the next peer, before later messages.
    let (push, pull) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Pull)));
    let [from, _] = net.connect(pull, push);
    net.deaf = vec![pull];
    for text in ["a", "b"] {
        net.send(push, &[text]).unwrap();
    }
    net.cut(from);
    assert_eq!(net.nodes[push].socket.returned(), 2);
    assert_eq!(net.send(push, &["refused"]), Err(SendError::WouldBlock));
    net.deaf.clear();
    net.dial(from, push);
    net.send(push, &["c"]).unwrap();
    assert_eq!(net.all(pull), ["a", "b", "c"]);
}

#[test]
fn what_was_closed_before_it_was_sent_comes_back() {
    let mut net = Net::default();
    let (push, pull) = (net.add(of(SocketType::Push)), net.add(of(SocketType::Pull)));
    let [_, accepted] = net.connect(pull, push);
    net.deaf = vec![pull];
    net.send(push, &["a", "b"]).unwrap();
    net.cut(accepted);
    let back: Vec<_> = net.nodes[push].socket.take_returned().map(|message| message.len()).collect();
    assert_eq!((back, net.nodes[push].socket.returned()), (vec![2], 0));
}

#[test]
fn without_immediate_messages_wait_for_peers_that_were_never_there() {
    let mut net = Net::default();
    let (push, pull) = (net.add(of(SocketType::Push).immediate(false)), net.add(of(SocketType::Pull)));
    let from = net.pipe(push, Role::Dialing);
    net.send(push, &["early"]).unwrap();
    net.dial(from, pull);
    assert_eq!(net.all(pull), ["early"]);
    net.cut(from);
    net.send(push, &["between"]).unwrap();
    net.dial(from, pull);
    assert_eq!(net.all(pull), ["between"]);
}

#[test]
fn what_peers_sent_before_they_went_is_received_up_to_a_limit() {
    let mut net = Net::default();
    let pull = net.add(of(SocketType::Pull).left_behind(1000));
    for at in 0..3 {
        let push = net.add(of(SocketType::Push));
        let [from, _] = net.connect(push, pull);
        net.send(push, &[&at.to_string(), &"x".repeat(400)]).unwrap();
        net.cut(from);
    }
    assert_eq!(net.all(pull).len(), 2);
    assert_eq!(trouble(net.nodes[pull].events()).1, [(1, Drop::LeftBehind)]);
    // Received messages have made room.
    let push = net.add(of(SocketType::Push));
    let [from, _] = net.connect(push, pull);
    net.send(push, &["late", &"x".repeat(400)]).unwrap();
    net.cut(from);
    assert_eq!(net.all(pull).len(), 1);
}

#[test]
fn a_pair_has_one_peer() {
    for kind in [SocketType::Pair, SocketType::Channel] {
        let mut net = Net::default();
        let (one, two, three) = (net.add(of(kind)), net.add(of(kind)), net.add(of(kind)));
        let [from, _] = net.connect(one, two);
        let [late, _] = net.connect(three, two);
        assert_eq!(trouble(net.nodes[two].events()).0, [ZmtpError::SecondPeer(kind)]);
        assert_eq!(net.send(three, &["x"]), Err(SendError::WouldBlock));
        net.send(one, &["from one"]).unwrap();
        net.send(two, &["from two"]).unwrap();
        assert_eq!((net.all(two), net.all(one)), (vec!["from one".into()], vec!["from two".into()]));
        net.cut(from);
        net.dial(late, two);
        net.send(three, &["now"]).unwrap();
        assert_eq!(net.all(two), ["now"]);
    }
}

#[test]
fn single_part_types_take_single_parts() {
    let mut net = Net::default();
    for (from, to) in [(SocketType::Scatter, SocketType::Gather), (SocketType::Client, SocketType::Server)] {
        let (from, to) = (net.add(of(from)), net.add(of(to)));
        net.connect(from, to);
        assert!(matches!(net.send(from, &["a", "b"]), Err(SendError::Refused(_))));
        net.send(from, &["a"]).unwrap();
        assert!(net.all(to)[0].ends_with('a'));
    }
}

#[test]
fn what_is_conflated_is_received_in_its_newest_state() {
    let mut net = Net::default();
    let limit = QueueLimit { messages: 8, bytes: 10_000 };
    let pull = net.add(of(SocketType::Pull).conflate(true).receive_limit(limit));
    let push = net.add(of(SocketType::Push));
    net.connect(push, pull);
    for at in 0..50 {
        net.send(push, &[["a", "b"][at % 2], &at.to_string()]).unwrap();
    }
    assert_eq!(net.nodes[pull].recv().unwrap(), "a|48");
    net.send(push, &["b", "50"]).unwrap();
    assert_eq!(net.all(pull), ["b|50"], "not what waited when the first was received");
}

#[test]
fn long_messages_in_place_of_short_ones_are_bounded_in_bytes() {
    for (conflate, overflow) in [(false, Overflow::DropOldest), (true, Overflow::AsType)] {
        let mut net = Net::default();
        let limit = QueueLimit { messages: 50, bytes: 10_000 };
        let options = of(SocketType::Push).send_limit(limit).overflow(overflow).conflate(conflate);
        let push = net.add(options);
        let pull = net.add(of(SocketType::Pull));
        net.connect(push, pull);
        for length in [1, 5_000] {
            for at in 0..50 {
                let _full = net.nodes[push].send(&[&at.to_string(), &"x".repeat(length)]);
            }
        }
        let waiting = net.nodes[push].pipes.values().map(crate::pipe::Pipe::waiting_bytes).max();
        assert!(waiting < Some(10_000 + 5_100), "{waiting:?} bytes, conflate: {conflate}");
        net.run();
        let all = net.all(pull);
        assert!(all.iter().map(String::len).sum::<usize>() < 10_000 + 6_000, "{} came", all.len());
        assert!(all.len() >= 2);
    }
}
