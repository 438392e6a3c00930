//! The parts of the example: what is read from a file, the recorder, the server and its page of metrics.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bowline::tokio::Server;
use bowline::{Address, Config, Drained, Monitor, Settings};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Variables of the environment with this prefix override the settings under `[link]`.
pub const PREFIX: &str = "SHOP_LINK_";

/// Bounds of buckets for times, in seconds: round trips, and how long connections last.
const SECONDS: [f64; 9] = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];
/// The longest head of a request for metrics, bytes.
const MAX_HEAD: usize = 8 * 1024;
/// How long a request for metrics may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Where the server listens.
    pub listen: String,
    /// Where metrics are asked for.
    pub metrics: String,
    /// Settings of the server's links.
    #[serde(default)]
    pub link: Settings,
}

impl Program {
    /// The settings of a file, overridden by the environment.
    ///
    /// # Errors
    /// A setting that does not exist, or cannot be read.
    pub fn read(file: &str) -> Result<Self, Box<dyn Error>> {
        let mut program: Self = toml::from_str(file)?;
        program.link = program.link.overridden_by(Settings::from_env(PREFIX)?);
        Ok(program)
    }
}

/// Installs the recorder for the process, before there is a link.
///
/// # Errors
/// There is a recorder already.
pub fn recorder() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// The server, and what answers requests for metrics.
#[derive(Debug)]
pub struct Running {
    server: Server,
    metrics_address: SocketAddr,
    metrics: JoinHandle<()>,
}

impl Running {
    /// Starts both.
    ///
    /// # Errors
    /// A setting that cannot work, or an address that cannot be listened at.
    pub async fn start(program: &Program, handle: PrometheusHandle) -> Result<Self, Box<dyn Error>> {
        let monitor = Monitor::new();
        let server = Server::with_config(program.link.build(Config::builder())?)
            .monitor(&monitor, "shop")
            .on_request(|request| async move { Ok(request.into_body()) })
            .bind(&program.listen)
            .await?;
        server.start()?;

        let listener = TcpListener::bind(&program.metrics).await?;
        let metrics_address = listener.local_addr()?;
        let page = Page { handle, monitor, server: server.clone() };
        let metrics = tokio::spawn(page.serve(listener));
        Ok(Self { server, metrics_address, metrics })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> Address {
        self.server.local_addr()
    }

    /// Where metrics are asked for.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Drains the server, for at most the configured linger. Metrics can be asked for meanwhile.
    pub async fn stop(self) -> Drained {
        let drained = self.server.shutdown().await;
        self.metrics.abort();
        drained
    }
}

/// The page of metrics.
struct Page {
    handle: PrometheusHandle,
    monitor: Monitor,
    server: Server,
}

impl Page {
    /// Answers one request after another: scrapers are few.
    async fn serve(self, listener: TcpListener) {
        loop {
            let answered = match listener.accept().await {
                Ok((socket, _)) => tokio::time::timeout(SCRAPE_TIMEOUT, self.answer(socket)).await,
                Err(error) => Ok(Err(error)),
            };
            if !matches!(answered, Ok(Ok(()))) {
                eprintln!("a request for metrics failed: {answered:?}");
                // Out of descriptors, the next attempt would fail at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn answer(&self, mut socket: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || socket.read_buf(&mut head).await? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let (status, body) = if head.starts_with(b"GET /metrics ") {
            ("200 OK", self.render())
        } else {
            ("404 Not Found", String::new())
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(body.as_bytes()).await?;
        socket.shutdown().await
    }

    /// The figures of this moment.
    fn render(&self) -> String {
        self.monitor.publish();
        // What the accepting side counts is the server's own, and not among the metrics of links.
        let counters = self.server.accept_counters();
        for (name, value) in [
            ("shop_accepted_total", counters.accepted),
            ("shop_denied_total", counters.denied),
            ("shop_handshakes_evicted_total", counters.evicted),
            ("shop_sessions_evicted_total", counters.sessions_evicted),
            ("shop_closed_for_memory_total", counters.closed_for_memory),
        ] {
            metrics::counter!(name).absolute(value);
        }
        self.handle.run_upkeep();
        self.handle.render()
    }
}
