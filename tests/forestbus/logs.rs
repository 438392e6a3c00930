//! Topics as logs, and as sinks of batchers.

use std::sync::Mutex;
use std::time::Duration;

use bowline::batcher::{Batcher, SendError};
use bowline::driver::runtime::Runtime;
use bowline::forestbus::cluster::Options;
use bowline::forestbus::{Client, ClientError, ClusterError, Node, Settings, Topic};
use bowline::log::conformance::{self, Fixture};
use bowline::log::{AppendError, Following, Limit, Log, ReadError, Record, Refusal};
use bytes::Bytes;

use crate::cluster::{
    TOPIC, address, client, leads, messages, node, nodes, nodes_with, open, read, reading_at_leader, settings,
};
use crate::{done, until};

/// Topics on separate nodes.
struct Topics<R: Runtime>(Mutex<Option<Node<R>>>);

impl<R: Runtime> Fixture for Topics<R> {
    type Log = Topic<R>;

    async fn fresh(&self) -> Topic<R> {
        let node = node::<R>().await;
        let topic = client(std::slice::from_ref(&node)).topic(TOPIC);
        *self.0.lock().expect("not poisoned") = Some(node);
        topic
    }

    async fn restart(&self, _: &Topic<R>) -> bool {
        let node = self.0.lock().expect("not poisoned").take().expect("a fresh one");
        let at = address(&node);
        let stopped = done::<R, _>(node.stop()).await;
        let node = done::<R, _>(stopped.bind(&at)).await.expect("its own port");
        *self.0.lock().expect("not poisoned") = Some(node);
        true
    }
}

async fn a_topic_is_a_log<R: Runtime>() {
    let report = conformance::all(&Topics::<R>(Mutex::new(None))).await;
    assert!(report.violations().next().is_none(), "{report}");
    let skipped: Vec<_> = report.skipped().map(|(name, _)| name).collect();
    // A node in memory cannot be trimmed or truncated on request.
    let wanted = ["trimmed", "trimmed_while_following", "gaps", "truncated"];
    assert_eq!(skipped, wanted, "{report}");
}

/// The scenarios stay on one thread: a second one waits for their end.
fn within_time(scenarios: impl FnOnce() + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        scenarios();
        let _ = ended.send(());
    });
    end.recv_timeout(Duration::from_secs(120)).expect("they end, and hold");
}

#[test]
fn a_topic_is_a_log_on_tokio() {
    within_time(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(a_topic_is_a_log::<bowline::tokio::Tokio>());
    });
}

#[test]
fn a_topic_is_a_log_on_smol() {
    within_time(|| smol::block_on(a_topic_is_a_log::<bowline::smol::Smol>()));
}

#[test]
fn a_topic_is_a_log_on_async_std() {
    within_time(|| async_std::task::block_on(a_topic_is_a_log::<bowline::async_std::AsyncStd>()));
}

#[test]
fn a_topic_is_a_log_on_threads() {
    within_time(|| bowline::blocking::block_on(a_topic_is_a_log::<bowline::blocking::Threads>()));
}

pub(crate) async fn a_log_says_what_was_trimmed<R: Runtime>() {
    // Room for three messages.
    let nodes = nodes_with::<R>(3, |settings| settings.topic_bytes(3 * (64 + 9))).await;
    let log = open::<R>(reading_at_leader(&nodes)).topic(TOPIC);
    for number in 1..=5 {
        let record = Record::new(messages(number, 1).remove(0));
        assert_eq!(log.append(vec![record]).await.all().expect("appended"), [number as i64]);
    }
    let read = log.read(1, Limit::default(), Duration::ZERO).await;
    assert!(matches!(read, Err(ReadError::Trimmed { from: 1, to: 3 })), "{read:?}");
    let mut follow = log.follow(2);
    let told = follow.next_entry().await;
    assert!(matches!(told, Some(Err(ReadError::Trimmed { from: 2, to: 3 }))), "{told:?}");
    for number in 3..=5 {
        let entry = follow.next_entry().await.expect("it has no end").expect("kept");
        assert_eq!((entry.position, &[entry.record.body][..]), (number as i64, &messages(number, 1)[..]));
    }
    assert_eq!(follow.cursor(), 6);
}

pub(crate) async fn what_a_log_refuses<R: Runtime>() {
    let nodes = [node::<R>().await];
    let log = client(&nodes).topic(TOPIC);
    let outcomes = log.append(vec![Record::new("a"), Record::new("b").with_id("1")]).await.into_outcomes();
    assert!(matches!(outcomes[0], Err(AppendError::NotAppended(_))), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(AppendError::Refused(Refusal::Id))), "{outcomes:?}");
    let unknown = log.client().topic("unknown").read(1, Limit::default(), Duration::ZERO).await;
    let Err(ReadError::Unavailable(cause)) = unknown else { panic!("{unknown:?}") };
    assert!(!cause.is_transient(), "{cause}");
    log.client().close();
    assert_eq!(log.append(vec!["c".into()]).await.all().expect("it connects anew"), [1]);
}

pub(crate) async fn a_batcher_appends_to_a_topic<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    let topic = open::<R>(reading_at_leader(&nodes)).topic(TOPIC);
    let batcher = Batcher::<R, _>::builder(topic.clone()).open().expect("a runtime");
    let first = done::<R, _>(batcher.send("message 1")).await;
    assert_eq!(first, Ok(1));
    for message in messages(2, 500) {
        done::<R, _>(batcher.send_and_forget(message)).await.expect("room");
    }
    let last: Result<_, _> = done::<R, _>(batcher.send("message 502")).await;
    assert_eq!(last, Ok(502));
    done::<R, _>(batcher.close()).await;
    let (mut next, mut read) = (1, Vec::<Bytes>::new());
    while read.len() < 502 {
        let page = topic.read(next, Limit::default(), Duration::ZERO).await.expect("readable");
        next = page.next;
        read.extend(page.entries.into_iter().map(|entry| entry.record.body));
    }
    assert_eq!(read, messages(1, 502));
    let stats = batcher.stats();
    assert!(stats.batches < 502, "{stats:?}");
}

/// Requests of 1,000 bytes hold three of these messages, or less.
fn small<R: Runtime>(nodes: &[Node<R>]) -> Topic<R> {
    let small = Client::<R>::builder(settings(nodes)).max_message(1000);
    small.open().expect("sound settings").topic(TOPIC)
}

/// Messages of 300 bytes, told apart.
fn long_messages(from: usize, count: usize) -> Vec<Bytes> {
    (from..from + count).map(|number| Bytes::from(format!("{number:0300}"))).collect()
}

pub(crate) async fn what_does_not_fit_one_send_goes_out_in_several<R: Runtime>() {
    let nodes = [node::<R>().await];
    let topic = small(&nodes);
    let batcher = Batcher::<R, _>::builder(topic.clone()).open().expect("a runtime");
    // A batch gathers while the first message waits for its commit.
    nodes[0].set_lagging(true);
    let first = batcher.try_send("message 1").expect("room");
    until(|| nodes[0].snapshot().waiting == 1);
    let long = long_messages(2, 10);
    let sending: Vec<_> =
        long.iter().map(|message| batcher.try_send(message.clone()).expect("room")).collect();
    let too_large = batcher.try_send(vec![0_u8; 1000]).expect("room in the buffer");
    let last = batcher.try_send("message 12").expect("room");
    nodes[0].set_lagging(false);
    assert_eq!(done::<R, _>(first.wait()).await, Ok(1));
    for (position, sending) in (2..).zip(sending) {
        assert_eq!(done::<R, _>(sending.wait()).await, Ok(position));
    }
    let refused = done::<R, _>(too_large.wait()).await;
    let Err(SendError::Failed(ClientError::Cluster(ClusterError::TooLarge { .. }))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(done::<R, _>(last.wait()).await, Ok(12), "one that is too large fails alone");
    assert_eq!(batcher.stats().batches, 2);
    let records = long_messages(13, 10).into_iter().map(Record::new).collect();
    let positions = topic.append(records).await.all().expect("appended");
    assert_eq!(positions, (13..=22).collect::<Vec<_>>());
    let mut follower = client(&nodes).follow(TOPIC, 2).expect("room");
    let (_, bodies) = read(&mut follower, 21).await;
    assert_eq!(bodies[..10], long);
    assert_eq!(bodies[11..], long_messages(13, 10));
}

/// The send behind one that failed does not go out: its messages would stand before those of the first.
pub(crate) async fn what_is_behind_a_send_that_failed_is_not_sent<R: Runtime>() {
    let nodes = [node::<R>().await];
    nodes[0].set_lagging(true);
    let topic = small(&nodes).options(Options::new().deadline(Duration::from_secs(1)));
    let records = long_messages(1, 5).into_iter().map(Record::new).collect();
    let outcomes = topic.append(records).await.into_outcomes();
    for outcome in &outcomes[..3] {
        assert!(matches!(outcome, Err(AppendError::MaybeAppended(_))), "{outcome:?}");
    }
    for outcome in &outcomes[3..] {
        let Err(AppendError::NotAppended(cause)) = outcome else { panic!("{outcome:?}") };
        assert!(cause.is_transient(), "{cause}");
    }
    let builder = Batcher::<R, _>::builder(topic).linger(Duration::from_millis(200));
    let batcher = builder.open().expect("a runtime");
    let sending: Vec<_> =
        long_messages(6, 5).into_iter().map(|message| batcher.try_send(message).expect("room")).collect();
    for (place, sending) in sending.into_iter().enumerate() {
        let sent = done::<R, _>(sending.wait()).await;
        let maybe = matches!(sent, Err(SendError::MaybeAppended(Some(_))));
        let not = matches!(sent, Err(SendError::Failed(ClientError::Cluster(ClusterError::Deadline { .. }))));
        assert!(if place < 3 { maybe } else { not }, "{place}: {sent:?}");
    }
    assert_eq!(nodes[0].snapshot().appended, 6, "the first three of each");
}

/// What may have been appended is sent again if the batcher is told to, not if the topic is.
pub(crate) async fn a_batcher_decides_what_is_repeated<R: Runtime>() {
    let nodes = nodes::<R>(3).await;
    leads(&nodes, 0);
    nodes[0].set_lagging(true);
    let settings =
        settings(&nodes).attempt_timeout(Duration::from_millis(100)).deadline(Duration::from_secs(1));
    let client = open::<R>(settings);
    let topic = client.topic(TOPIC).options(Options::new().at_least_once(true));
    let batcher = Batcher::<R, _>::builder(topic).open().expect("a runtime");
    let sent = done::<R, _>(batcher.send("once")).await;
    assert!(matches!(&sent, Err(SendError::MaybeAppended(Some(_)))), "{sent:?}");
    assert_eq!(nodes.iter().map(|node| node.snapshot().appended).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(client.counters().repeated, 0);
}

pub(crate) async fn a_batcher_says_why_a_topic_took_nothing<R: Runtime>() {
    let nobody = || Settings::new(["127.0.0.1:1"]).deadline(Duration::from_secs(5));
    let alone = open::<R>(nobody());
    let batcher = Batcher::<R, _>::builder(alone.topic(TOPIC)).open().expect("a runtime");
    let sent = done::<R, _>(batcher.send("lost")).await;
    let Err(SendError::Failed(ClientError::Cluster(ClusterError::NoNodes { .. }))) = sent else {
        panic!("{sent:?}")
    };
    assert_eq!(alone.counters().rounds_failed, 1, "an attempt is one round");
    // A node that has the send and does not commit it leaves a doubt.
    let node = node::<R>().await;
    node.set_lagging(true);
    let slow = open::<R>(settings(std::slice::from_ref(&node)).deadline(Duration::from_secs(1)));
    let batcher = Batcher::<R, _>::builder(slow.topic(TOPIC)).open().expect("a runtime");
    let sending = batcher.try_send("in doubt").expect("room");
    until(|| node.snapshot().waiting == 1);
    let sent = done::<R, _>(sending.wait()).await;
    assert!(matches!(&sent, Err(SendError::MaybeAppended(Some(_)))), "{sent:?}");
}
