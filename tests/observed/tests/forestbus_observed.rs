//! What `tracing`, `metrics` and `serde` see of Forest Bus clients.

mod listeners;

use bowline::forestbus::{Attempts, NodeSettings, Options, Settings};
use bowline::tokio::forestbus::{Client, Node};
use listeners::{Heard, Sums};

#[test]
fn what_becomes_of_connections_is_told_and_messages_are_not() {
    let (sums, heard) = (Sums::default(), Heard::default());
    // Everything on this thread, where both listen.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = metrics::with_local_recorder(&sums, || {
        tracing::subscriber::with_default(heard.clone(), || {
            runtime.block_on(async {
                let settings = NodeSettings::new("n1").topic("orders");
                let node = Node::builder(settings).bind("127.0.0.1:0").await.expect("a free port");
                let address = node.local_addr().to_string();
                let client = Client::builder(Settings::new([&address])).name("shop").open().expect("sound");
                for _ in 0..50 {
                    client.send_messages("orders", ["one"]).await.expect("sent");
                }
                let json = serde_json::to_value(client.snapshot()).expect("plain data");
                assert_eq!(
                    (&json["connections"], &json["counters"]["messages_sent"]),
                    (&1.into(), &50.into())
                );
                let json = serde_json::to_value(node.snapshot()).expect("plain data");
                assert_eq!(json["appended"], 50);
                drop(node.stop().await);
                let once = Options::new().attempts(Attempts::OneRound);
                // The first may meet the end of the connection, the second finds that nobody listens.
                for _ in 0..2 {
                    assert!(client.topic_details_with("orders", once).await.is_err());
                }
                address
            })
        })
    });
    let heard = heard.0.lock().expect("not poisoned").clone();
    let count = |what: &str| heard.iter().filter(|message| *message == what).count();
    assert_eq!(count("connected to a node"), 1, "{heard:?}");
    assert!(count("dialing a node") >= 2 && count("a node was not reached") >= 1, "{heard:?}");
    assert!(heard.len() < 40, "{heard:?}");
    let sum = |name: &str| sums.get(&format!("bowline_forestbus_{name}_total[\"shop\", \"{node}\"]"));
    assert_eq!((sum("connections"), sum("connections_lost")), (1.0, 1.0));
    assert!(sum("dials_failed") >= 1.0);
}
