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
    /// contenders of workloads (`w1/smol`); several separated by semicolons. Baselines run anyway.
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
    /// Where the aims and tables go in Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
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
    let mut tables = plan::tables(args.quick, args.only.as_deref(), args.threads);
    for (name, reason) in contenders::peers::left_out() {
        println!("left out: {name}: {reason}");
    }
    for table in &mut tables {
        for (name, reason) in &table.left_out {
            println!("{}: without {name}: {reason}", table.title());
        }
        choose_blocks(table, seconds);
        measure(table, rounds, seconds);
        report::print(table);
    }
    aims::print(&tables);
    if plan::asked_for(args.only.as_deref(), "w5", "core alone") {
        core_alone::run(rounds, Duration::from_secs_f64(seconds));
    }
    std::fs::write(&args.json, serde_json::to_string_pretty(&tables)?)?;
    if let Some(path) = &args.markdown {
        std::fs::write(path, aims::markdown(&tables) + &report::markdown(&tables))?;
    }
    if let Some(path) = &args.chart {
        chart::draw(&tables, path)?;
    }
    Ok(())
}

/// Finds each contender's fastest block length, where it has a choice: three short runs of each.
fn choose_blocks(table: &mut Table, seconds: f64) {
    let work = table.work;
    for row in &mut table.rows {
        let blocks = contender::named(&row.name).map_or(&[][..], |contender| contender.blocks(&work));
        // What is paced is found out with calls as fast as they go.
        let work = match work {
            Work::Paced { size, .. } => Work::Calls { size, in_flight: 256 },
            work => work,
        };
        let speed = |block: usize| {
            let runs = (0..3).filter_map(|_| {
                let job = Job { contender: row.name.clone(), work, seconds: (seconds / 3.0).max(0.1), block };
                Some(run(&job, table.one_process).ok()?.rate)
            });
            plan::median(&runs.collect::<Vec<_>>()).unwrap_or_default()
        };
        let speeds: Vec<_> = blocks.iter().map(|&block| (block, speed(block))).collect();
        if let Some(&(block, _)) = speeds.iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            row.block = block;
            let shown = speeds.iter().map(|(block, speed)| format!("{block} B {:.2} M/s", speed / 1e6));
            println!("{}: {}: {}", work, row.name, shown.collect::<Vec<_>>().join(", "));
        }
    }
}

fn run(job: &Job, one_process: bool) -> Result<runner::Figures> {
    if one_process { runner::in_threads(job) } else { runner::in_processes(job) }
}

fn measure(table: &mut Table, rounds: usize, seconds: f64) {
    let bar = ProgressBar::new((rounds * table.rows.len()) as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}/{duration} {msg}");
    bar.set_style(style.expect("a good template"));
    for _ in 0..rounds {
        for row in &mut table.rows {
            bar.set_message(format!("{}: {}", table.work, row.name));
            let (block, one_process) = (row.block, table.one_process);
            let run = |work| run(&Job { contender: row.name.clone(), work, seconds, block }, one_process);
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
