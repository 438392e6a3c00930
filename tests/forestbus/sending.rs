//! Messages appended to the log and read from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::Config;
use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::{Commit, Options};
use bowline::forestbus::protocol::{ClusterDetails, Reply, Request, Sent};
use bowline::forestbus::wire::{CborRpc, Codec, Method};
use bowline::forestbus::{Bounds, Node};
use bowline::links::Server;

use crate::cluster::{
    TOPIC, address, client, leader, leads, messages, name, node_settings, nodes, open, read,
    reading_at_leader, settings_at, start,
};
use crate::{aside, done, until};

pub(crate) async fn what_is_sent_is_read<R: Runtime>() {
    for count in [1, 3] {
        let nodes = nodes::<R>(count).await;
        sent_and_read(&nodes).await;
    }
}

async fn sent_and_read<R: Runtime>(nodes: &[Node<R>]) {
    let client = open::<R>(reading_at_leader(nodes));
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(1, 5))).await.expect("sent");
    assert_eq!((sent.ids, client.address(sent.node)), (vec![1, 2, 3, 4, 5], Some(address(leader(nodes)))));
    let sent = done::<R, _>(client.send_messages(TOPIC, ["text", "or bytes"])).await.expect("sent");
    assert_eq!(sent.ids, [6, 7]);
    let got = done::<R, _>(client.get_messages(TOPIC, 2, 100, false)).await.expect("there");
    assert_eq!((got.messages.len(), got.next_id, &got.messages[..4]), (6, 8, &messages(2, 4)[..]));
    assert_eq!(done::<R, _>(client.topic_max_available_index(TOPIC)).await, Ok(7));
    let bounds = Bounds { first: 1, last: 7, commit: 7 };
    assert_eq!(done::<R, _>(client.topic_details(TOPIC)).await, Ok(bounds));
    let details = done::<R, _>(client.cluster_details()).await.expect("there");
    assert_eq!((&*details.cluster_id, &details.topics[..]), ("shop", &[TOPIC.to_owned()][..]));
    let mut follower = client.follow(TOPIC, 3).expect("room");
    assert_eq!(read(&mut follower, 5).await.0, 3);
    let counters = client.counters();
    assert_eq!((counters.messages_sent, counters.succeeded, counters.failed), (7, 6, 0));
}

pub(crate) async fn the_hint_leads_to_the_leader<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    for number in 1..=3 {
        let sent = done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
        assert_eq!((sent.ids, sent.node.index()), (vec![number], 2));
    }
    assert_eq!(client.leader(TOPIC).map(|node| node.index()), Some(2));
    let counters = client.counters();
    assert_eq!((counters.hints_followed, counters.attempts), (1, 4), "the leader is remembered");
    assert_eq!(nodes[1].snapshot().appended + nodes[0].snapshot().appended, 0);
}

pub(crate) async fn the_leadership_moves<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    // For a moment there is no leader.
    nodes[2].follow("");
    nodes[0].follow("");
    nodes[1].follow("");
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(2, 1))).await });
    until(|| client.counters().rounds_failed > 0);
    leads(&nodes, 1);
    let sent = sent.join().expect("no panic").expect("sent");
    assert_eq!(sent.node.index(), 1);
    assert_eq!(client.leader(TOPIC), Some(sent.node));
}

pub(crate) async fn a_leader_that_is_killed_is_replaced<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent");
    assert_eq!(sent.node.index(), 2);
    drop(done::<R, _>(nodes[2].stop()).await);
    until(|| client.counters().connections_lost > 0);
    // The others still name the one that is gone.
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(2, 1))).await });
    until(|| client.counters().rounds_failed > 0);
    leads(&nodes[..2], 1);
    let sent = sent.join().expect("no panic").expect("sent");
    assert_eq!((sent.node.index(), client.leader(TOPIC)), (1, Some(sent.node)));
    assert_eq!(nodes[0].snapshot().appended, 0);
}

pub(crate) async fn the_leader_alone_is_enough_where_that_is_asked_for<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    leader(&nodes).set_lagging(true);
    let client = open::<R>(reading_at_leader(&nodes));
    let options = Options::new().commit(Commit::Leader);
    let sent = done::<R, _>(client.send_messages_with(TOPIC, messages(1, 2), options)).await.expect("sent");
    assert_eq!(sent.ids, [1, 2]);
    assert_eq!(done::<R, _>(client.topic_max_available_index(TOPIC)).await, Ok(0), "nothing is committed");
}

/// A leader at which each send waits for its commit, and the number of concurrent sends; and two followers.
pub(crate) async fn a_topic_has_one_send_at_a_time<R: Runtime>() {
    const SENDERS: usize = 40;
    let (at_once, most, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(1));
    let counts = Arc::new((at_once, most, next));
    let (later, waiting) = channel();
    let later = Mutex::new(later);
    let counted = Arc::clone(&counts);
    let config = Config::with_framing(CborRpc::new()).build().expect("sound");
    let builder = Server::<R, _>::with_config(config).on_request_later(move |request, responder| {
        let method = Method::from_number(request.method()).expect("a known method");
        let read = Codec::new().read_request(method, &request.into_body().into_bytes());
        let Request::Send(send) = read.expect("a sound request") else {
            let details = ClusterDetails { cluster_id: "shop".into(), ..ClusterDetails::default() };
            let mut out = Vec::new();
            Codec::new().write_reply(&Reply::ClusterDetails(details), &mut out).expect("short");
            return responder.reply(out);
        };
        let at_once = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
        counted.1.fetch_max(at_once, Ordering::SeqCst);
        later.lock().expect("not poisoned").send((responder, send.messages.len())).expect("it answers");
    });
    let server = done::<R, _>(builder.bind("127.0.0.1:0")).await.expect("a free port");
    server.start().expect("a runtime");
    let counted = Arc::clone(&counts);
    let answering = std::thread::spawn(move || {
        for (responder, count) in waiting {
            // Time for other sends to arrive, if there are any.
            std::thread::sleep(Duration::from_millis(2));
            let first = counted.2.fetch_add(count, Ordering::SeqCst) as i64;
            let ids = (first..first + count as i64).collect();
            let mut out = Vec::new();
            Codec::new().write_reply(&Reply::Sent(Sent { ids, ..Sent::default() }), &mut out).expect("short");
            counted.0.fetch_sub(1, Ordering::SeqCst);
            responder.reply(out);
        }
    });
    let followers = [start::<R>(node_settings(0)).await, start::<R>(node_settings(1)).await];
    followers.iter().for_each(|node| node.follow(name(2)));
    let mut addresses: Vec<String> = followers.iter().map(address).collect();
    addresses.push(server.local_addr().to_string());
    let client = open::<R>(settings_at(addresses));
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let client = client.clone();
            aside(move || async move { done::<R, _>(client.send_messages(TOPIC, messages(number, 2))).await })
        })
        .collect();
    let mut ids: Vec<i64> = Vec::new();
    for sender in senders {
        ids.extend(sender.join().expect("no panic").expect("sent").ids);
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=2 * SENDERS as i64).collect::<Vec<_>>());
    assert_eq!(counts.1.load(Ordering::SeqCst), 1);
    assert_eq!(client.counters().attempts, SENDERS as u64 + 1, "one went to a follower first");
    drop(client);
    drop(server.shutdown());
    drop(server);
    drop(answering);
}

pub(crate) async fn a_long_poll_and_a_send_do_not_wait_for_each_other<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 3, 10, true)).await });
    until(|| leader(&nodes).snapshot().waiting == 1);
    for number in 1..=3 {
        let sent = done::<R, _>(client.send_messages(TOPIC, messages(number, 1))).await.expect("sent");
        assert_eq!(sent.ids, [number as i64]);
    }
    let got = poll.join().expect("no panic").expect("answered");
    assert_eq!((got.messages, got.next_id), (messages(3, 1), 4));
    assert_eq!(leader(&nodes).connections(), 2, "a connection for each");
}

pub(crate) async fn a_large_page_is_one_piece_of_memory<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let large: Vec<Vec<u8>> = (0..8).map(|byte| vec![byte; 100_000]).collect();
    done::<R, _>(client.send_messages(TOPIC, large.clone())).await.expect("sent");
    let got = done::<R, _>(client.get_messages(TOPIC, 1, 8, false)).await.expect("there");
    assert_eq!(got.messages, large);
    let places: Vec<usize> = got.messages.iter().map(|message| message.as_ptr() as usize).collect();
    // Between two messages there is only the head of the second.
    assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 100_000 + 5), "{places:?}");
}
