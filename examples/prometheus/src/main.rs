//! A server with settings from a file and the environment, metrics for Prometheus, and a drain on SIGTERM:
//! `cargo run -p bowline-example-prometheus [file]`

use std::error::Error;
use std::process::ExitCode;

use bowline_example_prometheus::{Program, Running, recorder};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let file = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => include_str!("../shop.toml").to_owned(),
    };
    let program = Program::read(&file)?;
    let running = Running::start(&program, recorder()?).await?;
    println!("listening at {}", running.address());
    println!("metrics at http://{}/metrics", running.metrics_address());

    stop_is_asked_for().await?;
    let drained = running.stop().await;
    println!("{} connections drained, {} cut short", drained.connections, drained.cut.len());
    for cut in &drained.cut {
        println!("{:?}: {} requests without an answer", cut.remote, cut.requests.len());
    }
    Ok(())
}

/// SIGTERM of a service manager, or an interrupt of the terminal.
#[cfg(unix)]
async fn stop_is_asked_for() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn stop_is_asked_for() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
