//! Nodes that simulate a cluster, and clients of them.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{Client, Followed, Follower, Node, NodeSettings, Page, Settings};
use bytes::Bytes;

use crate::done;

/// The topic of most tests.
pub(crate) const TOPIC: &str = "orders";

pub(crate) fn node_settings(number: usize) -> NodeSettings {
    NodeSettings::new(name(number)).cluster_id("shop").topic(TOPIC)
}

/// A node's own name, which is not its address.
pub(crate) fn name(number: usize) -> String {
    format!("node{number}.example:3000")
}

/// A node that leads.
pub(crate) async fn node<R: Runtime>() -> Node<R> {
    start(node_settings(0)).await
}

pub(crate) async fn start<R: Runtime>(settings: NodeSettings) -> Node<R> {
    done::<R, _>(Node::<R>::builder(settings).bind("127.0.0.1:0")).await.expect("a free port")
}

/// Nodes of which the last one leads.
pub(crate) async fn nodes<R: Runtime>(count: usize) -> Vec<Node<R>> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let node = start::<R>(node_settings(number)).await;
        if number + 1 < count {
            node.follow(name(count - 1));
        }
        nodes.push(node);
    }
    nodes
}

pub(crate) fn address<R: Runtime>(node: &Node<R>) -> String {
    node.local_addr().to_string()
}

/// Settings for a client of these nodes, in their order, with their names.
pub(crate) fn settings<R: Runtime>(nodes: &[Node<R>]) -> Settings {
    let mut settings = Settings::new(nodes.iter().map(address)).cluster_id("shop");
    for (number, node) in nodes.iter().enumerate() {
        settings = settings.node_name(name(number), address(node));
    }
    settings.backoff(Duration::from_millis(5), Duration::from_millis(20))
}

pub(crate) fn open<R: Runtime>(settings: Settings) -> Client<R> {
    Client::builder(settings).open().expect("sound settings")
}

pub(crate) fn client<R: Runtime>(nodes: &[Node<R>]) -> Client<R> {
    open(settings(nodes))
}

/// That many distinguishable messages.
pub(crate) fn messages(from: usize, count: usize) -> Vec<Bytes> {
    (from..from + count).map(|number| Bytes::from(format!("message {number}"))).collect()
}

/// The next page of a follower.
pub(crate) async fn page<R: Runtime>(follower: &mut Follower<R>) -> Page {
    match done::<R, _>(follower.next()).await {
        Some(Ok(Followed::Page(page))) => page,
        other => panic!("{other:?}"),
    }
}

/// Reads that many messages of a follower, in pages of any size. Returns their first index and the messages.
pub(crate) async fn read<R: Runtime>(follower: &mut Follower<R>, count: usize) -> (i64, Vec<Bytes>) {
    let mut first = None;
    let mut all = Vec::new();
    while all.len() < count {
        let page = page(follower).await;
        let first = *first.get_or_insert(page.first);
        assert_eq!(page.first, first + all.len() as i64, "none is left out");
        all.extend(page.messages);
    }
    (first.unwrap_or_default(), all)
}
