//! What Bowline wants to reach, as ratios of two contenders in the same rounds.

use crate::job::Work;
use crate::plan::{Table, median};
use crate::runner::Figures;

/// One aim.
struct Aim {
    what: &'static str,
    who: &'static str,
    work: Work,
    /// Beside whom; `BEST_PEER` for whoever is fastest of those who are neither raw nor Bowline.
    beside: &'static str,
    /// In which workload, where that is another.
    beside_work: Option<Work>,
    of: fn(&Figures) -> Option<f64>,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

const BEST_PEER: &str = "the best peer";
const RAW: &str = "raw, encode and parse";
const SPIN: &str = "raw, spin 50 µs";
const SPIN_TOKIO: &str = "raw tokio, spin 50 µs";
const TINY: Work = Work::OneWay { size: 16, senders: 1 };
/// Just above what a message keeps within itself.
const ABOVE_INLINE: Work = Work::OneWay { size: 128, senders: 1 };
const FEW_CALLS: Work = Work::Calls { size: 110, in_flight: 16 };
const ONE_WAY: Work = Work::OneWay { size: 110, senders: 1 };
const LARGE: Work = Work::OneWay { size: 64 * 1024, senders: 1 };
const CALLS: Work = Work::Calls { size: 110, in_flight: 256 };
const PING: Work = Work::Calls { size: 110, in_flight: 1 };

fn rate(figures: &Figures) -> Option<f64> {
    Some(figures.rate)
}

/// Time is what one call at a time is about.
fn time(figures: &Figures) -> Option<f64> {
    Some(1.0 / figures.rate)
}

fn p99(figures: &Figures) -> Option<f64> {
    Some(figures.latency?.p99)
}

fn aims() -> Vec<Aim> {
    use Limit::{AtLeast, AtMost};
    let aim =
        |what, who, work, beside, of, limit| Aim { what, who, work, beside, beside_work: None, of, limit };
    let rate = rate as fn(&_) -> _;
    let mut aims = Vec::new();
    for who in ["Bowline, tokio", "Bowline, smol"] {
        aims.extend([
            aim("shared handle, inline", who, ONE_WAY, RAW, rate, AtLeast(0.80)),
            aim("shared handle, inline", who, ONE_WAY, BEST_PEER, rate, AtLeast(1.3)),
            aim("shared handle, inline", who, ONE_WAY, "libzmq", rate, AtLeast(8.0)),
            aim("shared handle, inline", who, TINY, RAW, rate, AtLeast(0.45)),
            aim("shared handle, inline", who, TINY, BEST_PEER, rate, AtLeast(1.0)),
            aim("shared handle, inline", who, LARGE, RAW, rate, AtLeast(0.95)),
        ]);
    }
    for who in ["Bowline, tokio, receive", "Bowline, smol, receive"] {
        aims.extend([
            aim("owned messages in a task", who, ONE_WAY, RAW, rate, AtLeast(0.60)),
            aim("owned messages in a task", who, ONE_WAY, BEST_PEER, rate, AtLeast(1.0)),
            aim("owned messages in a task", who, ABOVE_INLINE, RAW, rate, AtLeast(0.60)),
            aim("owned messages in a task", who, ABOVE_INLINE, BEST_PEER, rate, AtLeast(1.0)),
            aim("owned messages in a task", who, LARGE, RAW, rate, AtLeast(0.90)),
        ]);
    }
    for who in ["Bowline, tokio, exclusive", "Bowline, smol, exclusive", "Bowline, blocking, exclusive"] {
        aims.push(aim("one owner, one at a time", who, ONE_WAY, RAW, rate, AtLeast(0.85)));
    }
    aims.extend([
        aim("threads", "Bowline, blocking", ONE_WAY, "Bowline, tokio", rate, AtLeast(0.90)),
        aim("threads", "Bowline, blocking", LARGE, RAW, rate, AtLeast(0.95)),
        aim("a task for each call", "Bowline, tokio", CALLS, "tokio actor by hand", rate, AtLeast(1.0)),
        aim(
            "a task for each call",
            "Bowline, tokio, multi_thread",
            CALLS,
            "tokio actor by hand, multi_thread",
            rate,
            AtLeast(2.0),
        ),
        aim("a task for each call", "Bowline, tokio", CALLS, "tarpc (bincode)", rate, AtLeast(5.0)),
        aim("a task for each call", "Bowline, tokio", CALLS, "tonic", rate, AtLeast(20.0)),
        aim("calls of one owner", "Bowline, blocking, exclusive", CALLS, RAW, rate, AtLeast(0.90)),
        aim("calls of one owner", "Bowline, tokio, exclusive", CALLS, "raw tokio", rate, AtLeast(0.90)),
        aim("calls of one owner, spinning", "Bowline, blocking, spin", FEW_CALLS, SPIN, rate, AtLeast(0.85)),
        aim("calls of one owner, spinning", "Bowline, blocking, spin", PING, SPIN, rate, AtLeast(0.85)),
        aim(
            "calls of one owner, spinning",
            "Bowline, tokio, spin",
            FEW_CALLS,
            SPIN_TOKIO,
            rate,
            AtLeast(0.85),
        ),
        aim("calls of one owner, spinning", "Bowline, tokio, spin", PING, SPIN_TOKIO, rate, AtLeast(0.85)),
        aim("one at a time", "Bowline, blocking", PING, RAW, time, AtMost(1.10)),
        aim("one at a time", "Bowline, tokio", PING, "raw tokio", time, AtMost(1.10)),
    ]);
    for connections in [1, 10, 100, 1_000, 9_900] {
        let work = Work::Scale { connections };
        aims.push(aim("many connections", "Bowline, tokio", work, "raw tokio", rate, AtLeast(0.90)));
    }
    aims.push(Aim {
        beside_work: Some(Work::Mixed { per_second: 0.0, apart: true }),
        ..aim(
            "calls beside a stream, p99",
            "Bowline, tokio",
            Work::Mixed { per_second: 0.0, apart: false },
            "Bowline, tokio",
            p99,
            AtMost(1.5),
        )
    });
    aims
}

/// Resident bytes of a connection, server and client, at most so many above the runtime's own task with a
/// socket: idle since it was made, and after a call and quiet heartbeats.
const IDLE: [f64; 2] = [3072.0, 3072.0];
const USED: [f64; 2] = [2560.0, 3072.0];

fn print_idle(tables: &[Table]) {
    for table in tables.iter().filter(|table| matches!(table.work, Work::Idle { .. })) {
        for (who, bare) in [("Bowline, tokio", "raw tokio"), ("Bowline, smol", "raw smol")] {
            let (Some(own), Some(bare)) = (table.row(who), table.row(bare)) else { continue };
            for (side, name) in ["server", "client"].into_iter().enumerate() {
                let bare = median(&bare.values(|f| Some(f.resident?[side])));
                let above = |of: &dyn Fn(&Figures) -> Option<f64>| Some(median(&own.values(of))? - bare?);
                let idle = above(&|f| Some(f.resident?[side]));
                let used = above(&|f| Some(f.resident_used?[side]));
                for (when, bytes, limit) in [("idle", idle, IDLE[side]), ("after a call", used, USED[side])] {
                    let Some(bytes) = bytes else { continue };
                    let met = if bytes <= limit { "met" } else { "MISSED" };
                    println!(
                        "{met:<6} {bytes:>6.0} (at most {limit}) bytes above a bare task, {when}: {who}, {name}, {}",
                        table.work
                    );
                }
            }
        }
    }
}

/// Prints each aim that was measured, and whether it is met.
pub fn print(tables: &[Table]) {
    for (place, aim) in checked(tables).iter().enumerate() {
        if place == 0 {
            println!("\naims");
        }
        let Checked { met, ratio, sign, limit, what } = aim;
        println!("{:<6} {ratio:>6.2} ({sign} {limit:.2})  {what}", if *met { "met" } else { "MISSED" });
    }
    print_idle(tables);
}

/// The same as a table in Markdown.
pub fn markdown(tables: &[Table]) -> String {
    let mut text = String::from("| | ratio | aim | |\n|---|---|---|---|\n");
    for Checked { met, ratio, sign, limit, what } in checked(tables) {
        let met = if met { "met" } else { "**missed**" };
        text += &format!("| {what} | {ratio:.2} | {sign} {limit:.2} | {met} |\n");
    }
    text + "\n"
}

struct Checked {
    met: bool,
    ratio: f64,
    sign: &'static str,
    limit: f64,
    what: String,
}

fn checked(tables: &[Table]) -> Vec<Checked> {
    let check = |aim: Aim| {
        let (beside, ratio) = measured(tables, &aim)?;
        let (met, sign, limit) = match aim.limit {
            Limit::AtLeast(limit) => (ratio >= limit, "at least", limit),
            Limit::AtMost(limit) => (ratio <= limit, "at most", limit),
        };
        let what = format!("{}: {}, {}, to {beside}", aim.what, aim.who, aim.work);
        Some(Checked { met, ratio, sign, limit, what })
    };
    aims().into_iter().filter_map(check).collect()
}

fn measured(tables: &[Table], aim: &Aim) -> Option<(String, f64)> {
    let table = |work| tables.iter().find(|table| table.work == work && !table.one_process);
    let own = table(aim.work)?.row(aim.who)?;
    let beside = table(aim.beside_work.unwrap_or(aim.work))?;
    if aim.beside != BEST_PEER {
        return Some((aim.beside.to_owned(), own.ratio_to(beside.row(aim.beside)?, aim.of)?));
    }
    let is_peer = |name: &str| !["raw", "Bowline", "tokio actor"].iter().any(|not| name.starts_with(not));
    let peers = beside.rows.iter().filter(|row| is_peer(&row.name));
    // The best peer is the one that Bowline is least ahead of.
    peers
        .filter_map(|row| Some((format!("{BEST_PEER}, {}", row.name), own.ratio_to(row, aim.of)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
