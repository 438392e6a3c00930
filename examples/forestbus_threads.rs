//! Many threads that write to one topic, and one that reads it, on plain threads. The example starts its own
//! node.
//!
//! The server would corrupt sends of a topic that arrive within 3 ms of each other: the client has one under
//! way at a time, however many threads send.

use bowline::blocking::forestbus::{Client, Node};
use bowline::forestbus::{Followed, NodeSettings};

const WRITERS: usize = 8;
const EACH: usize = 25;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = NodeSettings::new("n1").cluster_id("shop").topic("orders");
    let node = Node::builder(settings).bind("127.0.0.1:0")?;
    let client = Client::connect_to(&format!("shop@{}", node.local_addr()))?;

    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let client = client.clone();
            std::thread::spawn(move || {
                (0..EACH).try_for_each(|number| {
                    let message = format!("order {number} of writer {writer}");
                    client.send_messages("orders", [message]).map(drop)
                })
            })
        })
        .collect();

    let mut count = 0;
    for news in client.follow("orders", 1)? {
        if let Followed::Page(page) = news? {
            count += page.messages.len();
        }
        if count == WRITERS * EACH {
            break;
        }
    }
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    println!("{count} messages, each once and in the order of its writer");
    println!("{:?}", client.counters());
    Ok(())
}
