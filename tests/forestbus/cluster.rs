//! Nodes that simulate a cluster, and clients of them.

use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::forestbus::{Client, Followed, Follower, Node, NodeSettings, Page, Settings};
use bytes::Bytes;

use crate::done;
use crate::proxy::Proxy;

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

/// Nodes of which the last one leads, and the others say so.
pub(crate) async fn nodes<R: Runtime>(count: usize) -> Vec<Node<R>> {
    nodes_with(count, |settings| settings).await
}

/// The same, with other settings.
pub(crate) async fn nodes_with<R: Runtime>(
    count: usize,
    change: impl Fn(NodeSettings) -> NodeSettings,
) -> Vec<Node<R>> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let settings = node_settings(number).peers((0..count).map(name));
        nodes.push(start::<R>(change(settings)).await);
    }
    leads(&nodes, count - 1);
    nodes
}

/// One node leads from now on, and the others say so. The new leader is told first: until the old one is, both accept
/// sends, as after a real election.
pub(crate) fn leads<R: Runtime>(nodes: &[Node<R>], leader: usize) {
    nodes[leader].lead();
    for (number, node) in nodes.iter().enumerate() {
        if number != leader {
            node.follow(name(leader));
        }
    }
}

/// The leader of [`nodes`].
pub(crate) fn leader<R: Runtime>(nodes: &[Node<R>]) -> &Node<R> {
    nodes.last().expect("there is one")
}

/// Appends the messages at the followers of [`nodes`], which do not replicate.
pub(crate) async fn replicate<R: Runtime>(nodes: &[Node<R>], messages: &[Bytes]) {
    for node in &nodes[..nodes.len() - 1] {
        append_at(node, messages).await;
        node.follow(name(nodes.len() - 1));
    }
}

/// Appends the messages at one node, which leads from now on.
pub(crate) async fn append_at<R: Runtime>(node: &Node<R>, messages: &[Bytes]) {
    node.lead();
    let alone = client(std::slice::from_ref(node));
    done::<R, _>(alone.send_messages(TOPIC, messages.to_vec())).await.expect("it leads");
}

pub(crate) fn address<R: Runtime>(node: &Node<R>) -> String {
    node.local_addr().to_string()
}

/// Settings for a client of these nodes, in their order, with their names.
pub(crate) fn settings<R: Runtime>(nodes: &[Node<R>]) -> Settings {
    settings_at(nodes.iter().map(address).collect())
}

/// Settings for a client of nodes at these addresses, with their names.
pub(crate) fn settings_at(addresses: Vec<String>) -> Settings {
    let mut settings = Settings::new(addresses.clone()).cluster_id("shop");
    for (number, address) in addresses.into_iter().enumerate() {
        settings = settings.node_name(name(number), address);
    }
    settings.backoff(Duration::from_millis(5), Duration::from_millis(20))
}

/// The same as [`settings`], with a proxy before the leader of [`nodes`].
pub(crate) fn with_proxy<R: Runtime>(nodes: &[Node<R>]) -> (Proxy, Settings) {
    let mut addresses: Vec<String> = nodes.iter().map(address).collect();
    let proxy = Proxy::start(addresses.pop().expect("a leader").trim_start_matches("tcp://"));
    addresses.push(proxy.address.clone());
    (proxy, settings_at(addresses))
}

pub(crate) fn open<R: Runtime>(settings: Settings) -> Client<R> {
    Client::builder(settings).open().expect("sound settings")
}

/// A client that asks the nodes in their order.
pub(crate) fn client<R: Runtime>(nodes: &[Node<R>]) -> Client<R> {
    open(settings(nodes))
}

/// Settings for a client that reads at the leader of [`nodes`]: the others have nothing.
pub(crate) fn reading_at_leader<R: Runtime>(nodes: &[Node<R>]) -> Settings {
    settings(nodes).preferred_node(address(leader(nodes)))
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
