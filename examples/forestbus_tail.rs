//! Follows a topic as `tail -f` follows a file, on tokio: `forestbus_tail [cluster#topic@node,node [from]]`.
//!
//! Without arguments it starts its own node, writes to it, and ends after a few messages.

use std::time::Duration;

use bowline::forestbus::{ConnectionString, Followed, NodeSettings, Settings};
use bowline::tokio::forestbus::{Client, Node};

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let Some(cluster) = arguments.next() else { return with_a_node_of_its_own().await };
    let cluster: ConnectionString = cluster.parse()?;
    let client = Client::builder(Settings::from_connection_string(&cluster)).open()?;
    let from = match arguments.next() {
        Some(from) => from.parse()?,
        // Messages from now on.
        None => client.topic_max_available_index(&cluster.topic).await? + 1,
    };
    tail(&client, &cluster.topic, from, i64::MAX).await
}

/// Prints messages from one index up to another.
async fn tail(client: &Client, topic: &str, from: i64, to: i64) -> Result<(), Failed> {
    let mut follower = client.follow(topic, from)?;
    while let Some(news) = follower.next().await {
        match news? {
            Followed::Page(page) => {
                for (index, message) in (page.first..).zip(&page.messages) {
                    println!("{index}: {}", String::from_utf8_lossy(message));
                }
                if page.next() > to {
                    break;
                }
            }
            Followed::Trimmed { from, to } => println!("(messages {from} to {} are gone)", to - 1),
            _ => {}
        }
    }
    Ok(())
}

async fn with_a_node_of_its_own() -> Result<(), Failed> {
    let settings = NodeSettings::new("n1").cluster_id("shop").topic("orders");
    let node = Node::builder(settings).bind("127.0.0.1:0").await?;
    let client = Client::connect_to(&format!("shop#orders@{}", node.local_addr()))?;
    let writing = client.clone();
    let writer = tokio::spawn(async move {
        for number in 1..=5 {
            writing.send_messages("orders", [format!("order {number}")]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, bowline::forestbus::ClientError>(())
    });
    tail(&client, "orders", 1, 5).await?;
    writer.await??;
    Ok(())
}
