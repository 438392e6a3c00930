//! Real servers: `nats-server` as child processes, and logs on them.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bowline_jetstream::{JetStreamConfig, JetStreamLog};
use bowline_log::conformance::Fixture;
use tokio::time::sleep;

static COUNT: AtomicU32 = AtomicU32::new(0);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A server process. Its data is kept until this is dropped.
struct Process {
    arguments: Vec<String>,
    child: Option<Child>,
    dir: PathBuf,
}

impl Process {
    fn start(&mut self) {
        let child = Command::new("nats-server")
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need nats-server: apt-get install nats-server");
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One server, or three.
pub struct Servers {
    processes: Mutex<Vec<Process>>,
    names: Vec<String>,
    urls: Vec<String>,
    pub direct: bool,
    pub config: JetStreamConfig,
}

impl Servers {
    pub fn one() -> Self {
        Self::start(1)
    }

    pub fn three() -> Self {
        Self::start(3)
    }

    fn start(count: usize) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let ports: Vec<_> = (0..count).map(|_| (free_port(), free_port())).collect();
        let routes: Vec<_> = ports.iter().map(|(_, port)| format!("nats://127.0.0.1:{port}")).collect();
        let (mut processes, mut names) = (Vec::new(), Vec::new());
        for (index, (port, cluster)) in ports.iter().enumerate() {
            let name = format!("n{index}");
            let dir = std::env::temp_dir()
                .join(format!("bowline-jetstream-{}-{number}-{index}", std::process::id()));
            let dir_text = dir.display().to_string();
            let port = port.to_string();
            let mut arguments =
                vec!["-js", "-a", "127.0.0.1", "-p", &port, "-sd", &dir_text, "--server_name", &name];
            let (listen, all) = (format!("nats://127.0.0.1:{cluster}"), routes.join(","));
            if count > 1 {
                arguments.extend(["--cluster_name", "tests", "--cluster", &listen, "--routes", &all]);
            }
            let arguments = arguments.into_iter().map(str::to_owned).collect();
            let mut process = Process { arguments, child: None, dir };
            process.start();
            processes.push(process);
            names.push(name);
        }
        let urls = ports.iter().map(|(port, _)| format!("nats://127.0.0.1:{port}")).collect();
        let mut config = JetStreamConfig::default();
        config.deadline = Duration::from_secs(40);
        config.lag = Duration::from_secs(2);
        Self { processes: Mutex::new(processes), names, urls, direct: true, config }
    }

    pub fn kill(&self, index: usize) {
        self.processes.lock().expect("no test failed under it")[index].kill();
    }

    pub fn start_again(&self, index: usize) {
        self.processes.lock().expect("no test failed under it")[index].start();
    }

    /// A client that connects as soon as a server is there.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .connect(self.urls.clone())
            .await
            .expect("it connects later")
    }

    /// A context of such a client.
    pub async fn context(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// A new stream, on all servers.
    pub async fn stream(&self) -> (jetstream::Context, String) {
        let context = self.context().await;
        let name = format!("s{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            num_replicas: self.urls.len(),
            duplicate_window: Duration::from_secs(120),
            allow_direct: self.direct,
            ..stream::Config::default()
        };
        // Servers that have just started have no leader yet.
        for _ in 0..300 {
            if context.create_stream(config.clone()).await.is_ok() {
                return (context, name);
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the servers do not make a stream");
    }

    /// A log on a new stream.
    pub async fn log(&self) -> (jetstream::Context, JetStreamLog) {
        let (context, name) = self.stream().await;
        let log = JetStreamLog::open_with(context.clone(), &name, &name, self.config)
            .await
            .expect("the stream is there");
        (context, log)
    }

    /// The server that leads a stream.
    pub async fn leader(&self, context: &jetstream::Context, stream: &str) -> usize {
        if self.urls.len() == 1 {
            return 0;
        }
        for _ in 0..300 {
            if let Ok(stream) = context.get_stream(stream).await
                && let Some(leader) = stream.cached_info().cluster.as_ref().and_then(|c| c.leader.as_ref())
            {
                return self.names.iter().position(|name| name == leader).unwrap_or(0);
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the stream has no leader");
    }

    /// Waits until every server has all messages.
    pub async fn settled(&self, context: &jetstream::Context, stream: &str) {
        for _ in 0..300 {
            if let Ok(stream) = context.get_stream(stream).await
                && let Some(cluster) = &stream.cached_info().cluster
                && cluster.leader.is_some()
                && cluster.replicas.len() + 1 == self.urls.len()
                && cluster.replicas.iter().all(|replica| replica.current && !replica.offline)
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the servers never agree");
    }
}

impl Fixture for Servers {
    type Log = JetStreamLog;

    async fn fresh(&self) -> JetStreamLog {
        self.log().await.1
    }

    async fn trim(&self, log: &JetStreamLog, to: u64) -> bool {
        let stream = self.context().await.get_stream(log.stream()).await.expect("the stream is there");
        stream.purge().sequence(to).await.expect("it is purged");
        true
    }

    async fn delete(&self, log: &JetStreamLog, position: u64) -> bool {
        let stream = self.context().await.get_stream(log.stream()).await.expect("the stream is there");
        stream.delete_message(position).await.expect("it is deleted")
    }

    async fn restart(&self, log: &JetStreamLog) -> bool {
        let context = self.context().await;
        let index = self.leader(&context, log.stream()).await;
        self.kill(index);
        sleep(Duration::from_millis(300)).await;
        self.start_again(index);
        if self.urls.len() > 1 {
            self.settled(&context, log.stream()).await;
        }
        true
    }
}

/// Runs a scenario to its end on a runtime of its own.
pub fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
