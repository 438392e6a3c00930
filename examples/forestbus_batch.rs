//! Many tasks that write to one topic through a batcher: `cargo run --example forestbus_batch
//! --all-features`. The example starts its own node.
//!
//! Messages are collected while a send is under way, and sent together: a hundred writers share the round
//! trips, and each gets the index of its own message.

use bowline::batcher::{Retries, SendError};
use bowline::forestbus::{ClientError, Followed, NodeSettings};
use bowline::tokio::Batcher;
use bowline::tokio::forestbus::{Client, Node};

const WRITERS: usize = 100;
const EACH: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = NodeSettings::new("n1").cluster_id("shop").topic("orders");
    let node = Node::builder(settings).bind("127.0.0.1:0").await?;
    let client = Client::connect_to(&format!("shop@{}", node.local_addr()))?;
    // Messages that were not appended are retried; those that may have been appended are left to the writer.
    let builder = Batcher::builder(client.topic("orders")).name("orders").retries(Retries::Times(3));
    let batcher = builder.references::<usize>().open()?;

    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let batcher = batcher.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for number in 0..EACH {
                    let index = batcher.send(format!("order {number} of writer {writer}")).await?;
                    assert!(index > last, "in the order of its writer");
                    last = index;
                }
                Ok::<_, SendError<ClientError>>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    let stats = batcher.stats();
    println!("{} messages in {} sends", stats.appended, stats.batches);

    // A writer that does not wait: the results carry the references that it gave.
    let mut results = batcher.results();
    for number in 0..3 {
        batcher.send_with_reference(format!("late order {number}"), number, &results).await?;
    }
    for _ in 0..3 {
        let sent = results.recv().await?;
        println!("late order {} is at index {}", sent.reference, sent.result?);
    }

    let (mut follower, mut count) = (client.follow("orders", 1)?, 0);
    while count < WRITERS * EACH + 3 {
        match follower.next().await {
            Some(Ok(Followed::Page(page))) => count += page.messages.len(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("the follower ended".into()),
        }
    }
    println!("{count} messages were read again, each once");
    batcher.close().await;
    Ok(())
}
