//! One connection over TLS 1.3, beside tokio-rustls by hand and beside the same without TLS, in one run over loopback.
//!
//! `cargo bench -p bowline-benches --bench tls --all-features [-- --quick] [-- --rounds N] [-- --seconds S] [-- --only small|large|calls]
//! [-- --rows 'exclusive, TLS;actor']`
//!
//! Contenders take turns (A B C A B C …), so that a noisy moment of a shared machine hits them alike; what counts is the
//! median of each round's ratios. Client and server are threads of one process. What is written by hand is tuned first:
//! the length of its blocks, and whether there is a buffer between its socket and TLS. `tests/tls/tests/memory.rs` says
//! what idle connections hold.

mod by_hand;
mod counting;
mod ours;
mod settings;

use std::time::Duration;

use bowline::smol::Smol;
use bowline::tokio::Tokio;
use bytes::Bytes;

use by_hand::How;
use settings::Security;

const IN_FLIGHT: usize = 256;
const KIB: usize = 1024;

/// One way to do it: its name, what it moves a second, and the rows beside which it stands.
struct Row<'a> {
    name: String,
    run: Box<dyn Fn() -> f64 + 'a>,
    beside: Vec<usize>,
}

impl<'a> Row<'a> {
    fn new(name: impl Into<String>, beside: &[usize], run: impl Fn() -> f64 + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), beside: beside.to_vec() }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How often and how long rows run, and which.
struct Plan {
    rounds: usize,
    time: Duration,
    /// Parts of the names of the rows that run; all rows, if it is empty.
    rows: Vec<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| name.contains(part))
    }

    /// The best of what an author may try, unless no row by hand runs.
    fn tuned(&self, candidates: &[How], run: impl Fn(How, Duration) -> f64) -> How {
        if self.wants("tokio-rustls by hand") { tuned(candidates, self.time, run) } else { candidates[0] }
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Runs the rows in turn and prints medians: the rate, its minimum and maximum, the processor time of both sides for a
/// million messages, and ratios to other rows of the same round, of rates and (in brackets) of messages for the same
/// processor time. Where other programs use the processors, too, the latter say more.
fn table(title: &str, rows: &[Row<'_>], plan: &Plan) {
    let rounds = plan.rounds;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    let mut costs = rates.clone();
    for _ in 0..rounds {
        for ((rates, costs), row) in rates.iter_mut().zip(&mut costs).zip(rows) {
            if plan.wants(&row.name) {
                let before = cpu_seconds();
                let rate = (row.run)();
                rates.push(rate);
                costs.push((cpu_seconds() - before) / (rate * plan.time.as_secs_f64()) * 1e6);
            }
        }
    }
    println!("\n{title} ({rounds} rounds)");
    for (index, row) in rows.iter().enumerate() {
        let own = &rates[index];
        if !plan.wants(&row.name) {
            continue;
        }
        let (min, max) =
            own.iter().fold((f64::MAX, 0_f64), |(min, max), &rate| (min.min(rate), max.max(rate)));
        let (rate, cost) = (median(own.clone()), median(costs[index].clone()));
        print!("{index:>2} {:<58} {rate:>11.0} /s {min:>11.0} {max:>11.0} {cost:>9.3} s", row.name);
        for &beside in row.beside.iter().filter(|&&beside| plan.wants(&rows[beside].name)) {
            let ratios = own.iter().zip(&rates[beside]).map(|(own, other)| own / other).collect();
            let cheaper = costs[beside].iter().zip(&costs[index]).map(|(other, own)| other / own).collect();
            print!("  {:.2} ({:.2}) of {beside}", median(ratios), median(cheaper));
        }
        println!();
    }
}

/// The best of what an author may try, by a few short rounds.
fn tuned(candidates: &[How], time: Duration, run: impl Fn(How, Duration) -> f64) -> How {
    let time = time.min(Duration::from_millis(200));
    let mut rates = vec![Vec::new(); candidates.len()];
    for _ in 0..3 {
        for (rates, how) in rates.iter_mut().zip(candidates) {
            rates.push(run(*how, time));
        }
    }
    let rates = rates.into_iter().map(median);
    let best = candidates.iter().zip(rates).max_by(|a, b| a.1.total_cmp(&b.1));
    *best.expect("there are some").0
}

/// Blocks of each length, with and without a buffer between the socket and TLS.
fn candidates(blocks: &[usize]) -> Vec<How> {
    let with = |reads: usize| blocks.iter().map(move |block| How { block: block * KIB, reads: reads * KIB });
    with(0).chain(with(64)).collect()
}

fn casts(title: &str, security: &Security, body: &Bytes, blocks: &[usize], plan: &Plan) {
    let time = plan.time;
    let how = plan.tuned(&candidates(blocks), |how, time| by_hand::casts(security, how, body, time));
    let tls = Some(security);
    let rows = [
        Row::new(format!("tokio-rustls by hand, {how}"), &[], || by_hand::casts(security, how, body, time)),
        Row::new("tokio, shared, plain", &[], || ours::shared_casts::<Tokio>(None, body, time)),
        Row::new("tokio, shared, TLS", &[0, 1], || ours::shared_casts::<Tokio>(tls, body, time)),
        Row::new("tokio, exclusive, plain", &[], || ours::owned_casts::<Tokio>(None, true, body, time)),
        Row::new("tokio, exclusive, TLS", &[0, 3], || ours::owned_casts::<Tokio>(tls, true, body, time)),
        Row::new("tokio, exclusive to a server, TLS", &[0], || {
            ours::owned_casts::<Tokio>(tls, false, body, time)
        }),
        Row::new("smol, shared, TLS", &[0], || ours::shared_casts::<Smol>(tls, body, time)),
        Row::new("smol, exclusive, TLS", &[0], || ours::owned_casts::<Smol>(tls, true, body, time)),
        Row::new("threads, shared, TLS", &[0], || ours::threads_shared_casts(tls, body, time)),
        Row::new("threads, exclusive, TLS", &[0], || ours::threads_owned_casts(tls, body, time)),
    ];
    table(title, &rows, plan);
}

fn calls(security: &Security, body: &Bytes, plan: &Plan) {
    let time = plan.time;
    let run = |how, time| by_hand::calls(security, how, body, IN_FLIGHT, time);
    let how = plan.tuned(&candidates(&[64]), run);
    let tls = Some(security);
    let rows = [
        Row::new(format!("tokio-rustls by hand, one owner, {how}"), &[], || {
            by_hand::calls(security, how, body, IN_FLIGHT, time)
        }),
        Row::new("tokio-rustls by hand, an actor, 256 tasks", &[0], || {
            by_hand::actor(security, how, body, IN_FLIGHT, time)
        }),
        Row::new("tokio, shared, 256 tasks, plain", &[], || {
            ours::shared_calls::<Tokio>(None, body, IN_FLIGHT, time)
        }),
        Row::new("tokio, shared, 256 tasks, TLS", &[0, 1, 2], || {
            ours::shared_calls::<Tokio>(tls, body, IN_FLIGHT, time)
        }),
        Row::new("tokio, exclusive, plain", &[], || {
            ours::owned_calls::<Tokio>(None, true, body, IN_FLIGHT, time)
        }),
        Row::new("tokio, exclusive, TLS", &[0, 4], || {
            ours::owned_calls::<Tokio>(tls, true, body, IN_FLIGHT, time)
        }),
        Row::new("tokio, exclusive to a server, TLS", &[0], || {
            ours::owned_calls::<Tokio>(tls, false, body, IN_FLIGHT, time)
        }),
        Row::new("smol, shared, 256 tasks, TLS", &[0, 1], || {
            ours::shared_calls::<Smol>(tls, body, IN_FLIGHT, time)
        }),
        Row::new("smol, exclusive, TLS", &[0], || {
            ours::owned_calls::<Smol>(tls, true, body, IN_FLIGHT, time)
        }),
        Row::new("threads, exclusive, TLS", &[0], || ours::threads_owned_calls(tls, body, IN_FLIGHT, time)),
    ];
    table("256 calls in flight, 110 bytes each way", &rows, plan);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let given = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let number = |name: &str| given(name)?.parse::<f64>().ok();
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = number("--rounds").unwrap_or(if quick { 3.0 } else { 9.0 }) as usize;
    let time = Duration::from_secs_f64(number("--seconds").unwrap_or(if quick { 0.2 } else { 0.5 }));
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let only = given("--only");
    let rows = given("--rows").map(|rows| rows.split(';').map(str::to_owned).collect());
    let plan = Plan { rounds, time, rows: rows.unwrap_or_default() };
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let security = Security::new();
    let (small, large) = (Bytes::from(vec![7; 110]), Bytes::from(vec![7; 64 * KIB]));
    if wanted("small") {
        casts("casts of 110 bytes, one way", &security, &small, &[16, 32, 64, 128], &plan);
    }
    if wanted("large") {
        casts("casts of 64 KiB, one way", &security, &large, &[0, 65, 130, 260], &plan);
    }
    if wanted("calls") {
        calls(&security, &small, &plan);
    }
}
