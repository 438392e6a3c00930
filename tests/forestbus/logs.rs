//! Topics as logs, and as sinks of batchers.

use std::sync::Mutex;
use std::time::Duration;

use bowline::batcher::{Batcher, SendError};
use bowline::driver::runtime::Runtime;
use bowline::forestbus::{ClientError, ClusterError, Node, Settings, Topic};
use bowline::log::conformance::{self, Fixture};
use bowline::log::{AppendError, Following, Limit, Log, ReadError, Record, Refusal};
use bytes::Bytes;

use crate::cluster::{TOPIC, address, client, messages, node, node_settings, open, settings, start};
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
    let nodes = [start::<R>(node_settings(0).topic_bytes(3 * (64 + 9))).await];
    let log = client(&nodes).topic(TOPIC);
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
    let nodes = [node::<R>().await];
    let topic = client(&nodes).topic(TOPIC);
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

pub(crate) async fn a_batcher_says_why_a_topic_took_nothing<R: Runtime>() {
    let nobody = || Settings::new(["127.0.0.1:1"]).deadline(Duration::from_secs(5));
    let batcher = Batcher::<R, _>::builder(open::<R>(nobody()).topic(TOPIC)).open().expect("a runtime");
    let sent = done::<R, _>(batcher.send("lost")).await;
    let Err(SendError::Failed(ClientError::Cluster(ClusterError::NoNodes { .. }))) = sent else {
        panic!("{sent:?}")
    };
    // A send to a node that stops while it is handled has an unknown outcome.
    let node = node::<R>().await;
    node.set_delay(Duration::from_secs(60));
    let slow = open::<R>(settings(std::slice::from_ref(&node)).deadline(Duration::from_millis(300)));
    let batcher = Batcher::<R, _>::builder(slow.topic(TOPIC)).open().expect("a runtime");
    let sending = batcher.try_send("in doubt").expect("room");
    until(|| node.snapshot().calls > 0);
    let sent = done::<R, _>(sending.wait()).await;
    let doubt = matches!(&sent, Err(SendError::MaybeAppended(Some(_))));
    // The node answers nothing at all, so that the send itself may not have been requested yet.
    assert!(doubt || matches!(&sent, Err(SendError::Failed(_))), "{sent:?}");
}
