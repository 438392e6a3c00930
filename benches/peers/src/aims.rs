//! What Bowline wants to reach, as ratios of two contenders in the same rounds.

use crate::job::Work;
use crate::plan::{Row, Table, median};
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
    let mut aims = vec![
        aim("one owner", "Bowline, blocking, exclusive", ONE_WAY, RAW, rate as fn(&_) -> _, AtLeast(0.80)),
        aim("one owner", "Bowline, tokio, exclusive", ONE_WAY, RAW, rate, AtLeast(0.80)),
        aim("one owner", "Bowline, smol, exclusive", ONE_WAY, RAW, rate, AtLeast(0.80)),
        aim("one owner", "Bowline, tokio, exclusive", ONE_WAY, BEST_PEER, rate, AtLeast(1.3)),
    ];
    let shared = ["Bowline, tokio", "Bowline, smol", "Bowline, tokio, cast_many", "Bowline, smol, cast_many"];
    for who in shared {
        aims.push(aim("shared handle", who, ONE_WAY, RAW, rate, AtLeast(0.60)));
        aims.push(aim("shared handle", who, ONE_WAY, BEST_PEER, rate, AtLeast(1.3)));
        aims.push(aim("shared handle", who, ONE_WAY, "libzmq", rate, AtLeast(8.0)));
    }
    for who in ["Bowline, tokio", "Bowline, smol", "Bowline, blocking"] {
        aims.push(aim("large messages", who, LARGE, RAW, rate, AtLeast(0.95)));
    }
    aims.extend([
        aim("a task for each call", "Bowline, tokio", CALLS, "tokio actor by hand", rate, AtLeast(1.5)),
        aim("a task for each call", "Bowline, tokio", CALLS, "tarpc (bincode)", rate, AtLeast(5.0)),
        aim("a task for each call", "Bowline, tokio", CALLS, "tonic", rate, AtLeast(20.0)),
        aim("calls of one owner", "Bowline, blocking, exclusive", CALLS, RAW, rate, AtLeast(0.70)),
        aim("calls of one owner", "Bowline, blocking, spin", CALLS, "raw, spin 50 µs", rate, AtLeast(0.70)),
        aim("one at a time", "Bowline, blocking", PING, RAW, time, AtMost(1.05)),
        aim("one at a time", "Bowline, blocking, spin", PING, "raw, spin 50 µs", time, AtMost(1.10)),
        aim("one at a time", "Bowline, tokio", PING, "raw tokio", time, AtMost(1.10)),
    ]);
    for connections in [1, 10, 100, 1_000, 9_900] {
        let work = Work::Scale { connections };
        aims.push(aim("many connections", "Bowline, tokio", work, "raw tokio", rate, AtLeast(0.70)));
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

/// Bytes of an idle connection above the runtime's own task with a socket.
const IDLE: f64 = 3072.0;

fn print_idle(tables: &[Table]) {
    for table in tables.iter().filter(|table| matches!(table.work, Work::Idle { .. })) {
        for (who, bare) in [("Bowline, tokio", "raw tokio"), ("Bowline, smol", "raw smol")] {
            let (Some(own), Some(bare)) = (table.row(who), table.row(bare)) else { continue };
            for (side, name) in ["server", "client"].into_iter().enumerate() {
                let bytes = |row: &Row| median(&row.values(|f| Some(f.resident?[side])));
                let (Some(own), Some(bare)) = (bytes(own), bytes(bare)) else { continue };
                let met = if own - bare <= IDLE { "met" } else { "MISSED" };
                let above = own - bare;
                println!(
                    "{met:<6} {above:>6.0} (at most {IDLE}) bytes above a bare task: {who}, {name}, {}",
                    table.work
                );
            }
        }
    }
}

/// Prints each aim that was measured, and whether it is met.
pub fn print(tables: &[Table]) {
    let mut heading = Some("\naims");
    for aim in aims() {
        let Some((beside, ratio)) = measured(tables, &aim) else { continue };
        if let Some(heading) = heading.take() {
            println!("{heading}");
        }
        let (met, sign, limit) = match aim.limit {
            Limit::AtLeast(limit) => (ratio >= limit, "at least", limit),
            Limit::AtMost(limit) => (ratio <= limit, "at most", limit),
        };
        let (what, who, work) = (aim.what, aim.who, aim.work);
        let met = if met { "met" } else { "MISSED" };
        println!("{met:<6} {ratio:>6.2} ({sign} {limit:.2})  {what}: {who}, {work}, to {beside}");
    }
    print_idle(tables);
}

fn measured(tables: &[Table], aim: &Aim) -> Option<(String, f64)> {
    let table = |work| tables.iter().find(|table| table.work == work);
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
