//! A publisher and two subscribers: `cargo run --features smol,zmtp --example zmq_pubsub`

use bowline::smol::zmtp::{Pub, Sub};
use smol::stream::StreamExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    smol::block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let publisher = Pub::new();
    let endpoint = publisher.bind("tcp://127.0.0.1:*")?;

    let (weather, all) = (Sub::new(), Sub::new());
    weather.subscribe("weather");
    all.subscribe("");
    for subscriber in [&weather, &all] {
        subscriber.connect(&endpoint)?;
    }
    // No message is lost at the start: the publisher waits until its subscribers are connected.
    publisher.wait_for_subscribers(2).await?;

    for (topic, text) in [("weather", "rain"), ("sport", "2:1"), ("weather", "sun")] {
        publisher.send([topic, text]).await?;
    }
    // A message without a subscriber is discarded and counted.
    drop(all);
    while publisher.subscriptions() > 1 {
        smol::Timer::after(std::time::Duration::from_millis(1)).await;
    }
    publisher.send(["sport", "3:1"]).await?;
    assert_eq!(publisher.stats().discarded, 1);

    let mut messages = weather.messages().take(2);
    while let Some(message) = messages.next().await {
        let message = message?;
        println!("{}: {}", String::from_utf8_lossy(&message[0]), String::from_utf8_lossy(&message[1]));
    }
    publisher.close().await;
    Ok(())
}
