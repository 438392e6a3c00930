//! What `tracing`, `metrics` and `serde` see of ZeroMQ sockets.

mod listeners;

use bowline::tokio::zmtp::{Context, Dealer};
use listeners::{Heard, Sums};

#[test]
fn changes_of_sockets_are_told_by_name_and_messages_are_not() {
    let (sums, heard) = (Sums::default(), Heard::default());
    // Everything on this thread, where both listen.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&sums, || {
        tracing::subscriber::with_default(heard.clone(), || {
            runtime.block_on(async {
                let context = Context::builder().name("orders").open().expect("sound");
                let named = |name| Dealer::builder().context(&context).name(name).open();
                let (one, two) = (named("one").expect("sound"), named("two").expect("sound"));
                let bound = one.bind("tcp://127.0.0.1:*").expect("it is free");
                two.connect_ready(&bound).await.expect("it listens");
                for _ in 0..50 {
                    two.send("hello").await.expect("open");
                    one.recv().await.expect("open");
                }
                context.publish();
                assert_eq!(sums.get("bowline_zmtp_messages_received[\"orders\", \"one\"]"), 50.0);
                assert_eq!(sums.get("bowline_zmtp_peers[\"orders\", \"two\"]"), 1.0);
                let json = serde_json::to_value(context.snapshot()).expect("plain data");
                assert_eq!(json["context"], "orders");
                let sockets = json["sockets"].as_array().expect("a list");
                let first = sockets.iter().find(|socket| socket["socket"] == "one").expect("there");
                assert_eq!((&first["kind"], &first["stats"]["dropped"]), (&"DEALER".into(), &0.into()));
                assert_eq!(first["pipes"][0]["stats"]["received"], 50);
                assert_eq!(
                    (&first["pipes"][0]["endpoint"], &first["pipes"][0]["is_up"]),
                    (&bound.into(), &true.into())
                );
                drop((one, two));
                assert!(context.shutdown().await.is_empty());
                // The figures of sockets that are gone do not stay.
                context.publish();
            });
        });
    });
    let heard = heard.0.lock().expect("not poisoned").clone();
    let count = |what: &str| heard.iter().filter(|message| *message == what).count();
    assert_eq!((count("listening"), count("accepted"), count("dialing a peer")), (1, 1, 1), "{heard:?}");
    assert_eq!((count("a peer is there"), count("a peer went")), (2, 2), "{heard:?}");
    assert!(heard.len() < 16, "{heard:?}");
    assert_eq!(sums.get("bowline_zmtp_peers_up_total[\"orders\", \"one\"]"), 1.0);
    assert_eq!(sums.get("bowline_zmtp_peers_down_total[\"orders\", \"two\"]"), 1.0);
    assert_eq!(sums.get("bowline_zmtp_dials_total[\"orders\", \"two\"]"), 1.0);
    assert_eq!(sums.get("bowline_zmtp_sockets[\"orders\", \"one\"]"), 0.0);
    assert_eq!(sums.get("bowline_zmtp_peers[\"orders\", \"two\"]"), 0.0);
}
