//! One connection over TLS 1.3, beside tokio-rustls by hand and beside the same without TLS, in one run over loopback.
//!
//! `cargo bench -p bowline-benches --bench tls --all-features [-- --quick] [-- --rounds N] [-- --seconds S] [-- --only small|large|calls]`
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

/// Runs the rows in turn and prints medians, and ratios to other rows of the same round.
fn table(title: &str, rows: &[Row<'_>], rounds: usize) {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for (rates, row) in rates.iter_mut().zip(rows) {
            rates.push((row.run)());
        }
    }
    println!("\n{title} ({rounds} rounds)");
    for (index, row) in rows.iter().enumerate() {
        let own = &rates[index];
        let (min, max) =
            own.iter().fold((f64::MAX, 0_f64), |(min, max), &rate| (min.min(rate), max.max(rate)));
        print!("{index:>2} {:<58} {:>11.0} /s {min:>11.0} {max:>11.0}", row.name, median(own.clone()));
        for &beside in &row.beside {
            let ratios = own.iter().zip(&rates[beside]).map(|(own, other)| own / other).collect();
            print!("  {:.2} of {beside}", median(ratios));
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

fn casts(title: &str, security: &Security, body: &Bytes, blocks: &[usize], time: Duration, rounds: usize) {
    let how = tuned(&candidates(blocks), time, |how, time| by_hand::casts(security, how, body, time));
    let tls = Some(security);
    let rows = [
        Row::new(format!("tokio-rustls by hand, {how}"), &[], || by_hand::casts(security, how, body, time)),
        Row::new("tokio, shared, plain", &[], || ours::shared_casts::<Tokio>(None, body, time)),
        Row::new("tokio, shared, TLS", &[0, 1], || ours::shared_casts::<Tokio>(tls, body, time)),
        Row::new("tokio, exclusive, plain", &[], || ours::owned_casts::<Tokio>(None, body, time)),
        Row::new("tokio, exclusive, TLS", &[0, 3], || ours::owned_casts::<Tokio>(tls, body, time)),
        Row::new("smol, shared, TLS", &[0], || ours::shared_casts::<Smol>(tls, body, time)),
        Row::new("smol, exclusive, TLS", &[0], || ours::owned_casts::<Smol>(tls, body, time)),
        Row::new("threads, shared, TLS", &[0], || ours::threads_shared_casts(tls, body, time)),
        Row::new("threads, exclusive, TLS", &[0], || ours::threads_owned_casts(tls, body, time)),
    ];
    table(title, &rows, rounds);
}

fn calls(security: &Security, body: &Bytes, time: Duration, rounds: usize) {
    let how =
        tuned(&candidates(&[64]), time, |how, time| by_hand::calls(security, how, body, IN_FLIGHT, time));
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
        Row::new("tokio, exclusive, plain", &[], || ours::owned_calls::<Tokio>(None, body, IN_FLIGHT, time)),
        Row::new("tokio, exclusive, TLS", &[0, 4], || ours::owned_calls::<Tokio>(tls, body, IN_FLIGHT, time)),
        Row::new("smol, shared, 256 tasks, TLS", &[0, 1], || {
            ours::shared_calls::<Smol>(tls, body, IN_FLIGHT, time)
        }),
        Row::new("smol, exclusive, TLS", &[0], || ours::owned_calls::<Smol>(tls, body, IN_FLIGHT, time)),
        Row::new("threads, exclusive, TLS", &[0], || ours::threads_owned_calls(tls, body, IN_FLIGHT, time)),
    ];
    table("256 calls in flight, 110 bytes each way", &rows, rounds);
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
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let security = Security::new();
    let (small, large) = (Bytes::from(vec![7; 110]), Bytes::from(vec![7; 64 * KIB]));
    if wanted("small") {
        casts("casts of 110 bytes, one way", &security, &small, &[16, 32, 64, 128], time, rounds);
    }
    if wanted("large") {
        casts("casts of 64 KiB, one way", &security, &large, &[0, 65, 130, 260], time, rounds);
    }
    if wanted("calls") {
        calls(&security, &small, time, rounds);
    }
}
