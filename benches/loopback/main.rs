//! One connection over loopback, beside raw sockets in the same run.
//!
//! `cargo bench -p bowline-benches --bench loopback [-- --quick] [-- --rounds N] [-- --seconds S]`
//!
//! Contenders take turns (A B C A B C …), so that a noisy moment of a shared machine hits them
//! alike; what counts is the median of each round's ratio to the raw sockets of that round.
//! Client and server are threads of one process.

mod raw;
mod tasks;
mod threads;

use std::time::Duration;

use bowline::Config;

const BODY: [u8; 110] = [7; 110];
/// A cast of 110 bytes on the wire.
const CAST_BYTES: u64 = 122;
/// A request of 110 bytes on the wire; a reply takes 126.
const REQUEST_BYTES: usize = 134;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = value("--rounds").unwrap_or(if quick { 3.0 } else { 7.0 }) as usize;
    let seconds = value("--seconds").unwrap_or(if quick { 0.3 } else { 1.0 });
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let time = Duration::from_secs_f64(seconds);

    let casts: Vec<Contender> = vec![
        ("raw std::net, 64 KiB blocks", Box::new(move || raw::one_way(time))),
        (
            "tokio (current_thread)",
            Box::new(move || tasks::casts_async::<bowline::tokio::Tokio>(time, on_tokio)),
        ),
        ("smol", Box::new(move || tasks::casts_async::<bowline::smol::Smol>(time, on_smol))),
        (
            "async-std",
            Box::new(move || tasks::casts_async::<bowline::async_std::AsyncStd>(time, on_async_std)),
        ),
        ("blocking", Box::new(move || threads::casts_blocking(time))),
    ];
    table("casts of 110 bytes, one way", &casts, rounds, &[0; 5]);

    let sessions: Vec<Contender> = vec![
        ("tokio", Box::new(move || tasks::casts_async::<bowline::tokio::Tokio>(time, on_tokio))),
        (
            "tokio, in a session",
            Box::new(move || {
                tasks::casts_with::<bowline::tokio::Tokio>(time, on_tokio, &tasks::in_session())
            }),
        ),
        (
            "tokio, 256 calls",
            Box::new(move || tasks::calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio)),
        ),
        (
            "tokio, 256 calls in a session",
            Box::new(move || {
                tasks::calls_with::<bowline::tokio::Tokio>(time, 256, on_tokio, &tasks::in_session())
            }),
        ),
    ];
    table("what a session costs, 110 bytes", &sessions, rounds, &[0, 0, 2, 2]);

    let cuts: Vec<Contender> = vec![
        ("raw tokio: connect and one round trip", Box::new(move || on_tokio_value(raw::connects(time)))),
        (
            "tokio: cut, and the next call's reply",
            Box::new(move || tasks::recoveries(time, &Config::default())),
        ),
        ("tokio, in a session", Box::new(move || tasks::recoveries(time, &tasks::in_session()))),
    ];
    table("connections cut and made again, one after another", &cuts, rounds, &[0; 3]);

    let pings: Vec<Contender> = vec![
        ("raw std::net ping-pong", Box::new(move || raw::ping(time))),
        ("blocking, one call at a time", Box::new(move || threads::ping_blocking(time))),
        ("raw tokio ping-pong", Box::new(move || on_tokio_value(raw::ping_tokio(time)))),
        (
            "tokio, one call at a time",
            Box::new(move || tasks::calls_async::<bowline::tokio::Tokio>(time, 1, on_tokio)),
        ),
        ("raw async-io ping-pong", Box::new(move || smol::block_on(raw::ping_smol(time)))),
        (
            "smol, one call at a time",
            Box::new(move || tasks::calls_async::<bowline::smol::Smol>(time, 1, on_smol)),
        ),
        (
            "async-std, one call at a time",
            Box::new(move || tasks::calls_async::<bowline::async_std::AsyncStd>(time, 1, on_async_std)),
        ),
    ];
    table("one call at a time, 110 bytes each way", &pings, rounds, &[0, 0, 2, 2, 4, 4, 4]);

    let many: Vec<Contender> = vec![
        (
            "tokio (current_thread)",
            Box::new(move || tasks::calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio)),
        ),
        ("smol", Box::new(move || tasks::calls_async::<bowline::smol::Smol>(time, 256, on_smol))),
        (
            "async-std",
            Box::new(move || tasks::calls_async::<bowline::async_std::AsyncStd>(time, 256, on_async_std)),
        ),
    ];
    table("256 calls in flight, a task each, 110 bytes each way", &many, rounds, &[0; 3]);

    let beside: Vec<Contender> = vec![
        (
            "tokio, 256 tasks",
            Box::new(move || tasks::calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio)),
        ),
        ("blocking, 16 threads, 16 calls each", Box::new(move || threads::calls_blocking(time, 16, 16))),
        ("blocking, 256 threads, a call each", Box::new(move || threads::calls_blocking(time, 256, 1))),
    ];
    table("256 calls in flight, threads beside tasks, 110 bytes each way", &beside, rounds, &[0; 3]);
    let handles: Vec<Contender> = vec![
        (
            "tokio (current_thread)",
            Box::new(move || tasks::casts_async::<bowline::tokio::Tokio>(time, on_tokio)),
        ),
        ("blocking", Box::new(move || threads::casts_blocking(time))),
    ];
    table("casts of 110 bytes, threads beside tasks", &handles, rounds, &[0; 2]);
}

type Contender = (&'static str, Box<dyn Fn() -> f64>);

/// Runs the contenders in turn and prints medians, and ratios to the contender `beside` of the
/// same round.
fn table(title: &str, contenders: &[Contender], rounds: usize, beside: &[usize]) {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (index, (_, run)) in contenders.iter().enumerate() {
            rates[index].push(run());
        }
    }
    println!("\n{title} ({rounds} rounds)");
    println!("{:<36} {:>12} {:>12} {:>12} {:>8}", "", "median /s", "min", "max", "ratio");
    for (index, (name, _)) in contenders.iter().enumerate() {
        let own = &rates[index];
        let ratios: Vec<f64> = own.iter().zip(&rates[beside[index]]).map(|(own, raw)| own / raw).collect();
        let (min, max) = own.iter().fold((f64::MAX, 0_f64), |(min, max), &r| (min.min(r), max.max(r)));
        let (median, ratio) = (median(own), median(&ratios));
        println!("{name:<36} {median:>12.0} {min:>12.0} {max:>12.0} {ratio:>8.2}");
        println!(
            "{{\"table\":{title:?},\"name\":{name:?},\"median\":{median:.0},\"min\":{min:.0},\"max\":{max:.0},\"ratio\":{ratio:.3}}}"
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn on_tokio(work: impl Future<Output = ()>) {
    on_tokio_value(work);
}

fn on_tokio_value<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn on_smol(work: Work) {
    smol::block_on(work);
}

fn on_async_std(work: Work) {
    async_std::task::block_on(work);
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
