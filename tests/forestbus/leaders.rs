//! Leaders that change, and what followers say of them.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::{Commit, Options};
use bowline::forestbus::{Client, ClusterError, NodeCause, Settings};

use crate::cluster::{
    TOPIC, address, append_at, client, leader, leads, messages, name, nodes, open, read, reading_at_leader,
    replicate, with_proxy,
};
use crate::failing::cluster;
use crate::{aside, done, until};

/// Sends one message. Returns the place of the node that accepted it.
async fn sent_to<R: Runtime>(client: &Client<R>) -> usize {
    done::<R, _>(client.send_messages(TOPIC, messages(1, 1))).await.expect("sent").node.index()
}

pub(crate) async fn it_changes_between_two_sends<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    for next in [2, 0, 1, 2, 1] {
        leads(&nodes, next);
        for _ in 0..2 {
            assert_eq!(sent_to(&client).await, next);
            assert_eq!(client.leader(TOPIC).map(|node| node.index()), Some(next));
        }
    }
    // Each change costs one attempt: the old leader names the new one.
    let counters = client.counters();
    assert_eq!((counters.attempts, counters.hints_followed, counters.hints_wrong), (15, 5, 0));
    let appended: Vec<u64> = nodes.iter().map(|node| node.snapshot().appended).collect();
    assert_eq!(appended, [2, 4, 4]);
}

/// The lane of long polls stays with the old leader, while sends go to the new one.
pub(crate) async fn it_changes_between_the_two_lanes<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    append_at(leader(&nodes), &messages(1, 3)).await;
    replicate(&nodes, &messages(1, 3)).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    assert_eq!(read(&mut follower, 3).await, (1, messages(1, 3)));
    let polling = client.clone();
    let poll = aside(move || async move { done::<R, _>(polling.get_messages(TOPIC, 4, 10, true)).await });
    until(|| nodes[2].snapshot().waiting == 2);
    leads(&nodes, 0);
    let sent = done::<R, _>(client.send_messages(TOPIC, messages(4, 2))).await.expect("sent");
    assert_eq!((sent.ids, sent.node.index()), (vec![4, 5], 0));
    assert_eq!((nodes[2].snapshot().waiting, poll.is_finished()), (2, false), "it has nothing yet");
    append_at(&nodes[2], &messages(4, 2)).await;
    nodes[2].follow(name(0));
    let got = poll.join().expect("no panic").expect("answered");
    assert_eq!((got.messages, got.node.index()), (messages(4, 2), 2));
    assert_eq!(read(&mut follower, 2).await, (4, messages(4, 2)));
    assert_eq!(sent_to(&client).await, 0, "what a follower is given makes it no leader");
}

/// Uncommitted messages are lost with the leadership: code 4 with the indexes that they had.
pub(crate) async fn one_that_steps_down_leaves_a_doubt<R: Runtime>() {
    for at_least_once in [false, true] {
        let nodes = nodes::<R>(3).await;
        let client = client(&nodes);
        leader(&nodes).set_lagging(true);
        let sending = client.clone();
        let options = Options::new().at_least_once(at_least_once);
        let sent = aside(move || async move {
            done::<R, _>(sending.send_messages_with(TOPIC, messages(1, 2), options)).await
        });
        until(|| leader(&nodes).snapshot().waiting == 1);
        leads(&nodes, 0);
        let sent = sent.join().expect("no panic");
        let appended = if at_least_once {
            let sent = sent.expect("sent");
            assert_eq!((sent.ids, sent.node.index()), (vec![1, 2], 0));
            2
        } else {
            let ClusterError::MaybeAppended { node, cause } = cluster(sent) else { panic!("no doubt") };
            assert_eq!(node, address(&nodes[2]));
            let ClusterError::Node(failure) = *cause else { panic!("{cause:?}") };
            assert_eq!(failure.cause, NodeCause::LeadershipLost);
            0
        };
        assert_eq!(nodes[0].snapshot().appended, appended);
        assert_eq!(client.counters().repeated, u64::from(at_least_once));
        assert_eq!(sent_to(&client).await, 0);
        assert_eq!(nodes[2].bounds(TOPIC).map(|bounds| bounds.last), Some(0), "dropped");
    }
}

/// The connection to the leader breaks in the middle of a send, and another node leads by then.
pub(crate) async fn a_send_is_repeated_at_the_next_one<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let (proxy, settings) = with_proxy(&nodes);
    let client = open::<R>(settings);
    leader(&nodes).set_lagging(true);
    let sending = client.clone();
    let options = Options::new().at_least_once(true);
    let sent = aside(move || async move {
        done::<R, _>(sending.send_messages_with(TOPIC, messages(1, 2), options)).await
    });
    until(|| leader(&nodes).snapshot().waiting == 1);
    // The old leader has not noticed yet.
    nodes[1].lead();
    nodes[0].follow(name(1));
    assert!(proxy.cut());
    let sent = sent.join().expect("no panic").expect("sent");
    assert_eq!((sent.ids, sent.node.index()), (vec![1, 2], 1));
    assert_eq!((client.counters().repeated, nodes[1].snapshot().appended), (1, 2));
    assert_eq!(client.leader(TOPIC), Some(sent.node));
}

/// Two nodes accept sends. The one that the others left commits nothing.
pub(crate) async fn one_that_is_cut_off_is_found_by_the_commit<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = client(&nodes);
    assert_eq!(sent_to(&client).await, 2);
    nodes[2].set_lagging(true);
    nodes[0].lead();
    nodes[1].follow(name(0));
    let alone = Options::new().commit(Commit::Leader);
    let sent = done::<R, _>(client.send_messages_with(TOPIC, messages(2, 1), alone)).await.expect("sent");
    assert_eq!(sent.node.index(), 2, "it does not know, and neither does the client");
    let soon = Options::new().deadline(Duration::from_millis(50));
    let error = cluster(done::<R, _>(client.send_messages_with(TOPIC, messages(3, 1), soon)).await);
    let ClusterError::MaybeAppended { node, .. } = error else { panic!("{error:?}") };
    assert_eq!(node, address(&nodes[2]));
    // It hears of the election.
    nodes[2].follow(name(0));
    assert_eq!(sent_to(&client).await, 0);
    assert_eq!(nodes[2].bounds(TOPIC).map(|bounds| bounds.last), Some(1), "what was not committed is gone");
}

pub(crate) async fn a_name_that_is_unknown_is_learned<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(Settings::new(nodes.iter().map(address)).cluster_id("shop"));
    let counted = || {
        let counters = client.counters();
        (counters.attempts, counters.hints_unknown, counters.hints_followed)
    };
    // Both followers name it, and each other node is tried.
    assert_eq!((sent_to(&client).await, counted()), (2, (3, 2, 0)));
    leads(&nodes, 0);
    // Its name is not that of the last node, which is known now.
    assert_eq!((sent_to(&client).await, counted()), (0, (5, 3, 0)));
    leads(&nodes, 2);
    assert_eq!((sent_to(&client).await, counted()), (2, (7, 3, 1)), "learned");
    leads(&nodes, 0);
    assert_eq!((sent_to(&client).await, counted()), (0, (9, 3, 2)), "learned");
}

pub(crate) async fn a_wrong_hint_costs_one_attempt<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    // It has not heard of the last election.
    nodes[0].follow(name(1));
    let stale = client(&nodes);
    assert_eq!(sent_to(&stale).await, 2);
    let counters = stale.counters();
    assert_eq!((counters.attempts, counters.hints_followed, counters.hints_wrong), (3, 2, 1));
    // It names itself, and the second names the first: neither is tried twice.
    nodes[0].follow(name(0));
    nodes[1].follow(name(0));
    let circle = client(&nodes);
    assert_eq!(sent_to(&circle).await, 2);
    let counters = circle.counters();
    assert_eq!((counters.attempts, counters.hints_followed), (3, 0));
}

pub(crate) async fn without_a_hint_the_others_are_asked<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    nodes[0].follow("");
    nodes[1].follow("");
    let client = client(&nodes);
    assert_eq!(sent_to(&client).await, 2);
    let counters = client.counters();
    assert_eq!((counters.attempts, counters.hints_followed, counters.rounds_failed), (3, 0, 0));
    // Nobody leads for a while, and the client goes round until somebody does.
    nodes[2].follow("");
    let sending = client.clone();
    let sent = aside(move || async move { done::<R, _>(sending.send_messages(TOPIC, messages(2, 1))).await });
    until(|| client.counters().rounds_failed >= 3);
    nodes[1].lead();
    assert_eq!(sent.join().expect("no panic").expect("sent").node.index(), 1);
    assert_eq!(nodes[0].snapshot().appended, 0);
}
