//! Bowline beside its peers and beside raw sockets: the same work, in turn, in one run.
//!
//! ```text
//! cargo run --release                          # all of it: an hour or so
//! cargo run --release -- --quick               # a look at everything: some minutes
//! cargo run --release -- --only w1 --rounds 7 --seconds 2
//! ```
//!
//! Each measurement starts a server process and a client process of this program (`--threads`:
//! threads). Contenders take turns (A B C A B C …); a ratio is the median of a contender's ratios
//! to the baseline of the same round. See `docs/performance.md`.

mod aims;
mod callers;
mod chart;
mod child;
mod contender;
mod contenders;
mod core_alone;
mod job;
mod plan;
mod report;
mod runner;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use job::{Job, Work};
use plan::Table;

/// Bowline beside its peers.
#[derive(Parser)]
struct Args {
    /// A look: three rounds of 0.3 s, small numbers of connections.
    #[arg(long)]
    quick: bool,
    /// Only workloads or contenders whose name contains this (`w1`, `110 B`, `smol`), or
    /// contenders of workloads (`w1/smol`); several separated by commas. Baselines run anyway.
    #[arg(long)]
    only: Option<String>,
    /// Rounds of each workload.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each run.
    #[arg(long)]
    seconds: Option<f64>,
    /// Client and server in two threads of one process.
    #[arg(long)]
    threads: bool,
    /// Where the figures go, in JSON.
    #[arg(long, default_value = "peers.json")]
    json: PathBuf,
    /// Where the chart goes.
    #[arg(long)]
    chart: Option<PathBuf>,
}

fn main() -> Result<()> {
    if let Ok(role) = std::env::var(child::ROLE) {
        return child::run(&role);
    }
    let args = Args::parse();
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 5 });
    let seconds = args.seconds.unwrap_or(if args.quick { 0.3 } else { 1.0 });
    let mut tables = plan::tables(args.quick, args.only.as_deref());
    for (name, reason) in contenders::peers::left_out() {
        println!("left out: {name}: {reason}");
    }
    for table in &mut tables {
        for (name, reason) in &table.left_out {
            println!("{}: without {name}: {reason}", table.title());
        }
        measure(table, rounds, seconds, args.threads);
        report::print(table);
    }
    aims::print(&tables);
    if plan::asked_for(args.only.as_deref(), "w5", "core alone") {
        core_alone::run(rounds, Duration::from_secs_f64(seconds));
    }
    std::fs::write(&args.json, serde_json::to_string_pretty(&tables)?)?;
    if let Some(path) = &args.chart {
        chart::draw(&tables, path)?;
    }
    Ok(())
}

fn measure(table: &mut Table, rounds: usize, seconds: f64, threads: bool) {
    let bar = ProgressBar::new((rounds * table.rows.len()) as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}/{duration} {msg}");
    bar.set_style(style.expect("a good template"));
    for _ in 0..rounds {
        for row in &mut table.rows {
            bar.set_message(format!("{}: {}", table.work, row.name));
            let run = |work| {
                let job = Job { contender: row.name.clone(), work, seconds };
                if threads { runner::in_threads(&job) } else { runner::in_processes(&job) }
            };
            // What is paced is paced by the contender's own peak, of the same round.
            let figures = match table.work {
                Work::Paced { size, .. } => run(Work::Calls { size, in_flight: 256 })
                    .and_then(|peak| run(Work::Paced { size, per_second: peak.rate / 2.0 })),
                Work::Mixed { apart, .. } => run(Work::Mixed { per_second: 0.0, apart: false })
                    .and_then(|solo| run(Work::Mixed { per_second: solo.rate / 2.0, apart })),
                work => run(work),
            };
            row.take(figures);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
}
