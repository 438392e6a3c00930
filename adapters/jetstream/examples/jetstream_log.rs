//! A stream of JetStream as a log: appends, reads and follows.
//!
//! It uses the server given as an argument, or starts one, which requires an installed `nats-server`.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bowline_jetstream::JetStreamLog;
use bowline_log::{Following, Limit, Log, Record};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (url, _server) = match std::env::args().nth(1) {
        Some(url) => (url, None),
        None => Server::start().map(|(url, server)| (url, Some(server)))?,
    };
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect().connect(url).await?;
    let context = jetstream::new(client);
    make_stream(&context).await?;

    let log = JetStreamLog::open(context, "EXAMPLE", "example").await?;
    println!("{:?}", log.capabilities());

    // Each record has an outcome. A record with an id is stored once, however often it is appended.
    let order = Record::new("an order").with_id("order-17");
    let positions = log.append(vec![Record::new("hello"), order.clone()]).await.all()?;
    let again = log.append(vec![order]).await.all()?;
    println!("appended at {positions:?}, and again at {again:?}");

    let page = log.read(positions[0], Limit::records(10), Duration::ZERO).await?;
    println!("{} records on a page, the next one would be at {}", page.entries.len(), page.next);

    // A stream of records that also waits for future ones.
    let mut records = log.follow(page.next);
    let appending = tokio::spawn(async move { log.append(vec![Record::new("more")]).await.all() });
    if let Some(entry) = records.next_entry().await {
        let entry = entry?;
        println!("followed: {:?} at {}", entry.record.body, entry.position);
    }
    appending.await??;
    Ok(())
}

async fn make_stream(context: &jetstream::Context) -> Result<(), Failure> {
    let config = stream::Config {
        name: "EXAMPLE".into(),
        subjects: vec!["example".into()],
        storage: stream::StorageType::Memory,
        duplicate_window: Duration::from_secs(120),
        allow_direct: true,
        ..stream::Config::default()
    };
    // A server that has just started may not answer yet.
    for _ in 0..50 {
        if context.get_or_create_stream(config.clone()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    context.get_or_create_stream(config).await?;
    Ok(())
}

/// The example's own server, which ends with it.
struct Server {
    child: Child,
    dir: std::path::PathBuf,
}

impl Server {
    fn start() -> Result<(String, Self), Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = std::env::temp_dir().join(format!("jetstream-log-example-{}", std::process::id()));
        let child = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((format!("127.0.0.1:{port}"), Self { child, dir }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
